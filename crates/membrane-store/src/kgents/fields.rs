//! The fields of one old JSON object, read with the patience that old files need: what is of another type is
//! converted if it can be, what is unknown is kept aside, and each time it is said.

use serde_json::{Map, Value};

use super::json::{self, Repairs};
use super::old::{OldRow, Place};
use super::report::{Finding, Oddity};

/// How many characters of a value are shown in a finding.
const SHOWN: usize = 60;

/// The fields of an object, taken out one after the other.
#[derive(Debug)]
pub struct Fields {
    place: Place,
    session: Option<String>,
    object: Map<String, Value>,
    aside: Vec<(OldRow, Finding)>,
}

impl Fields {
    /// The fields of the object at `place`; what is kept aside of it belongs to `session`.
    pub fn new(place: Place, session: Option<String>, object: Map<String, Value>) -> Self {
        Self { place, session, object, aside: Vec::new() }
    }

    /// Where the object stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Takes a field as it is; `None` if it is missing or null.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        // The order of the others does not matter any more.
        self.object.swap_remove(name).filter(|value| !value.is_null())
    }

    /// A text; the empty one counts as none.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => Some(text),
            other => Some(self.spelled(name, &other)),
        }
    }

    /// A text that belongs there; the empty one if it is missing.
    pub fn words(&mut self, name: &str) -> String {
        match self.take(name) {
            Some(Value::String(text)) => text,
            Some(other) => self.spelled(name, &other),
            None => {
                self.put_aside(name, "null", Oddity::WrongType, format!("{name} is missing; read as empty"));
                String::new()
            }
        }
    }

    fn spelled(&mut self, name: &str, value: &Value) -> String {
        let text = value.to_string();
        let what = format!("{name} is {}, not text; read as the text of it", shown(&text));
        self.put_aside(name, &text, Oddity::WrongType, what);
        text
    }

    /// A whole number.
    pub fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        if let Some(number) = value.as_i64() {
            return Some(number);
        }
        let read = as_integer(&value);
        self.converted(name, &value, "a whole number", read)
    }

    /// A number.
    pub fn number(&mut self, name: &str) -> Option<f64> {
        let value = self.take(name)?;
        if let Some(number) = value.as_f64() {
            return Some(number);
        }
        let read = match &value {
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        };
        self.converted(name, &value, "a number", read)
    }

    /// Yes or no; no if it is missing.
    pub fn flag(&mut self, name: &str) -> bool {
        let Some(value) = self.take(name) else { return false };
        if let Value::Bool(flag) = value {
            return flag;
        }
        let read = match &value {
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            other => other.as_f64().map(|number| number != 0.0),
        };
        self.converted(name, &value, "true or false", read).unwrap_or(false)
    }

    fn converted<T: std::fmt::Debug>(
        &mut self,
        name: &str,
        value: &Value,
        wanted: &str,
        read: Option<T>,
    ) -> Option<T> {
        let text = value.to_string();
        let became = read.as_ref().map_or("left out".to_owned(), |read| format!("read as {read:?}"));
        let what = format!("{name} is {}, not {wanted}; {became}", shown(&text));
        self.put_aside(name, &text, Oddity::WrongType, what);
        read
    }

    /// JSON in a text, as the file has it, except for what Python alone calls JSON.
    pub fn json_text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) if text.is_empty() => None,
            Value::String(text) => {
                let (repaired, repairs) = json::repair(&text);
                if repairs.is_nothing() {
                    return Some(text);
                }
                let repaired = repaired.into_owned();
                self.note_repairs(name, &text, repairs);
                Some(repaired)
            }
            other => {
                let text = other.to_string();
                let what = format!("{name} is JSON itself, not a text that holds JSON; read all the same");
                self.put_aside(name, &text, Oddity::WrongType, what);
                Some(text)
            }
        }
    }

    /// The JSON text of a value that may be anything.
    pub fn json_value(&mut self, name: &str) -> Option<String> {
        self.take(name).map(|value| value.to_string())
    }

    /// Takes fields that say nothing new.
    pub fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.object.swap_remove(*name);
        }
    }

    /// Notes what had to be replaced in the JSON of a field; `original` is its text.
    pub fn note_repairs(&mut self, name: &str, original: &str, repairs: Repairs) {
        if repairs.surrogates > 0 {
            let what = format!(
                "{name} holds {} of a surrogate pair alone, which no text can hold; U+FFFD stands there now",
                if repairs.surrogates == 1 {
                    "half".to_owned()
                } else {
                    format!("{} halves", repairs.surrogates)
                },
            );
            self.put_aside(name, original, Oddity::NotText, what);
        }
        if repairs.constants > 0 {
            let what = format!("{name} holds NaN or Infinity, which are not JSON; null stands there now");
            self.put_aside(name, original, Oddity::BadJson, what);
        }
    }

    /// Keeps a field's value aside.
    pub fn put_aside(&mut self, name: &str, value: &str, oddity: Oddity, what: String) {
        let row = OldRow {
            session: self.session.clone(),
            source: format!("{}.{name}", self.place.table),
            row: self.place.row.clone(),
            value: value.to_owned(),
            reason: what.clone(),
        };
        self.aside.push((row, Finding { oddity, place: self.place.clone(), what }));
    }

    /// What is kept aside: what was odd, and every field that nobody took.
    pub fn finish(mut self) -> Vec<(OldRow, Finding)> {
        // Null says as little as a field that is not there.
        let rest = std::mem::take(&mut self.object);
        for (name, value) in rest.into_iter().filter(|(_, value)| !value.is_null()) {
            let text = value.to_string();
            let what = format!("{} is no field that is known; kept aside", shown(&name));
            self.put_aside(&name, &text, Oddity::UnknownField, what);
        }
        self.aside
    }
}

