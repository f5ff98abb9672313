//! The same old rows in a file and in a PostgreSQL database: what is made of them is the same.
//!
//! Not here: what an upgrade makes of an old file (`old_files`), and what only one of both can hold: text that is not UTF-8
//! or has NUL in it, and a column with values of several types.

use std::fmt::Write;
use std::path::Path;

use jiff::tz::TimeZone;
use membrane::Store;
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::old_files::campaign::Asked;
use membrane_crashtest::old_files::cell::Cell;
use membrane_crashtest::old_files::likeness::Likeness;
use membrane_crashtest::old_files::table::{Contents, Table, quote};
use membrane_crashtest::old_files::times::{self, Meaning, Zone};
use membrane_crashtest::old_files::v1;
use membrane_crashtest::seed::Choices;
use membrane_crashtest::settings::Settings;
use membrane_postgres::transfer::PostgresSource;
use membrane_postgres::{PostgresOptions, PostgresStore};
use membrane_sqlite::export::{ExportOptions, Selection, export_v1};
use membrane_sqlite::transfer::SqliteSink;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use membrane_store::kgents::Report;
use membrane_store::transfer;
use membrane_testservers::{Database, Postgres};
use rusqlite::{Connection, params_from_iter};
use tokio_postgres::NoTls;

use crate::upgrader::{options, time_zone};

const FULL: u64 = 300;
const SLICE: u64 = 12;

/// Columns of numbers; all others but `confidence` are texts.
const NUMBERS: [&str; 7] =
    ["id", "turn_number", "fork_point", "turn_count", "context_size", "is_merged", "final_turn_count"];

fn is_number(table: &Table, column: &str) -> bool {
    NUMBERS.contains(&column) && (column != "id" || table.name == "chat_turns")
}

/// Makes of each value one that both databases can hold in a column of one type.
fn tame(table: &mut Table, zone: Zone) {
    let columns = table.columns.clone();
    let is_sessions = table.name == "chat_sessions";
    for (n, row) in (1..).zip(&mut table.rows) {
        row.rowid = Some(n);
        for (cell, column) in row.cells.iter_mut().zip(&columns) {
            let of_turns = table.name == "chat_turns";
            *cell = match (column.as_str(), &*cell) {
                ("id", _) if of_turns => Cell::Int(n),
                ("confidence", Cell::Int(number)) => {
                    Cell::Real(f64::from(i32::try_from(*number).unwrap_or(1)))
                }
                ("confidence", Cell::Real(number)) => Cell::Real(*number),
                ("confidence", _) => Cell::Null,
                (name, Cell::Int(number)) if NUMBERS.contains(&name) && name != "id" => Cell::Int(*number),
                (name, _) if NUMBERS.contains(&name) && name != "id" => Cell::Null,
                (_, Cell::Null) => Cell::Null,
                (_, Cell::Int(number)) => Cell::text(number.to_string()),
                (_, Cell::Real(number)) => Cell::text(number.to_string()),
                (_, Cell::Text(bytes) | Cell::Blob(bytes)) => {
                    Cell::text(String::from_utf8_lossy(bytes).replace('\0', ""))
                }
            };
            // A session of which nobody knows when it was is of now, and that is another moment for each.
            let is_clear = |text: &str| matches!(times::meaning(text, zone), Meaning::Clear(_));
            if is_sessions && column == "created_at" && !cell.as_text().is_some_and(is_clear) {
                *cell = Cell::text("2025-12-24T10:00:00.000001");
            }
        }
    }
}

fn write_file(tables: &[Table], path: &Path) -> Result<(), Failure> {
    let mut conn = Connection::open(path)?;
    let tx = conn.transaction()?;
    for table in tables {
        let names: Vec<_> = table
            .columns
            .iter()
            .map(|name| {
                let is_key = name == "id" && table.name == "chat_turns";
                format!("{}{}", quote(name), if is_key { " INTEGER PRIMARY KEY" } else { "" })
            })
            .collect();
        tx.execute(&format!("CREATE TABLE {} ({})", quote(&table.name), names.join(", ")), [])?;
        let places = vec!["?"; names.len()].join(", ");
        let mut insert = tx.prepare(&format!("INSERT INTO {} VALUES ({places})", quote(&table.name)))?;
        for row in &table.rows {
            insert.execute(params_from_iter(&row.cells))?;
        }
    }
    Ok(tx.commit()?)
}

