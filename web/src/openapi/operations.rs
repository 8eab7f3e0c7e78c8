//! The addresses of the API with what they take and answer, those of the services' own methods apart.

use serde_json::{Map, Value, json};

use super::{problems, reference};

/// The statuses of problems of a call by `POST`.
pub(super) const CALL_FAILS: [u16; 10] = [400, 404, 408, 413, 415, 422, 500, 502, 503, 504];
/// Those by `GET`.
pub(super) const LOOK_FAILS: [u16; 9] = [400, 404, 405, 413, 422, 500, 502, 503, 504];

/// All of them.
pub(super) fn paths() -> Map<String, Value> {
    let all = services().into_iter().chain(orders()).chain(looking_back()).chain(live());
    let mut paths: Map<_, _> = all.map(|(address, operations)| (address.to_owned(), operations)).collect();
    paths.insert("/api/v1/services/{name}/methods/{method}".into(), any_method(&service()));
    paths
}

fn services() -> [(&'static str, Value); 3] {
    let all = operation(
        "Services",
        "Everything: the daemon, its services, workers and methods",
        &[],
        ok("Snapshot"),
        &[],
    );
    let one = operation("Services", "One service", &[service()], ok("ServiceSnapshot"), &[400, 404]);
    let document = answer("200", "OpenAPI 3.1", json(json!({ "type": "object" })));
    let document = operation("Services", "This document", &[], document, &[]);
    [
        ("/api/v1/services", get(&all)),
        ("/api/v1/services/{name}", get(&one)),
        ("/api/v1/openapi.json", get(&document)),
    ]
}

fn orders() -> [(&'static str, Value); 6] {
    let actions = json!({ "type": "string", "enum": ["start", "stop", "restart", "restart-at-once"] });
    let to = [service(), parameter("path", "action", "The order", actions)];
    let refusals = [400, 404, 409, 422, 500, 503];
    let words = "Start, stop or restart it";
    let action = operation("Orders", words, &to, accepted("ServiceSnapshot"), &refusals);
    let words = "Fix the size of its pool, or leave it to the load";
    let mut scale = operation("Orders", words, &[service()], accepted("ServiceSnapshot"), &refusals);
    scale["requestBody"] = size();
    let done = json!({ "type": "object", "properties": { "done": { "type": "string" } } });
    let done = |words: &str| answer("200", words, json(done.clone()));
    let refusals = [422, 500, 503];
    let words = "Read the configuration again";
    let reload = operation("Orders", words, &[], done("What was changed"), &refusals);
    let words = "Read the configuration, and change nothing";
    let check = operation("Orders", words, &[], done("What it would run"), &refusals);
    let nothing = || answer("202", "The order is taken", json(json!({ "type": "object" })));
    let shutdown = operation("Orders", "Stop all services and end the daemon", &[], nothing(), &refusals);
    let words = "End the daemon and leave its workers to the next one";
    let hand_over = operation("Orders", words, &[], nothing(), &refusals);
    [
        ("/api/v1/services/{name}/{action}", post(&action)),
        ("/api/v1/services/{name}/scale", post(&scale)),
        ("/api/v1/reload", post(&reload)),
        ("/api/v1/check", post(&check)),
        ("/api/v1/shutdown", post(&shutdown)),
        ("/api/v1/hand-over", post(&hand_over)),
    ]
}

fn looking_back() -> [(&'static str, Value); 5] {
    const TAG: &str = "Looking back";
    let mut of_service = vec![service()];
    of_service.extend(history());
    let of_service = operation(TAG, "Time series of a service", &of_service, ok("HistoryPage"), &[400, 404]);
    let of_daemon = operation(TAG, "Time series of the daemon", &history(), ok("HistoryPage"), &[400]);
    let events = operation(TAG, "What the daemon has done and seen", &events(), ok("LogPage"), &[400]);
    let mut either = ok("LogPage");
    either["200"]["content"]["text/plain"] = json!({ "schema": { "type": "string" } });
    let mut parameters = lines();
    let formats = json!({ "type": "string", "enum": ["json", "text"] });
    parameters.push(parameter("query", "format", "`text`: as a file", formats));
    let logs = operation(TAG, "Lines of the console log", &parameters, either, &[400, 404]);
    let text = json!({ "text/plain": { "schema": { "type": "string" } } });
    let text = answer("200", "Text for Prometheus", text);
    let metrics = operation(TAG, "Counters and gauges for Prometheus", &[], text, &[]);
    [
        ("/api/v1/services/{name}/history", get(&of_service)),
        ("/api/v1/history", get(&of_daemon)),
        ("/api/v1/events", get(&events)),
        ("/api/v1/logs", get(&logs)),
        ("/metrics", get(&metrics)),
    ]
}

fn live() -> [(&'static str, Value); 2] {
    let text = || json!({ "type": "string" });
    let event = json!({
        "type": "object",
        "required": ["event", "data"],
        "properties": { "event": text(), "data": text(), "id": text() },
    });
    let events = json!({ "text/event-stream": { "schema": event } });
    let stream = || answer("200", "Server-sent events", events.clone());
    let lines = operation("Live", "Lines of the console log as they come", &lines(), stream(), &[400, 404]);
    let all = operation("Live", "Everything, once a second", &[], stream(), &[]);
    [("/api/v1/logs/stream", get(&lines)), ("/api/v1/stream", get(&all))]
}

fn get(operation: &Value) -> Value {
    json!({ "get": operation })
}

fn post(operation: &Value) -> Value {
    json!({ "post": operation })
}

fn service() -> Value {
    parameter("path", "name", "The service's name, with its prefix", json!({ "type": "string" }))
}

/// A method whose service is not known here yet.
fn any_method(service: &Value) -> Value {
    let method = parameter("path", "method", "The method's name", json!({ "type": "string" }));
    let reply = || answer("200", "The reply", json!({ "*/*": {} }));
    let arguments = json!({ "type": "array", "description": "The arguments" });
    let to = [service.clone(), method.clone()];
    let mut by_post = operation("Calls", "Call a method", &to, reply(), &CALL_FAILS);
    by_post["requestBody"] = json!({ "content": { "application/json": { "schema": arguments } } });
    let args = parameter("query", "args", "A JSON array of the arguments", json!({ "type": "string" }));
    let to = [service.clone(), method, args];
    let by_get = operation("Calls", "Call a method that changes nothing", &to, reply(), &LOOK_FAILS);
    json!({ "get": by_get, "post": by_post })
}

fn size() -> Value {
    let to = json!({ "oneOf": [
        { "type": "integer", "minimum": 0 },
        { "type": "string", "pattern": "^([+-]?[0-9]+|auto)$" },
    ] });
    let schema = json!({ "type": "object", "required": ["to"], "properties": { "to": to }, "additionalProperties": false });
    json!({ "required": true, "content": { "application/json": { "schema": schema, "example": { "to": "+1" } } } })
}

fn time(name: &str, words: &str) -> Value {
    let words = format!("{words}, in ms since 1970, or before now if negative");
    parameter("query", name, &words, json!({ "type": "integer" }))
}

fn history() -> Vec<Value> {
    vec![
        parameter("query", "series", "Names between commas: cpu,p99", json!({ "type": "string" })),
        time("from", "The first moment"),
        time("to", "The last moment"),
        parameter(
            "query",
            "points",
            "About so many",
            json!({ "type": "integer", "minimum": 1, "maximum": crate::history::MAX_POINTS }),
        ),
        parameter("query", "worker", "One process alone", json!({ "type": "integer", "minimum": 0 })),
    ]
}

fn cursor() -> Value {
    parameter(
        "query",
        "after",
        "Those after this cursor; without it the newest",
        json!({ "type": "integer", "minimum": 0 }),
    )
}

fn limit() -> Value {
    parameter("query", "limit", "At most so many", json!({ "type": "integer", "minimum": 0 }))
}

fn events() -> Vec<Value> {
    let service = parameter(
        "query",
        "service",
        "Of that service; empty: of the daemon itself",
        json!({ "type": "string" }),
    );
    vec![cursor(), service, time("from", "The first moment"), time("to", "The last moment"), limit()]
}

fn lines() -> Vec<Value> {
    vec![
        cursor(),
        limit(),
        parameter("query", "service", "Of that service", json!({ "type": "string" })),
        parameter("query", "stream", "From there", reference("LogStream")),
        parameter(
            "query",
            "level",
            "Of services' own logs, those that matter as much or more",
            json!({ "type": "string", "enum": ["debug", "info", "warning", "error", "critical"] }),
        ),
        parameter("query", "pid", "Of that process", json!({ "type": "integer", "minimum": 0 })),
        parameter("query", "text", "That contain that", json!({ "type": "string" })),
        time("from", "The first moment"),
        time("to", "The last moment"),
    ]
}

pub(super) fn parameter(place: &str, name: &str, description: &str, schema: Value) -> Value {
    json!({ "in": place, "name": name, "description": description, "required": place == "path", "schema": schema })
}

/// `fails`: the statuses of problems with which it may answer, beside those of who may not come in.
pub(super) fn operation(
    tag: &str,
    summary: &str,
    parameters: &[Value],
    mut responses: Value,
    fails: &[u16],
) -> Value {
    for (status, problem) in problems(fails) {
        responses[status] = problem;
    }
    json!({ "tags": [tag], "summary": summary, "parameters": parameters, "responses": responses })
}

pub(super) fn answer(status: &str, description: &str, content: Value) -> Value {
    json!({ status: { "description": description, "content": content } })
}

pub(super) fn json(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn ok(schema: &str) -> Value {
    answer("200", "As it is now", json(reference(schema)))
}

fn accepted(schema: &str) -> Value {
    answer("202", "The order is taken; as it is now", json(reference(schema)))
}
