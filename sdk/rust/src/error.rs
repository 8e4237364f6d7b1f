//! What can go wrong, and whether to come back.

use std::time::Duration;

use carillon_protocol::{CloseCode, ErrorCode};

/// What an operation of the SDK ends with.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something was not done. [`Error::come_back`] says whether trying again makes sense.
///
/// What merely needs patience (a busy room, a lost connection, a node that leaves) does not show up here: the SDK
/// tries again by itself until the give-up time.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The gateway said no, and would say no again.
    #[error("the gateway refused: {message} ({} {})", .code.0, .code.name())]
    Refused {
        /// What was wrong.
        code: ErrorCode,
        /// The same in a sentence.
        message: String,
    },
    /// No answer came in time. Whether it was done is not known; asking again does no harm
    /// (for a send: with the same client id, see [`Room::send_as`](crate::Room::send_as)).
    #[error("gave up after {after:?}, it may or may not have been done: {last}")]
    GaveUp {
        /// How long it was tried.
        after: Duration,
        /// What stood in the way last.
        last: String,
    },
    /// As many requests wait for their answer as may (`pending_max`). Wait for some of them.
    #[error("{max} requests are waiting for their answer already")]
    TooManyPending {
        /// How many may.
        max: usize,
    },
    /// The gateway ended the session, and would end it again.
    #[error("the gateway closed the session: {message} ({} {})", .code.0, .code.name())]
    Ended {
        /// Why.
        code: CloseCode,
        /// The same in a sentence.
        message: String,
    },
    /// The first session could not be opened within the time for connecting.
    #[error("no session could be opened in {after:?}: {last}")]
    Unreachable {
        /// How long it was tried.
        after: Duration,
        /// What stood in the way last.
        last: String,
    },
    /// The app closed the client, or let go of it.
    #[error("the client is closed")]
    Closed,
    /// The address is not one the SDK can connect to.
    #[error("`{url}` is not an address to connect to: {reason}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificates by which to know the gateway cannot be used.
    #[error("no certificates to trust: {0}")]
    Certificates(String),
    /// The gateway answered with something else than what was asked for.
    #[error("the gateway answered with `{0}`, which is no answer to that")]
    Unexpected(&'static str),
}

impl Error {
    /// Whether the same call may succeed later, on this client or (for [`Error::Unreachable`]) a new one.
    pub fn come_back(&self) -> bool {
        match self {
            Error::GaveUp { .. } | Error::TooManyPending { .. } | Error::Unreachable { .. } => true,
            Error::Refused { code, .. } => code.come_back(),
            Error::Ended { .. }
            | Error::Closed
            | Error::Address { .. }
            | Error::Certificates(_)
            | Error::Unexpected(_) => false,
        }
    }
}
