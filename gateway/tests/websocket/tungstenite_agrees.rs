//! An independent implementation makes the same of the same streams: the same messages, and an end at the same place.

use std::io::{self, Cursor, Read, Write};

use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use crate::frames::{Got, MESSAGE_BYTES_MAX, feed_whole};
use crate::splitting_the_bytes_changes_nothing::some_frames;

/// Reads from a stream, writes to nowhere.
struct OneWay(Cursor<Vec<u8>>);

impl Read for OneWay {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.read(bytes)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for OneWay {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of it; a violation of whatever kind is 0.
fn tungstenite(stream: &[u8]) -> Vec<Got> {
    let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
    let mut peer =
        WebSocket::from_raw_socket(OneWay(Cursor::new(stream.to_vec())), Role::Server, Some(config));
    let mut got = Vec::new();
    loop {
        match peer.read() {
            Ok(Message::Text(text)) => got.push(Got::Text(text.to_string())),
            Ok(Message::Binary(bytes)) => got.push(Got::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => got.push(Got::Ping(bytes.to_vec())),
            Ok(Message::Close(frame)) => {
                got.push(Got::Close(frame.map(|frame| frame.code.into())));
                return got;
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return got,
            Err(_) => {
                got.push(Got::Violation(0));
                return got;
            }
        }
    }
}

/// Where tungstenite is known to be laxer or stricter than the RFC, its word does not count.
fn comparable(mut ours: Vec<Got>) -> Vec<Got> {
    for got in &mut ours {
        if let Got::Violation(code) = got {
            *code = 0;
        }
    }
    ours
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn on_streams_of_frames(stream in some_frames()) {
        let (ours, theirs) = (comparable(feed_whole(&stream)), tungstenite(&stream));
        // It leaves invalid close codes to its user, and this server does not.
        let is_close_code = matches!((ours.last(), theirs.last()), (Some(Got::Violation(_)), Some(Got::Close(Some(_)))));
        // It judges a frame when all of it is there, this server what has come.
        let is_early = matches!(ours.last(), Some(Got::Violation(_))) && theirs.len() < ours.len();
        if is_close_code || is_early {
            prop_assert_eq!(&ours[..ours.len() - 1], &theirs[..ours.len() - 1]);
        } else {
            prop_assert_eq!(ours, theirs);
        }
    }
}
