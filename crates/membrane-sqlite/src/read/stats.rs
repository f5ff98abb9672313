//! How much there is, counted and measured. What is known without counting is in `counts.rs`.

use std::path::Path;

use membrane_core::time::Timestamp;
use membrane_store::stats::GrowthTally;
use membrane_store::{StoreError, StoreStats};
use rusqlite::{Connection, Rows};

use crate::connection::{index_path, log_path};
use crate::error::Doing;
use crate::rows::unsigned;

/// Counts rows and bytes. Texts are measured where they are, never loaded, sorted or joined.
pub(crate) fn stats(conn: &Connection, path: &Path) -> Result<StoreStats, StoreError> {
    let count = |sql: &str| -> Result<u64, StoreError> {
        conn.query_row(sql, [], |row| row.get(0)).map(unsigned).doing(COUNTING)
    };
    let mut growth = GrowthTally::default();
    let mut sessions = 0;
    let mut statement = conn.prepare("SELECT id, created_at FROM chat_sessions").doing(COUNTING)?;
    let mut rows = statement.query([]).doing(COUNTING)?;
    while let Some(row) = rows.next().doing(COUNTING)? {
        let (id, text): (String, String) = (row.get(0).doing(COUNTING)?, row.get(1).doing(COUNTING)?);
        let created_at = Timestamp::parse(&text).map_err(|error| {
            StoreError::inconsistent("chat_sessions", id, format_args!("created_at: {error}"))
        })?;
        growth.add_session(created_at);
        sessions += 1;
    }
    let texts = measure_turns(conn, &mut growth)?;
    let log_bytes = size(&log_path(path));
    Ok(StoreStats {
        sessions,
        turns_shown: count("SELECT coalesce(sum(turn_count), 0) FROM chat_sessions")?,
        turns_stored: texts.turns,
        text_bytes_shown: texts.bytes_shown,
        text_bytes_stored: texts.bytes_stored,
        histories: count("SELECT count(*) FROM histories")?,
        slices: count("SELECT count(*) FROM slices")?,
        checkpoints: count("SELECT count(*) FROM chat_checkpoints")?,
        crystals: count("SELECT count(*) FROM chat_crystals")?,
        runs: count("SELECT count(*) FROM runs")?,
        bytes: size(path) + log_bytes,
        log_bytes,
        free_bytes: count("SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size")?,
        growth: growth.finish(),
    })
}

const COUNTING: &str = "count rows";

/// What all turns add up to.
#[derive(Debug, Default)]
struct Texts {
    turns: u64,
    bytes_stored: u64,
    bytes_shown: u64,
}

/// The stretches of segments that sessions show, one row for each session and slice.
const STRETCHES: &str = "SELECT sl.segment_id, sl.segment_offset,
        sl.segment_offset - sl.start + min(coalesce(sl.stop, s.turn_count), s.turn_count)
    FROM chat_sessions s JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.turn_count
    ORDER BY sl.segment_id";

/// All turns, segment by segment.
const TURNS: &str = "SELECT segment_id, position, octet_length(user_message) + octet_length(assistant_response), \
    started_at FROM turns ORDER BY segment_id, position";

/// Goes once through the turns and, beside them, through what sessions show of each segment: so a turn that many
/// sessions share is read once, and no more is held than the stretches of one segment.
fn measure_turns(conn: &Connection, growth: &mut GrowthTally) -> Result<Texts, StoreError> {
    let (mut stretches, mut turns) =
        (conn.prepare(STRETCHES).doing(COUNTING)?, conn.prepare(TURNS).doing(COUNTING)?);
    let (mut stretches, mut turns) = (stretches.query([]).doing(COUNTING)?, turns.query([]).doing(COUNTING)?);
    let mut next = read_stretch(&mut stretches)?;
    let mut texts = Texts::default();
    let mut segment = None;
    // Where in the segment how many sessions begin, or cease, to show it; and how many show it here.
    let mut edges: Vec<(i64, i64)> = Vec::new();
    let mut shown = 0_i64;
    while let Some(row) = turns.next().doing(COUNTING)? {
        let (of, position): (i64, i64) = (row.get(0).doing(COUNTING)?, row.get(1).doing(COUNTING)?);
        if segment != Some(of) {
            (segment, shown) = (Some(of), 0);
            edges.clear();
            while let Some(stretch) = next.as_ref().filter(|stretch| stretch.segment <= of) {
                if stretch.segment == of {
                    edges.extend([(stretch.start, 1), (stretch.stop, -1)]);
                }
                next = read_stretch(&mut stretches)?;
            }
            // The first ones last, to be taken off the end.
            edges.sort_unstable_by(|a, b| b.cmp(a));
        }
        while let Some((_, change)) = edges.pop_if(|(at, _)| *at <= position) {
            shown += change;
        }
        let bytes = unsigned(row.get(2).doing(COUNTING)?);
        texts.turns += 1;
        texts.bytes_stored += bytes;
        texts.bytes_shown += bytes * unsigned(shown);
        growth.add_turn(Timestamp::from_micros(row.get(3).doing(COUNTING)?));
    }
    Ok(texts)
}

/// Positions `start..stop` of a segment that one session shows.
struct Stretch {
    segment: i64,
    start: i64,
    stop: i64,
}

fn read_stretch(rows: &mut Rows<'_>) -> Result<Option<Stretch>, StoreError> {
    let row = rows.next().doing(COUNTING)?;
    row.map(|row| Ok(Stretch { segment: row.get(0)?, start: row.get(1)?, stop: row.get(2)? }))
        .transpose()
        .doing(COUNTING)
}

/// What the file and its companions take on the disk.
pub(crate) fn bytes(path: &Path) -> u64 {
    size(path) + size(&log_path(path)) + size(&index_path(path))
}

/// A file that is not there takes no room.
fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}
