//! What can go wrong in a call, and what a handler learns of it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shmrpc::{
    CallError, ConnectOptions, RpcError, json_method, msgpack_method, raw_method, server::CallContext,
    service,
};

use super::RowError;

#[derive(Default)]
struct Moody {
    seen: AtomicU64,
}

#[service(name = "moody", port = 5800)]
impl Moody {
    #[json_method]
    fn panics(&self, text: &str) -> Result<u32, RowError> {
        panic!("no {text} today")
    }

    #[msgpack_method]
    async fn panics_async(&self) {
        tokio::task::yield_now().await;
        panic!("not async either")
    }

    #[raw_method]
    fn panics_raw(&self, data: &[u8]) -> Vec<u8> {
        data[data.len()..][0..1].to_vec()
    }

    #[json_method(deadline = "50ms")]
    fn slow(&self) {
        std::thread::sleep(Duration::from_millis(400));
    }

    #[json_method]
    async fn slow_async(&self) {
        tokio::time::sleep(Duration::from_secs(20)).await;
    }

    #[json_method]
    fn time_left_ms(&self, context: &CallContext, at_least_ms: u64) -> bool {
        context.time_left().is_some_and(|left| left >= Duration::from_millis(at_least_ms))
    }

    #[raw_method]
    async fn call_id(&self, context: CallContext) -> [u8; 8] {
        context.call_id.to_le_bytes()
    }

    #[json_method]
    fn remember(&self, value: u64) -> u64 {
        self.seen.swap(value, Ordering::Relaxed)
    }
}

fn rpc_error<T: std::fmt::Debug, E: std::fmt::Debug>(outcome: Result<T, CallError<E>>) -> RpcError {
    match outcome {
        Err(CallError::Rpc(error)) => error,
        other => panic!("expected an error of the library, not {other:?}"),
    }
}

#[test]
fn a_panic_is_an_error_with_its_text() {
    let client = MoodyBlockingClient::in_process(Moody::default());
    match rpc_error(client.panics("tea")) {
        RpcError::Panicked(text) => assert_eq!(text, "no tea today"),
        other => panic!("{other}"),
    }
    match rpc_error(client.panics_async()) {
        RpcError::Panicked(text) => assert_eq!(text, "not async either"),
        other => panic!("{other}"),
    }
    assert!(matches!(rpc_error(client.panics_raw(b"x")), RpcError::Panicked(_)));
    assert_eq!(client.remember(1).unwrap(), 0, "the service lives on");
}

#[test]
fn a_method_has_its_own_deadline() {
    let client = MoodyBlockingClient::in_process(Moody::default());
    match rpc_error(client.slow()) {
        RpcError::DeadlineExceeded { service, method, after } => {
            assert_eq!((service.as_str(), method.as_str()), ("moody", "slow"));
            assert_eq!(after, Duration::from_millis(50));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_client_has_a_deadline_for_all_its_calls() {
    let client = MoodyBlockingClient::in_process(Moody::default());
    let hasty = client.with_deadline(Duration::from_millis(30));
    assert!(matches!(rpc_error(hasty.slow_async()), RpcError::DeadlineExceeded { .. }));
    let patient = client.with_deadline(Duration::from_secs(20));
    patient.slow().unwrap();
}

#[tokio::test]
async fn a_deadline_passes_in_async_code_too() {
    let client = MoodyClient::in_process(Moody::default()).with_deadline(Duration::from_millis(30));
    assert!(matches!(rpc_error(client.slow_async().await), RpcError::DeadlineExceeded { .. }));
}

#[test]
fn a_handler_may_ask_for_its_context() {
    let client = MoodyBlockingClient::in_process(Moody::default());
    assert!(client.time_left_ms(10_000).unwrap());
    assert!(!client.with_deadline(Duration::from_secs(5)).time_left_ms(10_000).unwrap());
    assert_ne!(client.call_id().unwrap(), client.call_id().unwrap());
    let service = client.connection().service();
    assert_eq!(service.method("time_left_ms").unwrap().signature, "(u64) -> bool");
}

#[test]
fn state_is_one_per_served_value() {
    let _published = shmrpc::publish(Moody::default());
    let options = ConnectOptions::default();
    let first = MoodyBlockingClient::connect_with("inproc://", &options).unwrap();
    let second = MoodyBlockingClient::connect("inproc://moody").unwrap();
    first.remember(41).unwrap();
    assert_eq!(second.remember(1).unwrap(), 41);
    assert_eq!(format!("{first:?}"), "MoodyBlockingClient { .. }");
}
