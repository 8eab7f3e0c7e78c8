//! One call at the server: its arguments, its context, and the [`Responder`] that answers it exactly
//! once, whatever the handler does.

use std::{
    any::Any,
    borrow::Cow,
    cell::{Cell, OnceCell},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use super::{
    Service,
    in_place::{Argument, Lent, Room},
    runtime,
};
use crate::{client::Door, codec::CodecError, error::Status, stream::ServerStream};

/// What a handler may want to know about its call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CallContext {
    /// The caller's number of the call, unique in its connection.
    pub call_id: u64,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    cancelled: Option<Cancelled>,
}

/// Whoever knows whether calls have been cancelled, and by which number it knows this one.
#[derive(Clone)]
struct Cancelled(Arc<dyn Cancellation>, u64);

impl std::fmt::Debug for Cancelled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cancelled({})", self.0.is_cancelled(self.1))
    }
}

/// Knows whether calls have been cancelled.
pub(crate) trait Cancellation: Send + Sync {
    fn is_cancelled(&self, call: u64) -> bool;
}

/// The flag of one call.
impl Cancellation for AtomicBool {
    fn is_cancelled(&self, _call: u64) -> bool {
        self.load(Ordering::Acquire)
    }
}

impl CallContext {
    pub(crate) fn new(call_id: u64, deadline: Option<Instant>) -> Self {
        Self { call_id, deadline, cancelled: None }
    }

    /// The same context, with the flag that is raised when the caller cancels.
    pub(crate) fn with_cancelled(self, cancelled: Arc<AtomicBool>) -> Self {
        self.with_cancellation(cancelled, 0)
    }

    /// The same context, with whom to ask whether that call of theirs has been cancelled.
    pub(crate) fn with_cancellation(mut self, knows: Arc<dyn Cancellation>, call: u64) -> Self {
        self.cancelled = Some(Cancelled(knows, call));
        self
    }

    /// Whether the caller has cancelled or gone, as far as the transport can tell: a long handler may
    /// look now and then, and stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.as_ref().is_some_and(|Cancelled(knows, call)| knows.is_cancelled(*call))
    }

    /// How long the caller still waits; zero when it has given up, `None` without a deadline.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

/// One call, as a transport hands it to a [`Service`].
pub struct IncomingCall<'a> {
    args: Args<'a>,
    door: Door,
    context: Context<'a>,
    responder: Responder<'a>,
    stream: Option<ServerStream>,
}

/// A call's context, or who makes it if it is asked for.
enum Context<'a> {
    Made(CallContext),
    Near(&'a dyn Near),
}

impl<'a> IncomingCall<'a> {
    pub(crate) fn new(
        args: Cow<'a, [u8]>,
        door: Door,
        context: CallContext,
        responder: Responder<'a>,
    ) -> Self {
        let args = Args { copy: OnceCell::from(args), lent: None };
        Self { args, door, context: Context::Made(context), responder, stream: None }
    }

    /// A call whose argument is copied, into `buffer`, when it is first asked for; or never, if the
    /// method works in place.
    pub(crate) fn near(
        near: &'a dyn Near,
        buffer: &'a mut Vec<u8>,
        door: Door,
        responder: Responder<'a>,
    ) -> Self {
        let args = Args { copy: OnceCell::new(), lent: Some((near, Cell::new(Some(buffer)))) };
        Self { args, door, context: Context::Near(near), responder, stream: None }
    }

    /// The same call with its streams.
    pub(crate) fn with_stream(mut self, stream: ServerStream) -> Self {
        self.stream = Some(stream);
        self
    }

    /// The call's streams, once; without items if the method has none or they have been taken.
    #[must_use]
    pub fn take_stream(&mut self) -> ServerStream {
        self.stream.take().unwrap_or_else(ServerStream::none)
    }

    /// The encoded arguments: a private copy, whatever the transport.
    #[must_use]
    pub fn args(&self) -> &[u8] {
        self.args.copy()
    }

    /// In which encoding arguments and reply are.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Call id and deadline.
    #[must_use]
    pub fn context(&self) -> CallContext {
        match &self.context {
            Context::Made(context) => context.clone(),
            Context::Near(near) => near.context(),
        }
    }

    /// Splits the call: the arguments, and the obligation to answer.
    #[must_use]
    pub fn into_parts(self) -> (Cow<'a, [u8]>, Responder<'a>) {
        self.args.copy();
        let args = self.args.copy.into_inner().unwrap_or_default();
        (args, self.responder)
    }

    /// Splits the call without copying its argument.
    pub(super) fn into_argument(self) -> (Argument<'a>, Responder<'a>) {
        let argument = match (self.args.copy.into_inner(), self.args.lent) {
            (None, Some((near, _))) => Argument::Lent(near),
            (copy, _) => Argument::Copied(copy.unwrap_or_default()),
        };
        (argument, self.responder)
    }
}

/// What a transport has at hand of a call while it is dispatched.
pub(crate) trait Near: Lent {
    /// Made only for handlers that ask.
    fn context(&self) -> CallContext;
}

/// A call's argument: a private copy, or memory of the caller's and a buffer for the copy.
struct Args<'a> {
    copy: OnceCell<Cow<'a, [u8]>>,
    lent: Option<(&'a dyn Near, CopyInto<'a>)>,
}

