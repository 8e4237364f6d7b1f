//! Which core runs what: servers have one core and the clients the other, so that neither takes time from the other.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use anyhow::Context;

/// The core of whatever is measured.
const SERVER: usize = 0;
/// The core of those who drive it.
const CLIENTS: usize = 1;

/// Moves this thread, and what it starts from now on, to the clients' core.
pub fn drive_from_here() {
    if let Err(error) = pin(CLIENTS) {
        eprintln!("the clients have no core of their own ({error}); the figures are rougher for it");
    }
}

/// Starts a server on its core: a process begins on the cores of the thread that starts it. It ends with that thread,
/// however this program ends.
pub fn start_server(command: &mut Command) -> anyhow::Result<Child> {
    // SAFETY: what runs between fork and exec is one system call, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    let child = on_server_core(|| command.spawn());
    child.with_context(|| format!("cannot start {}", command.get_program().display()))
}

/// Does what starts servers, on their core, and comes back to the clients'.
pub fn on_server_core<T>(start: impl FnOnce() -> T) -> T {
    if let Err(error) = pin(SERVER) {
        eprintln!("the servers have no core of their own ({error}); the figures are rougher for it");
    }
    let started = start();
    drive_from_here();
    started
}

fn pin(core: usize) -> std::io::Result<()> {
    // SAFETY: an all-zero set is an empty one, and the call reads just the one set it is given the size of.
    let result = unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut cores);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores)
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_runs_on_its_core_and_who_started_it_on_the_clients() {
        if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 2) {
            return;
        }
        let mut sleep = start_server(Command::new("sleep").arg("30")).expect("sleep starts");
        let cores = |of: &str| {
            let status = std::fs::read_to_string(format!("/proc/{of}/status")).expect("a status");
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.expect("a list of cores").trim().to_owned()
        };
        let (theirs, ours) = (cores(&sleep.id().to_string()), cores("thread-self"));
        sleep.kill().expect("sleep ends");
        sleep.wait().expect("sleep ended");
        assert_eq!((theirs, ours), (SERVER.to_string(), CLIENTS.to_string()));
    }

    #[test]
    fn a_server_ends_with_the_thread_that_started_it() {
        let thread =
            std::thread::spawn(|| start_server(Command::new("sleep").arg("30")).expect("sleep starts"));
        let mut sleep = thread.join().expect("the thread ends");
        let ended = sleep.wait().expect("sleep ends");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGKILL));
    }
}
