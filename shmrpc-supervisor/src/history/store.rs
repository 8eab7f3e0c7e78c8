//! The file in which samples and events are kept: blocks by subject, tier and time; events by cursor. One transaction a
//! minute writes what a minute brought, and throws away what is too old or too much. What is committed survives a
//! loss of power; a file that is damaged all the same is set aside by [`open`](Store::open).

use std::{
    collections::HashMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend, StorageError, Table,
    TableDefinition, WriteTransaction, backends::InMemoryBackend,
};
use serde::{Deserialize, Serialize};
use shmrpc_web::{EventQuery, LogLine, LogPage, WorkerSpan};

use super::{
    block::Block,
    tier::{TIERS, Tier},
};

/// The file in the history's folder.
pub(super) const FILE: &str = "history.redb";
/// Where a damaged file is put, in place of the one before.
pub(super) const DAMAGED: &str = "history.redb.damaged";
/// What the store keeps of its pages in memory.
const CACHE_BYTES: usize = 2 << 20;
/// What a block costs beside its bytes.
const KEY_BYTES: u64 = 32;
/// A process that was not measured for so long is gone.
const GONE_MS: u64 = 120_000;

const BLOCKS: TableDefinition<'_, BlockKey, &[u8]> = TableDefinition::new("blocks");
const SUBJECTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("subjects");
const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
const TOTALS: TableDefinition<'_, &str, u64> = TableDefinition::new("totals");

/// Subject, tier, time.
type BlockKey = (u32, u8, u64);
type Blocks<'a> = Table<'a, BlockKey, &'static [u8]>;

/// What has time series: a service (`pid` 0), one of its processes, or the daemon (no name).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) service: String,
    pub(crate) pid: u32,
}

/// What is known of a subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    subject: Subject,
    first_ms: u64,
    last_ms: u64,
    #[serde(skip)]
    id: u32,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It is no history, or no longer one.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// Another daemon has it, or the system refuses it.
    #[error("{0}")]
    Refused(String),
}

/// What is committed of the sums of sizes.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    blocks_bytes: u64,
    events_bytes: u64,
}

/// See the module.
pub(super) struct Store {
    database: Database,
    subjects: HashMap<Subject, Known>,
    totals: Totals,
    /// The file stays below twice what is in it, and what a transaction writes is there twice for a while.
    content_bytes: u64,
    next_id: u32,
    expired_ms: u64,
}

impl Store {
    /// The store of a folder, whose file takes at most so many bytes. A damaged file is set aside; the reason comes back.
    ///
    /// # Errors
    /// When the folder cannot be used, or the file is another daemon's.
    pub(super) fn open(folder: &Path, max_bytes: u64) -> Result<(Self, Option<String>), Unusable> {
        let refused = |error: std::io::Error| Unusable::Refused(error.to_string());
        fs::create_dir_all(folder).map_err(refused)?;
        let file = folder.join(FILE);
        let opened = || builder().create(&file).map_err(unusable).and_then(|db| Self::new(db, max_bytes));
        match catching(opened) {
            Ok(store) => Ok((store, None)),
            Err(Unusable::Damaged(reason)) => {
                fs::rename(&file, folder.join(DAMAGED)).map_err(refused)?;
                Ok((catching(opened)?, Some(reason)))
            }
            Err(refused) => Err(refused),
        }
    }

    /// A store that is gone with the process.
    pub(super) fn in_memory(max_bytes: u64) -> Result<Self, Unusable> {
        Self::on(InMemoryBackend::new(), max_bytes)
    }

    /// A store on anything that holds bytes.
    pub(super) fn on(backend: impl StorageBackend, max_bytes: u64) -> Result<Self, Unusable> {
        let open = move || builder().create_with_backend(backend).map_err(unusable);
        catching(open).and_then(|database| Self::new(database, max_bytes))
    }

    fn new(database: Database, max_bytes: u64) -> Result<Self, Unusable> {
        let mut store = Self {
            database,
            subjects: HashMap::new(),
            totals: Totals::default(),
            content_bytes: max_bytes / 4,
            next_id: 0,
            expired_ms: 0,
        };
        store.load().map_err(|error| Unusable::Damaged(error.to_string()))?;
        Ok(store)
    }

