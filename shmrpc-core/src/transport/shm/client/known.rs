//! What the connections of this process know in common of the workers that they are linked to: descriptions, boards and
//! doorbells. A thousand connections to one service need not map its board a thousand times.

use std::{
    convert::Infallible,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, Weak},
};

use crate::{
    method::ServiceDescription,
    shm::{
        board::Board,
        doorbell::Doorbell,
        region::{Identity, RegionError},
    },
};

/// Things of one kind that somebody in this process has.
struct Known<T>(Mutex<Vec<Weak<T>>>);

impl<T> Known<T> {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The one that is asked for if somebody has it, otherwise a new one.
    fn get<K, E>(
        &self,
        wanted: K,
        is_it: impl Fn(&T, &K) -> bool,
        make: impl FnOnce(K) -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        // Without waiting: in a forked child it may be locked for ever.
        let Ok(mut known) = self.0.try_lock() else { return make(wanted).map(Arc::new) };
        known.retain(|known| known.strong_count() > 0);
        if let Some(same) = known.iter().filter_map(Weak::upgrade).find(|known| is_it(known, &wanted)) {
            return Ok(same);
        }
        let new = Arc::new(make(wanted)?);
        known.push(Arc::downgrade(&new));
        Ok(new)
    }
}

pub(super) fn description(offered: ServiceDescription) -> Arc<ServiceDescription> {
    static DESCRIPTIONS: Known<ServiceDescription> = Known::new();
    let Ok(description) = DESCRIPTIONS.get(offered, PartialEq::eq, Ok::<_, Infallible>);
    description
}

pub(super) fn board(fd: OwnedFd) -> Result<Arc<Board>, RegionError> {
    static BOARDS: Known<Board> = Known::new();
    let identity = Identity::of(&fd)?;
    BOARDS.get(fd, |board, _| board.identity() == identity, Board::attach)
}

pub(super) fn doorbell(fd: OwnedFd) -> Result<Arc<Doorbell>, RegionError> {
    static DOORBELLS: Known<Doorbell> = Known::new();
    let identity = Identity::of(&fd)?;
    DOORBELLS.get(fd, |doorbell, _| doorbell.identity() == identity, Doorbell::attach)
}
