//! Answers that are no success: RFC 9457 problem documents (`application/problem+json`), or the same as a
//! small page for a browser that asked for one. Every error of every route leaves in this form; `code`
//! is the stable word for programs.

use axum::{
    Json,
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use shmrpc_core::RpcError;

use crate::{admission::Refusal, daemon::ControlError, page};

/// Set on every reply of a method: `ok`, or `service-error` when the service answered with its own error.
pub(crate) const SHMRPC_STATUS: &str = "shmrpc-status";

/// An answer that is no success.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// The stable word for programs: `no-such-service`.
    pub(crate) code: &'static str,
    /// What happened, for people, naming the thing at fault.
    pub(crate) detail: String,
    /// The service's own error, when that is what happened.
    service_error: Option<Box<Value>>,
    header: Option<(&'static str, &'static str)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), service_error: None, header: None }
    }

    pub(crate) fn no_such_service(service: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-service", format!("no service {service:?}"))
    }

    pub(crate) fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// The service answered with its own error, here as JSON.
    pub(crate) fn service_error(error: Value) -> Self {
        let detail = match &error {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let header = Some((SHMRPC_STATUS, "service-error"));
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "service-error", detail);
        Self { service_error: Some(Box::new(error)), header, ..problem }
    }

    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.header = Some((name, value));
        self
    }

    fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("no-such-page", "nothing is served at this address"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method-not-allowed", "this address does not take the request's method; see Allow")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the request's body exceeds the limit"),
            _ if status.is_client_error() => ("bad-request", "the request cannot be understood"),
            _ => ("internal", "the daemon could not answer"),
        };
        Self::new(status, code, detail)
    }

    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut document = json!({
            "title": self.title(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(error) = &self.service_error {
            document["error"] = (**error).clone();
        }
        document
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.to_json())).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.header {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        if refusal.wants_token() {
            // `Basic` makes browsers ask their user; programs know that they hold a token.
            return Self::new(StatusCode::UNAUTHORIZED, "token-needed", detail)
                .with_header("www-authenticate", r#"Basic realm="shmrpc: any name, the token as password""#);
        }
        Self::new(StatusCode::FORBIDDEN, "refused", detail)
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let (status, code) = match error {
            ControlError::NotFound(_) => (StatusCode::NOT_FOUND, "no-such-service"),
            ControlError::Conflict { .. } => (StatusCode::CONFLICT, "conflict"),
            ControlError::Refused(_) => (StatusCode::UNPROCESSABLE_ENTITY, "refused"),
            ControlError::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting-down"),
            ControlError::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<RpcError> for Problem {
    fn from(error: RpcError) -> Self {
        let (status, code) = match &error {
            RpcError::WorkerDied { .. } => (StatusCode::BAD_GATEWAY, "worker-died"),
            RpcError::ConnectionLost { .. } => (StatusCode::BAD_GATEWAY, "connection-lost"),
            RpcError::DeadlineExceeded { .. } => (StatusCode::GATEWAY_TIMEOUT, "deadline-exceeded"),
            RpcError::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            RpcError::Busy(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            RpcError::NoSpace(_) => (StatusCode::SERVICE_UNAVAILABLE, "no-space"),
            RpcError::Cancelled => (StatusCode::SERVICE_UNAVAILABLE, "cancelled"),
            RpcError::NoSuchMethod(_) => (StatusCode::NOT_FOUND, "no-such-method"),
            RpcError::BadArguments(_) => (StatusCode::BAD_REQUEST, "bad-arguments"),
            RpcError::Refused(_) => (StatusCode::FORBIDDEN, "refused"),
            RpcError::TooLarge { what: "reply", .. } => (StatusCode::BAD_GATEWAY, "reply-too-large"),
            RpcError::TooLarge { .. } | RpcError::TooLargeAtServer(_) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "too-large")
            }
            RpcError::DecodeLimit { what: "arguments", .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "decode-limit")
            }
            RpcError::Panicked(_) => (StatusCode::INTERNAL_SERVER_ERROR, "panicked"),
            RpcError::Protocol(_) => (StatusCode::BAD_GATEWAY, "protocol"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let problem = Self::new(status, code, error.to_string());
        match error {
            RpcError::Unavailable { .. } | RpcError::Busy(_) => problem.with_header("retry-after", "1"),
            _ => problem,
        }
    }
}

/// Gives the last form to a response: errors that the router made by itself become problems, and a
/// browser that asked for a page gets one.
pub(crate) fn present(response: Response, wants_page: bool) -> Response {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let known = response.extensions().get::<Problem>().cloned();
    // A service's own error in its own encoding is no document of ours.
    let is_final = if known.is_some() { !wants_page } else { response.headers().contains_key(SHMRPC_STATUS) };
    if is_final {
        return response;
    }
    let problem = known.unwrap_or_else(|| Problem::of_status(status));
    let kept = kept_headers(response.headers());
    let mut response = if wants_page {
        let page = page::problem(problem.status.as_u16(), problem.title(), &problem.detail);
        (problem.status, axum::response::Html(page.into_string())).into_response()
    } else {
        problem.into_response()
    };
    response.headers_mut().extend(kept);
    response
}

/// What says how to do better: it survives the change of the body.
fn kept_headers(headers: &HeaderMap) -> HeaderMap {
    let names = [header::ALLOW, header::WWW_AUTHENTICATE, header::RETRY_AFTER];
    names.into_iter().filter_map(|name| headers.get(&name).cloned().map(|value| (name, value))).collect()
}

/// Whether a browser is to show the answer to its user.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Response {
    (status, Body::empty()).into_response()
}
