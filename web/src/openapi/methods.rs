//! One method of a service as an operation: its arguments and its reply as far as its types give them.

use serde_json::{Map, Value, json};
use shmrpc_core::{
    Encoding,
    method::{MethodDescription, Shape},
};

use super::{
    components::Components,
    operations::{CALL_FAILS, LOOK_FAILS, answer, json, operation, parameter},
    reference, types,
};
use crate::{page, snapshot::ServiceSnapshot};

// OpenAPI 3.1 has no words for bodies that are sequences. 3.2 calls this one `itemSchema`.
const LINE: &str = "x-itemSchema";
/// What the line before those holds.
const FIRST_LINE: &str = "x-firstLineSchema";

/// Its address, and what can be done there.
pub(super) fn operations(
    service: &ServiceSnapshot,
    method: &MethodDescription,
    told: &Components<'_>,
) -> (String, Value) {
    let address = page::method_address(&service.name, &method.name);
    let deadline = parameter(
        "header",
        "Shmrpc-Deadline-Ms",
        "A deadline for this call",
        json!({ "type": "integer", "minimum": 1 }),
    );
    let summary = if method.doc.is_empty() { &method.signature } else { &method.doc };
    let parameters = std::slice::from_ref(&deadline);
    let mut by_post = operation(&service.name, summary, parameters, responses(method, told), &CALL_FAILS);
    if let Some(response) = service_error(method, told, other_encoding(method)) {
        by_post["responses"]["422"] = response;
    }
    by_post["description"] = json!(format!("`{}{}`", method.name, method.signature));
    by_post["requestBody"] = json!({ "content": request(method, told) });
    let mut operations = Map::from_iter([("post".to_owned(), by_post)]);
    if method.read_only && !method.shape.takes_stream() {
        let mut parameters = vec![deadline];
        if method.encoding != Encoding::Raw {
            let content = json!({ "application/json": { "schema": arguments(method, told) } });
            parameters.push(json!({ "in": "query", "name": "args", "required": !method.params.is_empty(), "content": content }));
        }
        let mut by_get = operation(&service.name, summary, &parameters, responses(method, told), &LOOK_FAILS);
        // Its arguments, and so its errors, are in JSON.
        if let Some(response) = service_error(method, told, None) {
            by_get["responses"]["422"] = response;
        }
        operations.insert("get".into(), by_get);
    }
    (address, operations.into())
}

/// By what the types tell, or else by their names.
fn arguments(method: &MethodDescription, told: &Components<'_>) -> Value {
    let items = method.params.iter().enumerate().map(|(index, (name, ty))| {
        let mut schema = told.argument(&method.name, index).unwrap_or_else(|| types::schema(ty));
        schema["title"] = json!(format!("{name}: {ty}"));
        schema
    });
    types::arguments(items.collect())
}

fn request(method: &MethodDescription, told: &Components<'_>) -> Value {
    let bytes = json!({ "schema": {} });
    let own = method.encoding.content_type();
    match method.encoding {
        _ if method.shape.takes_stream() && method.encoding != Encoding::Raw => {
            let item = told.items_taken(&method.name).unwrap_or_else(|| json!({}));
            json!({ "application/x-ndjson": { FIRST_LINE: arguments(method, told), LINE: item } })
        }
        Encoding::Raw => json!({ own: bytes }),
        Encoding::Json => json!({ own: { "schema": arguments(method, told) } }),
        _ => json!({ "application/json": { "schema": arguments(method, told) }, own: bytes }),
    }
}

fn responses(method: &MethodDescription, told: &Components<'_>) -> Value {
    let own = method.encoding.content_type();
    let value = || told.reply(&method.name).unwrap_or_else(|| types::schema(&method.returns));
    let mut reply = match (method.shape, method.encoding) {
        (Shape::Unary | Shape::Upload, Encoding::Raw) => answer("200", "The reply", json!({ own: {} })),
        (Shape::Unary | Shape::Upload, _) => answer("200", "The reply", json(value())),
        (_, Encoding::Raw) => answer("200", "Items as they come", json!({ own: {} })),
        _ => {
            let item = told.items_given(&method.name).unwrap_or_else(|| json!({}));
            let line = |name: &str, part| json!({ "required": [name], "properties": { name: part } });
            let lines = [line("item", item), line("reply", value()), line("problem", reference("Problem"))];
            let content = json!({ "application/x-ndjson": { LINE: { "type": "object", "oneOf": lines } } });
            answer("200", "One JSON value a line as they come", content)
        }
    };
    if let Some(own) = other_encoding(method) {
        reply["200"]["content"][own] = json!({});
    }
    reply
}

/// The content type of a method's own encoding, if it can be called in JSON as well as in that.
fn other_encoding(method: &MethodDescription) -> Option<&'static str> {
    let has_two = !matches!(method.encoding, Encoding::Raw | Encoding::Json) && !method.shape.takes_stream();
    has_two.then(|| method.encoding.content_type())
}

/// The service's own error, if more is to be said of it than of every problem: its type, or that it comes in the encoding of
/// the call, `own`.
fn service_error(method: &MethodDescription, told: &Components<'_>, own: Option<&str>) -> Option<Value> {
    let error = told.error(&method.name);
    if error.is_none() && own.is_none() {
        return None;
    }
    let problem = match error {
        Some(error) => json!({ "allOf": [reference("Problem"), { "properties": { "error": error } }] }),
        None => reference("Problem"),
    };
    let mut content = json!({ "application/problem+json": { "schema": problem } });
    if let Some(own) = own {
        content[own] = json!({});
    }
    Some(json!({ "description": "The service's own error: `service-error`", "content": content }))
}
