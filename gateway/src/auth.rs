//! Tokens: who a client says it is, and whether somebody whom this node trusts signed that.
//!
//! A token is a JWT, signed with HS256 or EdDSA (Ed25519) by one of the configured keys. Each key is good for
//! its own algorithm alone, whatever a token's header says. Nothing is read from the claims before the
//! signature is good. The time is an argument. Checking costs a few microseconds with HS256, some forty
//! with EdDSA.

mod claims;
mod keys;

use carillon_protocol::{CloseCode, ErrorCode, UserId};
use jsonwebtoken::Algorithm;

use claims::Signed;
pub use keys::{Expected, KeyError, Keys, SECRET_BYTES_MIN};

/// Longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8_192;

/// What a good token says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Who the client is.
    pub user: UserId,
    /// Until when the token is good, in seconds since 1970. The leeway comes on top.
    pub expires_s: u64,
}

/// Why a token was refused. Its text is for the client's developer and gives away nothing about the keys.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The text is empty.
    #[error("there is no token")]
    Missing,
    /// The text is longer than [`TOKEN_BYTES_MAX`].
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The text is not a JWT, or not a signed one.
    #[error(
        "this is not a signed JWT: three parts in base64url between dots, and a header with a known \"alg\""
    )]
    NotAToken,
    /// It is signed in a way for which no key exists here.
    #[error("no key here is for the token's \"alg\"; HS256 and EdDSA are possible")]
    Algorithm,
    /// It names a key that does not exist here.
    #[error("no key here has the token's \"kid\"")]
    UnknownKey,
    /// It demands an extension that does not exist here.
    #[error("the token's header has \"crit\": extensions are not supported")]
    Extension,
    /// No key made this signature.
    #[error("the token's signature was not made with a key known here")]
    Signature,
    /// A claim is missing.
    #[error("the token has no \"{0}\"")]
    ClaimMissing(&'static str),
    /// `sub` is not a user id.
    #[error(
        "the token's \"sub\" is not a user id: a whole number from 1 to 2^53 - 1, as a number or a string"
    )]
    Subject,
    /// `exp` or `nbf` is not a time.
    #[error("the token's \"{0}\" is not a time in seconds since 1970")]
    NotATime(&'static str),
    /// It is for somebody else.
    #[error("the token's \"aud\" is not the audience of this service")]
    Audience,
    /// It is from somebody else.
    #[error("the token's \"iss\" is not the issuer this service trusts")]
    Issuer,
    /// Its time has not come.
    #[error("the token is not valid yet: its \"nbf\" is {0} seconds ahead of this node's clock")]
    NotYet(u64),
    /// Its time is over.
    #[error("the token expired {0} seconds ago")]
    Expired(u64),
}

impl Refusal {
    /// What the client is told.
    pub fn error_code(&self) -> ErrorCode {
        match self {
            Refusal::Expired(_) => ErrorCode::TOKEN_EXPIRED,
            _ => ErrorCode::TOKEN_INVALID,
        }
    }

    /// How its connection ends.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Refusal::Expired(_) => CloseCode::TOKEN_EXPIRED,
            _ => CloseCode::UNAUTHORIZED,
        }
    }
}

impl Keys {
    /// What `token` says, if it is good at `now_s` (seconds since 1970).
    pub fn verify(&self, token: &str, now_s: u64) -> Result<Claims, Refusal> {
        if token.is_empty() {
            return Err(Refusal::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Refusal::NotAToken)?;
        if header.crit.is_some() {
            return Err(Refusal::Extension);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Refusal::NotAToken)?;
        self.check_signature(message, signature, header.alg, header.kid.as_deref())?;
        Signed::read(message)?.check(self.expected(), now_s)
    }

    /// Passes where one of the keys for this algorithm proves to be the token's: the one that it names, or
    /// any.
    fn check_signature(
        &self,
        message: &str,
        signature: &str,
        algorithm: Algorithm,
        kid: Option<&str>,
    ) -> Result<(), Refusal> {
        if self.for_algorithm(algorithm).next().is_none() {
            return Err(Refusal::Algorithm);
        }
        let mut refusal = Refusal::UnknownKey;
        for key in self.for_algorithm(algorithm).filter(|key| kid.is_none_or(|kid| kid == key.id)) {
            match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.public, algorithm) {
                Ok(true) => return Ok(()),
                Ok(false) => refusal = Refusal::Signature,
                Err(_) => return Err(Refusal::NotAToken),
            }
        }
        Err(refusal)
    }
}
