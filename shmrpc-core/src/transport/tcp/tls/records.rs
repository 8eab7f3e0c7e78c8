//! Where records begin and end in what comes from a TLS peer: whoever has begun one must finish it in time, as with
//! frames, and no frame is seen before its record is whole.

/// Type, version and length of a record.
const HEADER_BYTES: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Records {
    header: [u8; HEADER_BYTES],
    /// How much of the header has come.
    have: usize,
    /// How much of the body is still to come.
    left: usize,
}

impl Records {
    /// What has come next.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.have < HEADER_BYTES {
                let taken = bytes.len().min(HEADER_BYTES - self.have);
                self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < HEADER_BYTES {
                    return;
                }
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
            let taken = bytes.len().min(self.left);
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                self.have = 0;
            }
        }
    }

    /// Whether a record has begun and not ended.
    pub(super) fn is_inside(&self) -> bool {
        self.have > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_may_be_cut_anywhere() {
        let stream =
            [&[23, 3, 3, 0, 4, 1, 2, 3, 4][..], &[23, 3, 3, 0, 0], &[23, 3, 3, 1, 0], &[7; 256]].concat();
        let ends = [0, 9, 14, stream.len()];
        for cut in 0..=stream.len() {
            let mut records = Records::default();
            records.follow(&stream[..cut]);
            assert_eq!(records.is_inside(), !ends.contains(&cut), "cut at {cut}");
            records.follow(&stream[cut..]);
            assert!(!records.is_inside(), "cut at {cut}");
        }
    }
}
