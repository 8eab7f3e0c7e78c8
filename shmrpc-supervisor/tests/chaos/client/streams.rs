//! The lane that streams: items from the worker, and items there and back. A stream lives and dies with its
//! worker; what has come until then must be right.

use std::time::Duration;

use shmrpc::{CallError, RpcError};

use super::lane::{Lane, Promise};
use crate::{
    ledger,
    random::{answer, payload},
    service::ChaosBlockingClient,
};

/// Streams now and then.
pub(super) fn run(lane: &mut Lane, client: &ChaosBlockingClient) {
    while lane.goes_on() {
        if lane.random.one_in(2) {
            count(lane, client);
        } else {
            there_and_back(lane, client);
        }
        std::thread::sleep(lane.random.duration(Duration::from_millis(60)));
    }
}

fn count(lane: &mut Lane, client: &ChaosBlockingClient) {
    let (began, to) = (lane.begin(), lane.random.below(200));
    let outcome = client.count(to).and_then(|call| {
        let mut next = 1;
        for item in call.items() {
            match item {
                Ok(number) if number == next => next += 1,
                Ok(number) => ledger::wrong(&format!("count said {number} after {}", next - 1)),
                // The end says why.
                Err(_) => break,
            }
        }
        call.finish().map(|sent| sent == to && next == to + 1)
    });
    lane.judge("count", began, Promise::Stream, outcome);
}

fn there_and_back(lane: &mut Lane, client: &ChaosBlockingClient) {
    let (number, began, items) = (lane.number(), lane.begin(), lane.random.below(12));
    let lengths: Vec<usize> = (0..items).map(|_| lane.random.len_bytes().min(64 << 10)).collect();
    let outcome = client.invert_all().and_then(|call| {
        let mut came = 0;
        for (at, &len_bytes) in lengths.iter().enumerate() {
            let data = payload(number + at as u64, len_bytes);
            if call.send(&data).is_err() {
                break;
            }
            match call.recv() {
                Some(Ok(item)) if item == answer(&data) => came += 1,
                Some(Ok(_)) => return Ok(false),
                Some(Err(_)) | None => break,
            }
        }
        call.close_send();
        match call.recv() {
            None | Some(Err(_)) => {}
            Some(Ok(item)) => {
                return Err(CallError::Rpc(RpcError::Internal(format!("{} bytes too many", item.len()))));
            }
        }
        call.finish().map(|_nothing| came == lengths.len())
    });
    lane.judge("invert_all", began, Promise::Stream, outcome);
}
