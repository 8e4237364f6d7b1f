/// Why a text is not a frame of this protocol, in a sentence for whoever wrote the client.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not an object where one is needed.
    #[error("not a JSON object: {0}")]
    NotAnObject(String),
    /// The frame's name is not one of this version.
    #[error("frame kind `{0}` is unknown")]
    UnknownKind(String),
    /// A field that must be there is not.
    #[error("`{field}` is missing")]
    Missing {
        /// Which field.
        field: &'static str,
    },
    /// A field that holds something else than it should.
    #[error("`{field}` is not {expected}")]
    NotA {
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A field that is there twice.
    #[error("`{field}` is there more than once")]
    Repeated {
        /// Which field.
        field: &'static str,
    },
}

impl Malformed {
    /// Says only the start of a name that somebody else made up.
    pub(super) fn unknown_kind(name: &str) -> Self {
        const NAME_CHARS_MAX: usize = 40;
        Self::UnknownKind(name.chars().take(NAME_CHARS_MAX).collect())
    }
}
