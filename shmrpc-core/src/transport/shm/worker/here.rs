//! Calls of this worker that lie in no ring: a gateway in the same process runs them on the thread that has
//! read them, as long as their method has lately been quick. They are counted, gated and ended like any
//! other.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use super::Shared;
use crate::{
    client::Door,
    codec::Encoding,
    error::Status,
    method::{MethodId, Shape},
    server::{CallContext, IncomingCall, NearSink, ReplySink, Responder, contained},
    shm::{counters::Table, ticks::Ticks},
    transport::Local,
};

/// A call that takes less is quick.
const QUICK_NS: u64 = 50_000;
/// One that takes more counts for several that are only not quick.
const SLOW_NS: u64 = 1_000_000;
/// So many quick calls in a row make a method quick.
const ENOUGH: u32 = 8;
/// And so many are remembered: a few that were interrupted do not count.
const MOST: u32 = 64;

/// How quick each method has lately been.
pub(super) struct Pace(Vec<AtomicU32>);

impl Pace {
    pub(super) fn new(methods: usize) -> Self {
        Self((0..methods).map(|_| AtomicU32::new(0)).collect())
    }

    /// Notes how long a call took. Threads may overwrite each other's notes, which is as good.
    pub(super) fn note(&self, method: usize, nanos: u64) {
        let Some(quick) = self.0.get(method) else { return };
        let before = quick.load(Ordering::Relaxed);
        let after = match nanos {
            0..QUICK_NS => (before + 1).min(MOST),
            QUICK_NS..SLOW_NS => before / 2,
            _ => before / 8,
        };
        if after != before {
            quick.store(after, Ordering::Relaxed);
        }
    }

    fn is_quick(&self, method: usize) -> bool {
        self.0.get(method).is_some_and(|quick| quick.load(Ordering::Relaxed) >= ENOUGH)
    }
}

impl Local for Shared {
    fn quick(&self, method: MethodId) -> Option<(usize, Encoding)> {
        let &index = self.methods.get(&method.0)?;
        let method = &self.description.methods[index];
        (method.shape == Shape::Unary && self.pace.is_quick(index)).then_some((index, method.encoding))
    }

    fn run(
        &self,
        method: usize,
        args: &[u8],
        door: Door,
        context: CallContext,
        sink: &mut dyn NearSink,
    ) -> bool {
        let Some(shared) = self.me.upgrade() else { return false };
        if !self.activity.begin_beside(self.threads) {
            return false;
        }
        let call = Counted { method, bytes_in: args.len() as u64, begun: Ticks::now() };
        let mut reply = HereReply { shared: &shared, sink, call, detached: false };
        let responder = Responder::near(&mut reply);
        contained(&self.service, method, IncomingCall::new(Cow::Borrowed(args), door, context, responder));
        true
    }
}

/// What is counted of such a call.
#[derive(Clone, Copy)]
struct Counted {
    method: usize,
    bytes_in: u64,
    begun: Ticks,
}

impl Counted {
    /// Counted before it is sent: who has the answer finds it counted.
    fn answered(self, shared: &Shared, status: Status, len_bytes: usize) {
        let nanos = Ticks::now().ns_since(self.begun);
        let (counters, failed) = (&shared.counters, status != Status::Ok);
        shared.pace.note(self.method, nanos);
        counters.count(Table::COMMON, self.method, failed, self.bytes_in, len_bytes as u64);
        counters.count_time(Table::COMMON, self.method, nanos);
    }
}

/// The answer to such a call.
struct HereReply<'a> {
    shared: &'a Arc<Shared>,
    sink: &'a mut dyn NearSink,
    call: Counted,
    detached: bool,
}

impl ReplySink for HereReply<'_> {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.call.answered(self.shared, status, body.len());
        self.sink.send(status, body);
    }
}

impl NearSink for HereReply<'_> {
    fn detach(&mut self) -> Box<dyn ReplySink> {
        self.detached = true;
        let (shared, sink) = (Arc::clone(self.shared), self.sink.detach());
        Box::new(LateReply { shared, sink, call: self.call })
    }
}

impl Drop for HereReply<'_> {
    fn drop(&mut self) {
        if !self.detached {
            self.shared.activity.end();
        }
    }
}

/// The answer of a handler that goes on after its dispatch.
struct LateReply {
    shared: Arc<Shared>,
    sink: Box<dyn ReplySink>,
    call: Counted,
}

impl ReplySink for LateReply {
    fn send(&mut self, status: Status, body: &[u8]) {
        self.call.answered(&self.shared, status, body.len());
        self.sink.send(status, body);
    }
}

impl Drop for LateReply {
    fn drop(&mut self) {
        self.shared.activity.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_quick_after_some_quick_calls_and_until_a_slow_one() {
        let pace = Pace::new(1);
        (1..ENOUGH).for_each(|_| pace.note(0, 1000));
        assert!(!pace.is_quick(0));
        pace.note(0, 1000);
        assert!(pace.is_quick(0) && !pace.is_quick(1));
        (0..MOST).for_each(|_| pace.note(0, 1000));
        // Interrupted once, and then really slow.
        pace.note(0, 2 * QUICK_NS);
        assert!(pace.is_quick(0));
        pace.note(0, SLOW_NS);
        pace.note(0, SLOW_NS);
        assert!(!pace.is_quick(0));
    }
}
