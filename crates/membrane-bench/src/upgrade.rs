//! A V1 file is upgraded: turns a second and peak memory, beside a floor that moves the same rows and does no more.
//!
//! Each side runs in a process of its own on a copy of the same file. The floor makes no backup, decides nothing and
//! checks nothing: it reads the old rows in order and inserts them into a table of the new shape, in one transaction.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use membrane::Store;
use membrane_crashtest::old_files::big;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, params};

use crate::Failure;
use crate::http::child::peak_mb;
use crate::measure::{per_second, reply_text, user_text};
use crate::report::Report;

/// The first argument of a process that upgrades; the side and its file follow.
pub(crate) const UPGRADE: &str = "upgrade-for-benchmark";

/// How many turns, unless the command line says so.
pub(crate) const N_TURNS: usize = 100_000;

/// Measured on two sides.
struct Run {
    elapsed: Duration,
    peak_mb: f64,
}

/// Measures both sides on a file of `n_turns` turns.
pub(crate) fn measure(folder: &Path, n_turns: usize, report: &mut Report) -> Result<(), Failure> {
    let old = folder.join("old.db");
    let (user, reply) = (user_text(), reply_text());
    let texts = |turn: u64| (format!("{turn}: {user}"), format!("{turn}: {reply}"));
    big::write_with(&old, u64::try_from(n_turns)?, texts)?;
    let n_bytes = std::fs::metadata(&old)?.len();
    report.note(format!("upgrade of {n_turns} turns in a file of {} MB", n_bytes / 1_000_000));
    let floor = run("floor", &copy(&old, folder, "floor.db")?)?;
    let path = copy(&old, folder, "upgraded.db")?;
    let membrane = run("membrane", &path)?;
    let count = "SELECT count(*) FROM turns";
    let n_there: i64 = Connection::open(&path)?.query_row(count, [], |row| row.get(0))?;
    if usize::try_from(n_there)? != n_turns {
        report.invalidate("the upgraded file has another number of turns");
    }
    for (name, side) in [("floor", &floor), ("membrane", &membrane)] {
        report.note(format!(
            "upgrade of {n_turns} turns, {name}: {:.1} s, {:.0} turns/s, peak memory {:.0} MB",
            side.elapsed.as_secs_f64(),
            per_second(n_turns, side.elapsed),
            side.peak_mb
        ));
    }
    let ratio = floor.elapsed.as_secs_f64() / membrane.elapsed.as_secs_f64();
    report.note(format!("upgrade, membrane's turns/s over the floor's: ratio {ratio:.2}"));
    Ok(())
}

/// A copy, so that both sides find the file as it was, and neither finds it in the system's cache more than the other.
fn copy(old: &Path, folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    std::fs::copy(old, &path)?;
    std::fs::File::open(&path)?.sync_all()?;
    Ok(path)
}

/// Starts this program again as one of the sides, and waits for its end.
fn run(side: &str, path: &Path) -> Result<Run, Failure> {
    let mut process = Command::new(std::env::current_exe()?)
        .args([UPGRADE, side])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = String::new();
    process.stdout.take().ok_or("a process without an output")?.read_to_string(&mut said)?;
    if !process.wait()?.success() {
        return Err(format!("the {side} side failed; its message stands above").into());
    }
    let (micros, peak) = said.trim().split_once(' ').ok_or("a side that said nothing")?;
    Ok(Run { elapsed: Duration::from_micros(micros.parse()?), peak_mb: peak.parse()? })
}

/// Upgrades, in a process that [`run`] made, and says how long it took and the most memory that it had.
pub(crate) fn upgrade(args: &[String]) -> Result<(), Failure> {
    let [side, path] = args else { return Err("name a side and its file".into()) };
    let path = Path::new(path);
    let start = Instant::now();
    match side.as_str() {
        "floor" => move_rows(path)?,
        "membrane" => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let store = SqliteStore::open(SqliteOptions::at(path)).await?;
                store.upgrade().ok_or("there was nothing to upgrade")?;
                Ok::<_, Failure>(store.close().await?)
            })?;
        }
        _ => return Err(format!("{side:?} is no side").into()),
    }
    let elapsed = start.elapsed();
    println!("{} {:.1}", elapsed.as_micros(), peak_mb(&std::fs::read_to_string("/proc/self/status")?)?);
    Ok(())
}

/// The floor.
fn move_rows(path: &Path) -> Result<(), Failure> {
    let mut conn = Connection::open(path)?;
    conn.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536")?;
    let tx = conn.transaction()?;
    tx.execute_batch(
        "CREATE TABLE turns (
             number INTEGER PRIMARY KEY, segment_id INTEGER NOT NULL, position INTEGER NOT NULL, id TEXT NOT NULL,
             status TEXT NOT NULL, user_linearity TEXT NOT NULL, assistant_linearity TEXT NOT NULL, observes INTEGER,
             order_at INTEGER NOT NULL, started_at INTEGER NOT NULL, completed_at INTEGER NOT NULL,
             facts TEXT NOT NULL, tools_json TEXT, extra_json TEXT, user_message TEXT NOT NULL,
             assistant_response TEXT NOT NULL);
         CREATE UNIQUE INDEX turns_place ON turns (segment_id, position)",
    )?;
    {
        let mut read = tx.prepare(
            "SELECT session_id, turn_number, user_message, assistant_response, user_linearity, assistant_linearity, \
                 tools_json, started_at, completed_at FROM chat_turns ORDER BY session_id, turn_number",
        )?;
        let mut insert = tx.prepare(
            "INSERT INTO turns (segment_id, position, id, status, user_linearity, assistant_linearity, observes, \
                 order_at, started_at, completed_at, facts, tools_json, user_message, assistant_response) \
             VALUES (?1, ?2, ?3, 'complete', ?4, ?5, 1, ?2, ?2, ?2, ?6, ?7, ?8, ?9)",
        )?;
        let mut rows = read.query([])?;
        let (mut segment, mut last) = (0_i64, String::new());
        while let Some(row) = rows.next()? {
            let session = row.get_ref(0)?.as_str()?;
            if session != last {
                segment += 1;
                session.clone_into(&mut last);
            }
            let number: i64 = row.get(1)?;
            let times = format!("cpp0,{},{}", row.get_ref(7)?.as_str()?, row.get_ref(8)?.as_str()?);
            let name = format!("turn-{segment:016x}{number:016x}");
            insert.execute(params![
                segment,
                number,
                name,
                as_it_is(row.get_ref(4)?),
                as_it_is(row.get_ref(5)?),
                times,
                as_it_is(row.get_ref(6)?),
                as_it_is(row.get_ref(2)?),
                as_it_is(row.get_ref(3)?)
            ])?;
        }
    }
    tx.execute_batch("DROP TABLE chat_turns")?;
    tx.commit()?;
    conn.close().map_err(|(_, error)| error.into())
}

/// A value on its way from one row to another, without a copy.
fn as_it_is(value: ValueRef<'_>) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(value)
}