/// A type that can hold all values of a column, and gives them back as they are.
fn type_of(table: &Table, place: usize, choices: &mut Choices) -> &'static str {
    let cells = || table.rows.iter().filter_map(|row| row.cells.get(place)).filter(|cell| !cell.is_null());
    let column = table.columns.get(place).map_or("", String::as_str);
    let pick = |choices: &mut Choices, from: &[&'static str]| {
        from.get(choices.below(from.len())).copied().unwrap_or("text")
    };
    if column == "confidence" {
        return "double precision";
    }
    if is_number(table, column) {
        if column == "is_merged" && cells().all(|cell| matches!(cell, Cell::Int(0 | 1))) {
            return pick(choices, &["boolean", "integer", "smallint"]);
        }
        return pick(choices, &["bigint", "numeric"]);
    }
    let texts = || cells().filter_map(Cell::as_text);
    if column.ends_with("_json")
        && texts().all(|text| serde_json::from_str::<serde_json::Value>(text).is_ok())
    {
        return pick(choices, &["json", "text"]);
    }
    // With microseconds a time is told as it was.
    let is_time =
        |text: &str| text.len() == 26 && matches!(times::meaning(text, Zone::Utc), Meaning::Clear(_));
    if column.ends_with("_at") && texts().all(|text| is_time(text) && text.get(10..11) == Some("T")) {
        return pick(choices, &["timestamp", "text"]);
    }
    pick(choices, &["text", "varchar"])
}

fn literal(cell: &Cell, kind: &str) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Int(number) if kind == "boolean" => (*number != 0).to_string(),
        Cell::Int(number) => format!("'{number}'"),
        Cell::Real(number) => format!("'{number}'"),
        other => format!("'{}'", other.as_text().unwrap_or_default().replace('\'', "''")),
    }
}

async fn write_database(
    tables: &[Table],
    database: &Database,
    choices: &mut Choices,
) -> Result<String, Failure> {
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls).await?;
    let driver = tokio::spawn(connection);
    let mut made = String::new();
    for table in tables {
        let kinds: Vec<_> = (0..table.columns.len()).map(|place| type_of(table, place, choices)).collect();
        let columns: Vec<_> =
            table.columns.iter().zip(&kinds).map(|(name, kind)| format!("{} {kind}", quote(name))).collect();
        let create = format!("CREATE TABLE {} ({})", quote(&table.name), columns.join(", "));
        client.batch_execute(&create).await?;
        made = format!("{made}{create}; ");
        let mut inserts = String::new();
        for row in &table.rows {
            let values: Vec<_> =
                row.cells.iter().zip(&kinds).map(|(cell, kind)| literal(cell, kind)).collect();
            writeln!(inserts, "INSERT INTO {} VALUES ({});", quote(&table.name), values.join(", "))?;
        }
        client.batch_execute(&inserts).await?;
    }
    drop(client);
    driver.await??;
    Ok(made)
}

/// What a report counts.
fn counts(report: &Report) -> String {
    let Report { tables, oddities, sessions_created, turns_written, turns_shared, .. } = report;
    format!(
        "{tables:?} {oddities:?} {sessions_created} sessions, {turns_written} turns and {turns_shared} shared, {} checkpoints, {} crystals, {} aside",
        report.checkpoints_written, report.crystals_written, report.kept_aside
    )
}

/// What is kept aside, but for where it stood.
fn aside(conn: &Connection) -> Result<Vec<String>, Failure> {
    let sql = "SELECT quote(session_id) || ' ' || source || ' ' || value || ' ' || reason FROM legacy_rows ORDER BY 1";
    let mut statement = conn.prepare(sql)?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// What is in an exported file, row by row, but for the ids that turns were given.
fn exported(path: &Path) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    for (name, table) in Contents::read(&Connection::open(path)?)?.tables {
        for row in table.rows {
            let cells = row.cells.iter().map(|cell| match cell {
                Cell::Text(bytes) | Cell::Blob(bytes) => without_ids(&String::from_utf8_lossy(bytes)),
                other => format!("{other:?}"),
            });
            lines.push(format!("{name}: {}", cells.collect::<Vec<_>>().join(" | ")));
        }
    }
    Ok(lines)
}

/// A text without what follows `turn-` as far as it is hexadecimal: where a turn stood is part of its id.
fn without_ids(text: &str) -> String {
    let mut parts = text.split("turn-");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "turn-" + part.trim_start_matches(|c: char| c.is_ascii_hexdigit()))
}

