//! Seals: what the words about a call or a reply come to, with its number, by one multiplication. A word that is changed
//! alone always breaks a seal; of several that are, one case in millions passes. They find faults; they keep nobody out
//! who reads this.

use super::CallHeader;

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
const START: u64 = 0xc2b2_ae3d_27d4_eb4f;

/// In the upper bits.
#[inline]
fn mix(words: [u64; 3]) -> u64 {
    (START ^ words[0] ^ words[1].rotate_left(23) ^ words[2].rotate_left(47)).wrapping_mul(ODD)
}

/// The seal of what is call number `index`. Whether it has been given up is not part of it: that changes.
#[inline]
pub(super) fn of_call(index: u32, call: &CallHeader) -> u32 {
    let number = u64::from(index) << 8 | u64::from(call.door);
    let place = call.place.word() ^ call.call_id.rotate_left(32) ^ call.place.offset.rotate_left(16);
    (mix([number ^ call.method, call.deadline_ns, place]) >> 32) as u32
}

/// A reply's stamp: the call's number plus one, a seal of 24 bits, the status.
#[inline]
pub(super) fn stamp(index: u32, status: u8, place: u64, whose: u64) -> u64 {
    let plain = u64::from(index.wrapping_add(1)) << 32 | u64::from(status);
    plain | mix([plain, place, whose]) >> 40 << 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::channel::Place;

    #[test]
    fn one_bit_of_a_call_breaks_its_seal() {
        let place = Place { arena: 3, len_bytes: 70_000, offset: 8208 };
        let call = CallHeader {
            call_id: 77,
            method: 0x1234_5678_9abc,
            deadline_ns: 1 << 50,
            place,
            ..Default::default()
        };
        let seal = of_call(9, &call);
        for bit in 0..64 {
            let flip = 1_u64 << bit;
            let flipped = [
                CallHeader { call_id: call.call_id ^ flip, ..call },
                CallHeader { method: call.method ^ flip, ..call },
                CallHeader { deadline_ns: call.deadline_ns ^ flip, ..call },
                CallHeader { place: Place { offset: place.offset ^ flip, ..place }, ..call },
                CallHeader {
                    place: Place { offset: place.offset, ..Place::from_word(place.word() ^ flip) },
                    ..call
                },
                CallHeader { door: call.door ^ 1 << (bit % 8), ..call },
            ];
            for other in flipped {
                assert_ne!(of_call(9, &other), seal, "{other:?}");
            }
            assert_ne!(of_call(9 ^ 1 << (bit % 32), &call), seal);
        }
    }

    #[test]
    fn one_bit_of_a_reply_breaks_its_seal() {
        let (index, status, place, whose) = (41, 0, 5 << 32 | 4096, 0x0212_3456_0000_0101);
        let right = stamp(index, status, place, whose);
        for bit in 0..64 {
            let flip = 1_u64 << bit;
            assert_ne!(stamp(index, status, place ^ flip, whose), right);
            assert_ne!(stamp(index, status, place, whose ^ flip), right);
            // What a reader makes of a stamp that is changed itself: a number that is not awaited, or no fit.
            let read = right ^ flip;
            assert_ne!(stamp((read >> 32).wrapping_sub(1) as u32, read as u8, place, whose), read);
        }
    }
}
