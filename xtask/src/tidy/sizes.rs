//! A file is a room with one purpose: over 400 lines it is warned about, over 600 it fails.
//!
//! Not here: files that are data (`.sql`, `.csv`, `.md`).

use super::assert_no_problems;
use super::sources::{Source, sources};
use crate::campaigns::TIDY;

/// The endings that count as rooms.
const ENDINGS: [&str; 4] = ["rs", "ts", "py", "sh"];
/// From here on a file is named in the output.
const N_LINES_WARNED: usize = 400;
/// No file is longer.
const N_LINES_ALLOWED: usize = 600;
/// Beginnings of the paths of generated files, which nobody reads from top to bottom.
const GENERATED: [&str; 3] = ["Cargo.lock", "crates/membrane-core/tests/data/beta_reference", "web/dist/"];

/// Files that are too long, and files that are about to be.
#[derive(Default)]
struct Verdict {
    too_long: Vec<String>,
    warned: Vec<String>,
}

fn judge(sources: &[Source]) -> Verdict {
    let mut verdict = Verdict::default();
    for source in sources {
        if GENERATED.iter().any(|prefix| source.path.starts_with(prefix)) {
            continue;
        }
        let n_lines = source.text.lines().count();
        if n_lines > N_LINES_ALLOWED {
            verdict.too_long.push(format!("{}: {n_lines} lines; split it", source.path));
        } else if n_lines > N_LINES_WARNED {
            verdict.warned.push(format!("{}: {n_lines} lines; {N_LINES_ALLOWED} is the limit", source.path));
        }
    }
    verdict
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let verdict = judge(&sources(&ENDINGS));
    for warning in &verdict.warned {
        println!("{TIDY}{warning}");
    }
    assert_no_problems("a file holds at most 600 lines", &verdict.too_long);
}

#[test]
fn long_files_are_warned_about_and_too_long_ones_fail_unless_they_are_generated() {
    let source = |path: &str, n_lines| Source { path: path.to_owned(), text: "x\n".repeat(n_lines) };
    let verdict = judge(&[
        source("crates/a/src/a.rs", 400),
        source("crates/a/src/b.rs", 401),
        source("crates/a/src/c.rs", 600),
        source("crates/a/src/d.rs", 601),
        source("web/dist/page.ts", 9000),
    ]);
    assert_eq!(verdict.warned.len(), 2, "{:?}", verdict.warned);
    assert_eq!(verdict.too_long, ["crates/a/src/d.rs: 601 lines; split it"]);
}