/// Where two lists differ first, and what stands there on both sides.
fn first_difference(what: &str, file: &[String], database: &[String]) -> Option<String> {
    if file == database {
        return None;
    }
    let at = file.iter().zip(database).position(|(a, b)| a != b).unwrap_or(file.len().min(database.len()));
    let (one, other) = (file.get(at).map_or("", String::as_str), database.get(at).map_or("", String::as_str));
    let same = one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count();
    let shown = |side: &str| side.chars().skip(same.saturating_sub(80)).take(400).collect::<String>();
    Some(format!("{what} differs at {at}: the file has {:?}, the database {:?}", shown(one), shown(other)))
}

async fn compare(seed: u64, number: u64, folder: &Path) -> Result<(Vec<String>, u64), Failure> {
    let invented = v1::invent(seed, number);
    let mut tables = invented.tables;
    for table in &mut tables {
        tame(table, invented.zone);
    }
    let asked = Asked { zone: invented.zone, is_forced: false };
    let zone: TimeZone = time_zone(invented.zone)?;
    let path = |name: &str| folder.join(name);
    write_file(&tables, &path("old.db"))?;
    let database = Postgres::shared()?.create_database()?;
    let mut choices = Choices::of_item(seed ^ 0x7477_696e, number);
    let made = write_database(&tables, &database, &mut choices).await?;

    let file = SqliteStore::open(options(&path("old.db"), asked)?).await?;
    let mut of_database = PostgresOptions { pool_size: 2, ..PostgresOptions::at(database.url()) };
    of_database.upgrade.naive_zone = zone.clone();
    let other = PostgresStore::open(of_database.clone()).await?;
    let mut problems: Vec<_> = other.check().await?.iter().map(|line| format!("not sound: {line}")).collect();
    let (Some(of_file), Some(of_other)) = (file.upgrade(), other.upgrade()) else {
        return Err("one of both was not upgraded".into());
    };
    let n_rows = of_file.report.tables.values().map(|count| count.total).sum();
    let (mine, theirs) = (counts(&of_file.report), counts(&of_other.report));
    if mine != theirs {
        problems.push(format!("the file's report: {mine}; the database's: {theirs}"));
    }
    for (store, name) in [(&file as &dyn Store, "file.v1"), (&other, "database.v1")] {
        let options = ExportOptions { naive_zone: zone.clone(), selection: Selection::All };
        export_v1(store, &path(name), options).await?;
    }
    problems.extend(first_difference(
        "the export",
        &exported(&path("file.v1"))?,
        &exported(&path("database.v1"))?,
    ));
    file.close().await?;
    other.close().await?;
    let mut source = PostgresSource::open(&of_database).await?;
    let mut sink = SqliteSink::open(SqliteOptions::at(path("copy.db")))?;
    let now = membrane::Timestamp::from_micros(0);
    transfer::copy(&mut source, &mut sink, "twin", now, &mut |_| {}).await?;
    drop(sink);
    let (mine, theirs) = (Connection::open(path("old.db"))?, Connection::open(path("copy.db"))?);
    problems.extend(Likeness::of(&mine)?.differences(&Likeness::of(&theirs)?, 3));
    problems.extend(first_difference("what is kept aside", &aside(&mine)?, &aside(&theirs)?));
    if !problems.is_empty() {
        problems.push(made);
    }
    Ok((problems, n_rows))
}

#[test]
fn the_same_old_rows_become_the_same_keep_in_a_file_and_in_a_database() {
    let settings = Settings::from_environment().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let n_files = if settings.is_full { FULL } else { SLICE };
    let (mut n_rows, mut wrong) = (0, Vec::new());
    for number in 0..n_files {
        let folder = tempfile::tempdir().unwrap();
        match runtime.block_on(compare(settings.seed, number, folder.path())) {
            Ok((problems, rows)) => {
                n_rows += rows;
                wrong.extend(problems.into_iter().map(|problem| format!("file {number}: {problem}")));
            }
            Err(error) => wrong.push(format!("file {number}: it could not be judged: {error:?}")),
        }
    }
    println!("campaign: twins files={n_files} rows={n_rows} wrong={} seed={}", wrong.len(), settings.seed);
    assert!(wrong.is_empty(), "{:#?}", wrong.iter().take(12).collect::<Vec<_>>());
    assert!(n_rows > n_files * 10, "{n_rows}");
}
