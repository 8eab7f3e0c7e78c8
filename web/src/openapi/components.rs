//! What the types of a service tell (`shmrpc_core::schema`) as components of the document: `#/$defs/Row` of `echo_serv` becomes
//! `#/components/schemas/echo_serv.Row`. It comes from the service's program, so nothing of its form is relied on.

use std::collections::{BTreeMap, BTreeSet};

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use shmrpc_core::schema::{MethodSchemas, Schemas};

use super::address;

/// Types by their names in the service's schemas → their names in the document.
type Names<'a> = BTreeMap<&'a str, String>;

/// The schemas of one service.
pub(super) struct Components<'a> {
    schemas: &'a Schemas,
    taken: Names<'a>,
    given: Names<'a>,
}

impl<'a> Components<'a> {
    /// Adds the service's types to those of the document. A type that is read as it is written is there once.
    pub(super) fn new(service: &str, schemas: &'a Schemas, all: &mut Map<String, Value>) -> Self {
        let shared = shared(schemas);
        let mut used = BTreeSet::new();
        let mut named = |name: &str, suffix: &str| {
            let mut free = format!("{service}.{}{suffix}", plain(name));
            while all.contains_key(&free) || !used.insert(free.clone()) {
                free.push('_');
            }
            free
        };
        let taken: Names<'a> = schemas.taken.keys().map(|name| (name.as_str(), named(name, ""))).collect();
        let given = schemas.given.keys().map(|name| {
            let same = taken.get(name.as_str()).filter(|_| shared.contains(name.as_str()));
            let suffix = if taken.contains_key(name.as_str()) { "Reply" } else { "" };
            (name.as_str(), same.cloned().unwrap_or_else(|| named(name, suffix)))
        });
        let given: Names<'a> = given.collect();
        for (definitions, names) in [(&schemas.taken, &taken), (&schemas.given, &given)] {
            for (name, schema) in definitions {
                all.insert(names[name.as_str()].clone(), component(schema, names));
            }
        }
        Self { schemas, taken, given }
    }

    /// The schema of an argument, if its type tells.
    pub(super) fn argument(&self, method: &str, index: usize) -> Option<Value> {
        let schema = self.method(method)?.arguments.get(index)?.as_ref()?;
        Some(component(schema, &self.taken))
    }

    /// That of the reply.
    pub(super) fn reply(&self, method: &str) -> Option<Value> {
        Some(component(self.method(method)?.reply.as_ref()?, &self.given))
    }

    /// That of the service's own error.
    pub(super) fn error(&self, method: &str) -> Option<Value> {
        Some(component(self.method(method)?.error.as_ref()?, &self.given))
    }

    /// That of the items that stream to it.
    pub(super) fn items_taken(&self, method: &str) -> Option<Value> {
        Some(component(self.method(method)?.items_taken.as_ref()?, &self.taken))
    }

    /// That of the items that it streams.
    pub(super) fn items_given(&self, method: &str) -> Option<Value> {
        Some(component(self.method(method)?.items_given.as_ref()?, &self.given))
    }

    fn method(&self, name: &str) -> Option<&MethodSchemas> {
        self.schemas.methods.get(name)
    }
}

/// The types that are read as they are written, all that they refer to included.
fn shared(schemas: &Schemas) -> BTreeSet<&str> {
    let same = schemas.taken.iter().filter(|(name, schema)| schemas.given.get(*name) == Some(*schema));
    let mut shared: BTreeSet<&str> = same.map(|(name, _)| name.as_str()).collect();
    loop {
        let differs = |name: &&str| {
            let mut inside = BTreeSet::new();
            referred(&schemas.taken[*name], &mut inside);
            inside.iter().any(|name| schemas.taken.contains_key(name) && !shared.contains(name.as_str()))
        };
        let Some(found) = shared.iter().copied().find(|name| differs(name)) else { return shared };
        shared.remove(found);
    }
}

/// A schema with its references led into the document. What is no schema may be anything.
fn component(schema: &Value, names: &Names<'_>) -> Value {
    let mut schema = schema.clone();
    lead(&mut schema, names);
    if schema.is_object() { schema } else { json!({}) }
}

