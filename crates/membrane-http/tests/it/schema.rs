//! Holds a JSON value against a schema of the OpenAPI document: as much of JSON Schema as the document uses, and a
//! panic for whatever else it may use one day. Objects may hold only what is documented.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::shape::is_time;

/// What an OpenAPI document says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Document<'d>(pub(crate) &'d Value);

impl<'d> Document<'d> {
    /// What does not fit, one line each.
    pub(crate) fn check(self, schema: &'d Value, value: &Value) -> Vec<String> {
        let mut problems = Vec::new();
        self.look(schema, value, "", &mut problems);
        problems
    }

    /// The schema that a reference means.
    pub(crate) fn resolve(self, schema: &'d Value) -> &'d Value {
        let Some(path) = schema.get("$ref").and_then(Value::as_str) else { return schema };
        let pointer = path.strip_prefix('#').expect("a reference into the document");
        self.0.pointer(pointer).unwrap_or_else(|| panic!("{path} is nowhere in the document"))
    }

    /// All names that an object of this schema may hold; `None` if it may hold any.
    fn fields(self, schema: &'d Value) -> Option<BTreeSet<&'d str>> {
        let schema = self.resolve(schema);
        if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
            return parts
                .iter()
                .map(|part| self.fields(part))
                .try_fold(BTreeSet::new(), |all, part| Some(all.union(&part?).copied().collect()));
        }
        let properties = schema.get("properties").and_then(Value::as_object)?;
        Some(properties.keys().map(String::as_str).collect())
    }

    /// Looks at the value, and at whether it holds more than it may.
    fn look(self, schema: &'d Value, value: &Value, place: &str, problems: &mut Vec<String>) {
        self.fit(schema, value, place, problems);
        if let (Some(fields), Some(object)) = (self.fields(schema), value.as_object()) {
            let unknown = object.keys().filter(|name| !fields.contains(name.as_str()));
            problems.extend(unknown.map(|name| format!("{place}.{name} is not documented")));
        }
    }

    fn fit(self, schema: &'d Value, value: &Value, place: &str, problems: &mut Vec<String>) {
        let keywords: &Map<_, _> = self.resolve(schema).as_object().expect("a schema is an object");
        for (keyword, rule) in keywords {
            match keyword.as_str() {
                "type" => {
                    let types = rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice);
                    if !types.iter().any(|kind| is_of(value, kind.as_str().expect("a type"))) {
                        problems.push(format!("{place} is {value}, not of type {rule}"));
                    }
                }
                "format" => {
                    let format = rule.as_str().expect("a format");
                    if !has_format(value, format) {
                        problems.push(format!("{place} is {value}, not in the form {format}"));
                    }
                }
                "enum" if !rule.as_array().expect("values").contains(value) => {
                    problems.push(format!("{place} is {value}, not one of {rule}"));
                }
                "minimum" if value.as_f64().is_some_and(|number| number < rule.as_f64().unwrap()) => {
                    problems.push(format!("{place} is {value}, less than {rule}"));
                }
                "maximum" if value.as_f64().is_some_and(|number| number > rule.as_f64().unwrap()) => {
                    problems.push(format!("{place} is {value}, more than {rule}"));
                }
                "description" | "enum" | "minimum" | "maximum" => {}
                "required" => {
                    let names = rule.as_array().expect("names").iter().map(|name| name.as_str().unwrap());
                    let missing = names.filter(|name| value.is_object() && value.get(name).is_none());
                    problems.extend(missing.map(|name| format!("{place}.{name} is missing")));
                }
                "properties" => {
                    for (name, schema) in rule.as_object().expect("schemas") {
                        if let Some(value) = value.get(name) {
                            self.look(schema, value, &format!("{place}.{name}"), problems);
                        }
                    }
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.look(rule, item, &format!("{place}[{index}]"), problems);
                    }
                }
                "allOf" => {
                    for part in rule.as_array().expect("schemas") {
                        self.fit(part, value, place, problems);
                    }
                }
                "oneOf" => {
                    let all = rule.as_array().expect("schemas").iter();
                    let results: Vec<_> = all.map(|schema| self.check(schema, value)).collect();
                    if results.iter().filter(|problems| problems.is_empty()).count() != 1 {
                        problems.push(format!("{place} is not exactly one of what it may be: {results:?}"));
                    }
                }
                unknown => panic!("{unknown} is not known to this checker"),
            }
        }
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("{unknown} is no type"),
    }
}

/// Formats speak of values of their own type alone.
fn has_format(value: &Value, format: &str) -> bool {
    match format {
        "date-time" => value.as_str().is_none_or(is_time),
        "int32" => !value.is_number() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        "int64" => !value.is_number() || value.as_i64().is_some(),
        "double" => true,
        unknown => panic!("{unknown} is not known to this checker"),
    }
}
