//! Tokens of every kind, good and bad, for tests.
#![allow(dead_code, reason = "each test file uses its part")]

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use carillon_gateway::auth::{Expected, Keys};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

pub(crate) const NOW_S: u64 = 1_700_000_000;
pub(crate) const SECRET: &[u8] = b"a secret that is long enough to be one";
pub(crate) const OTHER_SECRET: &[u8] = b"another secret that is as long as that";

/// Keys that trust [`SECRET`] and expect nothing else.
pub(crate) fn keys() -> Keys {
    keys_expecting(Expected::default())
}

pub(crate) fn keys_expecting(expected: Expected) -> Keys {
    let mut keys = Keys::new(expected);
    keys.add_secret("test", SECRET).expect("the secret is long enough");
    keys
}

/// Good claims: user 42, for a minute.
pub(crate) fn claims() -> Value {
    json!({"sub": "42", "exp": NOW_S + 60})
}

/// A token with these claims, signed with [`SECRET`].
pub(crate) fn hs256(claims: &Value) -> String {
    signed(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET))
}

/// The same, when the claims are no JSON.
pub(crate) fn hs256_raw(claims: &[u8]) -> String {
    let message = format!("{}.{}", base64url(r#"{"alg":"HS256"}"#), base64url(claims));
    let key = EncodingKey::from_secret(SECRET);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).expect("HMAC signs anything");
    format!("{message}.{signature}")
}

pub(crate) fn signed(header: &Header, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(header, claims, key).expect("claims and header are JSON")
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A pair of keys for EdDSA.
pub(crate) struct Ed25519(Ed25519KeyPair);

impl Ed25519 {
    pub(crate) fn generate() -> Self {
        Self(Ed25519KeyPair::generate().expect("there is randomness"))
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let pkcs8 = self.0.to_pkcs8v1().expect("a key has this form");
        signed(&Header::new(Algorithm::EdDSA), claims, &EncodingKey::from_ed_der(pkcs8.as_ref()))
    }

    pub(crate) fn public_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(crate) fn public_pem(&self) -> String {
        let der = self.0.public_key().as_der().expect("a key has this form");
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der.as_ref()))
    }
}