fn lead(schema: &mut Value, names: &Names<'_>) {
    match schema {
        Value::Object(parts) => {
            if let Some(to) = parts.get("$ref").and_then(Value::as_str).map(definition) {
                parts.remove("$ref");
                // One that leads nowhere says nothing.
                if let Some(name) = to.and_then(|name| names.get(name.as_str())) {
                    parts.insert("$ref".into(), address(name).into());
                }
            }
            parts.values_mut().for_each(|part| lead(part, names));
        }
        Value::Array(parts) => parts.iter_mut().for_each(|part| lead(part, names)),
        _ => {}
    }
}

fn referred(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(parts) => {
            names.extend(parts.get("$ref").and_then(Value::as_str).and_then(definition));
            parts.values().for_each(|part| referred(part, names));
        }
        Value::Array(parts) => parts.iter().for_each(|part| referred(part, names)),
        _ => {}
    }
}

/// The name in a reference: part of an address, and there of a JSON pointer.
fn definition(reference: &str) -> Option<String> {
    let name = percent_decode_str(reference.strip_prefix("#/$defs/")?).decode_utf8().ok()?;
    Some(name.replace("~1", "/").replace("~0", "~"))
}

/// A name of components has these characters alone.
fn plain(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(text: &str) -> Schemas {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn types_become_components() {
        let schemas = schemas(
            r##"{"methods": {"find": {"arguments": [{"$ref": "#/$defs/Row", "description": "d"}, null],
                     "reply": {"type": "array", "items": {"$ref": "#/$defs/Row"}}, "error": {"$ref": "#/$defs/a%20b~1c"}}},
                "taken": {"Row": {"properties": {"next": {"$ref": "#/$defs/Row"}}}},
                "given": {"Row": {"properties": {"next": {"$ref": "#/$defs/Row"}}}, "a b/c": {"type": "string"}}}"##,
        );
        let mut all = Map::new();
        let components = Components::new("echo", &schemas, &mut all);
        let row = "#/components/schemas/echo.Row";
        assert_eq!(components.argument("find", 0), Some(json!({ "$ref": row, "description": "d" })));
        assert_eq!(components.argument("find", 1), None);
        assert_eq!(components.argument("find", 2), None);
        assert_eq!(components.reply("find"), Some(json!({ "type": "array", "items": { "$ref": row } })));
        assert_eq!(components.error("find"), Some(json!({ "$ref": "#/components/schemas/echo.a_b_c" })));
        assert_eq!(components.reply("other"), None);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["echo.Row", "echo.a_b_c"]);
        assert_eq!(all["echo.Row"]["properties"]["next"]["$ref"], row);
    }

    #[test]
    fn a_type_that_is_written_otherwise_is_there_twice() {
        let schemas = schemas(
            r##"{"taken": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "null"}, "C": {}},
                "given": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {"type": "string"}, "C": {}}}"##,
        );
        let mut all = Map::new();
        Components::new("s", &schemas, &mut all);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["s.A", "s.AReply", "s.B", "s.BReply", "s.C"]);
        assert_eq!(all["s.A"]["items"]["$ref"], "#/components/schemas/s.B");
        assert_eq!(all["s.AReply"]["items"]["$ref"], "#/components/schemas/s.BReply");
    }

    #[test]
    fn a_program_may_tell_nonsense() {
        let schemas = schemas(
            r##"{"methods": {"m": {"arguments": [true, 7, {"$ref": 7}, {"$ref": "#/$defs/None", "title": "t"}, {"$ref": "http://x/"}]}},
                "taken": {"A_B": 7, "A B": [], "": {"$ref": "#"}}}"##,
        );
        let mut all = Map::new();
        let components = Components::new("s", &schemas, &mut all);
        let arguments: Vec<Value> = (0..5).filter_map(|index| components.argument("m", index)).collect();
        assert_eq!(
            arguments,
            [json!({}), json!({}), json!({ "$ref": 7 }), json!({ "title": "t" }), json!({})]
        );
        assert_eq!(all.keys().collect::<Vec<_>>(), ["s.", "s.A_B", "s.A_B_"]);
        assert!(all.values().all(|schema| *schema == json!({})));
    }
}
