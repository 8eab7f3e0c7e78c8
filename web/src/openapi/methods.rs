//! One method of a service as an operation: its arguments and its reply as far as its types give them.

use serde_json::{Map, Value, json};
use shmrpc_core::{
    Encoding,
    method::{MethodDescription, Shape},
};

use super::{
    operations::{CALL_FAILS, LOOK_FAILS, answer, json, operation, parameter},
    reference, types,
};
use crate::{page, snapshot::ServiceSnapshot};

/// Its address, and what can be done there.
pub(super) fn operations(service: &ServiceSnapshot, method: &MethodDescription) -> (String, Value) {
    let address = page::method_address(&service.name, &method.name);
    let deadline = parameter(
        "header",
        "Shmrpc-Deadline-Ms",
        "A deadline for this call",
        json!({ "type": "integer", "minimum": 1 }),
    );
    let summary = if method.doc.is_empty() { &method.signature } else { &method.doc };
    let parameters = std::slice::from_ref(&deadline);
    let mut by_post = operation(&service.name, summary, parameters, responses(method), &CALL_FAILS);
    if let Some(own) = other_encoding(method) {
        // The service's own error comes in the encoding of the call.
        by_post["responses"]["422"] = service_error(own);
    }
    by_post["description"] = json!(format!("`{}{}`", method.name, method.signature));
    by_post["requestBody"] = json!({ "content": request(method) });
    let mut operations = Map::from_iter([("post".to_owned(), by_post)]);
    if method.read_only {
        let mut parameters = vec![deadline];
        if method.encoding != Encoding::Raw {
            let content = json!({ "application/json": { "schema": arguments(method) } });
            parameters.push(json!({ "in": "query", "name": "args", "required": !method.params.is_empty(), "content": content }));
        }
        let by_get = operation(&service.name, summary, &parameters, responses(method), &LOOK_FAILS);
        operations.insert("get".into(), by_get);
    }
    (address, operations.into())
}

fn arguments(method: &MethodDescription) -> Value {
    let items = method.params.iter().map(|(name, ty)| {
        let mut schema = types::schema(ty);
        schema["title"] = json!(format!("{name}: {ty}"));
        schema
    });
    types::arguments(items.collect())
}

fn request(method: &MethodDescription) -> Value {
    let bytes = json!({ "schema": {} });
    let own = method.encoding.content_type();
    match method.encoding {
        Encoding::Raw => json!({ own: bytes }),
        Encoding::Json => json!({ own: { "schema": arguments(method) } }),
        _ => json!({ "application/json": { "schema": arguments(method) }, own: bytes }),
    }
}

fn responses(method: &MethodDescription) -> Value {
    let own = method.encoding.content_type();
    let mut reply = match (method.shape, method.encoding) {
        (Shape::Unary, Encoding::Raw) => answer("200", "The reply", json!({ own: {} })),
        (Shape::Unary, _) => answer("200", "The reply", json(types::schema(&method.returns))),
        (_, Encoding::Raw) => answer("200", "Items as they come", json!({ own: {} })),
        _ => answer("200", "One JSON value a line as they come", json!({ "application/x-ndjson": {} })),
    };
    if let Some(own) = other_encoding(method) {
        reply["200"]["content"][own] = json!({});
    }
    reply
}

/// The content type of a method's own encoding, if it can be called in JSON as well as in that.
fn other_encoding(method: &MethodDescription) -> Option<&'static str> {
    let has_two = !matches!(method.encoding, Encoding::Raw | Encoding::Json);
    has_two.then(|| method.encoding.content_type())
}

fn service_error(own: &str) -> Value {
    let problem = json!({ "schema": reference("Problem") });
    let content = json!({ "application/problem+json": problem, own: {} });
    json!({ "description": "The service's own error: `service-error`", "content": content })
}
