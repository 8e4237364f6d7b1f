//! Bytes put together by hand, for what no encoder of this version would write.
#![allow(dead_code, missing_docs, unreachable_pub)]

use carillon_protocol::Kind;

pub fn varint(value: u64) -> Vec<u8> {
    match value {
        0..0x40 => vec![value as u8],
        0x40..0x4000 => (value as u16 | 0x4000).to_be_bytes().to_vec(),
        0x4000..0x4000_0000 => (value as u32 | 0x8000_0000).to_be_bytes().to_vec(),
        _ => (value | 0xc000_0000_0000_0000).to_be_bytes().to_vec(),
    }
}

/// Bytes with their length before them.
pub fn sized(bytes: &[u8]) -> Vec<u8> {
    [&varint(bytes.len() as u64), bytes].concat()
}

pub fn tagged(tag: u64, value: &[u8]) -> Vec<u8> {
    [varint(tag), sized(value)].concat()
}

pub fn frame(kind: Kind, body: &[u8]) -> Vec<u8> {
    frame_of(kind.number(), 0, body)
}

pub fn frame_of(number: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    [&[number, flags][..], &sized(body)].concat()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap_or_default()).collect()
}
