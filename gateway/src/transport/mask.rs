//! Masking (RFC 6455, 5.3): every byte a client sends is XORed with one of four key bytes.

/// Unmasks `bytes` in place. `phase` says how many bytes of the frame came before them.
pub fn unmask(bytes: &mut [u8], key: [u8; 4], phase: usize) {
    let turned: [u8; 4] = std::array::from_fn(|index| key[(phase + index) % 4]);
    let word = u64::from(u32::from_ne_bytes(turned)) * 0x1_0000_0001;
    let mut words = bytes.chunks_exact_mut(8);
    for eight in &mut words {
        let masked = u64::from_ne_bytes(std::array::from_fn(|index| eight[index]));
        eight.copy_from_slice(&(masked ^ word).to_ne_bytes());
    }
    for (index, byte) in words.into_remainder().iter_mut().enumerate() {
        *byte ^= turned[index % 4];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_and_phase_is_the_rfcs_byte_by_byte_rule() {
        let key = [0x37, 0xfa, 0x21, 0x3d];
        for len in 0..70_usize {
            for phase in 0..8 {
                let plain: Vec<u8> = (0..len).map(|byte| (byte as u8).wrapping_mul(7)).collect();
                let mut bytes: Vec<u8> =
                    plain.iter().enumerate().map(|(index, byte)| byte ^ key[(phase + index) % 4]).collect();
                unmask(&mut bytes, key, phase);
                assert_eq!(bytes, plain, "length {len}, phase {phase}");
            }
        }
    }
}
