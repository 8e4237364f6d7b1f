//! How long the disk takes to make a small write durable: no send is acknowledged sooner.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Check;

/// As much as a turn of the log with a few messages.
const WRITE_BYTES: usize = 4096;
const WRITES: usize = 200;
/// A slow disk is not waited for longer than this.
const TIME_MAX: Duration = Duration::from_secs(5);
/// From here on the disk is what senders wait for.
const SLOW: Duration = Duration::from_millis(10);

const NAME: &str = "disk";

/// Times `fdatasync` of small writes into a file that has its full size already, as the log's have.
pub(super) fn sync_time(folder: &Path) -> Check {
    let mut times = match measure(folder) {
        Ok(times) => times,
        Err(error) => {
            let found = format!("{}: {error}", folder.display());
            return Check::limits(NAME, found, 0, "choose a folder that this user can write to (--data)");
        }
    };
    times.sort_unstable();
    let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    let found = format!(
        "fdatasync of 4 KiB in {}: half within {}, 99 % within {} ({} writes)",
        folder.display(),
        milliseconds(half),
        milliseconds(most),
        times.len()
    );
    if most < SLOW {
        return Check::good(NAME, found);
    }
    let advice = "every send waits for it at least once: put the data folder on a local SSD or NVMe disk (with power-loss \
                  protection it answers in well under 1 ms), away from other programs' writes";
    Check::limits(NAME, found, None, advice)
}

fn measure(folder: &Path) -> io::Result<Vec<Duration>> {
    // Has no name, so nothing is left behind whatever happens.
    let file: File = tempfile::tempfile_in(folder)?;
    file.write_all_at(&vec![0; WRITE_BYTES * WRITES], 0)?;
    file.sync_all()?;
    let began = Instant::now();
    let mut times = Vec::with_capacity(WRITES);
    for number in 0..WRITES {
        file.write_all_at(&[1; WRITE_BYTES], (number * WRITE_BYTES) as u64)?;
        let asked = Instant::now();
        file.sync_data()?;
        times.push(asked.elapsed());
        if began.elapsed() > TIME_MAX {
            break;
        }
    }
    Ok(times)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
