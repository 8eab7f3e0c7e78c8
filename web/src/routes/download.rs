//! The answer of a method that streams to its caller: items as they come. In JSON each is a line, `{"item": …}`, and the last
//! line says how it ended: `{"reply": …}`, or `{"problem": …}`. In bytes they follow each other, and a call that fails
//! breaks the connection off, so that nobody takes a part for the whole.

use std::io;

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures_core::Stream;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shmrpc_core::{
    Encoding, RpcError, Status,
    client::{Door, Reply},
    method::MethodDescription,
};

use super::NO_STORE;
use crate::{daemon::Part, problem::Problem};

/// One JSON value a line.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");

/// The answer begins before the first item is there.
pub(super) fn answer(
    method: &MethodDescription,
    door: Door,
    parts: impl Stream<Item = Result<Part, Problem>> + Send + 'static,
) -> Response {
    let name = method.name.clone();
    let is_json = door == Door::Json || method.encoding == Encoding::Json;
    if is_json {
        let lines = parts.map(move |part| Ok::<_, io::Error>(line(&name, part)));
        return (NO_STORE, [(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response();
    }
    let items = parts.filter_map(async |part| match part {
        Ok(Part::Item(item)) => Some(Ok(Bytes::from(item))),
        Ok(Part::Reply(Reply { status: Status::Ok, .. })) => None,
        Ok(Part::Reply(reply)) => Some(Err(io::Error::other(format!("{:?}", reply.status)))),
        Err(problem) => Some(Err(io::Error::other(problem.detail))),
    });
    let kind = HeaderValue::from_static(method.encoding.content_type());
    (NO_STORE, [(header::CONTENT_TYPE, kind)], Body::from_stream(items)).into_response()
}

fn line(method: &str, part: Result<Part, Problem>) -> Bytes {
    let value = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let line = match part {
        Ok(Part::Item(item)) => json!({ "item": value(&item) }),
        Ok(Part::Reply(reply)) => match reply.status {
            Status::Ok => json!({ "reply": value(&reply.body) }),
            Status::ServiceError => {
                json!({ "problem": Problem::service_error(value(&reply.body)).to_json() })
            }
            other => {
                let error = RpcError::from_reply(other, &reply.body, "", method, std::time::Duration::ZERO);
                json!({ "problem": Problem::from(error).to_json() })
            }
        },
        Err(problem) => json!({ "problem": problem.to_json() }),
    };
    Bytes::from(format!("{line}\n"))
}
