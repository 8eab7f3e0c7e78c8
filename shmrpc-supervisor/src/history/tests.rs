//! The store over a disk that tests can look at, cut the power of, and damage.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::{StorageBackend, backends::InMemoryBackend};
use shmrpc_core::observe::LatencyHistogram;
use shmrpc_web::{EventQuery, HistoryPage, HistoryQuery, LogLine, LogStream, Series};

use super::{
    block::Block,
    point::{KEPT, Point},
    recorder::Recorder,
    store::{DAMAGED, FILE, Store, Subject, Unusable},
    tail::Tail,
};

/// 2026-01-01.
const BEGIN_MS: u64 = 1_767_225_600_000;
const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const MAX_BYTES: u64 = 16 << 20;

/// What a disk holds for certain, and what it has yet to write.
#[derive(Debug, Default)]
struct Platter {
    bytes: Vec<u8>,
    pending: Vec<(u64, Vec<u8>)>,
    longest_bytes: usize,
    /// What would be there if the power had gone when the store waited for its writes, each time that it did.
    torn: Option<Vec<Vec<u8>>>,
    random: u64,
}

impl Platter {
    /// Of the writes that are under way some are done, some not, and some in part.
    fn after_power_loss(&mut self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for (offset, data) in &self.pending {
            match next(&mut self.random) % 3 {
                0 => {}
                1 => Self::apply(&mut bytes, *offset, data),
                _ => Self::apply(
                    &mut bytes,
                    *offset,
                    &data[..next(&mut self.random) as usize % data.len().max(1)],
                ),
            }
        }
        bytes
    }

    fn apply(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
        let offset = offset as usize;
        if bytes.len() < offset + data.len() {
            bytes.resize(offset + data.len(), 0);
        }
        bytes[offset..offset + data.len()].copy_from_slice(data);
    }
}

/// A disk in memory, shared with the store that lies on it.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Platter>>);

