//! Lanes with many calls under way at once: begun one after the other and taken in any order, or made by
//! tasks, some of which are given up.

use std::time::{Duration, Instant};

use shmrpc::{
    CallError, Door, NoError,
    client::{Pending, Reply, Target},
};

use super::{
    async_client,
    lane::{Lane, Promise},
};
use crate::{
    random::{answer, payload},
    service::{ChaosBlockingClient, ChaosClient},
};

const IN_FLIGHT: usize = 16;
const TASKS: usize = 8;

/// Sixteen in flight, taken in any order; one in fifty is dropped.
pub(super) fn pipelined(lane: &mut Lane, client: &ChaosBlockingClient) {
    let connection = client.connection();
    let service = connection.service();
    let target = |name: &str| Target::from(service.method(name).expect("the service has it"));
    let (invert, copy) = (target("invert"), target("copy"));
    while lane.goes_on() {
        let mut window: Vec<(Instant, Vec<u8>, Pending)> = Vec::new();
        for _ in 0..4 * IN_FLIGHT {
            let (number, began) = (lane.number(), lane.begin());
            let data = payload(number, lane.random.len_bytes());
            let (method, right) =
                if lane.random.one_in(3) { (copy, data.clone()) } else { (invert, answer(&data)) };
            match connection.begin(method, Door::Native, &data) {
                Ok(pending) => window.push((began, right, pending)),
                Err(error) => {
                    lane.judge::<NoError>("begin", began, Promise::Answer, Err(CallError::Rpc(error)));
                }
            }
            if window.len() == IN_FLIGHT {
                let at = lane.random.below(IN_FLIGHT as u64) as usize;
                take(lane, window.swap_remove(at));
            }
        }
        window.into_iter().for_each(|call| take(lane, call));
    }
}

fn take(lane: &mut Lane, (began, right, pending): (Instant, Vec<u8>, Pending)) {
    if lane.random.one_in(50) {
        drop(pending);
        return lane.count("given up");
    }
    let outcome = pending.wait().map(|Reply { body, .. }| body == right).map_err(CallError::<NoError>::Rpc);
    lane.judge("a pipelined call", began, Promise::Answer, outcome);
}

type Outcome = (&'static str, Option<Result<bool, CallError>>);

/// Eight tasks at once, some of which lose patience.
pub(super) fn tasks(lane: &mut Lane, client: &ChaosBlockingClient) {
    let client = async_client(client);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    while lane.goes_on() {
        let began = lane.begin();
        let mut calls = Vec::new();
        for _ in 0..TASKS {
            let (number, len_bytes) = (lane.number(), lane.random.len_bytes());
            let (kind, patience) = (lane.random.below(4), lane.random.duration(Duration::from_millis(100)));
            let (client, hasty) = (client.clone(), lane.random.one_in(6));
            calls.push(async move {
                let call = one(client, kind, number, len_bytes);
                if !hasty {
                    return call.await;
                }
                tokio::time::timeout(patience, call).await.unwrap_or(("", None))
            });
        }
        let outcomes: Vec<Outcome> = runtime.block_on(async {
            let handles: Vec<_> = calls.into_iter().map(tokio::spawn).collect();
            let mut outcomes = Vec::new();
            for handle in handles {
                outcomes.push(handle.await.expect("no task panics"));
            }
            outcomes
        });
        for (what, outcome) in outcomes {
            match outcome {
                Some(outcome) => lane.judge(what, began, Promise::Answer, outcome),
                None => lane.count("given up"),
            }
        }
    }
}

async fn one(client: ChaosClient, kind: u64, number: u64, len_bytes: usize) -> Outcome {
    match kind {
        0 => {
            let text = "t".repeat(len_bytes);
            let reply = client.measure(number, &text).await;
            ("measure by a task", Some(reply.map(|reply| reply == (number, len_bytes))))
        }
        1 => {
            let ms = number % 20;
            ("nap by a task", Some(client.nap(ms).await.map(|reply| reply == ms)))
        }
        2 => {
            let data = payload(number, len_bytes);
            ("invert_later by a task", Some(client.invert_later(&data).await.map(|r| r == answer(&data))))
        }
        _ => {
            let data = payload(number, len_bytes);
            ("invert by a task", Some(client.invert(&data).await.map(|reply| reply == answer(&data))))
        }
    }
}
