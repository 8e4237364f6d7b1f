//! UTF-8 (RFC 6455, 8.1): good text passes wherever it is cut, and bad text ends the connection at its first bad byte,
//! not at the end of the frame or message.

use carillon_gateway::transport::websocket::Takes;

use crate::frames::{FIN, Got, TEXT, feed, frame};

const GOOD: &[&str] = &[
    "",
    "κόσμε",
    "\u{0}",
    "\u{7ff}\u{800}",
    "\u{d7ff}\u{e000}\u{fffd}",
    "\u{fffe}\u{ffff}",
    "\u{10000}\u{10ffff}",
    "👩‍👩‍👧‍👦",
];

const BAD: &[&[u8]] = &[
    &[0x80],
    &[0xbf, 0xbf],
    &[0xc0, 0xaf],
    &[0xc1, 0xbf],
    &[0xe0, 0x80, 0xaf],
    &[0xe0, 0x9f, 0xbf],
    &[0xed, 0xa0, 0x80],
    &[0xed, 0xbf, 0xbf],
    &[0xf0, 0x80, 0x80, 0xaf],
    &[0xf0, 0x8f, 0xbf, 0xbf],
    &[0xf4, 0x90, 0x80, 0x80],
    &[0xf5, 0x80, 0x80, 0x80],
    &[0xf8, 0x88, 0x80, 0x80, 0x80],
    &[0xfe],
    &[0xff],
    &[0xc3, b'x'],
    &[0xe2, 0x82, b'x'],
];

#[test]
fn good_text_passes_however_it_is_cut_into_frames_and_pieces() {
    for text in GOOD {
        let bytes = text.as_bytes();
        for cut in 0..=bytes.len() {
            let stream = [frame(TEXT, &bytes[..cut]), frame(FIN, &bytes[cut..])].concat();
            for piece in [1, 3, usize::MAX] {
                assert_eq!(
                    feed(Takes::Both, &stream, &[piece]),
                    [Got::Text((*text).to_owned())],
                    "{text:?} cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn bad_text_is_refused_whole_in_fragments_and_byte_by_byte() {
    for bad in BAD {
        let payload = [b"good ", *bad].concat();
        for cut in 0..=payload.len() {
            let stream = [frame(TEXT, &payload[..cut]), frame(FIN, &payload[cut..])].concat();
            for piece in [1, 2, usize::MAX] {
                assert_eq!(
                    feed(Takes::Both, &stream, &[piece]),
                    [Got::Violation(1007)],
                    "{bad:x?} cut at {cut}"
                );
            }
        }
    }
}

#[test]
fn a_character_that_never_ends_is_refused_with_the_message() {
    for text in ["é", "€", "👍"] {
        let bytes = text.as_bytes();
        let stream = frame(FIN | TEXT, &bytes[..bytes.len() - 1]);
        assert_eq!(feed(Takes::Both, &stream, &[1]), [Got::Violation(1007)]);
        assert_eq!(feed(Takes::Both, &stream, &[99]), [Got::Violation(1007)]);
    }
}

#[test]
fn the_first_bad_byte_is_enough() {
    let mut stream = frame(FIN | TEXT, &[&[b'a'; 10_000][..], &[0xff], &[b'a'; 10_000]].concat());
    // Header, good text, and one bad byte: the other ten thousand have not come.
    stream.truncate(8 + 10_000 + 1);
    assert_eq!(feed(Takes::Both, &stream, &[4096]), [Got::Violation(1007)]);
}
