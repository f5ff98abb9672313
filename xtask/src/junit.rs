//! The report that cargo-nextest writes: totals, the tests that failed, and what all tests printed.
//!
//! Not here: XML in general. This reads the one shape that nextest writes, in which every `<` and `>` of a text
//! is escaped.

use crate::failure::{Failure, Outcome};
use crate::runner::Report;

/// Reads a report.
///
/// # Errors
/// The text has not the shape of such a report.
pub(crate) fn parse(xml: &str) -> Outcome<Report> {
    let head = element(xml, "testsuites").ok_or_else(|| misshapen("<testsuites>"))?;
    let count = |name| attribute(head, name).and_then(|value| value.parse::<u64>().ok());
    let (Some(n_run), Some(n_failures), Some(n_errors)) =
        (count("tests"), count("failures"), count("errors"))
    else {
        return Err(misshapen("the counts of <testsuites>"));
    };
    let n_failed = n_failures + n_errors;
    let n_passed = n_run.checked_sub(n_failed).ok_or_else(|| misshapen("counts that add up"))?;

    let mut report = Report { n_passed, n_failed, ..Report::default() };
    for case in xml.split("<testcase ").skip(1) {
        let case = case.split_once("</testcase>").map_or(case, |(case, _)| case);
        let name = attribute(case, "name").ok_or_else(|| misshapen("the name of a <testcase>"))?;
        if case.contains("<failure") || case.contains("<error") {
            let binary = attribute(case, "classname").unwrap_or_default();
            report.failed.push(format!("{} {}", unescaped(binary), unescaped(name)));
        }
        if let Some((_, printed)) = case.split_once("<system-out>") {
            let printed = printed.split_once("</system-out>").map_or(printed, |(printed, _)| printed);
            report.printed.push_str(&unescaped(printed));
            report.printed.push('\n');
        }
    }
    Ok(report)
}

fn misshapen(what: &str) -> Failure {
    Failure::new(format!(
        "the report of cargo-nextest lacks {what}; update it: cargo install --locked cargo-nextest"
    ))
}

/// The attributes of the first element of this name.
fn element<'xml>(xml: &'xml str, name: &str) -> Option<&'xml str> {
    let (_, rest) = xml.split_once(&format!("<{name} "))?;
    rest.split_once('>').map(|(attributes, _)| attributes)
}

/// The value of an attribute, among those that stand before the first `>`.
fn attribute<'xml>(element: &'xml str, name: &str) -> Option<&'xml str> {
    let attributes = element.split_once('>').map_or(element, |(attributes, _)| attributes);
    let start = if attributes.starts_with(&format!("{name}=\"")) {
        name.len() + 2
    } else {
        attributes.find(&format!(" {name}=\""))? + name.len() + 3
    };
    attributes[start..].split_once('"').map(|(value, _)| value)
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" skipped="0" failures="1" errors="0" uuid="44a9" time="2.0">
    <testsuite name="core::it" tests="3" skipped="0" errors="0" failures="1">
        <testcase name="laws::good" classname="core::it" timestamp="t" time="0.1">
            <system-out>
running 1 test
campaign: law=a &amp; &lt;b&gt; &lt;/testcase&gt;
</system-out>
            <system-err></system-err>
        </testcase>
        <testcase name="laws::bad" classname="core::it" timestamp="t" time="0.1">
            <failure message="x" type="test failure with exit code 101">thread panicked</failure>
            <system-out>campaign: law=c</system-out>
        </testcase>
        <testcase name="quiet" classname="core::it" timestamp="t" time="0.1"/>
    </testsuite>
</testsuites>"#;

    #[test]
    fn totals_failed_tests_and_what_was_printed_are_read() {
        let report = parse(REPORT).expect("it is a report");
        assert_eq!((report.n_passed, report.n_failed), (2, 1));
        assert_eq!(report.failed, ["core::it laws::bad"]);
        let lines: Vec<&str> = report.printed.lines().filter(|line| line.starts_with("campaign")).collect();
        assert_eq!(lines, ["campaign: law=a & <b> </testcase>", "campaign: law=c"]);
    }

    #[test]
    fn another_shape_is_refused() {
        for text in
            ["", "<html>", r#"<testsuites name="x">"#, &REPORT.replace("failures=\"1\"", "failures=\"9\"")]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
