//! Threads that nobody waits for.
//!
//! On a busy machine those on the path of a message should have the cores: what archives, compacts and counts takes what is left, and
//! its work waits in the log meanwhile. Where nothing is left for long the log fills, which is said long before it is full; then sends
//! are refused, and there is time for it.

/// For a system without a class of threads that run only where no other wants to (`nice`).
const NICE: i32 = 19;

/// Lets everyone else go first: from now on this thread, and those that it starts, have the cores that nobody else wants
/// (`SCHED_IDLE`, sched(7)), and make way at once when somebody does. Where that is not allowed, everything works as well, only
/// less evenly.
pub fn stand_back() {
    if !is_idle_from_now_on() {
        let _ = rustix::process::setpriority_process(None, NICE);
    }
}

#[cfg(target_os = "linux")]
fn is_idle_from_now_on() -> bool {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads `priority`, which lives until it returns, and changes this thread alone.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_idle_from_now_on() -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::thread;

    fn policy() -> i32 {
        // SAFETY: it takes a number and gives one.
        unsafe { libc::sched_getscheduler(0) }
    }

    #[test]
    fn a_thread_that_stands_back_and_those_it_starts_are_idle_and_no_other_is() {
        let stood_back = thread::spawn(|| {
            stand_back();
            (policy(), thread::spawn(policy).join().unwrap())
        });
        assert_eq!(stood_back.join().unwrap(), (libc::SCHED_IDLE, libc::SCHED_IDLE));
        assert_ne!(policy(), libc::SCHED_IDLE);
    }
}
