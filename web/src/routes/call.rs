//! Calling a method over REST: by `POST` with a body in JSON or in the method's own encoding, by `GET`
//! where the method changes nothing.
//!
//! What is checked here: that the method exists, and may be called in that encoding. The arguments are decoded in the
//! worker. Methods that take a stream are called by `items`.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest as _, Path, RawQuery, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::TryStreamExt as _;
use shmrpc_core::{
    Encoding, RpcError, Status,
    client::{Door, Reply},
    method::{MethodDescription, Shape},
};

use super::{download, items};
use crate::{
    daemon::Call,
    problem::{Problem, SHMRPC_STATUS},
    server::Shared,
};

/// The caller's own deadline in milliseconds.
const DEADLINE_MS: HeaderName = HeaderName::from_static("shmrpc-deadline-ms");

/// The arguments are the body.
pub(super) async fn by_post(
    State(shared): State<Arc<Shared>>,
    Path((service, method)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let description = find(&shared, &service, &method)?;
    let (head, body) = request.into_parts();
    let deadline = own_deadline(&head.headers)?;
    let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
    if description.shape.takes_stream() {
        return items::call(&shared, &service, &description, content_type.as_ref(), body, deadline).await;
    }
    let body = read_body(&shared, Request::from_parts(head, body)).await?;
    let door = door(&description, content_type.as_ref(), body.is_empty())?;
    run(&shared, &service, &description, door, &body, deadline).await
}

/// The arguments are a JSON array in the query: `?args=[1,"two"]`; none: no arguments.
pub(super) async fn by_get(
    State(shared): State<Arc<Shared>>,
    Path((service, method)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let description = find(&shared, &service, &method)?;
    if !description.read_only || description.shape.takes_stream() {
        let why = if description.read_only { "takes a stream" } else { "may change something" };
        let detail = format!("{service}.{method} {why}: call it by POST");
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
            .with_header("allow", "POST"));
    }
    let args = arguments_in(query.as_deref().unwrap_or_default())?;
    let (door, body) = match (description.encoding, args) {
        (Encoding::Raw, None) => (Door::Native, String::new()),
        (Encoding::Raw, Some(_)) => {
            let detail = "a raw method takes bytes, which a query cannot hold: call it by POST";
            return Err(Problem::bad_request("bad-arguments", detail));
        }
        (_, args) => (Door::Json, args.unwrap_or_default()),
    };
    let deadline = own_deadline(&headers)?;
    run(&shared, &service, &description, door, body.as_bytes(), deadline).await
}

/// The method, if REST may call it.
fn find(shared: &Shared, service_name: &str, method_name: &str) -> Result<MethodDescription, Problem> {
    let snapshot = shared.daemon.snapshot();
    let service = snapshot.service(service_name).ok_or_else(|| Problem::no_such_service(service_name))?;
    let Some(method) = service.method(method_name) else {
        let known: Vec<&str> = service.methods.iter().map(|m| m.description.name.as_str()).collect();
        let detail = match known.as_slice() {
            [] => format!("no methods of {service_name} are known"),
            known => format!("{service_name} has no method {method_name:?}, it has {}", known.join(", ")),
        };
        return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-method", detail));
    };
    let method = &method.description;
    if method.encoding.is_guarded() && !service.force_insecure_serialisation {
        let detail = format!(
            "{service_name}.{method_name} is encoded in {}, which is refused over REST unless \
             force_insecure_serialisation is set for the service",
            method.encoding,
        );
        return Err(Problem::new(StatusCode::FORBIDDEN, "refused", detail));
    }
    Ok(method.clone())
}

/// A content type without its parameters.
pub(super) fn essence(content_type: &HeaderValue) -> String {
    let full = content_type.to_str().unwrap_or_default();
    full.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// In which form the body comes. Forms that any web page may send across sites (`text/plain`, HTML
/// forms) are none of them.
fn door(
    method: &MethodDescription,
    content_type: Option<&HeaderValue>,
    is_empty: bool,
) -> Result<Door, Problem> {
    let own = method.encoding.content_type();
    let has_json_door = method.encoding != Encoding::Raw;
    let Some(content_type) = content_type else {
        if is_empty {
            return Ok(if has_json_door { Door::Json } else { Door::Native });
        }
        return Err(unsupported(method, "a body without content type"));
    };
    match essence(content_type).as_str() {
        "application/json" if has_json_door => Ok(Door::Json),
        essence if essence == own => Ok(Door::Native),
        "application/msgpack" | "application/x-msgpack" if method.encoding == Encoding::Msgpack => {
            Ok(Door::Native)
        }
        _ => Err(unsupported(method, content_type.to_str().unwrap_or_default())),
    }
}

fn unsupported(method: &MethodDescription, what: &str) -> Problem {
    let own = method.encoding.content_type();
    let accepted = match method.encoding {
        Encoding::Raw | Encoding::Json => own.to_owned(),
        _ => format!("application/json or {own}"),
    };
    let detail = format!("{} takes {accepted}, not {what}", method.name);
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)
}

async fn read_body(shared: &Shared, request: Request) -> Result<Bytes, Problem> {
    let limit = shared.options.max_body_bytes;
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let too_large =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", format!("more than {limit} bytes"));
    if declared.and_then(|text| text.parse::<u64>().ok()).is_some_and(|len_bytes| len_bytes > limit as u64) {
        return Err(too_large());
    }
    let reading = Bytes::from_request(request, &());
    match tokio::time::timeout(shared.options.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(too_large()),
        Ok(Err(rejection)) => Err(Problem::bad_request("bad-request", rejection.body_text())),
        Err(_) => {
            let detail = format!("the body did not arrive within {:?}", shared.options.body_timeout);
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail))
        }
    }
}

