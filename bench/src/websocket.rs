//! What clients send over a WebSocket.

/// What masks it.
pub const KEY: [u8; 4] = [0x5a, 0x13, 0xc7, 0x81];

/// A binary message, masked as a client has to. At most 65,535 bytes.
pub fn masked(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x82];
    match payload.len() {
        len @ 0..126 => frame.push(0x80 | len as u8),
        len => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&u16::try_from(len).expect("at most 65,535 bytes").to_be_bytes());
        }
    }
    frame.extend_from_slice(&KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}
