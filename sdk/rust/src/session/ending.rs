//! When a session ends for good.

use carillon_protocol::{CloseCode, ErrorCode};

use super::{Phase, Session};
use crate::Error;

/// Fresh tokens that may be refused as expired, one after the other, before that is the end.
const EXPIRED_MAX: u32 = 3;

impl Session {
    /// Why reconnecting would not help, if it would not.
    pub(super) fn final_error(&mut self, code: Option<CloseCode>, reason: &str) -> Option<Error> {
        let refused = self.refusal.as_ref().map(|(code, _)| *code);
        let is_expired = code == Some(CloseCode::TOKEN_EXPIRED) || refused == Some(ErrorCode::TOKEN_EXPIRED);
        if is_expired && self.settings.has_fresh_tokens && self.expired < EXPIRED_MAX {
            self.expired += 1;
            return None;
        }
        // Coming back would throw out whoever took this one's place, and so on for ever.
        let is_replaced = code == Some(CloseCode::REPLACED);
        let is_final_close = code.is_some_and(|code| (4500..5000).contains(&code.0)) || is_replaced;
        let is_final_refusal = refused.is_some_and(|code| self.is_final(code));
        if !is_final_close && !is_final_refusal {
            return None;
        }
        let refusal = self.refusal.take();
        Some(match (refusal, code) {
            (Some((_, message)), Some(code)) if is_final_close => Error::Ended { code, message },
            (Some((code, message)), _) => Error::Refused { code, message },
            (None, code) => {
                Error::Ended { code: code.unwrap_or(CloseCode::UNEXPECTED), message: reason.into() }
            }
        })
    }

    /// Whether an error about the connection is why it closed, and would again. Others (to a `typing`, say) came by chance.
    fn is_final(&self, code: ErrorCode) -> bool {
        let is_fault = matches!(
            code,
            ErrorCode::MALFORMED
                | ErrorCode::UNEXPECTED
                | ErrorCode::TOO_LARGE
                | ErrorCode::TOKEN_INVALID
                | ErrorCode::TOKEN_EXPIRED
        );
        is_fault || (matches!(self.phase, Phase::Greeting { .. }) && !code.come_back())
    }
}
