//! Raw methods that read their argument and write their reply in place.

use shmrpc::{
    CallError, Loan, LoanError, RpcError, ShmBytes, raw_method,
    server::{self, CallContext},
    service,
};

use super::RowError;

struct InPlace;

#[service(name = "in_place", port = 6000)]
impl InPlace {
    #[raw_method]
    fn echo(&self, data: ShmBytes<'_>, reply: Loan<'_>) -> Result<(), LoanError> {
        reply.copy_from(data)
    }

    #[raw_method]
    fn tail(&self, data: ShmBytes, mut reply: Loan) -> Result<(), RowError> {
        let Some(start) = data.len().checked_sub(3) else {
            reply.write(b"forgotten").map_err(|error| RowError::Refused(error.to_string()))?;
            return Err(RowError::NotFound { id: data.len() as u64 });
        };
        reply.write(&data.read(start..)).map_err(|error| RowError::Refused(error.to_string()))
    }

    #[raw_method]
    fn length(&self, context: &CallContext, data: server::ShmBytes<'_>, mut reply: server::Loan<'_>) {
        assert!(context.deadline.is_some());
        assert!(!data.is_empty(), "nothing to measure");
        reply.write(data.len().to_string().as_bytes()).unwrap();
    }
}

#[test]
fn bytes_go_through() {
    let client = InPlaceBlockingClient::in_process(InPlace);
    assert_eq!(client.echo(b"").unwrap(), b"");
    let large: Vec<u8> = (0..1_000_000u32).map(|i| i as u8).collect();
    assert_eq!(client.echo(&large).unwrap(), large);
    assert_eq!(client.tail(b"abcdef").unwrap(), b"def");
    assert_eq!(client.length(&large).unwrap(), b"1000000");
}

#[tokio::test]
async fn an_error_takes_the_place_of_what_was_written() {
    let client = InPlaceClient::in_process(InPlace);
    match client.tail(b"ab").await {
        Err(CallError::Service(error)) => assert_eq!(error, RowError::NotFound { id: 2 }),
        other => panic!("{other:?}"),
    }
    match client.length(b"").await {
        Err(CallError::Rpc(RpcError::Panicked(text))) => assert_eq!(text, "nothing to measure"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_client_does_not_know_the_difference() {
    let client = InPlaceBlockingClient::in_process(InPlace);
    let service = client.connection().service();
    let echo = service.method("echo").unwrap();
    assert_eq!(echo.signature, "(Vec<u8>) -> Result<Vec<u8>, LoanError>");
    assert_eq!(echo.params, [("data".to_owned(), "Vec<u8>".to_owned())]);
    assert_eq!(service.method("length").unwrap().signature, "(Vec<u8>) -> Vec<u8>");
}