/// The buffer for a copy, taken when it is made.
type CopyInto<'a> = Cell<Option<&'a mut Vec<u8>>>;

impl Args<'_> {
    fn copy(&self) -> &[u8] {
        self.copy.get_or_init(|| {
            let Some((near, buffer)) = &self.lent else { return Cow::default() };
            let Some(buffer) = buffer.take() else { return Cow::default() };
            buffer.clear();
            near.copy_out(0, near.len_bytes(), buffer);
            Cow::Borrowed(buffer)
        })
    }
}

/// Where an answer goes. One implementation a transport. Answered at most once.
pub(crate) trait ReplySink: Send {
    fn send(&mut self, status: Status, body: &[u8]);

    /// Where the caller will read the reply, if this transport has such a place to lend.
    fn room(&mut self) -> Option<&mut dyn Room> {
        None
    }

    /// Answers with the beginning of what was lent.
    fn send_room(&mut self, _len_bytes: usize) {}
}

/// A sink that the transport keeps for itself while the call is dispatched.
pub(crate) trait NearSink: ReplySink {
    /// The same obligation for whoever answers later.
    fn detach(&mut self) -> Box<dyn ReplySink>;
}

/// The obligation to answer one call. Dropped without an answer, it answers [`Status::Internal`], or
/// [`Status::Panicked`] while the thread unwinds.
pub struct Responder<'a> {
    sink: Option<Sink<'a>>,
}

enum Sink<'a> {
    Owned(Box<dyn ReplySink>),
    Near(&'a mut dyn NearSink),
}

impl Sink<'_> {
    fn get(&mut self) -> &mut dyn ReplySink {
        match self {
            Self::Owned(sink) => &mut **sink,
            Self::Near(sink) => *sink,
        }
    }
}

impl<'a> Responder<'a> {
    pub(crate) fn new(sink: impl ReplySink + 'static) -> Self {
        Self { sink: Some(Sink::Owned(Box::new(sink))) }
    }

    pub(crate) fn near(sink: &'a mut dyn NearSink) -> Self {
        Self { sink: Some(Sink::Near(sink)) }
    }

    /// Answers. Blocks only while the transport has no room for the reply.
    pub fn send(mut self, status: Status, body: &[u8]) {
        if let Some(mut sink) = self.sink.take() {
            sink.get().send(status, body);
        }
    }

    pub(super) fn room(&mut self) -> Option<&mut dyn Room> {
        self.sink.as_mut().and_then(|sink| sink.get().room())
    }

    pub(super) fn send_room(mut self, len_bytes: usize) {
        if let Some(mut sink) = self.sink.take() {
            sink.get().send_room(len_bytes);
        }
    }

    /// Answers with the reply.
    pub fn reply(self, body: &[u8]) {
        self.send(Status::Ok, body);
    }

    /// Answers with an error of the library and its text.
    pub fn fail(self, status: Status, text: &str) {
        self.send(status, text.as_bytes());
    }

    /// Answers that the arguments could not be decoded.
    pub(crate) fn refuse_arguments(self, error: &CodecError) {
        match error.limit {
            Some(limit) => self.fail(Status::DecodeLimit, &limit.to_text()),
            None => self.fail(Status::BadArguments, &error.to_string()),
        }
    }

    /// The same obligation, for an answer that may come after the dispatch is over.
    #[must_use]
    pub fn detach(mut self) -> Responder<'static> {
        let sink = self.sink.take().map(|sink| match sink {
            Sink::Owned(sink) => Sink::Owned(sink),
            Sink::Near(sink) => Sink::Owned(sink.detach()),
        });
        Responder { sink }
    }

    /// Runs an async handler on the runtime; a panic in it is answered.
    pub(crate) fn spawn(self, handler: impl Future<Output = (Status, Vec<u8>)> + Send + 'static) {
        let responder = self.detach();
        runtime().spawn(async move {
            match CatchPanic(Box::pin(handler)).await {
                Ok((status, body)) => responder.send(status, &body),
                Err(panic) => responder.fail(Status::Panicked, panic_text(&*panic)),
            }
        });
    }
}

impl Drop for Responder<'_> {
    fn drop(&mut self) {
        if let Some(mut sink) = self.sink.take() {
            let (status, text) = if std::thread::panicking() {
                (Status::Panicked, "the handler panicked")
            } else {
                (Status::Internal, "the handler dropped the call without an answer")
            };
            sink.get().send(status, text.as_bytes());
        }
    }
}

/// Dispatches a call; a panic of the handler is contained here, after its responder has answered.
pub(crate) fn contained(service: &Arc<dyn Service>, method: usize, call: IncomingCall<'_>) {
    // The service may be left half changed by its own panic; that is the user's to guard, as with a
    // panicking thread. Our own state is only the responder, which answers while it unwinds.
    let _contained = catch_unwind(AssertUnwindSafe(|| {
        if let Some(call) = service.dispatch_here(method, call) {
            Arc::clone(service).dispatch(method, call);
        }
    }));
}

/// A panic's message, as far as it has one.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

struct CatchPanic<F>(Pin<Box<F>>);

impl<F: Future> Future for CatchPanic<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}
