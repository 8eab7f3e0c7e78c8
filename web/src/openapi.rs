//! The API's own description (OpenAPI 3.1): what it answers comes from the types that are answered with, the methods of
//! services from what they say of themselves. [`operations`] has the addresses; a test holds them against the router's.

mod components;
mod methods;
mod operations;
mod types;

use std::sync::Arc;

use axum::{extract::State, response::IntoResponse};
use serde_json::{Value, json};
use shmrpc_core::{Encoding, method::Shape};
use utoipa::{OpenApi, ToSchema};

use self::components::Components;
use crate::{
    history::HistoryPage, log::LogPage, plain_json::PlainJson, routes::NO_STORE, server::Shared,
    snapshot::Snapshot,
};

/// `GET /api/v1/openapi.json`.
pub(crate) async fn show(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    (NO_STORE, PlainJson(document(&shared.daemon.snapshot())))
}

#[derive(OpenApi)]
#[openapi(components(schemas(Snapshot, HistoryPage, LogPage, Method, Problem)))]
struct Types;

/// A method of a service: what it is, and how it has been called since the daemon started.
// `MethodSnapshot` in the words of its JSON; a test compares them.
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
pub(crate) struct Method {
    /// 16 hexadecimal digits.
    id: String,
    name: String,
    #[schema(value_type = String)]
    encoding: Encoding,
    #[schema(value_type = String)]
    shape: Shape,
    signature: String,
    /// Names and types of the arguments.
    #[schema(value_type = Vec<Vec<String>>)]
    params: Vec<(String, String)>,
    returns: String,
    doc: String,
    idempotent: bool,
    read_only: bool,
    #[schema(required)]
    deadline_ms: Option<u64>,
    count: u64,
    errors: u64,
    bytes_in: u64,
    bytes_out: u64,
    total_ns: u64,
    #[schema(required)]
    mean_ns: Option<u64>,
    #[schema(required)]
    p50_ns: Option<u64>,
    #[schema(required)]
    p90_ns: Option<u64>,
    #[schema(required)]
    p99_ns: Option<u64>,
    /// Time in the handler: pairs of a time in nanoseconds and how many calls took about as long.
    #[schema(value_type = Vec<Vec<u64>>)]
    latency: Vec<(u64, u64)>,
}

/// An answer that is no success (RFC 9457).
#[derive(ToSchema)]
#[allow(dead_code, reason = "only its schema is used")]
struct Problem {
    title: String,
    status: u16,
    /// The stable word for programs.
    code: String,
    /// What happened, for people.
    detail: String,
    /// The service's own error, when that is what happened.
    #[schema(value_type = Object, required = false)]
    error: Option<Value>,
}

/// The document for these services.
pub(crate) fn document(snapshot: &Snapshot) -> Value {
    let types = serde_json::to_value(Types::openapi()).unwrap_or_default();
    let mut schemas = types["components"]["schemas"].clone();
    // A service's own error may be any value.
    schemas["Problem"]["properties"]["error"] = json!({});
    let mut paths = operations::paths();
    let mut told = serde_json::Map::new();
    for service in &snapshot.services {
        let components = Components::new(&service.name, &service.schemas, &mut told);
        for method in &service.methods {
            let (address, operations) = methods::operations(service, &method.description, &components);
            paths.insert(address, operations);
        }
    }
    if let Some(schemas) = schemas.as_object_mut() {
        // Names of services' types have a dot, these have none.
        schemas.extend(told);
    }
    let description = "Call the services of this daemon, look at them and give them orders. Changes from a browser need the \
                       token of a page of the dashboard, which this page adds by itself; programs of the daemon's user need \
                       nothing, others `Authorization: Bearer TOKEN`.";
    json!({
        "openapi": "3.1.0",
        "info": { "title": format!("shmrpc on {}", snapshot.host), "version": snapshot.version, "description": description },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problem_responses(),
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "token": [] }],
    })
}

/// A reference to one of the schemas.
fn reference(name: &str) -> Value {
    json!({ "$ref": address(name) })
}

fn address(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// Problems by their status: what happened, and the codes that are told apart.
const PROBLEMS: [(u16, &str); 14] = [
    (400, "The request cannot be understood: `bad-request`, `bad-arguments`"),
    (401, "Who asks is not the daemon's user and shows no token: `token-needed`"),
    (403, "Foreign pages may not ask, nor may a guarded encoding be used: `refused`"),
    (404, "There is nothing of that name: `no-such-service`, `no-such-method`, `no-such-page`"),
    (405, "The method may change something: `method-not-allowed`"),
    (408, "The body did not arrive: `timeout`"),
    (409, "The service is in a state that does not allow it: `conflict`"),
    (413, "More than is taken: `too-large`, `decode-limit`"),
    (415, "The body is of another type: `unsupported-media-type`"),
    (422, "The service's own error, in `error`: `service-error`; or an order that makes no sense: `refused`"),
    (500, "The handler has panicked, or the daemon is at fault: `panicked`, `internal`"),
    (502, "The worker has failed: `worker-died`, `connection-lost`, `reply-too-large`, `protocol`"),
    (503, "Not now: `unavailable`, `busy`, `no-space`, `cancelled`, `shutting-down`"),
    (504, "The deadline has passed: `deadline-exceeded`"),
];

/// The problems of these statuses, and those with which anybody may be kept out.
fn problems(statuses: &[u16]) -> impl Iterator<Item = (String, Value)> {
    let all = [401, 403].into_iter().chain(statuses.iter().copied());
    all.map(|status| (status.to_string(), json!({ "$ref": format!("#/components/responses/{status}") })))
}

/// All problems as components of the document.
fn problem_responses() -> Value {
    let content = json!({ "application/problem+json": { "schema": reference("Problem") } });
    let response = |(status, words): (u16, &str)| {
        (status.to_string(), json!({ "description": words, "content": content.clone() }))
    };
    PROBLEMS.into_iter().map(response).collect::<serde_json::Map<_, _>>().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_address_of_the_api_is_described_and_no_other() {
        let document = document(&Snapshot::default());
        let described: BTreeSet<&str> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let served: BTreeSet<&str> = crate::addresses()
            .into_iter()
            .filter(|address| address.starts_with("/api/v1/") || *address == "/metrics")
            .collect();
        assert_eq!(described, served);
    }

    #[test]
    fn a_method_is_described_as_it_is_sent() {
        let text = r#"{"id":"00000000000000ff","name":"m","encoding":"json","shape":"unary","signature":"()","params":[],
            "returns":"()","doc":"","idempotent":true,"read_only":false,"deadline_ms":null,"count":1,"errors":0,
            "bytes_in":0,"bytes_out":0,"total_ns":1,"mean_ns":1,"p50_ns":1,"p99_ns":1}"#;
        let method: crate::MethodSnapshot = serde_json::from_str(text).unwrap();
        let sent = serde_json::to_value(method).unwrap();
        let document = document(&Snapshot::default());
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(keys(&document["components"]["schemas"]["Method"]["properties"]), keys(&sent));
    }

    #[test]
    fn references_lead_somewhere() {
        let document = document(&Snapshot::default());
        let text = document.to_string();
        for address in text.split("\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(document.pointer(address).is_some_and(Value::is_object), "{address}");
        }
    }
}
