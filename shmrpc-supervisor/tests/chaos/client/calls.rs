//! Lanes that make one call after the other, blocking: over one connection for good, or over a new one every
//! few calls.

use std::time::{Duration, Instant};

use shmrpc::CallError;

use super::{
    connect,
    lane::{Lane, Promise},
};
use crate::{
    ledger::ONCE,
    random::{answer, payload},
    service::ChaosBlockingClient,
};

/// Calls in turn, for good.
pub(super) fn blocking(lane: &mut Lane, client: &ChaosBlockingClient) {
    while lane.goes_on() {
        one(lane, client);
    }
}

/// Connects, calls, lets go, and again.
pub(super) fn reconnecting(lane: &mut Lane, _client: &ChaosBlockingClient) {
    while lane.goes_on() {
        lane.begin();
        let client = connect();
        for _ in 0..lane.random.below(20) {
            one(lane, &client);
        }
        drop(client);
        std::thread::sleep(lane.random.duration(Duration::from_millis(20)));
    }
}

fn one(lane: &mut Lane, client: &ChaosBlockingClient) {
    let (number, began) = (lane.number(), lane.begin());
    match lane.random.below(20) {
        0..=6 => {
            let data = payload(number, lane.random.len_bytes());
            let right = client.invert(&data).map(|reply| reply == answer(&data));
            lane.judge("invert", began, Promise::Answer, right);
        }
        7..=9 => {
            let data = payload(number, lane.random.len_bytes());
            let right = client.copy(&data).map(|reply| reply == data);
            lane.judge("copy", began, Promise::Answer, right);
        }
        10..=11 => {
            let data = payload(number, lane.random.len_bytes());
            let right = client.invert_later(&data).map(|reply| reply == answer(&data));
            lane.judge("invert_later", began, Promise::Answer, right);
        }
        12..=13 => {
            let text = "täxt ".repeat(lane.random.len_bytes() / 8);
            let right = client.measure(number, &text).map(|reply| reply == (number, text.len()));
            lane.judge("measure", began, Promise::Answer, right);
        }
        14 => {
            let numbers: Vec<u64> = (number..number + lane.random.below(3000)).collect();
            let right = client.backwards(&numbers).map(|reply| reply.iter().rev().eq(&numbers));
            lane.judge("backwards", began, Promise::Answer, right);
        }
        15..=16 => {
            let number = number | ONCE;
            let right = client.once(number).map(|reply| reply == !number);
            lane.judge("once", began, Promise::Answer, right);
        }
        17 => {
            let right = client.again(number).map(|reply| reply == !number);
            lane.judge("again", began, Promise::Answer, right);
        }
        18 => nap(lane, client, began),
        _ => {
            let ms = lane.random.below(30);
            let right = client.nap(ms).map(|reply| reply == ms);
            lane.judge("nap", began, Promise::Answer, right);
        }
    }
}

/// A call that may come too late.
fn nap(lane: &mut Lane, client: &ChaosBlockingClient, began: Instant) {
    let deadline = Duration::from_millis(1 + lane.random.below(60));
    let ms = lane.random.below(60);
    let right: Result<bool, CallError> = client.with_deadline(deadline).nap(ms).map(|reply| reply == ms);
    lane.judge("nap", began, Promise::Within(deadline), right);
}