    fn load(&mut self) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let subjects = transaction.open_table(SUBJECTS)?;
            for entry in subjects.iter()? {
                let (id, bytes) = entry?;
                self.next_id = self.next_id.max(id.value().wrapping_add(1));
                let Ok(mut known) = serde_json::from_slice::<Known>(bytes.value()) else { continue };
                known.id = id.value();
                self.subjects.insert(known.subject.clone(), known);
            }
            transaction.open_table(BLOCKS)?;
            transaction.open_table(EVENTS)?;
            let totals = transaction.open_table(TOTALS)?;
            let total = |name: &str| Ok::<_, redb::Error>(totals.get(name)?.map_or(0, |bytes| bytes.value()));
            self.totals = Totals { blocks_bytes: total("blocks")?, events_bytes: total("events")? };
        }
        Ok(transaction.commit()?)
    }

    /// Writes a minute's blocks, what they make of the coarser tiers, and events; then tidies up.
    ///
    /// # Errors
    /// When the disk fails; nothing is written then.
    pub(super) fn write(
        &mut self,
        minute_ms: u64,
        blocks: &HashMap<Subject, Block>,
        events: &[LogLine],
    ) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut totals = self.totals;
        let newest_ms = self.write_blocks(&transaction, minute_ms, blocks, &mut totals)?;
        write_events(&transaction, events, self.content_bytes / 8, &mut totals)?;
        if let Some(now_ms) = newest_ms {
            self.tidy(&transaction, now_ms, &mut totals)?;
        }
        {
            let mut kept = transaction.open_table(TOTALS)?;
            kept.insert("blocks", totals.blocks_bytes)?;
            kept.insert("events", totals.events_bytes)?;
        }
        transaction.commit()?;
        self.totals = totals;
        Ok(())
    }

    /// Returns the minute that was written, if there was anything.
    fn write_blocks(
        &mut self,
        transaction: &WriteTransaction,
        minute_ms: u64,
        blocks: &HashMap<Subject, Block>,
        totals: &mut Totals,
    ) -> Result<Option<u64>, redb::Error> {
        if blocks.is_empty() {
            return Ok(None);
        }
        let mut table = transaction.open_table(BLOCKS)?;
        let mut subjects = transaction.open_table(SUBJECTS)?;
        for (subject, block) in blocks {
            let known = self.subjects.entry(subject.clone()).or_insert_with(|| {
                let id = self.next_id;
                self.next_id = self.next_id.wrapping_add(1);
                Known { subject: subject.clone(), first_ms: minute_ms, last_ms: minute_ms, id }
            });
            let seconds = block.points.len().saturating_sub(1) as u64;
            known.last_ms = known.last_ms.max(minute_ms + seconds * TIERS[0].step_ms);
            // A struct of names and numbers always has a JSON form.
            let record = serde_json::to_vec(known).unwrap_or_default();
            subjects.insert(known.id, record.as_slice())?;

            let mut finer = block.merged();
            put(&mut table, (known.id, 0, minute_ms), block, totals)?;
            for tier in &TIERS[1..] {
                let key = (known.id, tier.number, tier.block_of(minute_ms));
                let mut coarser = read(&table, key)?.unwrap_or_default();
                *coarser.at(tier.place_of(minute_ms)) = finer;
                put(&mut table, key, &coarser, totals)?;
                finer = coarser.merged();
            }
        }
        Ok(Some(minute_ms))
    }

    /// Throws away what is too old, once an hour, and the oldest of what is too much.
    fn tidy(
        &mut self,
        transaction: &WriteTransaction,
        now_ms: u64,
        totals: &mut Totals,
    ) -> Result<(), redb::Error> {
        let mut blocks = transaction.open_table(BLOCKS)?;
        let mut subjects = transaction.open_table(SUBJECTS)?;
        let mut gone = Vec::new();
        if self.expired_ms.abs_diff(now_ms) >= TIERS[1].block_ms {
            let before_ms = std::mem::replace(&mut self.expired_ms, now_ms);
            for known in self.subjects.values() {
                for tier in &TIERS {
                    let stays_ms = tier.keep_ms + tier.block_ms;
                    // Of those that are long gone nothing was left the last time.
                    if known.last_ms + stays_ms + tier.block_ms >= before_ms {
                        let old = (known.id, tier.number, 0)
                            ..(known.id, tier.number, now_ms.saturating_sub(stays_ms));
                        drop_range(&mut blocks, old, totals)?;
                    }
                }
                if known.last_ms.saturating_add(TIERS[2].keep_ms) < now_ms {
                    gone.push(known.subject.clone());
                }
            }
        }
        let most = self.content_bytes - self.content_bytes / 8;
        if totals.blocks_bytes > most {
            let enough = most - most / 10;
            gone.extend(self.drop_dead_workers(&mut blocks, now_ms, enough, totals)?);
            drop_oldest(&mut blocks, enough, totals)?;
        }
        for subject in gone {
            if let Some(known) = self.subjects.remove(&subject) {
                subjects.remove(known.id)?;
            }
        }
        Ok(())
    }

    /// Processes that are gone give way first, the longest gone before the others.
    fn drop_dead_workers(
        &self,
        blocks: &mut Blocks<'_>,
        now_ms: u64,
        enough: u64,
        totals: &mut Totals,
    ) -> Result<Vec<Subject>, redb::Error> {
        let is_gone = |known: &&Known| known.subject.pid != 0 && known.last_ms + GONE_MS < now_ms;
        let mut dead: Vec<&Known> = self.subjects.values().filter(is_gone).collect();
        dead.sort_unstable_by_key(|known| known.last_ms);
        let mut dropped = Vec::new();
        for known in dead {
            if totals.blocks_bytes <= enough {
                break;
            }
            drop_range(blocks, (known.id, 0, 0)..(known.id, u8::MAX, 0), totals)?;
            dropped.push(known.subject.clone());
        }
        Ok(dropped)
    }

    /// One block, if it is there.
    pub(super) fn block(&self, subject: &Subject, tier: &Tier, start_ms: u64) -> Option<Block> {
        let known = self.subjects.get(subject)?;
        let table = self.database.begin_read().ok()?.open_table(BLOCKS).ok()?;
        read(&table, (known.id, tier.number, start_ms)).ok().flatten()
    }

    /// Hands over the blocks of a subject that touch a time, the oldest first.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn blocks(
        &self,
        subject: &Subject,
        tier: &Tier,
        from_ms: u64,
        to_ms: u64,
        mut take: impl FnMut(u64, Block),
    ) -> Result<(), redb::Error> {
        let Some(known) = self.subjects.get(subject) else { return Ok(()) };
        let table = self.database.begin_read()?.open_table(BLOCKS)?;
        let range = (known.id, tier.number, tier.block_of(from_ms))..(known.id, tier.number, to_ms);
        for entry in table.range(range)? {
            let (key, bytes) = entry?;
            if let Some(block) = Block::from_bytes(bytes.value()) {
                take(key.value().2, block);
            }
        }
        Ok(())
    }

    /// The processes of a service that were there in a time, by when they came.
    pub(super) fn workers(&self, service: &str, from_ms: u64, to_ms: u64) -> Vec<WorkerSpan> {
        let of_service = self.subjects.values().filter(|known| known.subject.service == service);
        let mut spans: Vec<WorkerSpan> = of_service
            .filter(|known| known.subject.pid != 0 && known.first_ms < to_ms && known.last_ms >= from_ms)
            .map(|known| WorkerSpan {
                pid: known.subject.pid,
                first_ms: known.first_ms,
                last_ms: known.last_ms,
            })
            .collect();
        spans.sort_unstable_by_key(|span| (span.first_ms, span.pid));
        spans
    }

    /// Events as asked for.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn events(&self, query: &EventQuery) -> Result<LogPage, redb::Error> {
        let table = self.database.begin_read()?.open_table(EVENTS)?;
        let range = table.range(query.after.map_or(0, |after| after.saturating_add(1))..)?;
        let parsed = |entry: Result<(_, redb::AccessGuard<'_, &'static [u8]>), StorageError>| {
            entry.map(|(_, bytes)| serde_json::from_slice::<LogLine>(bytes.value()).ok()).transpose()
        };
        let wanted =
            |line: &Result<LogLine, StorageError>| line.as_ref().map_or(true, |line| query.keeps(line));
        let lines: Result<Vec<LogLine>, StorageError> = if query.after.is_some() {
            range.filter_map(parsed).filter(wanted).take(query.limit).collect()
        } else {
            let newest_first: Result<Vec<LogLine>, StorageError> =
                range.rev().filter_map(parsed).filter(wanted).take(query.limit).collect();
            newest_first.map(|lines| lines.into_iter().rev().collect())
        };
        Ok(LogPage { lines: lines?, missed_lines: 0 })
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

