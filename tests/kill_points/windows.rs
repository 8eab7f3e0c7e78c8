//! The list of all windows: in what part of whose life each lies, and whether what is left of it is repaired at once.

use std::{collections::BTreeSet, fs, path::Path};

/// What the victim is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A worker beside another one, with clients at it; and by turns the only one there is.
    Serves,
    /// As above, only beside another one.
    Joins,
    /// A worker that is told to leave.
    Drains,
    /// The first worker in its folder.
    First,
    /// The only worker in its folder is told to leave.
    Last,
    /// A worker whose client is killed.
    Mourns,
    /// A worker that joins where others have left something lying about.
    Sweeps,
    /// A client that does all that clients do.
    Calls,
    /// A client with more calls than there are threads for.
    Crowd,
    /// A client whose worker is killed.
    Bereaved,
    /// A client for which no worker comes.
    Forsaken,
    /// Makes a lock anew, and uses it.
    Locks,
    /// Waits for a lock that another process holds.
    Waits,
    /// Waits for a lock whose holder dies.
    Inherits,
}

/// Who repairs what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Whoever is there, at once.
    AtOnce,
    /// The next worker that joins: nobody has heard of the victim yet, or of what it has left.
    NextJoin,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) name: &'static str,
    pub(crate) part: Part,
    /// It is killed at one of its first so many passes.
    pub(crate) passes: u32,
    pub(crate) repair: Repair,
}

const fn at_once(name: &'static str, part: Part, passes: u32) -> Window {
    Window { name, part, passes, repair: Repair::AtOnce }
}

const fn next_join(name: &'static str, part: Part, passes: u32) -> Window {
    Window { name, part, passes, repair: Repair::NextJoin }
}

