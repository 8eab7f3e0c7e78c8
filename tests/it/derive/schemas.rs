//! What the types of a service tell of themselves in its description, by serde's attributes, and what those tell that do
//! not. The document that is made of it is the web crate's business.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shmrpc::{
    Definition, StreamReceiver, StreamSender, json_method,
    method::ServiceDescription,
    msgpack_method, raw_method,
    schema::Schemas,
    schemars::{self, JsonSchema},
    server::Described,
    service,
};

use super::Row;

/// Attributes of serde on a struct.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Parcel {
    /// What is written on it.
    label_text: String,
    #[serde(default)]
    is_fragile: bool,
    #[serde(rename = "to")]
    address: Option<Address>,
    #[serde(skip)]
    _cached: u64,
    #[serde(flatten)]
    size: Size,
    inner: Vec<Parcel>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Size {
    grams: u32,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "at", rename_all = "lowercase")]
enum Address {
    House(String),
    Shop,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Choice {
    Number(u8),
    Word(String),
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Id(u64);

#[derive(Serialize, Deserialize, JsonSchema)]
enum Refusal {
    TooHeavy { limit_grams: u32 },
}

struct Post;

#[service(name = "post", port = 5903)]
impl Post {
    #[msgpack_method]
    fn send(&self, parcel: &Parcel, ids: &[Id], choice: Choice) -> Result<Option<Parcel>, Refusal> {
        let _ = (ids, choice);
        Err(Refusal::TooHeavy { limit_grams: parcel.size.grams })
    }

    // `Row` tells nothing.
    #[msgpack_method]
    async fn file(&self, row: Row, rows: Vec<Row>) -> Row {
        drop(rows);
        row
    }

    #[json_method]
    async fn sort(&self, parcels: StreamReceiver<Parcel>, out: StreamSender<Choice>) -> u8 {
        drop((parcels, out));
        0
    }

    #[raw_method]
    fn page(&self, data: &[u8]) -> Vec<u8> {
        data.to_vec()
    }
}

/// The same by a trait, served by anything.
#[service(name = "post", port = 5903)]
trait Office {
    #[msgpack_method]
    fn weigh(&self, parcel: Parcel) -> u32;
}

#[derive(Default)]
struct Scales;

impl Office for Scales {
    fn weigh(&self, parcel: Parcel) -> u32 {
        parcel.size.grams
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

#[test]
fn types_tell_what_serde_makes_of_them() {
    let schemas = <Post as Definition>::schemas();
    let send = &schemas.methods["send"];
    assert_eq!(send.arguments[0], Some(reference("Parcel")));
    assert_eq!(send.arguments[1], Some(json!({ "type": "array", "items": reference("Id") })));
    assert_eq!(send.arguments[2], Some(reference("Choice")));
    assert_eq!(send.reply, Some(json!({ "anyOf": [reference("Parcel"), { "type": "null" }] })));
    assert_eq!(send.error, Some(reference("Refusal")));

    let sort = &schemas.methods["sort"];
    assert_eq!(sort.items_taken, Some(reference("Parcel")));
    assert_eq!(sort.items_given, Some(reference("Choice")));
    assert!(sort.arguments.is_empty() && sort.reply.is_some());
    assert_eq!((&send.items_taken, &send.items_given), (&None, &None));

    let parcel = &schemas.taken["Parcel"];
    let mut names: Vec<&String> = parcel["properties"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["grams", "inner", "isFragile", "labelText", "to"]);
    assert_eq!(parcel["properties"]["labelText"]["description"], "What is written on it.");
    assert_eq!(parcel["properties"]["inner"]["items"], reference("Parcel"));
    let required = |schema: &Value| {
        let names =
            schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(required(parcel), ["grams", "inner", "labelText"]);
    // What is read may do without that which is always written.
    assert!(required(&schemas.given["Parcel"]).contains(&"isFragile".to_owned()));

    let kinds = schemas.taken["Address"]["oneOf"].as_array().unwrap();
    let kinds: Vec<&Value> = kinds.iter().map(|kind| &kind["properties"]["kind"]["const"]).collect();
    assert_eq!(kinds, ["house", "shop"]);
    assert_eq!(schemas.taken["Choice"]["anyOf"].as_array().unwrap().len(), 2);
    assert_eq!(schemas.taken["Id"]["type"], "integer");
    assert!(!schemas.taken.contains_key("Refusal") && schemas.given.contains_key("Refusal"));
}

#[test]
fn types_that_tell_nothing_may_be_anything() {
    let schemas = <Post as Definition>::schemas();
    assert!(!schemas.methods.contains_key("file"));
    assert!(!schemas.methods.contains_key("page"));
    // Nor do clients know any: they are the server's to tell.
    assert_eq!(<PostClient as Definition>::schemas(), Schemas::default());
}

#[test]
fn a_trait_tells_too() {
    let schemas = <OfficeService<Scales> as Definition>::schemas();
    assert_eq!(schemas.methods["weigh"].arguments, [Some(reference("Parcel"))]);
    assert_eq!(schemas.methods["weigh"].reply.as_ref().unwrap()["type"], "integer");
}

#[test]
fn old_and_new_descriptions_are_read() {
    let description = ServiceDescription::from(<Post as Definition>::INFO);
    let described = Described {
        description: description.clone(),
        layout_version: None,
        schemas: <Post as Definition>::schemas(),
    };
    let text = serde_json::to_string(&described).unwrap();
    assert_eq!(serde_json::from_str::<Described>(&text).unwrap(), described);
    // A program of before tells nothing; whoever knows nothing of schemas reads the rest.
    assert_eq!(serde_json::from_str::<ServiceDescription>(&text).unwrap(), description);
    let old = serde_json::to_string(&description).unwrap();
    let silent = Described { description, layout_version: None, schemas: Schemas::default() };
    assert_eq!(serde_json::from_str::<Described>(&old).unwrap(), silent);
    assert_eq!(serde_json::to_string(&silent).unwrap(), old);
}
