//! [`Block`]: up to sixty points that lie one after the other, and their form as bytes. Columns that do not change,
//! as most of an idle service, take a few bytes. Bytes that are no block are refused; nothing here panics about them.

use std::collections::BTreeMap;

use shmrpc_core::observe::LatencyHistogram;

use super::point::{KEPT, Point, Stat};

/// The form of the bytes; blocks of another one are not read.
const VERSION: u8 = 1;

/// How a column is written.
const NOTHING: u8 = 0;
const CONSTANT: u8 = 1;
const EACH: u8 = 2;
/// As the column of the means.
const SAME: u8 = 3;

/// See the module. Places at which nothing was measured are empty points.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) points: Vec<Point>,
}

impl Block {
    /// The point at a place, which is made if need be.
    pub(super) fn at(&mut self, place: usize) -> &mut Point {
        if self.points.len() <= place {
            self.points.resize_with(place + 1, Point::default);
        }
        &mut self.points[place]
    }

    /// The points from a place on; `None` if there are none.
    pub(super) fn since(&self, place: usize) -> Option<Self> {
        let points = self.points.get(place..).filter(|points| !points.is_empty())?;
        Some(Self { points: points.to_vec() })
    }

    /// All points in one.
    pub(super) fn merged(&self) -> Point {
        let mut sum = Point::default();
        for point in &self.points {
            sum.merge(point);
        }
        sum
    }

    /// The block as bytes.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.points.len() as u64);
        for point in &self.points {
            put(&mut out, u64::from(point.seconds));
        }
        let measured: Vec<&Point> = self.points.iter().filter(|point| point.seconds > 0).collect();
        for place in 0..KEPT.len() {
            let column = |part: fn(Stat) -> f32| -> Vec<u32> {
                measured.iter().map(|point| point.stats[place].map_or(f32::NAN, part).to_bits()).collect()
            };
            let means = column(|stat| stat.mean);
            put_column(&mut out, &means, None);
            put_column(&mut out, &column(|stat| stat.min), Some(&means));
            put_column(&mut out, &column(|stat| stat.max), Some(&means));
        }
        for point in measured {
            put(&mut out, point.latencies.len() as u64);
            for (&bucket, &count) in &point.latencies {
                out.push(bucket);
                put(&mut out, count);
            }
        }
        out
    }

    /// The block of those bytes; `None` if they are none.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes.strip_prefix(&[VERSION])?;
        let len = usize::try_from(take(rest)?).ok().filter(|len| *len <= bytes.len())?;
        let mut points = vec![Point::default(); len];
        for point in &mut points {
            point.seconds = u32::try_from(take(rest)?).ok()?;
        }
        let mut measured: Vec<&mut Point> = points.iter_mut().filter(|point| point.seconds > 0).collect();
        for place in 0..KEPT.len() {
            let means = take_column(rest, measured.len(), None)?;
            let min = take_column(rest, measured.len(), Some(&means))?;
            let max = take_column(rest, measured.len(), Some(&means))?;
            for (i, point) in measured.iter_mut().enumerate() {
                let stat = Stat { mean: means[i], min: min[i], max: max[i] };
                point.stats[place] = Some(stat).filter(|stat| !stat.mean.is_nan());
            }
        }
        for point in measured {
            point.latencies = take_latencies(rest)?;
        }
        Some(Self { points })
    }
}

fn put_column(out: &mut Vec<u8>, column: &[u32], means: Option<&[u32]>) {
    let nothing = f32::NAN.to_bits();
    if column.iter().all(|bits| *bits == nothing) {
        out.push(NOTHING);
    } else if means == Some(column) {
        out.push(SAME);
    } else if column.iter().all(|bits| *bits == column[0]) {
        out.push(CONSTANT);
        out.extend(column[0].to_le_bytes());
    } else {
        out.push(EACH);
        out.extend(column.iter().flat_map(|bits| bits.to_le_bytes()));
    }
}

fn take_column(rest: &mut &[u8], len: usize, means: Option<&[f32]>) -> Option<Vec<f32>> {
    let (&kind, after) = rest.split_first()?;
    *rest = after;
    match kind {
        NOTHING => Some(vec![f32::NAN; len]),
        SAME => means.map(<[f32]>::to_vec),
        CONSTANT => Some(vec![take_f32(rest)?; len]),
        EACH => (0..len).map(|_| take_f32(rest)).collect(),
        _ => None,
    }
}

fn take_f32(rest: &mut &[u8]) -> Option<f32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(f32::from_le_bytes(*bytes))
}

fn take_latencies(rest: &mut &[u8]) -> Option<BTreeMap<u8, u64>> {
    let len = take(rest)?;
    let mut latencies = BTreeMap::new();
    for _ in 0..len {
        let (&bucket, after) = rest.split_first()?;
        *rest = after;
        let count = take(rest)?;
        if usize::from(bucket) >= LatencyHistogram::BUCKETS || latencies.insert(bucket, count).is_some() {
            return None;
        }
    }
    Some(latencies)
}

/// A number in as many bytes as it needs, seven bits each, the lowest first.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// The number that [`put`] wrote; `None` where there is none.
pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use shmrpc_web::Series;

    use super::*;

    fn sample() -> Block {
        let mut block = Block::default();
        for place in [0, 1, 2, 5] {
            let mut point = Point::of_second();
            point.set(Series::Cpu, place as f64 * 0.25);
            point.set(Series::Rss, 9e6);
            point.set_latencies([(40, 3), (120, u64::MAX >> place)].into_iter());
            point.merge(&point.clone());
            *block.at(place) = point;
        }
        block.at(1).stats[0] = Some(Stat { mean: 1.0, min: 0.5, max: 7.0 });
        block
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        for block in [sample(), Block::default()] {
            assert_eq!(Block::from_bytes(&block.to_bytes()), Some(block));
        }
    }

    #[test]
    fn what_does_not_change_takes_little() {
        let mut block = Block::default();
        for place in 0..60 {
            let mut point = Point::of_second();
            KEPT.iter().for_each(|series| point.set(*series, 5.0));
            *block.at(place) = point;
        }
        assert!(block.to_bytes().len() < 250, "{}", block.to_bytes().len());
    }

    #[test]
    fn bytes_that_are_no_block_are_refused() {
        let bytes = sample().to_bytes();
        for len in 0..bytes.len() {
            assert_eq!(Block::from_bytes(&bytes[..len]), None, "cut at {len}");
        }
        let mut random = 7_u64;
        for _ in 0..20_000 {
            let mut damaged = bytes.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (random >> 33) as usize % damaged.len();
                damaged[at] = (random >> 20) as u8;
            }
            // Whatever comes out of it: no panic, and no memory beyond reason.
            assert!(Block::from_bytes(&damaged).is_none_or(|block| block.points.len() <= damaged.len()));
        }
    }
}
