//! What a token says, once its signature is good.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_protocol::UserId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Claims, Expected, Refusal};

/// The claims as they stand in the token. Their types are checked one by one, so that a refusal names the
/// claim.
#[derive(Deserialize)]
pub(super) struct Signed {
    sub: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    aud: Option<Value>,
    iss: Option<Value>,
}

impl Signed {
    /// The claims of a token without its signature, which is known to be good.
    pub(super) fn read(message: &str) -> Result<Self, Refusal> {
        let (_, claims) = message.split_once('.').ok_or(Refusal::NotAToken)?;
        let json = URL_SAFE_NO_PAD.decode(claims).map_err(|_| Refusal::NotAToken)?;
        serde_json::from_slice(&json).map_err(|_| Refusal::NotAToken)
    }

    pub(super) fn check(&self, expected: &Expected, now_s: u64) -> Result<Claims, Refusal> {
        self.check_audience(expected)?;
        self.check_issuer(expected)?;
        let expires_s = self.check_times(expected.leeway_s, now_s)?;
        Ok(Claims { user: self.user()?, expires_s })
    }

    fn check_audience(&self, expected: &Expected) -> Result<(), Refusal> {
        let Some(ours) = expected.audience.as_deref() else { return Ok(()) };
        let is_ours = match self.aud.as_ref().ok_or(Refusal::ClaimMissing("aud"))? {
            Value::Array(several) => several.iter().any(|one| one == ours),
            one => one == ours,
        };
        is_ours.then_some(()).ok_or(Refusal::Audience)
    }

    fn check_issuer(&self, expected: &Expected) -> Result<(), Refusal> {
        let Some(trusted) = expected.issuer.as_deref() else { return Ok(()) };
        let issuer = self.iss.as_ref().ok_or(Refusal::ClaimMissing("iss"))?;
        (issuer == trusted).then_some(()).ok_or(Refusal::Issuer)
    }

    fn check_times(&self, leeway_s: u64, now_s: u64) -> Result<u64, Refusal> {
        if let Some(nbf) = &self.nbf {
            let from_s = seconds(nbf).ok_or(Refusal::NotATime("nbf"))?;
            if from_s > now_s.saturating_add(leeway_s) {
                return Err(Refusal::NotYet(from_s - now_s));
            }
        }
        let exp = self.exp.as_ref().ok_or(Refusal::ClaimMissing("exp"))?;
        let expires_s = seconds(exp).ok_or(Refusal::NotATime("exp"))?;
        if now_s >= expires_s.saturating_add(leeway_s) {
            return Err(Refusal::Expired(now_s - expires_s));
        }
        Ok(expires_s)
    }

    fn user(&self) -> Result<UserId, Refusal> {
        let id = match self.sub.as_ref().ok_or(Refusal::ClaimMissing("sub"))? {
            Value::Number(number) => number.as_u64(),
            // `parse` alone would take "+42" and "0042" for 42 too, and one user would have many names.
            Value::String(text) => text.parse().ok().filter(|id: &u64| id.to_string() == *text),
            _ => None,
        };
        id.and_then(UserId::new).ok_or(Refusal::Subject)
    }
}

/// A time in whole seconds since 1970: JWTs may have fractions, which are cut, and dates of any size, which
/// count as the last of which the milliseconds still are an exact number in JSON.
fn seconds(value: &Value) -> Option<u64> {
    const LAST_S: u64 = ((1 << 53) - 1) / 1000;
    let number = value.as_number()?;
    let seconds = number.as_u64().or_else(|| number.as_f64().map(|seconds| seconds as u64))?;
    Some(seconds.min(LAST_S))
}

/// The claims of a token made here.
#[derive(Serialize)]
pub(super) struct Minted<'a> {
    pub(super) sub: String,
    pub(super) iat: u64,
    pub(super) exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iss: Option<&'a str>,
}