/// The library asserts what it believes of its file; of a damaged one it may be wrong.
fn catching<T>(open: impl FnOnce() -> Result<T, Unusable>) -> Result<T, Unusable> {
    let caught = catch_unwind(AssertUnwindSafe(open));
    caught.unwrap_or_else(|_| Err(Unusable::Damaged("it leads into a contradiction".into())))
}

fn unusable(error: DatabaseError) -> Unusable {
    use std::io::ErrorKind;
    match &error {
        DatabaseError::DatabaseAlreadyOpen => Unusable::Refused("another daemon has it".into()),
        DatabaseError::Storage(StorageError::Io(source))
            if !matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            Unusable::Refused(error.to_string())
        }
        _ => Unusable::Damaged(error.to_string()),
    }
}

fn read(
    table: &impl ReadableTable<BlockKey, &'static [u8]>,
    key: BlockKey,
) -> Result<Option<Block>, StorageError> {
    Ok(table.get(key)?.and_then(|bytes| Block::from_bytes(bytes.value())))
}

fn put(
    table: &mut Blocks<'_>,
    key: BlockKey,
    block: &Block,
    totals: &mut Totals,
) -> Result<(), StorageError> {
    let bytes = block.to_bytes();
    let before = table.insert(key, bytes.as_slice())?.map_or(0, |old| KEY_BYTES + old.value().len() as u64);
    totals.blocks_bytes = (totals.blocks_bytes + KEY_BYTES + bytes.len() as u64).saturating_sub(before);
    Ok(())
}

