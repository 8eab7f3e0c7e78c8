//! A small generator (xorshift64*), so that a run can be repeated from its seed, and the payloads that calls
//! carry: each is known from its number alone, and so is the right answer to it.

use std::time::Duration;

/// The same sequence for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        // A few steps apart from its neighbours.
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below that.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn duration(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(limit.as_micros() as u64))
    }

    /// A length of 0 to 1 MiB: around the limits of a slot as often as anywhere, large ones seldom.
    pub(crate) fn len_bytes(&mut self) -> usize {
        let len = match self.below(32) {
            0 => 0,
            1..=9 => self.below(193),
            10..=15 => 180 + self.below(60),
            16..=25 => self.below(8 << 10),
            26..=30 => self.below(100 << 10),
            _ => 1 + self.below(1 << 20),
        };
        len as usize
    }
}

/// The bytes that call number `number` carries.
pub(crate) fn payload(number: u64, len_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len_bytes + 8);
    let mut word = number;
    while bytes.len() < len_bytes {
        bytes.extend_from_slice(&word.to_le_bytes());
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(number | 1);
    }
    bytes.truncate(len_bytes);
    bytes
}

/// What the service answers to bytes: never what it was given, so that arguments are not taken for a reply.
pub(crate) fn answer(data: &[u8]) -> Vec<u8> {
    let mut answer = Vec::with_capacity(data.len());
    let mut words = data.chunks_exact(8);
    for word in &mut words {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        answer.extend_from_slice(&(!word).to_le_bytes());
    }
    answer.extend(words.remainder().iter().map(|byte| !byte));
    answer
}
