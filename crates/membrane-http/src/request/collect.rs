//! How a field is found and judged, and how its place gets into the error.
//!
//! Which kinds of fields there are is not here, see [`Fields`]; nor what one value means.

use super::field_error::{Problem, Problems, Step};
use super::fields::Fields;
use super::json;
use super::query::Parameters;

#[derive(Debug)]
pub(super) enum Source<'a> {
    /// The text of a JSON object.
    Object(&'a str),
    Query(Parameters),
}

/// What was read.
enum Got<T> {
    Value(T),
    Wrong,
    Absent,
}

impl Fields<'_> {
    pub(super) fn is_null(&self, name: &'static str) -> bool {
        matches!(self.source.find(name), Some(Ok("null")))
    }

    pub(super) fn required<T>(
        &mut self,
        name: &'static str,
        stand_in: T,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> T {
        match self.read(name, parse) {
            Got::Value(value) => value,
            Got::Wrong => stand_in,
            Got::Absent => {
                self.refuse_missing(name);
                stand_in
            }
        }
    }

    /// Reports a field as missing: one that only some requests need.
    pub fn refuse_missing(&mut self, name: &'static str) {
        let whole = self.source.whole();
        self.problems.add(|| Problem::Missing.at(below(&self.loc, [Step::Name(name)]), whole));
    }

    pub(super) fn defaulted<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        match self.read(name, parse) {
            Got::Value(value) => Some(value),
            Got::Wrong | Got::Absent => None,
        }
    }

    pub(super) fn optional<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Option<T> {
        self.defaulted(name, |json| if json == "null" { Ok(None) } else { parse(json).map(Some) }).flatten()
    }

    fn read<T>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, Problem>) -> Got<T> {
        let (json, parsed) = match self.source.find(name) {
            None => return Got::Absent,
            Some(Ok(json)) => (json, parse(json)),
            Some(Err(replaced)) => (replaced, Err(Problem::NotUnicode)),
        };
        match parsed {
            Ok(value) => Got::Value(value),
            Err(problem) => {
                self.problems.add(|| problem.at(below(&self.loc, [Step::Name(name)]), json));
                Got::Wrong
            }
        }
    }

    /// A list of what `read` makes of the items; items that are wrong are left out and reported.
    pub(super) fn list<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Item<'_>, &str) -> Result<T, Problem>,
    ) -> Option<Vec<T>> {
        let Some(Ok(json)) = self.source.find(name) else {
            return self.defaulted(name, |_| Err(Problem::NotAList));
        };
        let mut list = Vec::new();
        let is_list = json::for_each_item(json, |index, json| {
            let loc = below(&self.loc, [Step::Name(name), Step::Index(index)]);
            match read(&mut Item { loc: &loc, problems: &mut self.problems }, json) {
                Ok(item) => list.push(item),
                Err(problem) => self.problems.add(|| problem.at(loc, json)),
            }
        });
        if is_list { Some(list) } else { self.defaulted(name, |_| Err(Problem::NotAList)) }
    }
}

/// Where a list's item stands, and where its problems go.
pub(super) struct Item<'p> {
    pub(super) loc: &'p Vec<Step>,
    pub(super) problems: &'p mut Problems,
}

impl Source<'_> {
    /// The value as JSON; as an error, what is left of a parameter that is no text.
    pub(super) fn find(&self, name: &str) -> Option<Result<&str, &str>> {
        match self {
            Self::Object(object) => json::find(object, name).map(Ok),
            Self::Query(parameters) => parameters.find(name),
        }
    }

    /// What a missing field is missing from.
    fn whole(&self) -> &str {
        match self {
            Self::Object(object) => object,
            Self::Query(_) => "null",
        }
    }
}

fn below<const N: usize>(loc: &[Step], steps: [Step; N]) -> Vec<Step> {
    loc.iter().copied().chain(steps).collect()
}
