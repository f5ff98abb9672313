//! The fields of a body or of a query, read one after another. What is wrong with them is collected,
//! so that a client is told everything at once, as by pydantic.
//!
//! Rules between fields are not here, they belong to the operation; the mechanism is in `collect`.

use membrane::Json;

use super::collect::Source;
use super::field_error::{Problem, Problems, Step};
use super::integer::Bounds;
use super::query::Parameters;
use super::scalars::{in_bounds, parse_boolean, parse_choice, parse_number, parse_object, parse_string};
use crate::error::ApiError;

/// Reads fields by name. Unknown fields are ignored.
///
/// A reader gives a stand-in for a field that is wrong or missing; [`Fields::finish`] fails then, so
/// nothing may be done with the values before it succeeds.
#[derive(Debug)]
#[must_use = "errors are told by `finish`"]
pub struct Fields<'a> {
    pub(super) source: Source<'a>,
    pub(super) loc: Vec<Step>,
    pub(super) problems: Problems,
}

impl<'a> Fields<'a> {
    /// The fields of an object, whose text was checked.
    pub(super) fn of_object(object: &'a str) -> Self {
        Self { source: Source::Object(object), loc: vec![Step::Name("body")], problems: Problems::default() }
    }

    /// The parameters of a query, as it stands in the URI behind the question mark.
    ///
    /// Of a parameter that stands twice the last one counts; an empty text stays one.
    pub fn of_query(query: Option<&str>) -> Fields<'static> {
        Fields {
            source: Source::Query(Parameters::parse(query.unwrap_or_default())),
            loc: vec![Step::Name("query")],
            problems: Problems::default(),
        }
    }

    /// Whether the field is there, be it null.
    pub fn is_given(&self, name: &'static str) -> bool {
        self.source.find(name).is_some()
    }

    /// Text that must be there; it may be empty.
    pub fn string(&mut self, name: &'static str) -> String {
        self.required(name, String::new(), parse_string)
    }

    /// Text, or `default` if it is not there; null is refused.
    pub fn string_or(&mut self, name: &'static str, default: &str) -> String {
        self.defaulted(name, parse_string).unwrap_or_else(|| default.to_owned())
    }

    /// Text, or none if it is null or not there.
    pub fn optional_string(&mut self, name: &'static str) -> Option<String> {
        self.optional(name, parse_string)
    }

    /// An integer that must be there; `..` has no bounds, `1..` and `1..=100` have.
    ///
    /// What `T` cannot hold is refused as too large.
    pub fn integer<T>(&mut self, name: &'static str, bounds: impl Into<Bounds>) -> T
    where
        T: TryFrom<i64> + Default,
    {
        self.required(name, T::default(), in_bounds(bounds.into()))
    }

    /// An integer, or `default` if it is not there; null is refused.
    pub fn integer_or<T>(&mut self, name: &'static str, default: T, bounds: impl Into<Bounds>) -> T
    where
        T: TryFrom<i64>,
    {
        self.defaulted(name, in_bounds(bounds.into())).unwrap_or(default)
    }

    /// An integer, or none if it is null or not there.
    pub fn optional_integer<T>(&mut self, name: &'static str, bounds: impl Into<Bounds>) -> Option<T>
    where
        T: TryFrom<i64>,
    {
        self.optional(name, in_bounds(bounds.into()))
    }

    /// A yes or no, or `default` if it is not there; null is refused.
    pub fn boolean_or(&mut self, name: &'static str, default: bool) -> bool {
        self.defaulted(name, parse_boolean).unwrap_or(default)
    }

    /// A yes or no, or none if it is null or not there.
    pub fn optional_boolean(&mut self, name: &'static str) -> Option<bool> {
        self.optional(name, parse_boolean)
    }

    /// One of the words, which must be there.
    pub fn choice<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        choices: [(&'static str, T); N],
    ) -> T {
        const { assert!(N > 0, "there is something to choose from") };
        self.required(name, choices[0].1, |json| parse_choice(json, &choices))
    }

    /// One of the words, or `default` if it is not there; null is refused.
    pub fn choice_or<T: Copy, const N: usize>(
        &mut self,
        name: &'static str,
        choices: [(&'static str, T); N],
        default: T,
    ) -> T {
        self.defaulted(name, |json| parse_choice(json, &choices)).unwrap_or(default)
    }

    /// A list of texts, empty if it is not there; null is refused.
    pub fn strings(&mut self, name: &'static str) -> Vec<String> {
        self.list(name, |_, json| parse_string(json)).unwrap_or_default()
    }

    /// A list of texts, or none if it is null or not there.
    pub fn optional_strings(&mut self, name: &'static str) -> Option<Vec<String>> {
        if self.is_null(name) {
            return None;
        }
        self.list(name, |_, json| parse_string(json))
    }

    /// A list of objects, or none if it is null or not there; `read` reads the fields of each.
    pub fn optional_objects<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Fields<'_>) -> T,
    ) -> Option<Vec<T>> {
        if self.is_null(name) {
            return None;
        }
        self.list(name, |fields, json| {
            if !json.starts_with('{') {
                return Err(Problem::NotAnObject);
            }
            let mut inner = Fields {
                source: Source::Object(json),
                loc: fields.loc.clone(),
                problems: std::mem::take(fields.problems),
            };
            let item = read(&mut inner);
            *fields.problems = inner.problems;
            Ok(item)
        })
    }

    /// Any value, byte for byte as it was given; none if it is not there.
    pub fn optional_json(&mut self, name: &'static str) -> Option<Json> {
        self.defaulted(name, |json| Json::parse(name, json).map_err(|_| Problem::NotAString))
    }

    /// A number of at least 0, or none if it is null or not there.
    pub fn optional_number(&mut self, name: &'static str) -> Option<f64> {
        self.optional(name, parse_number)
    }

    /// An object, byte for byte as it was given, which must be there; null is refused.
    pub fn object(&mut self, name: &'static str) -> Option<Json> {
        self.required(name, None, |json| parse_object(name, json).map(Some))
    }

    /// An object, byte for byte as it was given; none if it is null or not there.
    pub fn optional_object(&mut self, name: &'static str) -> Option<Json> {
        self.optional(name, |json| parse_object(name, json))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// 422 `invalid_body` with everything that was wrong.
    pub fn finish(self) -> Result<(), ApiError> {
        self.problems.finish(match self.source {
            Source::Object(_) => "body",
            Source::Query(_) => "query",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn errors(fields: Fields<'_>) -> Value {
        let error = fields.finish().unwrap_err();
        assert_eq!((error.status.as_u16(), error.code), (422, "invalid_body"));
        serde_json::to_value(error.detail).unwrap()
    }

    #[test]
    fn fields_are_read_by_name_and_absent_ones_have_their_defaults() {
        let mut fields = Fields::of_object(
            r#"{"message": "a\u0000", "count": "5", "title": null, "tags": ["x", ""], "strategy": "b",
                "pinned": "Yes", "metadata": {"n": 1.50}, "output": [1e300], "unknown": 1}"#,
        );
        assert_eq!(fields.string("message"), "a\0");
        assert_eq!(fields.string_or("branch_name", "main"), "main");
        assert_eq!(fields.optional_string("title"), None);
        assert_eq!(fields.optional_string("comment"), None);
        assert!(fields.is_given("title") && !fields.is_given("comment"));
        assert_eq!(fields.integer::<u64>("count", 1..), 5);
        assert_eq!(fields.integer_or("limit", 50, 1..=100), 50);
        assert_eq!(fields.optional_integer::<i64>("fork_point", ..), None);
        assert_eq!(fields.strings("tags"), ["x", ""]);
        assert_eq!(fields.strings("artifacts"), [""; 0]);
        assert_eq!(fields.optional_strings("title"), None);
        assert_eq!(fields.choice("strategy", [("a", 1), ("b", 2)]), 2);
        assert_eq!(fields.choice_or("signal", [("a", 1), ("b", 2)], 1), 1);
        assert!(fields.boolean_or("pinned", false));
        assert_eq!(fields.optional_boolean("archived"), None);
        assert_eq!(fields.optional_object("metadata").unwrap().as_str(), r#"{"n": 1.50}"#);
        assert_eq!(fields.optional_json("output").unwrap().as_str(), "[1e300]");
        assert_eq!(fields.optional_json("title").unwrap().as_str(), "null");
        fields.finish().unwrap();
    }

    #[test]
    fn all_that_is_wrong_is_told_at_once_in_the_shapes_of_pydantic() {
        let body = r#"{"message": null, "branch_name": null, "title": 5, "turns": 1.0e1, "fork_point": 1.5,
            "tags": [1, "a", null], "strategy": "z", "pinned": 2, "metadata": []}"#;
        let mut fields = Fields::of_object(body);
        fields.string("message");
        fields.string("summary");
        fields.string_or("branch_name", "main");
        fields.optional_string("title");
        fields.integer::<u64>("turns", 11..);
        fields.optional_integer::<i64>("fork_point", ..);
        fields.strings("tags");
        fields.strings("metadata");
        fields.strings("turns");
        fields.choice_or("strategy", [("a", 1), ("b", 2), ("c", 3)], 1);
        fields.boolean_or("pinned", false);
        fields.optional_object("metadata");
        let string = "Input should be a valid string";
        assert_eq!(
            errors(fields),
            json!([
                {"type": "string_type", "loc": ["body", "message"], "msg": string, "input": null},
                {"type": "missing", "loc": ["body", "summary"], "msg": "Field required",
                    "input": serde_json::from_str::<Value>(body).unwrap()},
                {"type": "string_type", "loc": ["body", "branch_name"], "msg": string, "input": null},
                {"type": "string_type", "loc": ["body", "title"], "msg": string, "input": 5},
                {"type": "greater_than_equal", "loc": ["body", "turns"],
                    "msg": "Input should be greater than or equal to 11", "input": 10.0, "ctx": {"ge": 11}},
                {"type": "int_from_float", "loc": ["body", "fork_point"], "input": 1.5,
                    "msg": "Input should be a valid integer, got a number with a fractional part"},
                {"type": "string_type", "loc": ["body", "tags", 0], "msg": string, "input": 1},
                {"type": "string_type", "loc": ["body", "tags", 2], "msg": string, "input": null},
                {"type": "list_type", "loc": ["body", "turns"], "msg": "Input should be a valid list",
                    "input": 10.0},
                {"type": "literal_error", "loc": ["body", "strategy"], "input": "z",
                    "msg": "Input should be 'a', 'b' or 'c'", "ctx": {"expected": "'a', 'b' or 'c'"}},
                {"type": "bool_parsing", "loc": ["body", "pinned"], "input": 2,
                    "msg": "Input should be a valid boolean, unable to interpret input"},
                {"type": "dict_type", "loc": ["body", "metadata"], "input": [],
                    "msg": "Input should be a valid dictionary"},
            ])
        );
    }

    #[test]
    fn objects_in_a_list_are_read_one_by_one_and_errors_say_where() {
        let read =
            |pick: &mut Fields<'_>| (pick.string("session_id"), pick.integer::<i64>("turn_number", 0..));
        let mut fields =
            Fields::of_object(r#"{"turns": [{"turn_number": 1, "session_id": "s"}], "none": null}"#);
        assert_eq!(fields.optional_objects("turns", read), Some(vec![("s".to_owned(), 1)]));
        assert_eq!(fields.optional_objects("none", read), None);
        assert_eq!(fields.optional_objects("absent", read), None);
        fields.finish().unwrap();

        let mut fields = Fields::of_object(r#"{"turns": [{"turn_number": -1}, 5], "other": {}}"#);
        fields.optional_objects("turns", read);
        fields.optional_objects("other", read);
        fields.string("last");
        let found = errors(fields);
        assert_eq!(
            found.as_array().unwrap()[..4],
            [
                json!({"type": "missing", "loc": ["body", "turns", 0, "session_id"], "msg": "Field required",
                    "input": {"turn_number": -1}}),
                json!({"type": "greater_than_equal", "loc": ["body", "turns", 0, "turn_number"],
                    "msg": "Input should be greater than or equal to 0", "input": -1, "ctx": {"ge": 0}}),
                json!({"type": "model_attributes_type", "loc": ["body", "turns", 1], "input": 5,
                    "msg": "Input should be a valid dictionary or object to extract fields from"}),
                json!({"type": "list_type", "loc": ["body", "other"], "msg": "Input should be a valid list",
                    "input": {}}),
            ]
        );
        assert_eq!(found[4]["loc"], json!(["body", "last"]));
    }

    #[test]
    fn an_integer_that_its_type_cannot_hold_is_too_large() {
        let mut fields = Fields::of_object(r#"{"n": 300, "m": -1}"#);
        fields.integer::<u8>("n", ..);
        fields.integer::<u64>("m", ..);
        let found = errors(fields);
        assert_eq!(
            (&found[0]["type"], &found[1]["type"]),
            (&json!("int_parsing_size"), &json!("int_parsing_size"))
        );
    }

    #[test]
    fn parameters_of_a_query_are_texts_that_are_read_like_fields() {
        let query = "limit=x&limit=20&offset=%205&project_id=&title=a%20b+c&flag=on&x=%ff";
        let mut fields = Fields::of_query(Some(query));
        assert_eq!(fields.integer_or("limit", 50, 1..=100), 20);
        assert_eq!(fields.integer_or("offset", 0, 0..), 5);
        assert_eq!(fields.optional_string("project_id").as_deref(), Some(""));
        assert_eq!(fields.optional_string("title").as_deref(), Some("a b c"));
        assert!(fields.boolean_or("flag", false));
        assert_eq!(fields.optional_string("other"), None);
        fields.finish().unwrap();
        Fields::of_query(None).finish().unwrap();

        let mut fields = Fields::of_query(Some("limit=101&offset=-1&n=true&title=%ff&null=null"));
        fields.integer_or("limit", 50, 1..=100);
        fields.integer_or("offset", 0, 0..);
        fields.integer_or("n", 0, ..);
        fields.optional_string("title");
        fields.string("q");
        assert_eq!(fields.optional_string("null").as_deref(), Some("null"));
        assert_eq!(
            errors(fields),
            json!([
                {"type": "less_than_equal", "loc": ["query", "limit"], "input": "101",
                    "msg": "Input should be less than or equal to 100", "ctx": {"le": 100}},
                {"type": "greater_than_equal", "loc": ["query", "offset"], "input": "-1",
                    "msg": "Input should be greater than or equal to 0", "ctx": {"ge": 0}},
                {"type": "int_parsing", "loc": ["query", "n"], "input": "true",
                    "msg": "Input should be a valid integer, unable to parse string as an integer"},
                {"type": "string_unicode", "loc": ["query", "title"], "input": "\u{fffd}",
                    "msg": "Input should be a valid string, unable to parse raw data as a unicode string"},
                {"type": "missing", "loc": ["query", "q"], "msg": "Field required", "input": null},
            ])
        );
    }
}
