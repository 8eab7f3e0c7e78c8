//! What the links of this process have in common, although each brings it anew: offers and boards of the workers
//! that its connections know, doorbells of processes at either end. A thousand connections between two processes need not
//! map each other's doorbell a thousand times.

use std::{
    collections::HashMap,
    convert::Infallible,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, Weak},
};

use crate::{
    method::{MethodId, ServiceDescription, Shape},
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

/// What a worker offers.
pub(super) struct Offer {
    pub(super) description: Arc<ServiceDescription>,
    pub(super) shapes: HashMap<MethodId, Shape>,
}

impl Offer {
    fn new(description: ServiceDescription) -> Self {
        let shapes = description.methods.iter().map(|method| (method.id, method.shape)).collect();
        Self { description: Arc::new(description), shapes }
    }
}

pub(super) fn offer(description: ServiceDescription) -> Arc<Offer> {
    static OFFERS: Known<Offer> = Known::new();
    let is_it = |offer: &Offer, wanted: &ServiceDescription| *offer.description == *wanted;
    let Ok(offer) = OFFERS.get(description, is_it, |new| Ok::<_, Infallible>(Offer::new(new)));
    offer
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
