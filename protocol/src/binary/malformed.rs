use crate::id::INT_MAX;

/// Why bytes are not a frame or an event of this protocol, in a sentence for whoever wrote the client.
/// `field` is the field's name in `docs/protocol.md`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The length in the frame's header is more than this end takes.
    #[error("the frame would have {bytes} bytes, and at most {bytes_max} are taken")]
    TooLarge {
        /// Header and body.
        bytes: u64,
        /// What this end takes.
        bytes_max: usize,
    },
    /// Nobody said that the frame may be passed over.
    #[error("frame kind {number:#04x} is unknown, and its flags do not allow passing over it")]
    UnknownKind {
        /// The frame's first byte.
        number: u8,
    },
    /// The bytes end inside the field.
    #[error("`{field}` is missing or cut short")]
    CutShort {
        /// Which field.
        field: &'static str,
    },
    /// A text that is not a text.
    #[error("`{field}` is not UTF-8")]
    NotUtf8 {
        /// Which field.
        field: &'static str,
    },
    /// A number that a reader in another language could not hold exactly.
    #[error("`{field}` is {value}, and at most {max} is allowed", max = in_words(.max))]
    TooBig {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u64,
        /// What it may hold.
        max: u64,
    },
    /// User ids start at 1.
    #[error("`{field}` is 0, and user ids start at 1")]
    NoUser {
        /// Which field.
        field: &'static str,
    },
    /// A truth value other than 0 and 1.
    #[error("`{field}` is {value}, and only 0 (no) and 1 (yes) are allowed")]
    NotBool {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
    /// A list that claims more items than its bytes could hold.
    #[error("`{field}` claims {count} items, more than the bytes that are left could hold")]
    TooMany {
        /// Which field.
        field: &'static str,
        /// How many it claims.
        count: u64,
    },
    /// An optional field that is there twice.
    #[error("`{field}` is there more than once")]
    Repeated {
        /// Which field.
        field: &'static str,
    },
}

fn in_words(max: &u64) -> String {
    if *max == INT_MAX { "2^53 - 1".into() } else { max.to_string() }
}
