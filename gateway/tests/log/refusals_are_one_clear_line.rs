//! A log that cannot be opened says why in one line that names the place.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use carillon_gateway::log::{AppendError, FileLog, FileLogConfig, Log};

use crate::harness::{SEGMENT_BYTES, batch, config, large};

#[test]
fn another_process_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _held = FileLog::open(config(dir.path())).unwrap();
    assert_eq!(
        refusal(config(dir.path())),
        format!("the log in {} is in use by another process", show(dir.path()))
    );
}

#[test]
fn it_was_made_for_another_number_of_partitions() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileLog::open(config(dir.path())).unwrap());
    let said = refusal(FileLogConfig { partitions: 8, ..config(dir.path()) });
    assert_eq!(said, format!("the log in {} was made for 4 partitions, not 8", show(&segment(dir.path()))));
}

#[test]
fn a_newer_version_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    drop(FileLog::open(config(dir.path())).unwrap());
    let mut bytes = std::fs::read(segment(dir.path())).unwrap();
    bytes[8..10].copy_from_slice(&7u16.to_be_bytes());
    std::fs::write(segment(dir.path()), bytes).unwrap();
    let place = show(&segment(dir.path()));
    assert_eq!(
        refusal(config(dir.path())),
        format!("{place} has log format 7, newer than this version of Carillon can read")
    );
}

#[test]
fn something_else_is_in_its_place() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(segment(dir.path()), "not a log").unwrap();
    let place = show(&segment(dir.path()));
    assert_eq!(
        refusal(config(dir.path())),
        format!("the log is corrupt: {place}, byte 0: this is not a segment's header")
    );
}

#[test]
fn the_folder_cannot_be_made() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let said = refusal(config(&file.join("log")));
    assert!(said.starts_with(&format!("cannot use the log in {}", show(&file))), "{said}");
}

#[test]
fn the_folder_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(dir.path().join("probe"), "").is_ok() {
        return; // Root may write anywhere.
    }
    assert!(refusal(config(dir.path())).contains("Permission denied"));
}

#[test]
fn its_settings_make_no_sense() {
    let dir = tempfile::tempdir().unwrap();
    let base = config(dir.path());
    let said = |change: &dyn Fn(&mut FileLogConfig)| {
        let mut config = base.clone();
        change(&mut config);
        refusal(config)
    };
    assert!(said(&|config| config.partitions = 0).contains("partition"));
    assert!(said(&|config| config.segment_bytes = 100).contains("segment_bytes"));
    assert!(said(&|config| config.segment_bytes = 2 << 30).contains("segment_bytes"));
    assert!(said(&|config| config.partitions = 500).contains("too small for 500 partitions"));
    assert!(said(&|config| config.log_bytes_max = SEGMENT_BYTES).contains("log_bytes_max"));
}

#[tokio::test]
async fn a_group_larger_than_a_segment_can_never_fit() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(config(dir.path())).unwrap();
    let refused = log.append(vec![large(0, 1, 5000)]).await.unwrap_err();
    let AppendError::TooLarge { bytes, bytes_max } = refused else { panic!("{refused}") };
    assert!(bytes > bytes_max && !refused.come_back());
    let overhead = bytes - 5000;
    log.append(vec![large(0, 1, bytes_max - overhead)]).await.unwrap();
    log.append(vec![batch(0, 2)]).await.unwrap();
}

fn refusal(config: FileLogConfig) -> String {
    let said = FileLog::open(config).err().unwrap().to_string();
    assert!(!said.contains('\n'));
    said
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("00000000000000000001.log")
}

fn show(path: &Path) -> String {
    path.display().to_string()
}
