//! Frames as JSON, for k6, browsers and people: one object a text message, its `kind` first.

use crate::Frame;

/// The frame as one line of JSON.
pub fn encode(frame: &Frame<'_>) -> String {
    serde_json::to_string(frame).unwrap_or_default()
}

/// The frame in `text`; the error says where it stops being one.
pub fn decode(text: &str) -> Result<Frame<'_>, serde_json::Error> {
    serde_json::from_str(text)
}
