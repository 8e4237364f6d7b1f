//! Tokens for any user, from the node's secret.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// How long a token of a load run lasts: longer than any of them.
const TTL_S: u64 = 24 * 3600;

#[derive(Serialize)]
struct Claims {
    sub: String,
    exp: u64,
}

/// A secret that tokens are signed with (HS256).
#[derive(Clone)]
pub struct Signer(EncodingKey);

impl Signer {
    /// The secret in a key file.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let secret =
            std::fs::read(path).with_context(|| format!("cannot read the key {}", path.display()))?;
        Ok(Self(EncodingKey::from_secret(secret.trim_ascii_end())))
    }

    /// A token for that user.
    pub fn token(&self, user: u64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims { sub: user.to_string(), exp: now + TTL_S };
        jsonwebtoken::encode(&Header::default(), &claims, &self.0).unwrap_or_default()
    }
}
