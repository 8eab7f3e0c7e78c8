//! Inputs out of seeds: flips, cuts, splices, repetitions, and lengths blown up. Input *n* of a seed is always
//! the same, so that a failure can be had again.

/// Numbers on which parsers stumble.
const NUMBERS: [u64; 16] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    1 << 33,
    1 << 62,
    i64::MAX as u64,
    u64::MAX,
];
/// Inputs that grow by splicing and repeating are cut here.
const MAX_BYTES: usize = 8 << 10;

/// Makes inputs.
pub(crate) struct Mutator {
    seeds: Vec<Vec<u8>>,
}

impl Mutator {
    pub(crate) fn new(seeds: Vec<Vec<u8>>) -> Self {
        Self { seeds }
    }

    /// The input of that number.
    pub(crate) fn input(&self, seed: u64, index: u64) -> Vec<u8> {
        let mut random = Random(seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if random.below(32) == 0 {
            return (0..random.below(256)).map(|_| random.next() as u8).collect();
        }
        let mut input = self.pick(&mut random).to_vec();
        for _ in 0..1 + random.below(4) {
            self.change(&mut input, &mut random);
        }
        input.truncate(MAX_BYTES);
        input
    }

    fn pick(&self, random: &mut Random) -> &[u8] {
        &self.seeds[random.below(self.seeds.len())]
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        match random.below(10) {
            0 | 1 => {
                for _ in 0..1 + random.below(4) {
                    let place = random.below(input.len().max(1));
                    if let Some(byte) = input.get_mut(place) {
                        *byte ^= 1 << random.below(8);
                    }
                }
            }
            2 => input.truncate(at),
            3 => {
                let other = self.pick(random);
                let from = random.below(other.len() + 1);
                input.splice(at.., other[from..].iter().copied());
            }
            4 => {
                let end = at + random.below(input.len() - at + 1).min(64);
                let piece = input[at..end].repeat(1 + random.below(40));
                input.splice(at..at, piece);
            }
            5 | 6 => {
                let bytes = number(random);
                let end = input.len().min(at + bytes.len());
                input[at..end].copy_from_slice(&bytes[..end - at]);
            }
            7 => {
                let digits = NUMBERS[random.below(NUMBERS.len())].to_string();
                let end = at + input[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                input.splice(at..end, digits.bytes());
            }
            8 => {
                let end = at + random.below(input.len() - at + 1).min(16);
                input.drain(at..end);
            }
            _ => {
                let bytes: Vec<u8> = (0..1 + random.below(8)).map(|_| random.next() as u8).collect();
                input.splice(at..at, bytes);
            }
        }
    }
}

/// One of the numbers, or one near it, in one of the widths and orders in which lengths are written.
fn number(random: &mut Random) -> Vec<u8> {
    let near = [0, 1, u64::MAX][random.below(3)];
    let number = NUMBERS[random.below(NUMBERS.len())].wrapping_add(near);
    let width = [1, 2, 4, 8][random.below(4)];
    if random.below(2) == 0 {
        number.to_le_bytes()[..width].to_vec()
    } else {
        number.to_be_bytes()[8 - width..].to_vec()
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}
