//! What a connection speaks, and how far it is in that.

use carillon_protocol::{ErrorCode, Frame};

use crate::encoded::Format;
use crate::transport::websocket::{self, WebSocket};

/// A connection's transport.
#[derive(Default)]
pub enum Wire {
    /// Nothing came yet: the first byte tells.
    #[default]
    New,
    /// An HTTP request whose head is not whole yet.
    Http,
    /// Frames in WebSocket messages.
    WebSocket(WebSocket, Format),
    /// Frames, back to back.
    Raw,
}

impl Wire {
    /// How frames go out.
    pub fn format(&self) -> Format {
        match self {
            Wire::WebSocket(_, format) => *format,
            Wire::New | Wire::Http | Wire::Raw => Format::Raw,
        }
    }

    /// The last bytes a connection gets. Where there is no close frame, an error about the connection carries the code.
    pub fn close_bytes(&self, code: u16, reason: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Wire::WebSocket(..) => websocket::write_close(&mut bytes, code, reason),
            Wire::Raw => {
                let (message, retry_after_ms) = (reason.into(), None);
                let error = Frame::Error { request: 0, code: ErrorCode(code), message, retry_after_ms };
                carillon_protocol::encode(&error, &mut bytes);
            }
            Wire::New | Wire::Http => {}
        }
        bytes
    }
}