fn drop_range(
    table: &mut Blocks<'_>,
    range: std::ops::Range<BlockKey>,
    totals: &mut Totals,
) -> Result<(), StorageError> {
    table.retain_in(range, |_, bytes| {
        totals.blocks_bytes = totals.blocks_bytes.saturating_sub(KEY_BYTES + bytes.len() as u64);
        false
    })
}

/// Whatever it belongs to, the oldest goes first, until there is room.
fn drop_oldest(table: &mut Blocks<'_>, enough: u64, totals: &mut Totals) -> Result<(), StorageError> {
    if totals.blocks_bytes <= enough {
        return Ok(());
    }
    let mut keys = Vec::new();
    for entry in table.iter()? {
        let (id, tier, start_ms) = entry?.0.value();
        keys.push((start_ms, id, tier));
    }
    keys.sort_unstable();
    for (start_ms, id, tier) in keys {
        if totals.blocks_bytes <= enough {
            break;
        }
        let removed = table.remove((id, tier, start_ms))?;
        let bytes = removed.map_or(0, |bytes| KEY_BYTES + bytes.value().len() as u64);
        totals.blocks_bytes = totals.blocks_bytes.saturating_sub(bytes);
    }
    Ok(())
}

fn write_events(
    transaction: &WriteTransaction,
    events: &[LogLine],
    most: u64,
    totals: &mut Totals,
) -> Result<(), redb::Error> {
    let Some(newest) = events.last() else { return Ok(()) };
    let mut table = transaction.open_table(EVENTS)?;
    for line in events {
        // A struct of texts and numbers always has a JSON form.
        let bytes = serde_json::to_vec(line).unwrap_or_default();
        table.insert(line.cursor, bytes.as_slice())?;
        totals.events_bytes += KEY_BYTES + bytes.len() as u64;
    }
    let too_old_ms = newest.time_ms.saturating_sub(TIERS[2].keep_ms);
    loop {
        let Some((cursor, bytes)) = table.first()?.map(|(key, bytes)| (key.value(), bytes.value().to_vec()))
        else {
            break;
        };
        let time_ms = serde_json::from_slice(&bytes).map_or(0, |line: LogLine| line.time_ms);
        if totals.events_bytes <= most && time_ms >= too_old_ms {
            break;
        }
        table.remove(cursor)?;
        totals.events_bytes = totals.events_bytes.saturating_sub(KEY_BYTES + bytes.len() as u64);
    }
    Ok(())
}
