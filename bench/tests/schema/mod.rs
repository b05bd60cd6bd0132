//! Files of results against their schema, for the tests of the program and for those that run it.
//!
//! This knows the words of JSON Schema that the schema uses, and takes any other for an error. A library that knows all
//! of them would bring many crates for a test.

use serde_json::{Map, Value};

/// Where a file does not follow a schema, and how.
pub fn problems(schema: &Value, file: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Check { root: schema }.value(schema, file, "", &mut found);
    found
}

struct Check<'a> {
    root: &'a Value,
}

impl Check<'_> {
    fn value(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let Some(words) = schema.as_object() else {
            assert_eq!(*schema, true, "neither an object nor true");
            return;
        };
        for (word, rule) in words {
            self.word(words, (word, rule), value, at, found);
        }
    }

    fn word(
        &self,
        words: &Map<String, Value>,
        (word, rule): (&str, &Value),
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) {
        let mut expect = |holds: bool| {
            if !holds {
                found.push(format!("{at}: {value} against {word} {rule}"));
            }
        };
        let number = || (value.as_f64().unwrap_or(f64::NAN), rule.as_f64().expect("a bound is a number"));
        match word {
            "$schema" | "$id" | "$defs" | "title" | "description" | "default" | "format" => {}
            "const" => expect(value == rule),
            "type" => expect(list(rule).iter().any(|name| is_of_type(value, name.as_str().expect("a name")))),
            "minimum" => expect(!value.is_number() || number().0 >= number().1),
            "maximum" => expect(!value.is_number() || number().0 <= number().1),
            "minItems" => expect(value.as_array().is_none_or(|items| items.len() as f64 >= number().1)),
            "maxItems" => expect(value.as_array().is_none_or(|items| items.len() as f64 <= number().1)),
            "required" => {
                let has = |name: &Value| value.get(name.as_str().expect("a name")).is_some();
                expect(!value.is_object() || list(rule).iter().all(has));
            }
            "oneOf" => expect(self.fitting(rule, value) == 1),
            "anyOf" => expect(self.fitting(rule, value) >= 1),
            "allOf" => list(rule).iter().for_each(|schema| self.value(schema, value, at, found)),
            "$ref" => {
                let path = rule.as_str().and_then(|path| path.strip_prefix('#')).expect("a place in this file");
                self.value(self.root.pointer(path).expect("it is there"), value, at, found);
            }
            "properties" | "additionalProperties" => self.members(words, (word, rule), value, at, found),
            "prefixItems" | "items" => self.items(words, (word, rule), value, at, found),
            _ => panic!("this test does not know {word:?} of JSON Schema"),
        }
    }

    /// How many of some schemas a value follows.
    fn fitting(&self, schemas: &Value, value: &Value) -> usize {
        let fits = |schema: &&Value| {
            let mut found = Vec::new();
            self.value(schema, value, "", &mut found);
            found.is_empty()
        };
        list(schemas).iter().filter(fits).count()
    }

    fn members(
        &self,
        words: &Map<String, Value>,
        (word, rule): (&str, &Value),
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) {
        for (name, member) in value.as_object().into_iter().flatten() {
            let named = words.get("properties").and_then(|properties| properties.get(name));
            let schema = if word == "properties" { named } else { named.is_none().then_some(rule) };
            if let Some(schema) = schema {
                self.value(schema, member, &format!("{at}/{name}"), found);
            }
        }
    }

    fn items(
        &self,
        words: &Map<String, Value>,
        (word, rule): (&str, &Value),
        value: &Value,
        at: &str,
        found: &mut Vec<String>,
    ) {
        let first = words.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
        for (number, item) in value.as_array().into_iter().flatten().enumerate() {
            let schema = if word == "items" { (number >= first).then_some(rule) } else { rule.get(number) };
            if let Some(schema) = schema {
                self.value(schema, item, &format!("{at}/{number}"), found);
            }
        }
    }
}

/// An array, or one value.
fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice)
}

fn is_of_type(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        _ => panic!("this test does not know the type {name:?} of JSON Schema"),
    }
}
