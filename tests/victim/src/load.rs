//! Calls of every kind, each reply checked to the byte. What comes back is only who failed them: a wrong reply is a
//! panic.

use shmrpc::{CallError, ConnectError, ConnectOptions, Door, NoError, RpcError, client::Target};

use super::service::{VictimBlockingClient, inverted};

/// The longest first: an arena that holds it is not replaced by a larger one later.
const LARGE: [usize; 4] = [300_000, 20_000, 499, 70_000];
/// Less than one, exactly one and several packets of a link.
const ITEMS: [usize; 3] = [100, 40_000, 100_000];
/// More than the first ring of a connection has slots for.
const AT_ONCE: u8 = 6;

/// Connects to the service of that folder, or of the environment's.
pub fn connect(folder: Option<&std::path::Path>) -> Result<VictimBlockingClient, ConnectError> {
    let mut options = ConnectOptions::default();
    options.runtime_dir = folder.map(Into::into);
    VictimBlockingClient::connect_with("shm://", &options)
}

fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(31) ^ (at >> 9) ^ seed) as u8).collect()
}

fn rpc<T>(outcome: Result<T, CallError<NoError>>) -> Result<T, RpcError> {
    outcome.map_err(|error| match error {
        CallError::Rpc(error) => error,
        other => panic!("nobody's own error: {other}"),
    })
}

/// An argument and a reply in the slot.
pub fn small(client: &VictimBlockingClient, round: usize) -> Result<(), RpcError> {
    let data = bytes(round * 37 % 465, round);
    assert!(rpc(client.invert(&data))? == inverted(&data), "a wrong reply to {} bytes", data.len());
    Ok(())
}

/// An argument and a reply in arenas.
pub fn large(client: &VictimBlockingClient, round: usize) -> Result<(), RpcError> {
    let data = bytes(LARGE[round % LARGE.len()], round);
    assert!(rpc(client.invert(&data))? == inverted(&data), "a wrong reply to {} bytes", data.len());
    Ok(())
}

/// A call for whose answer its caller has to sleep.
pub fn slow(client: &VictimBlockingClient) -> Result<(), RpcError> {
    rpc(client.nap(3)).map(drop)
}

/// A call that is run once more if its worker dies: it must not fail.
pub fn again(client: &VictimBlockingClient) -> Result<(), RpcError> {
    rpc(client.pid()).map(drop)
}

/// Several at once, waited for in another order; each outcome.
pub fn many(client: &VictimBlockingClient, round: usize) -> Vec<Result<(), RpcError>> {
    let connection = client.connection();
    let service = connection.service();
    let target = Target::from(service.method("invert").expect("the service has it"));
    let begun: Vec<_> = (0..AT_ONCE)
        .map(|number| {
            let data = vec![number ^ round as u8; usize::from(number) * 200];
            (connection.begin(target, Door::Native, &data), data)
        })
        .collect();
    let outcomes = begun.into_iter().rev().map(|(pending, data)| {
        let reply = pending?.wait()?;
        assert!(reply.body == inverted(&data), "a wrong reply to {} bytes", data.len());
        Ok(())
    });
    outcomes.collect()
}

/// A call that is given up before its answer is there.
pub fn cancelled(client: &VictimBlockingClient) {
    let connection = client.connection();
    let service = connection.service();
    let target = Target::from(service.method("nap").expect("the service has it"));
    drop(connection.begin(target, Door::Json, b"[2]"));
}

/// Items there and back.
pub fn streamed(client: &VictimBlockingClient, round: usize) -> Result<(), RpcError> {
    let call = rpc(client.invert_all())?;
    let mut came = 0;
    for len in ITEMS {
        let data = bytes(len, round);
        if call.send(&data).is_err() {
            break;
        }
        match call.recv() {
            Some(Ok(item)) => assert!(item == inverted(&data), "a wrong item of {len} bytes"),
            // The outcome says why.
            Some(Err(_)) | None => break,
        }
        came += 1;
    }
    if round % 3 == 2 {
        // Given up in the midst of it.
        return Ok(());
    }
    call.close_send();
    assert!(!matches!(call.recv(), Some(Ok(_))), "an item that nobody sent");
    rpc(call.finish())?;
    assert_eq!(came, ITEMS.len(), "a stream that ended well without all its items");
    Ok(())
}
