//! [`Recorder`]: gathers a minute of samples and the events of some seconds, has the [`Store`] write them, and answers
//! questions about both. What it has gathered is in the [`Tail`] meanwhile. Knows no clock: the times are those of the
//! samples.

use std::collections::HashMap;

use shmrpc_web::{EventQuery, HistoryPage, HistoryQuery, LogLine, LogPage};

use super::{
    block::Block,
    point::{Point, place},
    store::{Store, Subject},
    tail::{Stretch, Tail},
    tier::{TIERS, Tier},
};

/// A sample that comes late stands for the seconds since the last one, but not for more than these.
const LONGEST_STRETCH_MS: u64 = 5000;
/// Seconds that go into the tail together: a process that is killed loses no more of them.
const TAIL_SECONDS: usize = 2;

/// See the module.
pub(super) struct Recorder {
    store: Store,
    /// The second of the newest sample.
    newest_ms: u64,
    /// When the minute began that is being gathered.
    minute_ms: u64,
    minute: HashMap<Subject, Block>,
    events: Vec<LogLine>,
    /// None without a disk.
    tail: Option<Tail>,
    /// How many of the minute's seconds are in the tail.
    tail_places: usize,
}

impl Recorder {
    pub(super) fn new(store: Store) -> Self {
        let (minute, events) = (HashMap::new(), Vec::new());
        Self { store, newest_ms: 0, minute_ms: 0, minute, events, tail: None, tail_places: 0 }
    }

