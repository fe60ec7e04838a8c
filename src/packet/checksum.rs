//! The checksum of IP, ICMP and TCP (RFC 1071).

/// A sum in the making.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checksum(u32);

impl Checksum {
    /// Adds bytes; an odd one at their end counts as if a zero followed it.
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let words = bytes.chunks(2).map(|word| match *word {
            [high, low] => u32::from(u16::from_be_bytes([high, low])),
            [high] => u32::from(high) << 8,
            _ => 0,
        });
        // A frame has far fewer than 65,536 words, so nothing overflows.
        Self(words.fold(self.0, u32::wrapping_add))
    }

    /// What stands in the field.
    pub(super) fn finish(self) -> [u8; 2] {
        let folded = (self.0 >> 16) + (self.0 & 0xffff);
        let folded = (folded >> 16) + (folded & 0xffff);
        let [_, _, high, low] = (!folded).to_be_bytes();
        [high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Checksum::default().add(&bytes).finish(), (!0xddf2u16).to_be_bytes());
        let split = Checksum::default().add(&bytes[..4]).add(&bytes[4..]);
        assert_eq!(split.finish(), (!0xddf2u16).to_be_bytes());
        assert_eq!(Checksum::default().finish(), [0xff, 0xff]);
        assert_eq!(Checksum::default().add(&[0xff; 65534]).finish(), [0, 0]);
        assert_eq!(Checksum::default().add(&[0x12]).finish(), (!0x1200u16).to_be_bytes());
    }
}
