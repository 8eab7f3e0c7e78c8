//! JSON schemas of what a service's methods take and answer, as far as their types tell. `--describe` prints them
//! beside the service's description ([`Described`](crate::server::Described)), and the daemon's OpenAPI document shows
//! them; they travel in no handshake, are no part of a method's identity, and no call knows of them.
//!
//! With the feature `schema` a type tells its schema by [`schemars::JsonSchema`](https://docs.rs/schemars), which keeps to
//! what serde's attributes say; a type that does not, and every type without the feature, may be any value. `#[service]` asks
//! each type by [`Of`], which finds out when the program is compiled whether it tells.

#[cfg(feature = "schema")]
mod told;

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The schemas of a service's types. A reference `#/$defs/NAME` in one of `arguments` leads into `taken`, in the others
/// into `given`: what a type is read from may differ from what is written of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Schemas {
    /// By the methods' names; raw ones have none.
    #[serde(default)]
    pub methods: BTreeMap<String, MethodSchemas>,
    /// Types within arguments, by name.
    #[serde(default)]
    pub taken: BTreeMap<String, Value>,
    /// Types within replies and errors.
    #[serde(default)]
    pub given: BTreeMap<String, Value>,
}

impl Schemas {
    /// Whether nothing is told.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }
}

/// The schemas of one method; what is `None` may be any value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodSchemas {
    /// Of its arguments, in order.
    #[serde(default)]
    pub arguments: Vec<Option<Value>>,
    /// Of its reply.
    #[serde(default)]
    pub reply: Option<Value>,
    /// Of the service's own error.
    #[serde(default)]
    pub error: Option<Value>,
    /// Of the items that stream to it.
    #[serde(default)]
    pub items_taken: Option<Value>,
    /// Of the items that it streams.
    #[serde(default)]
    pub items_given: Option<Value>,
}

impl MethodSchemas {
    fn is_empty(&self) -> bool {
        let Self { arguments, reply, error, items_taken, items_given } = self;
        arguments.iter().chain([reply, error, items_taken, items_given]).all(Option::is_none)
    }
}

/// Gathers the [`Schemas`] of a service; code of `#[service]` fills it.
#[derive(Debug, Default)]
pub struct Types {
    methods: BTreeMap<String, MethodSchemas>,
    #[cfg(feature = "schema")]
    generators: told::Generators,
}

impl Types {
    /// Adds a method, unless its types tell nothing.
    pub fn method(&mut self, name: &str, schemas: MethodSchemas) {
        if !schemas.is_empty() {
            self.methods.insert(name.to_owned(), schemas);
        }
    }

    /// All that has been told.
    #[must_use]
    pub fn into_schemas(self) -> Schemas {
        #[cfg(feature = "schema")]
        let (taken, given) = self.generators.into_definitions();
        #[cfg(not(feature = "schema"))]
        let (taken, given) = (BTreeMap::new(), BTreeMap::new());
        Schemas { methods: self.methods, taken, given }
    }
}

/// Asks the type `T` for its schema: `Of::<T>::taken(…)` is the function of its own `impl` if `T` tells, which the compiler
/// prefers, and else that of [`Untold`].
pub struct Of<T: ?Sized>(PhantomData<T>);

impl<T: ?Sized> fmt::Debug for Of<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Of")
    }
}

/// What a type says that does not tell: nothing.
pub trait Untold {
    /// The schema of what it is read from.
    #[must_use]
    fn taken(_types: &mut Types) -> Option<Value> {
        None
    }

    /// The schema of what is written of it.
    #[must_use]
    fn given(_types: &mut Types) -> Option<Value> {
        None
    }
}

impl<T: ?Sized> Untold for Of<T> {}
