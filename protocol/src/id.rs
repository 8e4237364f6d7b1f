//! Who and what: users, rooms and the ids that make a send repeatable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The largest number in a frame: 2^53 − 1, which JSON and JavaScript hold exactly.
pub const INT_MAX: u64 = (1 << 53) - 1;

/// A user, as the app names them in the `sub` of a token: 1 to 2^53 − 1, so that JSON numbers hold it exactly.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct UserId(u64);

impl UserId {
    /// The largest user id.
    pub const MAX: UserId = UserId(INT_MAX);

    /// The user of that number, or nothing where it is 0 or above [`UserId::MAX`].
    pub const fn new(id: u64) -> Option<Self> {
        if id == 0 || id > Self::MAX.0 { None } else { Some(Self(id)) }
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for UserId {
    type Error = String;
    fn try_from(id: u64) -> Result<Self, String> {
        Self::new(id).ok_or_else(|| format!("user id {id} is not in 1..=2^53-1"))
    }
}

impl From<UserId> for u64 {
    fn from(user: UserId) -> u64 {
        user.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sixteen raw bytes on the wire, a UUID where people read it.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// All zeroes: no such thing exists.
            pub const NIL: Self = Self(Uuid::nil());

            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// The sixteen bytes as they travel.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// A room. Its creator chooses the id, so that creating a room may be retried.
    RoomId
}

uuid_id! {
    /// What a client calls one send. The same id from the same sender in the same room is the same message,
    /// however often it arrives.
    ClientId
}
