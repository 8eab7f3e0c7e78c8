//! The macros of shmrpc: `#[service]` and the method attributes that it reads.
//!
//! Tokens flow one way: `attr` (options of the attributes) → `ast` (the service as its author wrote it) →
//! `valid` (rules, with errors at the author's own tokens) → `expand` (the code). `types` answers questions
//! about types by their spelling alone: a macro knows no more than that. Nothing here runs at run time;
//! what the generated code calls lives in `shmrpc_core::server::glue` and `shmrpc_core::client`.

mod ast;
mod attr;
mod expand;
mod marker;
mod report;
mod types;
mod valid;

use proc_macro::TokenStream;

/// Makes a service of an `impl` block or of a trait: the methods that bear an encoding
/// (`#[raw_method]`, `#[json_method]`, `#[msgpack_method]`, `#[bincode_method]`) are offered, the others
/// stay plain methods.
///
/// On `impl EchoServer` it adds the trait implementations that serve `EchoServer`, and two clients:
/// `EchoServerClient` (async) and `EchoServerBlockingClient`. On `trait Echo` it adds `EchoClient`,
/// `EchoBlockingClient` and `EchoService<T>`, which serves any `T: Echo`.
///
/// Options:
/// - `name = "echo_serv"` (required): the name in endpoints, logs and on the page.
/// - `port = 5555` (required): the TCP port, used where the ini asks for TCP.
/// - `workers = 1`: at most so many worker processes, for a service whose state must not be copied.
/// - `crate = path`: where the facade crate is, if it was renamed.
///
/// State is per worker process: two calls of one client may see different values of `self`'s fields.
///
/// A handler takes `&self` and owned or plainly borrowed arguments (`u32`, `String`, `&str`, `&[T]`, `&T`). A
/// `fn` runs on the worker's thread pool, an `async fn` on its runtime. A return type that is spelled
/// `Result<R, E>` gives the client the typed error `E`. A parameter `&CallContext` does not travel: the
/// worker fills it in. `StreamReceiver<T>` and, as the last one, `StreamSender<T>` make a method a stream.
///
/// A service trait gets the supertraits `Send + Sync + 'static`, since a worker's threads share what they
/// serve, and its `async fn`s give futures that are `Send`; implementations write `async fn` as usual.
#[proc_macro_attribute]
pub fn service(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::service(options.into(), item.into()).into()
}

/// Offers a method of a [`macro@service`] whose argument and reply are bytes.
///
/// The method takes one `&[u8]` or `Vec<u8>`, or nothing, and returns anything that is `AsRef<[u8]>`, or
/// nothing; or works in place: `fn f(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), E>`.
///
/// Options: `deadline = "2s"` (also `ms`, `m`, `h`), `idempotent`, `read_only`.
#[proc_macro_attribute]
pub fn raw_method(options: TokenStream, item: TokenStream) -> TokenStream {
    marker::method("raw_method", options.into(), item.into()).into()
}

/// Offers a method of a [`macro@service`] in JSON.
///
/// Options: `deadline = "2s"` (also `ms`, `m`, `h`), `idempotent`, `read_only`.
#[proc_macro_attribute]
pub fn json_method(options: TokenStream, item: TokenStream) -> TokenStream {
    marker::method("json_method", options.into(), item.into()).into()
}

/// Offers a method of a [`macro@service`] in MessagePack.
///
/// Options: `deadline = "2s"` (also `ms`, `m`, `h`), `idempotent`, `read_only`.
#[proc_macro_attribute]
pub fn msgpack_method(options: TokenStream, item: TokenStream) -> TokenStream {
    marker::method("msgpack_method", options.into(), item.into()).into()
}

/// Offers a method of a [`macro@service`] in bincode, which is guarded: over TCP and REST it is refused
/// unless `force_insecure_serialisation` allows it.
///
/// Options: `deadline = "2s"` (also `ms`, `m`, `h`), `idempotent`, `read_only`.
#[proc_macro_attribute]
pub fn bincode_method(options: TokenStream, item: TokenStream) -> TokenStream {
    marker::method("bincode_method", options.into(), item.into()).into()
}
