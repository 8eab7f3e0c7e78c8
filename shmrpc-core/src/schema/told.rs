//! Types that tell their schema, by `schemars`: one generator for what is read, one for what is written.

use std::collections::BTreeMap;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::{Of, Types};

#[derive(Debug)]
pub(super) struct Generators {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Default for Generators {
    fn default() -> Self {
        Self {
            taken: SchemaSettings::draft2020_12().for_deserialize().into_generator(),
            given: SchemaSettings::draft2020_12().for_serialize().into_generator(),
        }
    }
}

impl Generators {
    /// What the schemas refer to: in arguments, and in replies.
    pub(super) fn into_definitions(mut self) -> (BTreeMap<String, Value>, BTreeMap<String, Value>) {
        let all = |generator: &mut SchemaGenerator| generator.take_definitions(true).into_iter().collect();
        (all(&mut self.taken), all(&mut self.given))
    }
}

impl<T: JsonSchema + ?Sized> Of<T> {
    /// The schema of what it is read from.
    #[must_use]
    pub fn taken(types: &mut Types) -> Option<Value> {
        Some(schema::<T>(&mut types.generators.taken))
    }

    /// The schema of what is written of it.
    #[must_use]
    pub fn given(types: &mut Types) -> Option<Value> {
        Some(schema::<T>(&mut types.generators.given))
    }
}

fn schema<T: JsonSchema + ?Sized>(generator: &mut SchemaGenerator) -> Value {
    let mut schema = generator.subschema_for::<T>();
    // "Anything" may be written as `true`, which has no room for a title.
    schema.ensure_object();
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::Untold as _;

    struct Mute;

    #[test]
    fn a_type_tells_or_says_nothing() {
        let types = &mut Types::default();
        let word = Of::<Option<String>>::taken(types);
        assert_eq!(word, Some(json!({ "type": ["string", "null"] })));
        assert_eq!(Of::<Value>::given(types), Some(json!({})));
        assert_eq!(Of::<Mute>::taken(types), None);
        assert_eq!(Of::<Vec<Mute>>::given(types), None);
    }
}
