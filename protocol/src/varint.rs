//! Variable-length integers of RFC 9000, section 16: the two top bits of the first byte say how many bytes
//! there are (1, 2, 4 or 8), the rest is the number, big end first.

/// The largest number a varint holds: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// How many bytes `value` takes. Values above [`MAX`] are not representable.
pub const fn len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value` in its shortest form. Values above [`MAX`] are cut to [`MAX`]; nothing that Carillon counts
/// gets there.
#[inline]
pub fn write(out: &mut Vec<u8>, value: u64) {
    let value = value.min(MAX);
    match len(value) {
        1 => out.push(value as u8),
        2 => out.extend_from_slice(&(value as u16 | 0x4000).to_be_bytes()),
        4 => out.extend_from_slice(&(value as u32 | 0x8000_0000).to_be_bytes()),
        _ => out.extend_from_slice(&(value | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// Writes `value` into `slot`, which has exactly [`len`] bytes.
#[inline]
pub(crate) fn put(slot: &mut [u8], value: u64) {
    let prefix = match slot.len() {
        1 => 0,
        2 => 1,
        4 => 2,
        _ => 3,
    };
    let bytes = value.to_be_bytes();
    slot.copy_from_slice(&bytes[8 - slot.len()..]);
    slot[0] |= prefix << 6;
}

/// The number at the start of `bytes` and how many bytes it took; nothing where it is cut short.
/// A longer form than needed is accepted, as RFC 9000 does.
#[inline]
pub fn read(bytes: &[u8]) -> Option<(u64, usize)> {
    const LENGTH_BITS: u32 = 2;
    match bytes.first()? >> 6 {
        0 => Some((u64::from(bytes[0]), 1)),
        1 => {
            let bits = u16::from_be_bytes(*bytes.first_chunk()?);
            Some((u64::from(bits << LENGTH_BITS >> LENGTH_BITS), 2))
        }
        2 => {
            let bits = u32::from_be_bytes(*bytes.first_chunk()?);
            Some((u64::from(bits << LENGTH_BITS >> LENGTH_BITS), 4))
        }
        _ => {
            let bits = u64::from_be_bytes(*bytes.first_chunk()?);
            Some((bits << LENGTH_BITS >> LENGTH_BITS, 8))
        }
    }
}