    /// Takes up what an earlier daemon had gathered, and keeps what is gathered from now on in that tail.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn resume(&mut self, tail: Tail, stretches: Vec<Stretch>) -> Result<(), redb::Error> {
        for stretch in stretches {
            self.enter(stretch.minute_ms)?;
            for (subject, block) in stretch.blocks {
                let gathered = self.gathered(&subject);
                for (i, point) in block.points.into_iter().enumerate().filter(|(_, point)| point.seconds > 0)
                {
                    // Not merged: the store may have it already.
                    *gathered.at(stretch.first_place + i) = point;
                }
            }
        }
        self.tail = Some(tail);
        Ok(())
    }

    /// Goes on with another store; what has not been written yet will be written there.
    pub(super) fn replace_store(&mut self, store: Store) {
        self.store = store;
        self.tail = None;
    }

    /// Takes the samples of a moment. The first of a minute writes the minute before.
    ///
    /// # Errors
    /// When the disk fails; what could not be written is kept until the next minute.
    pub(super) fn record(&mut self, time_ms: u64, points: &[(Subject, Point)]) -> Result<(), redb::Error> {
        let second = TIERS[0].step_ms;
        let now_ms = time_ms - time_ms % second;
        let since_ms = now_ms.saturating_sub(self.newest_ms);
        let first_ms =
            if (1..=LONGEST_STRETCH_MS).contains(&since_ms) { self.newest_ms + second } else { now_ms };
        self.newest_ms = now_ms;
        for at_ms in (first_ms..=now_ms).step_by(second as usize) {
            self.enter(TIERS[0].block_of(at_ms))?;
            for (subject, point) in points {
                self.gathered(subject).at(TIERS[0].place_of(at_ms)).merge(point);
            }
        }
        self.spill(TIERS[0].place_of(now_ms) + 1);
        Ok(())
    }

    /// Goes on to a minute; what was gathered of another one is written.
    fn enter(&mut self, minute_ms: u64) -> Result<(), redb::Error> {
        if minute_ms == self.minute_ms {
            return Ok(());
        }
        let written = self.write();
        self.minute.clear();
        self.minute_ms = minute_ms;
        written
    }

    /// What is gathered of a subject in this minute.
    fn gathered(&mut self, subject: &Subject) -> &mut Block {
        let (store, minute_ms) = (&self.store, self.minute_ms);
        // A daemon that was restarted, or a clock that was set back, comes into a minute again.
        let begun = || store.block(subject, &TIERS[0], minute_ms).unwrap_or_default();
        self.minute.entry(subject.clone()).or_insert_with(begun)
    }

    /// Adds to the tail what it does not have of the minute's first seconds, if that is worth it.
    fn spill(&mut self, places: usize) {
        let Some(tail) = &mut self.tail else { return };
        if places < self.tail_places + TAIL_SECONDS {
            return;
        }
        let first_place = self.tail_places;
        let new = |(subject, block): (&Subject, &Block)| Some((subject.clone(), block.since(first_place)?));
        let blocks = self.minute.iter().filter_map(new).collect();
        self.tail_places = places;
        if let Err(error) = tail.append(&Stretch { minute_ms: self.minute_ms, first_place, blocks }) {
            tracing::warn!("a crash will cost a minute of the history: {error}");
            self.tail = None;
        }
    }

    /// Takes an event.
    pub(super) fn note(&mut self, event: LogLine) {
        self.events.push(event);
    }

    /// Whether there are events that are not written yet.
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// Writes events alone.
    ///
    /// # Errors
    /// When the disk fails; they are kept.
    pub(super) fn write_events(&mut self) -> Result<(), redb::Error> {
        self.store.write(self.minute_ms, &HashMap::new(), &self.events)?;
        self.events.clear();
        Ok(())
    }

    /// Writes all that is there, the minute that is under way included.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn write(&mut self) -> Result<(), redb::Error> {
        self.store.write(self.minute_ms, &self.minute, &self.events)?;
        self.events.clear();
        self.tail_places = 0;
        if let Some(Err(error)) = self.tail.as_mut().map(Tail::clear) {
            tracing::warn!("a crash will cost a minute of the history: {error}");
            self.tail = None;
        }
        Ok(())
    }

    /// Events, those not yet written included.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn events(&mut self, query: &EventQuery) -> Result<LogPage, redb::Error> {
        if self.has_events() {
            self.write_events()?;
        }
        self.store.events(query)
    }

    /// Time series.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn history(&self, query: &HistoryQuery, now_ms: u64) -> Result<HistoryPage, redb::Error> {
        let tier = Tier::for_query(query, now_ms);
        let mut page = query.grid(tier.step_ms);
        let subject = Subject { service: query.service.clone(), pid: query.worker.unwrap_or(0) };
        let end_ms = page.from_ms + page.points as u64 * page.step_ms;
        let mut sums = vec![Point::default(); page.points];
        let mut add = |time_ms: u64, point: &Point| {
            let place = time_ms.checked_sub(page.from_ms).map(|since_ms| since_ms / page.step_ms);
            if let Some(sum) = place.and_then(|place| sums.get_mut(place as usize)) {
                sum.merge(point);
            }
        };
        let gathered = self.minute.get(&subject);
        // What is gathered stands for its minute, of which an earlier daemon may have written a part.
        let hidden_ms = gathered.map(|_| self.minute_ms);
        self.store.blocks(&subject, tier, page.from_ms, end_ms, |start_ms, block| {
            for (i, point) in block.points.iter().enumerate() {
                let time_ms = start_ms + i as u64 * tier.step_ms;
                let minute_ms = (tier.step_ms <= TIERS[1].step_ms).then(|| TIERS[0].block_of(time_ms));
                if minute_ms.is_none() || minute_ms != hidden_ms {
                    add(time_ms, point);
                }
            }
        })?;
        if let Some(block) = gathered {
            for (i, point) in block.points.iter().enumerate() {
                add(self.minute_ms + i as u64 * TIERS[0].step_ms, point);
            }
        }
        fill(&mut page, &sums);
        if query.worker.is_none() && !query.service.is_empty() {
            page.workers = self.store.workers(&query.service, page.from_ms, end_ms);
            self.add_newcomers(&mut page);
        }
        Ok(page)
    }

    /// Processes of the minute that is being gathered, of which the store does not know yet.
    fn add_newcomers(&self, page: &mut HistoryPage) {
        let end_ms = page.from_ms + page.points as u64 * page.step_ms;
        if !(page.from_ms..end_ms).contains(&self.newest_ms) {
            return;
        }
        let mut pids: Vec<u32> =
            self.minute.keys().filter(|s| s.service == page.service && s.pid != 0).map(|s| s.pid).collect();
        pids.sort_unstable();
        for pid in pids {
            match page.workers.iter_mut().find(|span| span.pid == pid) {
                Some(span) => span.last_ms = self.newest_ms,
                None => page.workers.push(shmrpc_web::WorkerSpan {
                    pid,
                    first_ms: self.minute_ms,
                    last_ms: self.newest_ms,
                }),
            }
        }
    }
}

fn fill(page: &mut HistoryPage, sums: &[Point]) {
    for column in &mut page.columns {
        for (i, sum) in sums.iter().enumerate() {
            let Some(place) = place(column.series) else {
                column.values[i] = column.series.share().and_then(|share| sum.quantile_ns(share));
                continue;
            };
            let Some(stat) = sum.stats[place] else { continue };
            column.values[i] = Some(stat.mean);
            for (extremes, value) in [(&mut column.min, stat.min), (&mut column.max, stat.max)] {
                if let Some(extremes) = extremes {
                    extremes[i] = Some(value);
                }
            }
        }
    }
}