/// A value as it is shown in a finding: quoted, and shortened.
pub fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

/// A whole number, whatever type it was written as.
pub fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Bool(flag) => Some(i64::from(*flag)),
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_i64().or_else(|| other.as_f64().and_then(whole)),
    }
}

fn whole(number: f64) -> Option<i64> {
    // Up to here every whole number has its own place among the floating ones.
    const MAX: f64 = 9_007_199_254_740_992.0;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and within bounds")]
    (number.fract() == 0.0 && number.abs() <= MAX).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        let (object, _) = json::parse_object(text).unwrap();
        Fields::new(Place { table: "chat.turn", row: "rowid 7".into() }, Some("s".into()), object)
    }

    fn kinds(fields: Fields) -> Vec<(Oddity, String)> {
        fields.finish().into_iter().map(|(row, finding)| (finding.oddity, row.source)).collect()
    }

    #[test]
    fn values_of_their_type_are_taken_without_a_word() {
        let mut fields = fields(
            r#"{"t": "x", "e": "", "n": null, "i": 3, "d": 0.5, "f": true, "j": "{}", "v": [1, "a"], "w": "\u0000"}"#,
        );
        assert_eq!(fields.text("t").as_deref(), Some("x"));
        assert_eq!((fields.text("e"), fields.text("n"), fields.text("missing")), (None, None, None));
        assert_eq!((fields.integer("i"), fields.number("d"), fields.flag("f")), (Some(3), Some(0.5), true));
        assert_eq!(fields.json_text("j").as_deref(), Some("{}"));
        assert_eq!(fields.json_value("v").as_deref(), Some(r#"[1,"a"]"#));
        assert_eq!(fields.words("w"), "\0");
        assert_eq!(kinds(fields), []);
    }

    #[test]
    fn values_of_another_type_are_converted_and_kept() {
        let mut fields = fields(
            r#"{"t": 5, "a": "7", "b": 3.0, "c": true, "d": "x", "f": 1, "g": "true", "h": [], "n": "0.5",
                "j": {"a": 1}, "k": "{\"a\": NaN, \"b\": \"\\ud800\"}"}"#,
        );
        assert_eq!(fields.text("t").as_deref(), Some("5"));
        let integers = ["a", "b", "c", "d"].map(|name| fields.integer(name));
        assert_eq!(integers, [Some(7), Some(3), Some(1), None]);
        assert_eq!(["f", "g", "h"].map(|name| fields.flag(name)), [true, true, false]);
        assert_eq!(fields.number("n"), Some(0.5));
        assert_eq!(fields.json_text("j").as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(fields.json_text("k").as_deref(), Some("{\"a\": null, \"b\": \"\\ufffd\"}"));
        assert_eq!(fields.words("missing"), "");
        let aside = fields.finish();
        assert_eq!(aside.len(), 13, "{aside:?}");
        assert_eq!(aside[1].0.value, "\"7\"");
        assert_eq!(aside[1].1.what, "a is \"\\\"7\\\"\", not a whole number; read as 7");
    }

    #[test]
    fn what_nobody_took_is_kept_aside_under_its_name() {
        let mut fields = fields(r#"{"a": 1, "mood": {"x": [1]}, "b": 2}"#);
        fields.ignore(&["a", "b"]);
        let aside = fields.finish();
        assert_eq!(aside[0].0.source, "chat.turn.mood");
        assert_eq!(aside[0].0.value, r#"{"x":[1]}"#);
        assert_eq!(aside[0].0.session.as_deref(), Some("s"));
        assert_eq!(aside[0].1.oddity, Oddity::UnknownField);
    }
}
