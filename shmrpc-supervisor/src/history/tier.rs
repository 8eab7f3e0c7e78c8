//! The three resolutions in which samples are kept, and which of them answers a question.

use shmrpc_web::HistoryQuery;

/// One resolution: points lie `step_ms` apart, in blocks that begin at multiples of their length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tier {
    /// Its number in the store.
    pub(super) number: u8,
    pub(super) step_ms: u64,
    /// The length of a block. It is the step of the next tier: each block becomes one point there.
    pub(super) block_ms: u64,
    /// How long its blocks are kept.
    pub(super) keep_ms: u64,
}

const SECOND_MS: u64 = 1000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A second for an hour, a minute for a week, an hour for a year.
pub(super) const TIERS: [Tier; 3] = [
    Tier { number: 0, step_ms: SECOND_MS, block_ms: MINUTE_MS, keep_ms: HOUR_MS },
    Tier { number: 1, step_ms: MINUTE_MS, block_ms: HOUR_MS, keep_ms: 7 * DAY_MS },
    Tier { number: 2, step_ms: HOUR_MS, block_ms: DAY_MS, keep_ms: 366 * DAY_MS },
];

impl Tier {
    /// When the block begins in which a time lies.
    pub(super) fn block_of(&self, time_ms: u64) -> u64 {
        time_ms - time_ms % self.block_ms
    }

    /// The place of a time in its block.
    pub(super) fn place_of(&self, time_ms: u64) -> usize {
        (time_ms % self.block_ms / self.step_ms) as usize
    }

    /// The coarsest tier that is fine enough for a question, or a coarser one if it reaches back far enough alone.
    pub(super) fn for_query(query: &HistoryQuery, now_ms: u64) -> &'static Self {
        let fine_enough = TIERS.iter().rposition(|tier| tier.step_ms <= query.least_step_ms()).unwrap_or(0);
        let age_ms = now_ms.saturating_sub(query.from_ms);
        let rest = &TIERS[fine_enough..];
        // The oldest block goes whole, so that a question for exactly that long is not made coarse by its own travel time.
        let reaching = rest.iter().find(|tier| age_ms <= tier.keep_ms + MINUTE_MS);
        reaching.unwrap_or(&TIERS[TIERS.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_find_their_tier() {
        let now_ms = 400 * DAY_MS;
        let tier = |ago_ms: u64, points: usize| {
            let from_ms = now_ms - ago_ms;
            let query = HistoryQuery {
                service: String::new(),
                worker: None,
                series: Vec::new(),
                from_ms,
                to_ms: now_ms,
                points,
            };
            Tier::for_query(&query, now_ms + 50).number
        };
        assert_eq!(tier(HOUR_MS, 300), 0);
        assert_eq!(tier(HOUR_MS, 60), 1);
        assert_eq!(tier(2 * HOUR_MS, 300), 1);
        assert_eq!(tier(7 * DAY_MS, 300), 1);
        assert_eq!(tier(7 * DAY_MS, 168), 2);
        assert_eq!(tier(30 * DAY_MS, 2000), 2);
        assert_eq!(tier(399 * DAY_MS, 10), 2);
    }

    #[test]
    fn a_block_is_a_point_of_the_next_tier() {
        for pair in TIERS.windows(2) {
            assert_eq!(pair[0].block_ms, pair[1].step_ms);
        }
    }
}
