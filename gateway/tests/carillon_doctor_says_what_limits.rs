//! `carillon doctor` says what limits a node here; `carillon serve` takes the open files it may have.

mod process;

use std::os::unix::process::CommandExt;
use std::process::Command;

use process::{carillon, run, stdout_of};
use tempfile::TempDir;

/// The program, started with so many open files, which it may raise up to `most`.
fn with_open_files(now: u64, most: u64, args: &[&str]) -> Command {
    let mut command = carillon(args);
    let limit = libc::rlimit { rlim_cur: now, rlim_max: most };
    // SAFETY: setrlimit is safe to call between fork and exec, and only reads the value moved in here.
    unsafe {
        command.pre_exec(move || match libc::setrlimit(libc::RLIMIT_NOFILE, &limit) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

#[test]
fn it_names_every_check_and_the_first_limit() {
    let data = TempDir::new().unwrap();
    let folder = data.path().join("data");
    let args = ["doctor", "--data", folder.to_str().unwrap(), "--connections-max", "5000"];
    let told = stdout_of(with_open_files(512, 1_024, &args).output().unwrap());
    for name in ["memory", "socket memory", "accept queue", "local ports", "cores", "cpu governor", "disk"] {
        assert!(told.contains(&format!("  {name} ")), "{name} is missing:\n{told}");
    }
    assert!(told.contains("512 now, at most 1,024"), "{told}");
    assert!(
        told.contains(
            "The first limit is open files of the process: about 724 connections. The settings ask for 5,000"
        ),
        "{told}"
    );
    assert!(!folder.exists(), "it makes nothing");
}

#[test]
fn help_says_where_to_run_it() {
    assert!(stdout_of(run(&["doctor", "--help"])).contains("Run it as the user and in the place"));
}

#[test]
fn a_node_takes_the_open_files_it_may_have() {
    let data = TempDir::new().unwrap();
    let args = ["serve", "--listen", "127.0.0.1:0", "--data", data.path().to_str().unwrap()];
    let mut child = with_open_files(256, 1_000, &args).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("open ")), "it did not start");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().nth(3), Some("1000"), "{open_files}");
}