fn own_deadline(headers: &HeaderMap) -> Result<Option<Duration>, Problem> {
    let Some(value) = headers.get(DEADLINE_MS) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u64>().ok()).filter(|&ms| ms > 0);
    let millis = millis.ok_or_else(|| {
        Problem::bad_request("bad-request", format!("{DEADLINE_MS} takes a number of milliseconds above 0"))
    })?;
    Ok(Some(Duration::from_millis(millis)))
}

/// The decoded value of `args` in a query, if it is there.
fn arguments_in(query: &str) -> Result<Option<String>, Problem> {
    let mut args = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if name != "args" || args.is_some() {
            let detail = format!("the query holds args=JSON_ARRAY once and nothing else, not {name:?}");
            return Err(Problem::bad_request("bad-request", detail));
        }
        let spaced = value.replace('+', " ");
        let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8();
        args = Some(
            decoded.map_err(|_| Problem::bad_request("bad-arguments", "args is not UTF-8"))?.into_owned(),
        );
    }
    Ok(args)
}

async fn run(
    shared: &Shared,
    service: &str,
    method: &MethodDescription,
    door: Door,
    body: &[u8],
    deadline: Option<Duration>,
) -> Result<Response, Problem> {
    let body = match door {
        Door::Json => json_array(body)?,
        Door::Native => body,
    };
    let call = Call { service, method: &method.name, door, body, deadline };
    if method.shape == Shape::Download {
        return Ok(download::answer(
            method,
            door,
            shared.daemon.stream(call, None).await?.map_err(Problem::from),
        ));
    }
    let reply = shared.daemon.call(call).await?;
    answer(method, door, reply)
}

/// A body at the JSON door must be an array; none at all stands for no arguments.
pub(super) fn json_array(body: &[u8]) -> Result<&[u8], Problem> {
    match body.trim_ascii_start().first() {
        None => Ok(b"[]"),
        Some(b'[') => Ok(body),
        Some(_) => Err(Problem::bad_request("bad-arguments", "the arguments must be a JSON array")),
    }
}

pub(super) fn answer(method: &MethodDescription, door: Door, reply: Reply) -> Result<Response, Problem> {
    let encoding = match door {
        Door::Json => Encoding::Json,
        Door::Native => method.encoding,
    };
    // What cannot hold a value has its errors in JSON.
    let error_encoding = if encoding == Encoding::Raw { Encoding::Json } else { encoding };
    let (status, word, content_type) = match reply.status {
        Status::Ok => (StatusCode::OK, "ok", encoding.content_type()),
        Status::ServiceError if error_encoding == Encoding::Json => {
            let text = || String::from_utf8_lossy(&reply.body).into_owned().into();
            return Err(Problem::service_error(
                serde_json::from_slice(&reply.body).unwrap_or_else(|_| text()),
            ));
        }
        Status::ServiceError => {
            (StatusCode::UNPROCESSABLE_ENTITY, "service-error", error_encoding.content_type())
        }
        other => {
            let error = RpcError::from_reply(other, &reply.body, "", &method.name, Duration::ZERO);
            return Err(error.into());
        }
    };
    let word = HeaderValue::from_static(word);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (HeaderName::from_static(SHMRPC_STATUS), word),
    ];
    Ok((status, headers, Body::from(reply.body)).into_response())
}
