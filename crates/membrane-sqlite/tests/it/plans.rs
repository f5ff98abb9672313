//! How SQLite carries out each statement that the sources hold: by an index, and without sorting texts.
//!
//! The statements are read from the sources, so that a new one is looked at without being listed here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::keep::{Keep, column};

/// Rooms that scan by their nature: counting, checking and copying everything, old files, and the schema.
const MAY_SCAN: [&str; 13] = [
    "backup/",
    "check/",
    "counts.rs",
    "detect.rs",
    "doctor/",
    "export/",
    "integrity.rs",
    "migrations.rs",
    "repair/",
    "read/stats.rs",
    "transfer/",
    "universe/",
    "v1/",
];

/// Parts of plans that look like work over all rows and are not, each with its reason.
const FINE: [(&str, &str); 10] = [
    // The schema, and only when a deletion was refused.
    ("FROM sqlite_schema m", "SCAN m"),
    ("FROM sqlite_schema m", "SCAN f"),
    // What belongs to no session is asked for by an export alone.
    ("FROM legacy_rows", "SCAN legacy_rows"),
    // Few rows: one per turn that is being written at this moment.
    ("FROM runs WHERE phase = 'running'", "SCAN runs"),
    ("FROM runs WHERE phase = 'running'", "USE TEMP B-TREE"),
    ("FROM runs WHERE phase = 'running'", "SCAN json_each"),
    // Numbers of slices and sessions, no texts: two sides of a union, each grouped.
    ("max(s.turn_count)", "USE TEMP B-TREE FOR GROUP BY"),
    // Numbers of one history's slices.
    ("SELECT DISTINCT segment_id", "USE TEMP B-TREE FOR DISTINCT"),
    // The oldest ones, no more than are asked for.
    ("FROM events ORDER BY seq LIMIT", "SCAN events"),
    // A range of one thread's signals.
    ("CROSS JOIN turn_signals", "USE TEMP B-TREE FOR ORDER BY"),
];

fn sources() -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    walk(&root, &root, &mut found);
    found
}

/// The string literals of a source, with lines that end in a backslash joined.
fn literals(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    let mut chars =
        source.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    chars = chars.replace("'\"'", "' '");
    let mut chars = chars.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '"' {
            continue;
        }
        let mut literal = String::new();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => match chars.next() {
                    Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                    Some(escaped) => literal.push(escaped),
                    None => break,
                },
                c => literal.push(c),
            }
        }
        literals.push(literal);
    }
    literals
}

/// The constants that statements are put together from: `NAME: &str = "…"`.
fn constants(source: &str) -> Vec<(String, String)> {
    let mut constants = Vec::new();
    for part in source.split("const ").skip(1) {
        if let Some((name, rest)) = part.split_once(": &str =") {
            constants.extend(literals(rest).into_iter().next().map(|text| (name.to_owned(), text)));
        }
    }
    constants
}

/// The statements of a source that can be planned: what is put together is put together here too.
fn statements(source: &str, shared: &[(String, String)]) -> Vec<String> {
    let mut known = constants(source);
    known.extend_from_slice(shared);
    let is_statement = |text: &String| {
        ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "].iter().any(|verb| text.starts_with(verb))
    };
    let statements = literals(source).into_iter().filter(is_statement).flat_map(|mut text| {
        for (name, value) in &known {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        if text.contains("{}") { lists(&text, source) } else { vec![text] }
    });
    statements.collect()
}

/// A list's statement with each combination of its conditions.
fn lists(text: &str, source: &str) -> Vec<String> {
    let project = ["", "project_id = ?"];
    let branch = ["", "branch_name = 'main'", "branch_name <> 'main' AND branch_name = ?"];
    let pages = text.contains("ORDER BY");
    let after = if pages { ["", "(last_active, id) < (?, ?)"].as_slice() } else { &[""] };
    // How many are on `main` is how many are not on the others.
    let not_main = "branch_name <> 'main'";
    for term in project.iter().chain(&branch).chain(after).chain([&not_main]) {
        assert!(source.contains(term), "lists no longer filter by {term:?}; say here what they do");
    }
    let mut all = Vec::new();
    for project in project {
        for branch in branch {
            for after in after {
                let is_main = project.is_empty() && branch == "branch_name = 'main'";
                let branch = if is_main && !pages { not_main } else { branch };
                let terms: Vec<_> =
                    [project, branch, *after].into_iter().filter(|term| !term.is_empty()).collect();
                let terms =
                    if terms.is_empty() { String::new() } else { format!("WHERE {}", terms.join(" AND ")) };
                all.push(text.replace("{}", &terms));
            }
        }
    }
    all
}

/// What of a plan is work over all rows, or a sort.
fn complaints(conn: &Connection, sql: &str) -> Vec<String> {
    let steps = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).and_then(|mut statement| {
        let nothing = vec![rusqlite::types::Null; statement.parameter_count()];
        statement.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3))?.collect()
    });
    let steps: Vec<String> = steps.unwrap_or_else(|error| panic!("{sql}\n{error}"));
    let is_list =
        sql.contains("ORDER BY last_active DESC") || sql.starts_with("SELECT count(*) FROM chat_sessions");
    steps
        .into_iter()
        .filter(|step| {
            let scans =
                step.starts_with("SCAN ") && !step.contains("CONSTANT ROW") && !step.contains("subquery");
            // A list reads its index in order and stops; a count has nothing better than an index.
            let scans = scans && !(is_list && step.contains("INDEX"));
            scans || step.contains("TEMP B-TREE") || step.contains("AUTOMATIC")
        })
        .filter(|step| !FINE.iter().any(|(part, fine)| sql.contains(part) && step.contains(fine)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_uses_an_index_and_sorts_no_texts() {
    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    let conn = keep.plain();
    // As the store's connections are: a plan must not depend on the values.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    let sources = sources();
    let shared = constants(&sources["rows.rs"]);
    let (mut n_statements, mut bad) = (0, Vec::new());
    for (name, source) in &sources {
        if MAY_SCAN.iter().any(|room| name.starts_with(room)) {
            continue;
        }
        for sql in statements(source, &shared) {
            n_statements += 1;
            bad.extend(complaints(&conn, &sql).into_iter().map(|step| format!("{name}: {step}\n    {sql}")));
        }
    }
    assert!(n_statements > 80, "only {n_statements} statements were found");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_finds_what_refers_to_the_row_by_an_index() {
    let keep = Keep::new();
    keep.open().await.store.close().await.unwrap();
    let conn = keep.plain();
    let references = "SELECT m.name || '.' || group_concat(f.\"from\", ' = ?1 AND ') || ' = ?1'
        FROM sqlite_schema m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table' GROUP BY m.name, f.id";
    let references = column::<String>(&conn, references, []);
    assert!(references.len() >= 9, "{references:?}");
    for reference in references {
        let (table, condition) = reference.split_once('.').unwrap();
        let sql = format!("SELECT 1 FROM {table} WHERE {condition}");
        assert_eq!(complaints(&conn, &sql), Vec::<String>::new(), "{sql}");
    }
}
