//! What every transport must do. Each function is one test; [`conformance`] makes them tests of a
//! transport.

pub(crate) mod calls;
pub(crate) mod streams;

use std::sync::Arc;

use shmrpc_core::Connection;

use crate::service::Bench;

/// A transport with the service behind it.
pub(crate) trait Harness: Send + Sync {
    fn start() -> Self;
    /// The service's own counters.
    fn service(&self) -> &Arc<Bench>;
    /// Another client.
    fn connect(&self) -> Connection;
}

macro_rules! conformance {
    ($harness:ty) => {
        crate::suite::conformance!($harness, calls:
            sizes, every_encoding, json_door, many_threads, many_tasks, out_of_order, deadline,
            cancel_by_drop, panic_is_an_error, typed_error, unknown_method, bad_arguments, decode_limit,
            many_clients
        );
        crate::suite::conformance!($harness, streams:
            download, upload, duplex, duplex_async_both_sides, raw_duplex, without_items,
            slow_consumer_holds_the_server_back, slow_server_holds_the_client_back, cancelled_by_drop,
            stopped_by_finish, typed_error_after_items, panic_after_items, server_takes_two_only,
            deadline_of_a_stream, many_streams_at_once, a_stream_is_no_plain_call
        );
    };
    ($harness:ty, $module:ident: $($name:ident),*) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $name() {
                    crate::suite::$module::$name(&<$harness as crate::suite::Harness>::start());
                }
            )*
        }
    };
}
pub(crate) use conformance;
