//! How a new worker finds its place: the board of a living colleague that offers the same methods, or a
//! new board, and an index on it.

use std::{
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};

use crate::{
    client::Completion,
    error::ServeError,
    method::ServiceDescription,
    process::random_u64,
    shm::{board::Board, kill_point::kill_point},
    transport::shm::{
        directory::{Edit, Entry, Role},
        link::{Arrival, Link},
        message::{Caller, LAYOUT_VERSION, Message, Welcome},
        node::{Node, Party},
    },
};

/// A worker's place on a board.
pub(super) struct Place {
    pub(super) board: Arc<Board>,
    pub(super) index: u8,
    pub(super) nonce: u64,
}

const COLLEAGUE_TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 20;

/// Finds or makes a board and takes an index on it. Until it becomes visible, the worker is listed as
/// still looking, so that colleagues which start at the same time agree on one board.
pub(super) fn take_place(node: &Arc<Node>, description: &ServiceDescription) -> Result<Place, ServeError> {
    let io = |source| ServeError::Io { doing: "using the service directory".into(), source };
    node.directory().sweep().map_err(io)?;
    let nonce = random_u64();
    let table = description.table_hash();
    for attempt in 0..ATTEMPTS {
        let found = enlist(node, description, nonce, attempt + 1 == ATTEMPTS).map_err(io)?;
        kill_point("join.listed");
        let board = match found {
            Found::Crowded(limit) => {
                return Err(ServeError::Limit(format!(
                    "{} runs {limit} worker(s) already, which is its limit",
                    description.name
                )));
            }
            Found::Colleagues(colleagues) => {
                // Those that do not answer or offer other methods are left alone: a board of our own.
                match colleagues.iter().find_map(|entry| ask(node, entry, &description.name, table)) {
                    Some(board) => Arc::new(board),
                    None => new_board(nonce)?,
                }
            }
            Found::Nobody => new_board(nonce)?,
            Found::Wait => {
                std::thread::sleep(Duration::from_millis(25));
                continue;
            }
        };
        kill_point("join.board_found");
        forget_the_dead(node, &board).map_err(io)?;
        let index = board
            .join_worker(nonce)
            .ok_or_else(|| ServeError::Limit(format!("{} has 64 workers already", description.name)))?;
        kill_point("join.placed");
        return Ok(Place { board, index, nonce });
    }
    unreachable!("the last attempt never waits")
}

enum Found {
    /// Living workers whose boards we may share.
    Colleagues(Vec<Entry>),
    /// We are the first, and make the board.
    Nobody,
    /// Somebody else is about to make the first board.
    Wait,
    /// As many workers as the service allows.
    Crowded(u32),
}

/// Lists this worker as one that looks for its board.
fn enlist(
    node: &Node,
    description: &ServiceDescription,
    nonce: u64,
    last_attempt: bool,
) -> std::io::Result<Found> {
    let (listed, found) = node.directory().edit(|present| {
        let others: Vec<&Entry> = present
            .iter()
            .filter(|e| e.role == Role::Worker && e.service == description.name && e.id != nonce)
            .filter(|e| node.directory().is_alive(&e.process, &e.node))
            .collect();
        if let Some(limit) = description.max_workers
            && others.len() >= limit as usize
        {
            return (Edit { add: Vec::new(), remove: vec![nonce] }, (None, Found::Crowded(limit)));
        }
        // A board of 0 means that its worker looks for one; of several, the lowest id makes it.
        let with_board: Vec<Entry> = others.iter().filter(|e| e.board != 0).map(|&e| e.clone()).collect();
        let first = last_attempt || others.iter().all(|e| e.id > nonce);
        let found = match (with_board.is_empty(), first) {
            (false, _) => Found::Colleagues(with_board),
            (true, true) => Found::Nobody,
            (true, false) => Found::Wait,
        };
        let ours = Entry {
            role: Role::Worker,
            service: description.name.clone(),
            id: nonce,
            node: node.id().to_owned(),
            process: node.process(),
            board: 0,
        };
        (Edit { add: vec![ours.clone()], remove: vec![nonce] }, (Some(ours), found))
    })?;
    if let Some(listed) = listed {
        node.keep(listed)?;
    }
    Ok(found)
}

fn new_board(id: u64) -> Result<Arc<Board>, ServeError> {
    let board = Board::create(id).map_err(|e| ServeError::io("making a board", std::io::Error::other(e)))?;
    Ok(Arc::new(board))
}

/// Frees the indices of workers that died without leaving.
fn forget_the_dead(node: &Node, board: &Board) -> std::io::Result<()> {
    let entries = node.directory().entries()?;
    for (index, nonce) in board.workers() {
        let is_alive = |e: &Entry| node.directory().is_alive(&e.process, &e.node);
        let alive = entries.iter().any(|e| e.id == nonce && is_alive(e));
        if !alive {
            board.leave_worker(index, nonce);
        }
    }
    Ok(())
}

/// Asks a colleague for its board; `None` when it does not answer or serves other methods.
fn ask(node: &Node, colleague: &Entry, service: &str, table: u64) -> Option<Board> {
    let asking = Arc::new(Asking { answer: Completion::new(), table, link: Mutex::default() });
    let party: Weak<dyn Party> = Arc::<Asking>::downgrade(&asking) as _;
    let link = node.dial(&colleague.node, party).ok()?;
    let hello = Message::Hello {
        version: LAYOUT_VERSION,
        caller: Caller::Colleague,
        service: service.to_owned(),
        id: random_u64(),
        node: node.id().to_owned(),
        process: node.process(),
    };
    link.send(&hello, &[node.doorbell().fd()]);
    kill_point("join.asked");
    *asking.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
    let board = asking.answer.wait_until(Instant::now() + COLLEAGUE_TIMEOUT).flatten();
    link.close();
    board
}

struct Asking {
    answer: Arc<Completion<Option<Board>>>,
    table: u64,
    link: Mutex<Option<Arc<Link>>>,
}

impl Asking {
    fn board(&self, welcome: &Welcome, fds: Vec<OwnedFd>) -> Option<Board> {
        let same = welcome.version == LAYOUT_VERSION && welcome.description.table_hash() == self.table;
        let board = fds.into_iter().next()?;
        same.then(|| Board::attach(board).ok())?
    }
}

impl Party for Asking {
    fn wants(&self, _first: &Message) -> bool {
        false
    }

    fn arrived(&self, _link: &Arc<Link>, arrival: Arrival) {
        match arrival {
            Arrival::Message(Message::Welcome(welcome), fds) => self.answer.fill(self.board(&welcome, fds)),
            Arrival::Message(Message::Refuse { .. }, _) => self.answer.fill(None),
            _ => {}
        }
    }

    fn closed(&self, _link: &Arc<Link>) {
        self.answer.fill(None);
    }
}
