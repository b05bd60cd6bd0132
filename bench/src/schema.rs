//! The JSON Schema of all files of results, made of their types and the comments on them. It is published as
//! `bench/schema/results.schema.json`; `ringfort-bench report --schema` prints it.

use schemars::JsonSchema;
use serde_json::{Value, json};

use crate::handshakes;
use crate::results::Results;
use crate::results::files::{Carried, FLOODS, File, Floods, HANDSHAKES, SCHEMA_VERSION, SOAK, STAGES, Stages, TRAFFIC};
use crate::results::model::{self, SCHEMA};
use crate::soak::Soak;

/// A file of results of `ringfort-bench`. `schema` says which kind it is. Fields may be added within a version; they
/// change their meaning or disappear only with a new one.
#[derive(JsonSchema)]
#[schemars(untagged, title = "Results of ringfort-bench")]
#[expect(dead_code, reason = "it is there for its schema")]
enum AnyFile {
    Session(Box<Results>),
    Traffic(Box<File<Carried>>),
    Handshakes(Box<File<handshakes::Outcome>>),
    Stages(Box<File<Stages>>),
    Floods(Box<File<Floods>>),
    Soak(Box<File<Soak>>),
}

/// The values of `schema` and `schema_version`, in the order of [`AnyFile`].
const KINDS: [(&str, u32); 6] = [
    (SCHEMA, model::SCHEMA_VERSION),
    (TRAFFIC, SCHEMA_VERSION),
    (HANDSHAKES, SCHEMA_VERSION),
    (STAGES, SCHEMA_VERSION),
    (FLOODS, SCHEMA_VERSION),
    (SOAK, SCHEMA_VERSION),
];

/// The whole schema.
pub fn document() -> Value {
    let mut document = schemars::schema_for!(AnyFile).to_value();
    let Some(kinds) = document.as_object_mut().and_then(|object| object.remove("anyOf")) else { return document };
    let kinds = kinds.as_array().cloned().unwrap_or_default().into_iter().zip(KINDS);
    let named = kinds.map(|(kind, (name, version))| {
        let versions = json!({ "schema": { "const": name }, "schema_version": { "const": version } });
        json!({ "title": name, "properties": versions, "required": ["schema", "schema_version"], "allOf": [kind] })
    });
    document["oneOf"] = named.collect();
    document["$id"] = "urn:ringfort:bench:results:1".into();
    document
}

/// As the file has it.
pub fn text() -> String {
    serde_json::to_string_pretty(&document()).expect("a schema has string keys and finite numbers only") + "\n"
}

#[cfg(test)]
#[path = "../tests/schema/mod.rs"]
mod check;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    const PUBLISHED: &str = include_str!("../schema/results.schema.json");

    fn problems(file: &Value) -> Vec<String> {
        check::problems(&document(), file)
    }

    #[test]
    fn what_is_published_is_what_the_types_say() {
        let published: Value = serde_json::from_str(PUBLISHED).unwrap();
        assert!(
            document() == published,
            "write it anew: cargo run -p ringfort-bench -- report --schema >bench/schema/results.schema.json"
        );
    }

    #[test]
    fn every_kind_of_file_follows_it() {
        let session = serde_json::to_value(synthetic::results()).unwrap();
        let others = synthetic::others().into_iter().map(|file| serde_json::from_str(&file).unwrap());
        for file in std::iter::once(session).chain(others) {
            assert_eq!(problems(&file), Vec::<String>::new(), "{}", file["schema"]);
        }
    }

    #[test]
    fn what_does_not_follow_it_is_found() {
        let broken = |change: fn(&mut Value)| {
            let mut session = serde_json::to_value(synthetic::results()).unwrap();
            change(&mut session);
            !problems(&session).is_empty()
        };
        assert!(!broken(|_| ()));
        assert!(broken(|file| file["schema"] = "else".into()));
        assert!(broken(|file| file["schema_version"] = 2.into()));
        assert!(broken(|file| file["runs"][0]["round"] = "first".into()));
        assert!(broken(|file| file["tests"][0]["figures"][0]["unit"] = "furlong".into()));
        assert!(broken(|file| drop(file.as_object_mut().unwrap().remove("stamp"))));
    }
}