pub(crate) const WINDOWS: &[Window] = &[
    // A client publishes a call.
    at_once("publish.slot_taken", Part::Calls, 40),
    at_once("publish.copied", Part::Calls, 40),
    at_once("publish.written", Part::Calls, 40),
    at_once("publish.entered", Part::Calls, 40),
    at_once("publish.told", Part::Calls, 40),
    at_once("wake.taken", Part::Calls, 8),
    at_once("wake.posted", Part::Calls, 8),
    at_once("arena.allocated", Part::Calls, 4),
    at_once("arena.announced", Part::Calls, 4),
    at_once("arena.copied", Part::Calls, 4),
    at_once("ring.made", Part::Calls, 2),
    at_once("rescue.offered", Part::Crowd, 3),
    at_once("cancel.marked", Part::Calls, 3),
    // It waits, and takes the answer.
    at_once("alone.announced", Part::Calls, 4),
    at_once("alone.woken", Part::Calls, 4),
    at_once("wait.announced", Part::Calls, 8),
    at_once("wait.looked", Part::Calls, 8),
    at_once("wait.woken", Part::Calls, 8),
    at_once("wait.retracted", Part::Calls, 8),
    at_once("take.found", Part::Calls, 40),
    at_once("take.copied", Part::Calls, 40),
    at_once("take.freed", Part::Calls, 40),
    at_once("take.numbered", Part::Calls, 4),
    at_once("take.released", Part::Calls, 4),
    // It comes and goes.
    next_join("node.bound", Part::Calls, 1),
    next_join("node.listening", Part::Calls, 1),
    next_join("directory.locked", Part::Calls, 1),
    next_join("directory.entry_torn", Part::Calls, 1),
    next_join("directory.entry_written", Part::Calls, 1),
    next_join("connect.listed", Part::Calls, 1),
    at_once("connect.listed", Part::Calls, 3),
    at_once("link.dialled", Part::Calls, 3),
    at_once("hello.sent", Part::Calls, 3),
    at_once("greet.mapped", Part::Calls, 3),
    at_once("number.taken", Part::Calls, 4),
    at_once("number.cleared", Part::Calls, 4),
    at_once("ring.numbered", Part::Calls, 4),
    at_once("ring.handed", Part::Calls, 4),
    at_once("greet.known", Part::Calls, 3),
    at_once("leave.withdrawn", Part::Calls, 2),
    at_once("number.left", Part::Calls, 3),
    at_once("leave.numbers_given_back", Part::Calls, 2),
    at_once("leave.link_closed", Part::Calls, 2),
    // Its worker has died.
    at_once("index.left", Part::Bereaved, 1),
    at_once("recover.unattended", Part::Bereaved, 1),
    at_once("recover.again", Part::Bereaved, 1),
    at_once("give_up.claimed", Part::Forsaken, 1),
    // It streams.
    at_once("stream.opened", Part::Calls, 3),
    at_once("stream.begun", Part::Calls, 3),
    at_once("stream.item_sent", Part::Calls, 6),
    at_once("stream.credit_sent", Part::Calls, 2),
    at_once("stream.end_sent", Part::Calls, 2),
    at_once("stream.cancelled", Part::Calls, 2),
    at_once("link.half_sent", Part::Calls, 6),
    // A worker claims a call, runs and answers it.
    at_once("claim.last_noted", Part::Serves, 20),
    at_once("claim.won", Part::Serves, 20),
    at_once("claim.noted", Part::Serves, 20),
    at_once("serve.read", Part::Serves, 20),
    at_once("serve.entered", Part::Serves, 20),
    at_once("serve.handled", Part::Serves, 20),
    at_once("count.begun", Part::Serves, 20),
    at_once("reply.counted", Part::Serves, 20),
    at_once("reply.allocated", Part::Serves, 4),
    at_once("reply.announced", Part::Serves, 4),
    at_once("reply.large_copied", Part::Serves, 4),
    at_once("reply.copied", Part::Serves, 20),
    at_once("reply.placed", Part::Serves, 20),
    at_once("reply.stamped", Part::Serves, 20),
    at_once("tell.taken", Part::Serves, 4),
    at_once("tell.posted", Part::Serves, 4),
    // It looks for the next, and sleeps.
    at_once("attend.marked", Part::Serves, 6),
    at_once("unattend.withdrawn", Part::Serves, 6),
    at_once("unattend.cleared", Part::Serves, 6),
    at_once("withdraw.cleared", Part::Serves, 2),
    at_once("sleep.announced", Part::Serves, 6),
    at_once("sleep.looked", Part::Serves, 6),
    at_once("sleep.woken", Part::Serves, 6),
    next_join("sleep.retracted", Part::First, 1),
    // It streams.
    at_once("stream.accepted", Part::Serves, 3),
    at_once("stream.item_sent", Part::Serves, 6),
    at_once("stream.credit_sent", Part::Serves, 2),
    at_once("stream.end_sent", Part::Serves, 2),
    at_once("stream.settled", Part::Serves, 3),
    at_once("stream.replied", Part::Serves, 3),
    at_once("link.half_sent", Part::Serves, 6),
    // It comes.
    next_join("node.bound", Part::Joins, 1),
    next_join("node.listening", Part::Joins, 1),
    next_join("directory.locked", Part::Joins, 3),
    next_join("directory.entry_torn", Part::Joins, 1),
    next_join("directory.entry_written", Part::Joins, 2),
    next_join("join.listed", Part::Joins, 1),
    next_join("link.dialled", Part::Joins, 1),
    next_join("join.asked", Part::Joins, 1),
    next_join("join.board_found", Part::Joins, 1),
    next_join("index.taken", Part::Joins, 1),
    next_join("join.placed", Part::Joins, 1),
    next_join("directory.entry_removed", Part::Joins, 1),
    next_join("join.visible", Part::Joins, 1),
    at_once("join.invited", Part::Joins, 3),
    at_once("mend.board", Part::Joins, 3),
    at_once("welcome.known", Part::Joins, 3),
    at_once("welcome.sent", Part::Joins, 3),
    at_once("seat.taken", Part::Serves, 3),
    at_once("seat.sleeper_taken", Part::Serves, 1),
    at_once("part.unseated", Part::Serves, 1),
    at_once("number.left", Part::Mourns, 1),
    next_join("directory.segment_made", Part::First, 1),
    next_join("directory.segment_reserved", Part::First, 1),
    next_join("directory.segment_filled", Part::First, 1),
    next_join("directory.link_made", Part::First, 1),
    next_join("directory.linked", Part::First, 1),
    next_join("sweep.segment_removed", Part::Sweeps, 1),
    next_join("sweep.file_removed", Part::Sweeps, 1),
    // It goes.
    at_once("drain.closed", Part::Drains, 1),
    at_once("drain.withdrawn", Part::Drains, 1),
    at_once("drain.goodbye_said", Part::Drains, 1),
    at_once("drain.rings_left", Part::Drains, 1),
    at_once("index.left", Part::Drains, 1),
    at_once("drain.links_closed", Part::Drains, 1),
    at_once("node.unbound", Part::Drains, 1),
    next_join("directory.segment_unlinked", Part::Last, 1),
    // A lock is made, had and given back.
    at_once("lock.made", Part::Locks, 3),
    at_once("lock.aside", Part::Locks, 3),
    at_once("lock.exchanged", Part::Locks, 3),
    at_once("lock.replaced", Part::Locks, 3),
    at_once("lock.taken", Part::Locks, 6),
    at_once("lock.released", Part::Locks, 6),
    at_once("lock.waiting", Part::Waits, 3),
    at_once("lock.woken", Part::Waits, 3),
    at_once("lock.recovered", Part::Inherits, 1),
];

/// Those in such parts, as far as they are asked for.
pub(crate) fn of(parts: &[Part]) -> impl Iterator<Item = &'static Window> {
    let only = std::env::var("SHMRPC_KILL_ONLY").unwrap_or_default();
    WINDOWS.iter().filter(move |window| parts.contains(&window.part) && window.name.starts_with(&only))
}

/// Fails unless `kill_point` in the source, the document and the list agree.
pub(crate) fn compare() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut in_source = BTreeSet::new();
    names_below(&root.join("shmrpc-core/src"), &mut in_source);
    let listed: BTreeSet<String> = WINDOWS.iter().map(|window| window.name.to_owned()).collect();
    assert_eq!(in_source, listed, "kill points in the source (left) and windows in the list (right)");
    let document = fs::read_to_string(root.join("docs/memory-model.md")).expect("the document is there");
    let missing: Vec<_> = listed.iter().filter(|name| !document.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "windows that docs/memory-model.md does not name: {missing:?}");
}

fn names_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            names_below(&path, names);
        } else {
            let text = fs::read_to_string(&path).expect("a source");
            let calls = text.split("kill_point(\"").skip(1);
            names.extend(calls.filter_map(|rest| rest.split_once('"').map(|(name, _)| name.to_owned())));
        }
    }
}
