//! The load tool's parts, for its program and for tests that want them. In reading order.
//!
//! It shares the machine with what it measures, so it is lean: one epoll loop a process, no task a connection. And it
//! believes nothing: every client's stream is checked for gaps, repeats and order while it is measured.

pub mod scenario;

pub mod drive;
pub mod fleet;
pub mod link;

pub mod dice;
pub mod session;

pub mod cluster;

pub mod contest;
pub mod cores;

pub mod check;
pub mod clock;
pub mod pace;

pub mod gateway;
pub mod tls;
pub mod token;
pub mod worker;

pub mod report;
pub mod timeline;
