//! A Rust type as a method's signature writes it → the JSON schema of what serde makes of it. What is not known by its name
//! (a struct of the service) may be anything; its name stands in the title.

use serde_json::{Value, json};

/// Types nest no deeper than that in a schema.
const MAX_DEPTH: usize = 8;

/// The schema of a type.
pub(super) fn schema(ty: &str) -> Value {
    nested(ty.trim(), MAX_DEPTH)
}

fn nested(ty: &str, depth: usize) -> Value {
    let ty = ty.trim().trim_start_matches('&').trim_start().trim_start_matches("mut ").trim();
    let unknown = || json!({ "title": ty });
    let Some(depth) = depth.checked_sub(1) else { return unknown() };
    if let Some(inner) = ty.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return tuple(&parts(inner), depth);
    }
    if let Some(inner) = ty.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return array(inner, depth);
    }
    if let Some((name, arguments)) = ty.strip_suffix('>').and_then(|rest| rest.split_once('<')) {
        return generic(last_segment(name), &parts(arguments), depth).unwrap_or_else(unknown);
    }
    named(last_segment(ty)).unwrap_or_else(unknown)
}

fn last_segment(path: &str) -> &str {
    path.rsplit("::").next().unwrap_or(path).trim()
}

fn named(name: &str) -> Option<Value> {
    let integer = |low: i64, high: u64| Some(json!({ "type": "integer", "minimum": low, "maximum": high }));
    match name {
        "bool" => Some(json!({ "type": "boolean" })),
        "u8" => integer(0, u8::MAX.into()),
        "u16" => integer(0, u16::MAX.into()),
        "u32" => integer(0, u32::MAX.into()),
        "u64" | "usize" => integer(0, u64::MAX),
        "i8" => integer(i8::MIN.into(), i8::MAX as u64),
        "i16" => integer(i16::MIN.into(), i16::MAX as u64),
        "i32" => integer(i32::MIN.into(), i32::MAX as u64),
        "i64" | "isize" => integer(i64::MIN, i64::MAX as u64),
        "u128" | "i128" => Some(json!({ "type": "integer" })),
        "f32" | "f64" => Some(json!({ "type": "number" })),
        "char" => Some(json!({ "type": "string", "minLength": 1, "maxLength": 1 })),
        "String" | "str" | "PathBuf" | "Path" => Some(json!({ "type": "string" })),
        "Value" => Some(json!({})),
        _ => None,
    }
}

fn generic(name: &str, arguments: &[&str], depth: usize) -> Option<Value> {
    let first = arguments.first().copied().filter(|first| !first.starts_with('\''));
    let inner = || arguments.iter().rev().find(|argument| !argument.starts_with('\'')).copied();
    match name {
        "Vec" | "VecDeque" | "LinkedList" | "BinaryHeap" => {
            Some(json!({ "type": "array", "items": nested(first?, depth) }))
        }
        "HashSet" | "BTreeSet" => {
            Some(json!({ "type": "array", "uniqueItems": true, "items": nested(first?, depth) }))
        }
        "HashMap" | "BTreeMap" => {
            Some(json!({ "type": "object", "additionalProperties": nested(arguments.get(1)?, depth) }))
        }
        "Option" => Some(json!({ "anyOf": [nested(first?, depth), { "type": "null" }] })),
        // A service's own error is no reply: it has an answer of its own.
        "Result" => Some(nested(first?, depth)),
        "Box" | "Arc" | "Rc" | "Cow" => Some(nested(inner()?, depth)),
        _ => None,
    }
}

fn tuple(items: &[&str], depth: usize) -> Value {
    if items.is_empty() {
        return json!({ "type": "null" });
    }
    arguments(items.iter().map(|item| nested(item, depth)).collect())
}

/// An array that has exactly these.
pub(super) fn arguments(items: Vec<Value>) -> Value {
    let count = items.len();
    let mut schema = json!({ "type": "array", "minItems": count, "maxItems": count });
    if count > 0 {
        schema["prefixItems"] = items.into();
    }
    schema
}

fn array(inner: &str, depth: usize) -> Value {
    let (item, count) = match inner.rsplit_once(';') {
        Some((item, count)) => (item, count.trim().parse::<u64>().ok()),
        None => (inner, None),
    };
    let mut schema = json!({ "type": "array", "items": nested(item, depth) });
    if let Some(count) = count {
        (schema["minItems"], schema["maxItems"]) = (count.into(), count.into());
    }
    schema
}

/// What stands between commas that are in no brackets.
fn parts(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in list.char_indices() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_schemas() {
        let byte = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
        for (ty, expected) in [
            ("u8", byte.clone()),
            ("&str", json!({ "type": "string" })),
            ("()", json!({ "type": "null" })),
            ("Vec<u8>", json!({ "type": "array", "items": byte })),
            ("&[u8]", json!({ "type": "array", "items": byte })),
            ("[u8; 3]", json!({ "type": "array", "items": byte, "minItems": 3, "maxItems": 3 })),
            ("Option<bool>", json!({ "anyOf": [{ "type": "boolean" }, { "type": "null" }] })),
            ("Result<(), EchoError>", json!({ "type": "null" })),
            ("Cow<'_, str>", json!({ "type": "string" })),
            (
                "HashMap<String, Vec<(bool, f64)>>",
                json!({ "type": "object", "additionalProperties": { "type": "array", "items": {
                    "type": "array", "minItems": 2, "maxItems": 2,
                    "prefixItems": [{ "type": "boolean" }, { "type": "number" }] } } }),
            ),
            ("serde_json::Value", json!({})),
            ("Query", json!({ "title": "Query" })),
            ("Page<Row>", json!({ "title": "Page<Row>" })),
            ("Vec<", json!({ "title": "Vec<" })),
            (">>,((", json!({ "title": ">>,((" })),
        ] {
            assert_eq!(schema(ty), expected, "{ty}");
        }
        assert!(schema(&format!("{}u8{}", "Vec<".repeat(5000), ">".repeat(5000))).is_object());
    }
}
