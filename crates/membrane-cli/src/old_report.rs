//! What was found in an old file and what became of it, as text and as JSON.

use std::fmt::Write;

use membrane::store::kgents::Report;
use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::text::{count, printable};

/// How many findings of one kind are named in the text.
const NAMED: usize = 3;

/// The report as the keys of a JSON document.
pub(crate) fn document(report: &Report) -> Map<String, Value> {
    let tables: Map<String, Value> = report
        .tables
        .iter()
        .map(|(name, rows)| {
            let counts = json!({"total": rows.total, "read": rows.read, "skipped": rows.skipped});
            ((*name).to_owned(), counts)
        })
        .collect();
    let oddities: Map<String, Value> =
        report.oddities.iter().map(|(kind, number)| (kind.as_str().to_owned(), json!(number))).collect();
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            json!({
                "oddity": finding.oddity.as_str(),
                "table": finding.place.table,
                "row": finding.place.row,
                "what": finding.what,
            })
        })
        .collect();
    let document = json!({
        "tables": tables,
        "sessions": {
            "created": report.sessions_created,
            "extended": report.sessions_extended,
            "unchanged": report.sessions_unchanged,
        },
        "turns": {"written": report.turns_written, "shared": report.turns_shared},
        "checkpoints_written": report.checkpoints_written,
        "crystals_written": report.crystals_written,
        "kept_aside": report.kept_aside,
        "oddities": oddities,
        "findings": findings,
    });
    match document {
        Value::Object(document) => document,
        _ => Map::new(),
    }
}

/// The report for people.
pub(crate) fn text(report: &Report) -> String {
    let mut text = String::new();
    for (name, rows) in &report.tables {
        let total = count(rows.total, "row");
        line(&mut text, format_args!("{name}: {total} = {} read + {} skipped", rows.read, rows.skipped));
    }
    line(
        &mut text,
        format_args!(
            "sessions: {} created, {} extended, {} unchanged",
            report.sessions_created, report.sessions_extended, report.sessions_unchanged
        ),
    );
    line(
        &mut text,
        format_args!(
            "written: {}, {}, {}",
            count(report.turns_written, "turn"),
            count(report.checkpoints_written, "checkpoint"),
            count(report.crystals_written, "crystal")
        ),
    );
    if report.turns_shared > 0 {
        line(&mut text, format_args!("shared by forks: {}", count(report.turns_shared, "turn")));
    }
    for (kind, number) in &report.oddities {
        line(&mut text, format_args!("{}: {number}", kind.as_str()));
        let mut named = 0_u64;
        for finding in report.findings.iter().filter(|finding| finding.oddity == *kind).take(NAMED) {
            named += 1;
            line(&mut text, format_args!("  {}: {}", finding.place, finding.what));
        }
        match number - named.min(*number) {
            0 => {}
            _ if named == 0 => {}
            rest => line(&mut text, format_args!("  and {rest} more")),
        }
    }
    if report.kept_aside > 0 {
        let values = count(report.kept_aside, "old value");
        line(&mut text, format_args!("kept aside, word for word: {values}, in the table legacy_rows"));
    }
    text
}

/// Fails if a row is not accounted for.
pub(crate) fn verify(report: &Report) -> Result<(), Failure> {
    let mut wrong = report.tables.iter().filter(|(_, rows)| rows.read + rows.skipped != rows.total);
    match wrong.next() {
        None => Ok(()),
        Some((name, rows)) => Err(Failure::failed(
            "incomplete",
            format!(
                "{name} has {}, but {} were read and {} skipped; keep the old file, and report this",
                count(rows.total, "row"),
                rows.read,
                rows.skipped
            ),
        )),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Old files may hold terminal control sequences: they are shown, never sent. Writing to a string cannot fail.
    let line = printable(&line.to_string()).replace('\n', "\\n");
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use membrane::store::kgents::{Oddity, Place, TableCount};

    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        report.tables.insert("chat_turns", TableCount { total: 1000, read: 995, skipped: 5 });
        report.sessions_created = 2;
        report.turns_written = 1;
        report.kept_aside = 5;
        for n in 0..5 {
            let place = Place { table: "chat_turns", row: format!("rowid {n}") };
            report.note(Oddity::Orphan, &place, "its session \u{1b}[31m is\nnot there");
        }
        report.count_dropped("chat_turns", Oddity::Duplicate, 0);
        report
    }

    #[test]
    fn rows_add_up_and_the_first_few_findings_of_each_kind_are_named() {
        let expected = "\
            chat_turns: 1000 rows = 995 read + 5 skipped\n\
            sessions: 2 created, 0 extended, 0 unchanged\n\
            written: 1 turn, 0 checkpoints, 0 crystals\n\
            orphan: 5\n  \
              chat_turns, rowid 0: its session \\u{1b}[31m is\\nnot there\n  \
              chat_turns, rowid 1: its session \\u{1b}[31m is\\nnot there\n  \
              chat_turns, rowid 2: its session \\u{1b}[31m is\\nnot there\n  \
              and 2 more\n\
            kept aside, word for word: 5 old values, in the table legacy_rows\n";
        assert_eq!(text(&report()), expected);
    }

    #[test]
    fn the_document_names_all_findings() {
        let document = document(&report());
        assert_eq!(document["tables"]["chat_turns"], json!({"total": 1000, "read": 995, "skipped": 5}));
        assert_eq!(document["oddities"], json!({"orphan": 5}));
        assert_eq!(document["findings"].as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn a_row_that_is_not_accounted_for_is_a_failure() {
        let mut report = report();
        assert!(verify(&report).is_ok());
        report.count_read("chat_turns");
        let failure = verify(&report).unwrap_err();
        assert_eq!((failure.exit().code(), failure.code()), (1, "incomplete"));
        assert!(failure.to_string().contains("996"), "{failure}");
    }
}