impl Disk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, std::io::Error> {
        Ok(self.platter().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        let platter = self.platter();
        let end = offset as usize + out.len();
        let held = platter.bytes.get(offset as usize..end);
        out.copy_from_slice(held.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        // Those that are under way are seen already, though they may not survive.
        for (at, data) in &platter.pending {
            let (from, to) = ((*at).max(offset), (at + data.len() as u64).min(end as u64));
            if from < to {
                let (into, of) = ((from - offset) as usize, (from - at) as usize);
                let count = (to - from) as usize;
                out[into..into + count].copy_from_slice(&data[of..of + count]);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        let mut platter = self.platter();
        platter.bytes.resize(len as usize, 0);
        platter.longest_bytes = platter.longest_bytes.max(len as usize);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        let mut platter = self.platter();
        if platter.torn.is_some() && !platter.pending.is_empty() {
            let torn = platter.after_power_loss();
            platter.torn.iter_mut().for_each(|all| all.push(torn.clone()));
        }
        for (offset, data) in std::mem::take(&mut platter.pending) {
            Platter::apply(&mut platter.bytes, offset, &data);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        let mut platter = self.platter();
        if platter.torn.is_some() {
            platter.pending.push((offset, data.to_vec()));
        } else {
            Platter::apply(&mut platter.bytes, offset, data);
        }
        Ok(())
    }
}

fn next(random: &mut u64) -> u64 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *random >> 33
}

fn subject(service: &str, pid: u32) -> Subject {
    Subject { service: service.into(), pid }
}

fn point(cpu: f64) -> Point {
    let mut point = Point::of_second();
    point.set(Series::Cpu, cpu);
    point
}

fn query(service: &str, from_ms: u64, to_ms: u64, points: usize) -> HistoryQuery {
    let series = vec![Series::Cpu, Series::P99];
    HistoryQuery { service: service.into(), worker: None, series, from_ms, to_ms, points }
}

fn cpu(page: &HistoryPage) -> &[Option<f32>] {
    &page.columns[0].values
}

fn event(cursor: u64, service: &str, text: &str) -> LogLine {
    let stream = LogStream::Daemon;
    LogLine {
        cursor,
        time_ms: BEGIN_MS + cursor,
        service: service.into(),
        pid: None,
        stream,
        text: text.into(),
    }
}

fn events(after: Option<u64>, limit: usize) -> EventQuery {
    EventQuery { after, service: None, from_ms: 0, to_ms: u64::MAX, limit }
}

/// Three hours in which the CPU is the number of the minute, and a call in each second takes longer by and by.
fn three_hours() -> Recorder {
    let mut recorder = Recorder::new(Store::on(InMemoryBackend::new(), MAX_BYTES).unwrap());
    for second in 0..3 * 3600 {
        let mut point = point((second / 60) as f64);
        point.set_latencies(std::iter::once(((second / 600 * 4) as u8, 1)));
        recorder.record(BEGIN_MS + second * SECOND + 17, &[(subject("echo", 0), point)]).unwrap();
    }
    recorder
}

#[test]
fn the_last_hour_is_there_by_the_second_and_all_of_it_by_the_minute() {
    let recorder = three_hours();
    let now = BEGIN_MS + 3 * HOUR;
    let seconds = recorder.history(&query("echo", now - HOUR, now, 2000), now).unwrap();
    assert_eq!((seconds.step_ms, seconds.points), (2 * SECOND, 1800));
    assert!(
        cpu(&seconds).iter().enumerate().all(|(i, cpu)| *cpu == Some((120 + i / 30) as f32)),
        "{seconds:?}"
    );

    let minutes = recorder.history(&query("echo", BEGIN_MS, now, 180), now).unwrap();
    assert_eq!((minutes.step_ms, minutes.points), (MINUTE, 180));
    assert!(cpu(&minutes).iter().enumerate().all(|(i, cpu)| *cpu == Some(i as f32)), "{minutes:?}");

    let hours = recorder.history(&query("echo", BEGIN_MS, now, 3), now).unwrap();
    let rounded: Vec<i64> = cpu(&hours).iter().map(|cpu| (cpu.unwrap() * 100.0).round() as i64).collect();
    assert_eq!((hours.step_ms, rounded), (HOUR, vec![2950, 8950, 14950]));
    let extremes = (hours.columns[0].min.as_ref().unwrap()[1], hours.columns[0].max.as_ref().unwrap()[1]);
    assert_eq!(extremes, (Some(60.0), Some(119.0)));
    // A percentile of an hour is that of its calls: of six sorts of which each is a sixth, the slowest.
    let slowest = |hour: usize| Some(LatencyHistogram::middle((hour * 6 + 5) * 4) as f32);
    assert_eq!(hours.columns[1].values, [slowest(0), slowest(1), slowest(2)]);
}

#[test]
fn nobody_looked_is_a_hole_and_a_late_sample_is_none() {
    let mut recorder = Recorder::new(Store::on(InMemoryBackend::new(), MAX_BYTES).unwrap());
    for second in [0, 1, 4, 30, 58, 62] {
        recorder.record(BEGIN_MS + second * SECOND, &[(subject("echo", 0), point(1.0))]).unwrap();
    }
    let page = recorder
        .history(&query("echo", BEGIN_MS, BEGIN_MS + 64 * SECOND, 64), BEGIN_MS + 64 * SECOND)
        .unwrap();
    let known: Vec<usize> = (0..64).filter(|i| cpu(&page)[*i].is_some()).collect();
    assert_eq!(known, [0, 1, 2, 3, 4, 30, 58, 59, 60, 61, 62]);
    let other = recorder.history(&query("nobody", BEGIN_MS, BEGIN_MS + HOUR, 60), BEGIN_MS + HOUR).unwrap();
    assert!(cpu(&other).iter().all(Option::is_none) && other.points == 60);
}

#[test]
fn a_restart_goes_on_where_the_last_daemon_ended() {
    let disk = Disk::default();
    let mut earlier = Recorder::new(Store::on(disk.clone(), MAX_BYTES).unwrap());
    for second in 0..90 {
        let points = [(subject("echo", 0), point(2.0)), (subject("echo", 41), point(1.0))];
        earlier.record(BEGIN_MS + second * SECOND, &points).unwrap();
    }
    earlier.note(event(5, "echo", "3 workers: queue wait p90 4.1 ms over 20s"));
    earlier.note(event(6, "", "stopping all services"));
    earlier.write().unwrap();
    drop(earlier);

    let mut later = Recorder::new(Store::on(disk, MAX_BYTES).unwrap());
    for second in 95..130 {
        later.record(BEGIN_MS + second * SECOND, &[(subject("echo", 0), point(4.0))]).unwrap();
    }
    let now = BEGIN_MS + 130 * SECOND;
    let page = later.history(&query("echo", BEGIN_MS, now, 130), now).unwrap();
    let expected = |i| if i < 90 { Some(2.0) } else { (i >= 95).then_some(4.0) };
    assert!(cpu(&page).iter().enumerate().all(|(i, cpu)| *cpu == expected(i)), "{page:?}");
    let by_minute = later.history(&query("echo", BEGIN_MS, BEGIN_MS + 2 * MINUTE, 2), now).unwrap();
    let second_minute = (30.0 * 2.0 + 25.0 * 4.0) / 55.0;
    assert!((cpu(&by_minute)[1].unwrap() - second_minute).abs() < 1e-4, "{by_minute:?}");
    assert_eq!(page.workers.iter().map(|span| span.pid).collect::<Vec<_>>(), [41]);
    assert_eq!(page.workers[0].last_ms, BEGIN_MS + 89 * SECOND);

    later.note(event(90, "echo", "ready"));
    let cursors = |page: shmrpc_web::LogPage| page.lines.iter().map(|line| line.cursor).collect::<Vec<_>>();
    assert_eq!(cursors(later.events(&events(None, 10)).unwrap()), [5, 6, 90]);
    assert_eq!(cursors(later.events(&events(None, 2)).unwrap()), [6, 90]);
    assert_eq!(cursors(later.events(&events(Some(5), 1)).unwrap()), [6]);
    let of_service = EventQuery { service: Some("echo".into()), ..events(None, 10) };
    assert_eq!(cursors(later.events(&of_service).unwrap()), [5, 90]);
    let of_time = EventQuery { from_ms: BEGIN_MS + 6, to_ms: BEGIN_MS + 90, ..events(None, 10) };
    assert_eq!(cursors(later.events(&of_time).unwrap()), [6]);
}

#[test]
fn a_loss_of_power_loses_what_was_not_written_yet_and_no_more() {
    let disk = Disk::default();
    let mut recorder = Recorder::new(Store::on(disk.clone(), MAX_BYTES).unwrap());
    for minute in 0..16 {
        disk.platter().torn = Some(Vec::new());
        for second in [0, 30] {
            let time_ms = BEGIN_MS + minute * MINUTE + second * SECOND;
            recorder.record(time_ms, &[(subject("echo", 0), point(minute as f64 + 1.0))]).unwrap();
        }
        // The minute before has just been written: it may be missing from a disk that was on its way, no other may.
        let torn = disk.platter().torn.take().unwrap();
        assert!(minute == 0 || !torn.is_empty());
        let whole = disk.platter().bytes.clone();
        for (bytes, certain) in
            torn.into_iter().map(|torn| (torn, minute.saturating_sub(1))).chain([(whole, minute)])
        {
            let after = Disk(Arc::new(Mutex::new(Platter { bytes, ..Platter::default() })));
            let reopened = Recorder::new(Store::on(after, MAX_BYTES).unwrap());
            let now = BEGIN_MS + (minute + 1) * MINUTE;
            let page = reopened.history(&query("echo", BEGIN_MS, now, minute as usize + 1), now).unwrap();
            for done in 0..certain as usize {
                assert_eq!(cpu(&page)[done], Some(done as f32 + 1.0), "minute {done} of {minute}");
            }
        }
    }
}

/// A recorder with a store and a tail in a folder, as at each start.
fn started(folder: &std::path::Path) -> Recorder {
    let (store, damage) = Store::open(folder, MAX_BYTES).unwrap();
    assert!(damage.is_none());
    let mut recorder = Recorder::new(store);
    let (tail, stretches) = Tail::open(folder).unwrap();
    recorder.resume(tail, stretches).unwrap();
    recorder
}

/// Whenever the process is killed, the next one knows of all but the last second, and of nothing twice.
#[test]
fn a_killed_process_loses_its_last_second() {
    let folder = tempfile::tempdir().unwrap();
    let begin_ms = BEGIN_MS + 17 * SECOND;
    let mut seconds = 0;
    // Within a minute, over the end of one, twice within one, at once, and in the minute after.
    for until in [20, 50, 60, 75, 76, 76, 170] {
        let mut recorder = started(folder.path());
        for second in seconds..until {
            let mut sample = point(second as f64);
            sample.set_latencies([(40, 2)].into_iter());
            recorder.record(begin_ms + second * SECOND, &[(subject("echo", 0), sample)]).unwrap();
        }
        seconds = until;
    }
    let recorder = started(folder.path());
    let now = begin_ms + seconds * SECOND;
    let page = recorder.history(&query("echo", begin_ms, now, seconds as usize), now).unwrap();
    let lost: Vec<usize> = (0..seconds as usize).filter(|&at| cpu(&page)[at] != Some(at as f32)).collect();
    assert!(lost.iter().all(|at| [19, 49, 59, 74, 75, 169].contains(at)), "{lost:?}");
    // The minutes are made of the same seconds, once each.
    let hour = recorder.history(&query("echo", BEGIN_MS, BEGIN_MS + HOUR, 60), now).unwrap();
    let known: Vec<f32> = (0..43).filter(|at| !lost.contains(at)).map(|at| at as f32).collect();
    let mean = known.iter().sum::<f32>() / known.len() as f32;
    assert!((cpu(&hour)[0].unwrap() - mean).abs() < 1e-3, "{hour:?}");
    assert_eq!(cpu(&hour).iter().filter(|cpu| cpu.is_some()).count(), 4, "{hour:?}");
}

/// A file with three minutes in it, and its bytes.
fn file_with_history(folder: &std::path::Path) -> Vec<u8> {
    let (store, damage) = Store::open(folder, MAX_BYTES).unwrap();
    assert!(damage.is_none());
    let mut recorder = Recorder::new(store);
    for minute in 0..3 {
        recorder.record(BEGIN_MS + minute * MINUTE, &[(subject("echo", 0), point(1.0))]).unwrap();
        recorder.note(event(minute, "echo", "ready"));
    }
    recorder.write().unwrap();
    drop(recorder);
    fs::read(folder.join(FILE)).unwrap()
}

#[test]
fn a_damaged_file_is_read_or_set_aside_but_never_stops_the_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let whole = file_with_history(folder.path());
    let mut random = 5;
    let (mut set_aside, mut kept) = (0, 0);
    for round in 0..60 {
        let mut bytes = whole.clone();
        match round % 3 {
            0 => bytes.truncate(next(&mut random) as usize % whole.len()),
            1 => {
                // Where something is written, most likely.
                let at = next(&mut random) as usize % (64 << 10);
                bytes[at] ^= 1 << (next(&mut random) % 8);
            }
            _ => {
                let at = next(&mut random) as usize % whole.len();
                let end = (at + 4096).min(whole.len());
                bytes[at..end].fill(next(&mut random) as u8);
            }
        }
        fs::write(folder.path().join(FILE), &bytes).unwrap();
        let _none = fs::remove_file(folder.path().join(DAMAGED));
        let (store, damage) = Store::open(folder.path(), MAX_BYTES).unwrap();
        let now = BEGIN_MS + 3 * MINUTE;
        let mut recorder = Recorder::new(store);
        let page = recorder.history(&query("echo", BEGIN_MS, now, 3), now).unwrap();
        match damage {
            Some(reason) => {
                assert!(!reason.is_empty() && cpu(&page).iter().all(Option::is_none));
                assert_eq!(fs::read(folder.path().join(DAMAGED)).unwrap().len(), bytes.len());
                set_aside += 1;
            }
            None => {
                assert!(cpu(&page).iter().all(|cpu| cpu.is_none() || *cpu == Some(1.0)), "{page:?}");
                kept += 1;
            }
        }
        recorder.record(now, &[(subject("echo", 0), point(1.0))]).unwrap();
        recorder.write().unwrap();
    }
    assert!(set_aside >= 20 && kept > 0, "{set_aside} set aside, {kept} kept");
}

#[test]
fn two_daemons_do_not_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (first, _) = Store::open(folder.path(), MAX_BYTES).unwrap();
    let refused = Store::open(folder.path(), MAX_BYTES);
    assert!(matches!(&refused, Err(Unusable::Refused(reason)) if reason.contains("another daemon")));
    drop(first);
    assert!(Store::open(folder.path(), MAX_BYTES).is_ok_and(|(_, damage)| damage.is_none()));
    assert!(!folder.path().join(DAMAGED).exists());
    let file = folder.path().join(FILE);
    assert!(matches!(Store::open(&file, MAX_BYTES), Err(Unusable::Refused(_))));
}

/// A minute of a busy subject: nothing in it is the same twice.
fn busy_minute(random: &mut u64) -> Block {
    let mut block = Block::default();
    for place in 0..20 {
        let mut point = Point::of_second();
        for series in KEPT {
            point.set(series, next(random) as f64);
        }
        point.set_latencies((0..8).map(|_| (40 + (next(random) % 60) as u8, next(random) % 900)));
        *block.at(place) = point;
    }
    block
}

/// Writes a year, a minute in so many, of some services and of workers that are replaced twice a day.
fn write_a_year(step_minutes: u64, services: u32, max_bytes: u64) -> (Store, Disk) {
    let disk = Disk::default();
    let mut store = Store::on(disk.clone(), max_bytes).unwrap();
    let mut random = 1;
    for minute in (0..365 * 24 * 60).step_by(step_minutes as usize) {
        let now = BEGIN_MS + minute * MINUTE;
        let generation = (minute / (12 * 60)) as u32;
        let mut blocks = HashMap::new();
        for service in 0..services {
            let name = format!("service-{service}");
            blocks.insert(subject(&name, 0), busy_minute(&mut random));
            blocks.insert(subject(&name, 1 + generation * services + service), busy_minute(&mut random));
        }
        let told = event(minute * 60_000, "service-0", "2 → 3 workers: queue wait p90 4.1 ms over 20s");
        store.write(now, &blocks, &[told]).unwrap();
    }
    (store, disk)
}

fn assert_bounded_and_of_use(store: Store, disk: &Disk, max_bytes: u64) {
    let longest = disk.platter().longest_bytes as u64;
    println!("a year: the file had {longest} bytes at most, {max_bytes} were allowed");
    assert!(longest <= max_bytes && longest > max_bytes / 4, "{longest} bytes, {max_bytes} were allowed");
    let now = BEGIN_MS + 365 * 24 * HOUR;
    let mut recorder = Recorder::new(store);
    let newest = |points: usize, span_ms: u64| {
        let page = recorder.history(&query("service-0", now - span_ms, now, points), now).unwrap();
        cpu(&page).iter().filter(|cpu| cpu.is_some()).count()
    };
    assert!(newest(24, 24 * HOUR) >= 4);
    assert_eq!(recorder.events(&events(None, 10)).unwrap().lines.len(), 10);
}

#[test]
fn a_year_stays_within_its_bound() {
    // Little enough that the oldest has to go.
    let max_bytes = MAX_BYTES / 2;
    let (store, disk) = write_a_year(360, 2, max_bytes);
    assert_bounded_and_of_use(store, &disk, max_bytes);
}

/// All minutes of it: `.ci/deep history`.
#[test]
#[ignore = "takes minutes"]
fn a_year_of_minutes_stays_within_its_bound() {
    let (store, disk) = write_a_year(1, 4, 2 * MAX_BYTES);
    assert_bounded_and_of_use(store, &disk, 2 * MAX_BYTES);
}
