//! What can go wrong, as numbers. The range says whether to come back; a number is never reused.

use serde::{Deserialize, Serialize};

/// One table makes the constants, the names and the documentation.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident ($repr:ty) { $($(#[$code_doc:meta])* $code:ident = $number:literal, $sentence:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $repr);

        impl $name {
            $(
                #[doc = $sentence]
                pub const $code: Self = Self($number);
            )*

            /// Every code with its name and sentence, in order.
            pub const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self($number), stringify!($code), $sentence),)*];

            /// What it means, in a sentence; empty for a number of a later version.
            pub fn sentence(self) -> &'static str {
                Self::ALL.iter().find(|(code, ..)| *code == self).map_or("", |(_, _, sentence)| sentence)
            }

            /// Its name, in capitals; empty for a number of a later version.
            pub fn name(self) -> &'static str {
                Self::ALL.iter().find(|(code, ..)| *code == self).map_or("", |(_, name, _)| name)
            }
        }
    };
}

codes! {
    /// Why a request (or, with request 0, a connection) failed. 100–199: come back with the same request.
    /// 200–299: the request itself is wrong, or not allowed; repeating it changes nothing.
    ErrorCode(u16) {
        BUSY = 100, "The room's home has too much waiting; try the same request again a little later.";
        UNAVAILABLE = 101, "Nothing can be made durable just now (the disk is full, say); try the same request again later.";
        DRAINING = 102, "This node is leaving; reconnect and try the same request again.";
        RATE_LIMITED = 103, "Too many requests from this connection; try again after the time given.";
        MALFORMED = 200, "The bytes are not a frame of this protocol.";
        UNEXPECTED = 201, "That frame is not for the gateway, or not now.";
        NOT_A_MEMBER = 202, "There is no such room, or you are not in it.";
        FORBIDDEN = 203, "Your role in the room does not allow that.";
        CONFLICT = 204, "Something else was done under that id before.";
        TOO_LARGE = 205, "Larger than the gateway takes.";
        LIMIT = 206, "A limit on rooms or members is reached.";
        INVALID = 207, "A field has a value that makes no sense.";
        TOKEN_INVALID = 208, "The token is not acceptable: not signed by a known key, for another audience, or not a token.";
        TOKEN_EXPIRED = 209, "The token has expired; come with a fresh one.";
    }
}

codes! {
    /// Why a connection ended, as a WebSocket close code (RFC 6455, 7.4.2: 4000–4999 are for applications).
    /// 4000–4499: reconnect. 4500–4999: reconnecting in the same way ends the same way.
    CloseCode(u16) {
        GO_AWAY = 4000, "The node is leaving; reconnect.";
        IDLE = 4001, "Nothing was heard from the client for too long; reconnect.";
        SLOW = 4002, "The client did not take what waited for it; reconnect and sync.";
        OVERLOADED = 4003, "The node takes no more connections; reconnect later.";
        REPLACED = 4004, "The same device opened another session.";
        HELLO_TIMEOUT = 4500, "No hello arrived in time.";
        MALFORMED = 4501, "The bytes were not frames of this protocol.";
        UNAUTHORIZED = 4502, "The token was not acceptable.";
        TOKEN_EXPIRED = 4503, "The token has expired; reconnect with a fresh one.";
        TOO_LARGE = 4504, "A frame was larger than the gateway takes.";
        UNEXPECTED = 4505, "A frame came that is not allowed there.";
    }
}

impl ErrorCode {
    /// Whether the same request may succeed later.
    pub fn come_back(self) -> bool {
        (100..200).contains(&self.0)
    }
}

impl CloseCode {
    /// Whether reconnecting in the same way may succeed.
    pub fn come_back(self) -> bool {
        (4000..4500).contains(&self.0)
    }
}
