//! What is said while a session is loaded: findings for the report, and values that are kept aside.

use membrane_core::time::Timestamp;

use super::LoadOptions;
use super::times::{self, OldTime};
use crate::kgents::old::{OldRow, Place};
use crate::kgents::report::{Oddity, Report};

/// How many characters of a value are shown in a finding.
const SHOWN: usize = 60;

/// Notes about one session.
pub(super) struct Notes<'a> {
    pub(super) report: &'a mut Report,
    pub(super) options: &'a LoadOptions,
    /// The session's id.
    pub(super) session: String,
    /// What is kept aside and not yet written.
    pub(super) aside: Vec<OldRow>,
}

impl Notes<'_> {
    /// Says that something is odd.
    pub(super) fn note(&mut self, oddity: Oddity, place: &Place, what: impl Into<String>) {
        self.report.note(oddity, place, what);
    }

    /// Keeps a column's text.
    pub(super) fn keep(&mut self, place: &Place, column: &str, value: &str, reason: impl Into<String>) {
        self.aside.push(OldRow {
            session: Some(self.session.clone()),
            source: format!("{}.{column}", place.table),
            row: place.row.clone(),
            value: value.to_owned(),
            reason: reason.into(),
        });
    }

    /// Both.
    pub(super) fn set_aside(
        &mut self,
        oddity: Oddity,
        place: &Place,
        column: &str,
        value: &str,
        problem: impl AsRef<str>,
    ) {
        let problem = problem.as_ref();
        self.note(oddity, place, format!("{column} {}: {problem}; its text is kept aside", shown(value)));
        self.keep(place, column, value, problem);
    }

    /// Reads a time. `None` if there is none, or none that can be read, which is said.
    pub(super) fn time(&mut self, place: &Place, column: &str, text: Option<&str>) -> Option<Timestamp> {
        let text = text?;
        match times::read(text, &self.options.naive_zone) {
            OldTime::Exact(at) => Some(at),
            OldTime::Ambiguous(at) => {
                let what = format!("{column} {} came twice or never in its zone; read as {at}", shown(text));
                self.note(Oddity::AmbiguousTime, place, what);
                self.keep(place, column, text, "a local time that came twice or never");
                Some(at)
            }
            OldTime::Bad if text.is_empty() => None,
            OldTime::Bad => {
                self.set_aside(Oddity::BadTime, place, column, text, "not a time");
                None
            }
        }
    }
}

/// A value's beginning, for people.
pub(super) fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(SHOWN).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}
