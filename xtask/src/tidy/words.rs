//! Words that a source may not hold: tests that do not run, work that is not done, `unsafe` where it is not
//! expected.
//!
//! Not here: what clippy knows (`dbg!`, `unwrap`). `unsafe` stands here although the compiler forbids it,
//! because a crate may write its own lints.

use super::assert_no_problems;
use super::sources::{Source, code, places_of, sources};

/// The one folder in which `unsafe` may stand.
const UNSAFE_ALLOWED: &str = "crates/membrane-crashtest/";
/// Marks of work that was put off. Written apart, so that this file does not hold them.
const PUT_OFF: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// This file, whose tests hold what they look for.
const ITSELF: &str = "xtask/src/tidy/words.rs";
/// Macros that stand for code nobody wrote.
const UNWRITTEN: [&str; 2] = ["todo", "unimplemented"];

fn problems(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let is_rust = source.ending() == "rs";
        for (line, number) in source.text.lines().zip(1..) {
            let mut report = |what: &str| problems.push(format!("{}:{number}: {what}", source.path));
            for word in PUT_OFF {
                if !places_of(word, line).is_empty() {
                    report(&format!("{word}: do it, or write an issue"));
                }
            }
            if is_rust {
                judge_rust(line, &source.path, &mut report);
            }
        }
    }
    problems
}

fn judge_rust(line: &str, path: &str, report: &mut impl FnMut(&str)) {
    let code = code(line);
    let attribute = code.trim_start();
    if attribute.starts_with("#[") {
        if attribute.starts_with("#[ignore") || is_conditional(attribute, "ignore") {
            report("an ignored test: make it run, or remove it");
        }
        if attribute.starts_with("#[should_panic") || is_conditional(attribute, "should_panic") {
            report("should_panic hides which line panicked: assert on an error");
        }
    }
    let text = line.trim_start().trim_start_matches(['/', '!']).trim_start();
    if text.starts_with("```") && !places_of("ignore", text).is_empty() {
        report("an ignored example: make it compile");
    }
    for name in UNWRITTEN {
        if places_of(name, code).iter().any(|at| code[at + name.len()..].starts_with('!')) {
            report(&format!("{name}!: write it"));
        }
    }
    if !path.starts_with(UNSAFE_ALLOWED)
        && places_of("unsafe", code).iter().any(|at| is_unsafe_code(&code[at + 6..]))
    {
        report(&format!("unsafe: only in {UNSAFE_ALLOWED}"));
    }
}

fn is_conditional(attribute: &str, name: &str) -> bool {
    attribute.starts_with("#[cfg_attr") && !places_of(name, attribute).is_empty()
}

/// Whether `unsafe` is the keyword, by what follows it.
fn is_unsafe_code(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty()
        || rest.starts_with(['{', '('])
        || ["fn", "impl", "extern", "trait"].iter().any(|word| places_of(word, rest).first() == Some(&0))
}

#[test]
fn sources_hold_no_skipped_tests_no_put_off_work_and_no_unsafe_code() {
    let mut sources = sources(&["rs", "ts", "py", "sh", "sql"]);
    sources.retain(|source| source.path != ITSELF);
    assert_no_problems("some words may not stand in a source", &problems(&sources));
}

#[test]
fn each_forbidden_word_is_reported_with_its_line() {
    let put_off = format!("# {}: later", PUT_OFF[0]);
    for (path, line) in [
        ("a.rs", "    #[ignore]"),
        ("a.rs", "    #[ignore = \"slow\"]"),
        ("a.rs", "#[cfg_attr(not(unix), ignore)]"),
        ("a.rs", "    #[should_panic(expected = \"x\")]"),
        ("a.rs", "/// ```rust,ignore"),
        ("a.rs", "    todo!()"),
        ("a.rs", "    unimplemented!(\"x\")"),
        ("a.rs", "    unsafe { x() }"),
        ("a.rs", "pub unsafe fn x() {}"),
        ("a.rs", "unsafe impl Send for X {}"),
        ("a.rs", "#[unsafe(no_mangle)]"),
        ("a.py", put_off.as_str()),
    ] {
        let source = Source { path: path.to_owned(), text: format!("\n{line}\n") };
        let problems = problems(&[source]);
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("{path}:2: ")),
            "{line}: {problems:?}"
        );
    }
}

#[test]
fn innocent_lines_are_not_reported() {
    for (path, line) in [
        ("a.rs", "#![forbid(unsafe_code)]"),
        ("a.rs", "// nothing here is unsafe"),
        ("a.rs", "let ignored = todo_list; // [ignore] that"),
        ("a.rs", "/// ```no_run"),
        ("a.rs", "let message = \"unsafe as it stands\";"),
        ("crates/membrane-crashtest/src/vfs.rs", "unsafe { x() }"),
    ] {
        let problems = problems(&[Source { path: path.to_owned(), text: line.to_owned() }]);
        assert_eq!(problems, Vec::<String>::new(), "{line}");
    }
}
