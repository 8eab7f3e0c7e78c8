//! Call functions in another process as if they were your own: over shared memory on one machine, over TCP
//! between machines, under one supervisor that starts, watches and scales the processes.
//!
//! # A service
//!
//! A struct, and an `impl` block that says what is offered and in which encoding:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use serde_json::{Value, json};
//! use shmrpc::{bincode_method, json_method, msgpack_method, raw_method, service};
//!
//! pub struct EchoServer;
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! pub enum EchoError {
//!     Empty,
//! }
//!
//! #[service(name = "echo_serv", port = 5555)]
//! impl EchoServer {
//!     /// Bytes in, bytes out.
//!     #[raw_method]
//!     fn echo_raw(&self, data: &[u8]) -> Vec<u8> {
//!         data.to_vec()
//!     }
//!
//!     /// With a deadline of its own, and fit to be tried again if its worker dies.
//!     #[json_method(deadline = "2s", idempotent)]
//!     async fn echo_json(&self, data: Value) -> Result<Value, EchoError> {
//!         if data.is_null() { Err(EchoError::Empty) } else { Ok(data) }
//!     }
//!
//!     #[msgpack_method]
//!     fn repeat(&self, text: &str, times: usize) -> String {
//!         text.repeat(times)
//!     }
//!
//!     #[bincode_method]
//!     fn swap(&self, pair: (u32, String)) -> (String, u32) {
//!         (pair.1, pair.0)
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = EchoServerBlockingClient::in_process(EchoServer);
//! assert_eq!(client.echo_raw(b"Lorem ipsum")?, b"Lorem ipsum");
//! assert_eq!(client.echo_json(&json!({"a": 1})).unwrap(), json!({"a": 1}));
//! assert_eq!(client.repeat("ab", 2)?, "abab");
//! assert_eq!(client.swap(&(1, "one".into()))?, ("one".into(), 1));
//! # Ok(())
//! # }
//! ```
//!
//! **State is per worker.** `&self` is the worker's own value of the struct: a service usually runs in several
//! worker processes, and each call goes to whichever is idle, so what one call leaves in a `Mutex` or an
//! atomic the next may not find. Use it for caches and connections; keep what must be common elsewhere, or cap
//! the pool with `#[service(…, workers = 1)]`. Within a worker many calls run at once, on a pool of threads (a `fn`)
//! and on a tokio runtime (an `async fn`): that is why handlers take `&self` and never `&mut self`.
//!
//! # Serving it
//!
//! [`serve`] runs a service in this program, alone: `shmrpc::serve(EchoServer)?`. Most services run under the
//! supervisor instead, which starts as many workers as are needed, replaces those that die and shows what they do.
//! For it a worker program is one line, and an ini section names it:
//!
//! ```no_run
//! # #[derive(Default)]
//! # struct EchoServer;
//! # #[shmrpc::service(name = "echo_serv", port = 5555)]
//! # impl EchoServer {
//! #     #[shmrpc::json_method]
//! #     fn ping(&self) {}
//! # }
//! shmrpc::worker_main!(EchoServer); // or `EchoServer = EchoServer::open("data")`, for those without `Default`
//! ```
//!
//! Such a program answers `--describe` (name, port and methods as JSON) without starting anything, and serves alone
//! with `--serve`. With the feature `schema`, types that derive `shmrpc::schemars::JsonSchema` tell there what they look like, for the
//! dashboard and the OpenAPI document. A handler writes lines into the service's log through [`logger`].
//!
//! # Its clients
//!
//! The macro makes two, with the same methods: `EchoServerClient` (async, for any runtime) and
//! `EchoServerBlockingClient`. A client is cheap to clone, and any number of threads or tasks may call at once.
//!
//! ```no_run
//! # use serde_json::json;
//! # struct EchoServer;
//! # #[shmrpc::service(name = "echo_serv", port = 5555)]
//! # impl EchoServer {
//! #     #[shmrpc::json_method]
//! #     fn echo_json(&self, data: serde_json::Value) -> serde_json::Value { data }
//! # }
//! # async fn calls() -> Result<(), Box<dyn std::error::Error>> {
//! let client = EchoServerClient::connect("shm://").await?; // the service's own name, on this machine
//! let remote = EchoServerClient::connect("tcp://example.org").await?; // its own port
//! let either = EchoServerClient::connect(["shm://echo_serv", "tcp://10.0.0.7:5555"]).await?; // in this order
//! println!("{}", client.echo_json(&json!({"a": 1})).await?);
//! # Ok(())
//! # }
//! # fn blocking_calls() -> Result<(), Box<dyn std::error::Error>> {
//! let client = EchoServerBlockingClient::connect("shm://")?;
//! println!("{}", client.echo_json(&json!({"a": 1}))?);
//! # Ok(())
//! # }
//! ```
//!
//! - Connecting compares the client's methods with the server's; a difference is a [`ConnectError::Mismatch`]
//!   that names the method and both sides. A server may have more methods than its client knows.
//! - Every call has a deadline: the method's own, or the client's (`with_deadline`,
//!   [`ConnectOptions::deadline`]), or [`DEFAULT_DEADLINE`].
//! - An async call is cancelled by dropping its future.
//! - When the service restarts, the client reconnects by itself. A call that was under way then fails with an
//!   [`RpcError`] that says so, unless it is `idempotent` and could be tried once more.
//!
//! # Errors
//!
//! A handler's `Result<R, E>` arrives as `Result<R, CallError<E>>`: [`CallError::Service`] is the handler's own
//! `E`, typed; [`CallError::Rpc`] is everything else (a deadline, a panic in the handler, a dead worker). Other
//! methods have `CallError<NoError>`. The `Result` must be spelled out with both types: a macro cannot
//! look through an alias.
//!
//! # Encodings
//!
//! | attribute | arguments and replies | use it for |
//! |---|---|---|
//! | [`macro@raw_method`] | bytes | data that has a form already |
//! | [`macro@json_method`] | anything serde knows, as JSON | most things: every tool reads it |
//! | [`macro@msgpack_method`] | the same, as MessagePack | smaller and faster, nearly as portable |
//! | [`macro@bincode_method`] | the same, as bincode | speed between programs of one build |
//!
//! bincode is *guarded*: over TCP and REST it is refused unless the supervisor's `force_insecure_serialisation`
//! allows it, since it is not self-describing and its upstream has ended.
//!
//! Arguments are owned or plainly borrowed (`u32`, `String`, `&str`, `&[T]`, `&T`); clients take references where
//! that saves a copy. A parameter `&CallContext` ([`server::CallContext`]) does not travel: the worker fills
//! in the call's id and how much time is left.
//!
//! # In place
//!
//! A raw method that takes [`ShmBytes`] and [`Loan`] reads its argument where the transport has put it and
//! writes its reply where the transport takes it. Callers see no difference.
//!
//! ```
//! use shmrpc::{Loan, LoanError, ShmBytes, raw_method, service};
//!
//! struct Pages;
//!
//! #[service(name = "pages", port = 5558)]
//! impl Pages {
//!     #[raw_method]
//!     fn header(&self, page: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
//!         reply.copy_from(&page.read(..4))
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! assert_eq!(PagesBlockingClient::in_process(Pages).header(b"%PDF-1.7")?, b"%PDF");
//! # Ok(())
//! # }
//! ```
//!
//! # Streams
//!
//! A `StreamReceiver<T>` parameter takes items from the client, a `StreamSender<T>` (the last parameter) sends
//! items to it. The client gets a [`StreamCall`] or a [`BlockingStreamCall`]:
//!
//! ```
//! use shmrpc::{StreamSender, json_method, service};
//!
//! struct Counter;
//!
//! #[service(name = "counter", port = 5556)]
//! impl Counter {
//!     #[json_method]
//!     fn count(&self, to: u32, out: StreamSender<u32>) -> String {
//!         let sent = (1..=to).take_while(|number| out.send(number).is_ok()).count();
//!         format!("{sent} numbers")
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let call = CounterBlockingClient::in_process(Counter).count(3)?;
//! let numbers: Result<Vec<u32>, _> = call.items().collect();
//! assert_eq!(numbers?, [1, 2, 3]);
//! assert_eq!(call.finish()?, "3 numbers");
//! # Ok(())
//! # }
//! ```
//!
//! # A service as a trait
//!
//! A client crate need not link the server: put the definition into a trait, in a crate that both share. It
//! makes `EchoClient`, `EchoBlockingClient`, and `EchoService<T>`, which serves any `T: Echo`.
//!
//! ```
//! use shmrpc::{json_method, service};
//!
//! #[service(name = "echo", port = 5557)]
//! pub trait Echo {
//!     #[json_method]
//!     async fn shout(&self, text: &str) -> String;
//! }
//!
//! struct Plain;
//!
//! impl Echo for Plain {
//!     async fn shout(&self, text: &str) -> String {
//!         text.to_uppercase()
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! assert_eq!(EchoBlockingClient::in_process(Plain).shout("hello")?, "HELLO");
//! # Ok(())
//! # }
//! ```
//!
//! # In one process
//!
//! `in_process` makes a client of a service that is published nowhere: tests need no processes. [`publish`] makes
//! one reachable as `inproc://NAME` for everything in this process.
//!
//! This crate owns no code: it re-exports `shmrpc-core` (transports, clients, servers) and the macros of
//! `shmrpc-derive`.

pub use shmrpc_core::*;
pub use shmrpc_derive::{bincode_method, json_method, msgpack_method, raw_method, service};

/// README's code is compiled, so that it cannot grow old.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
