//! How much there is, counted and measured; and what is known without counting.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::TryStreamExt;
use membrane_core::time::Timestamp;
use membrane_store::stats::GrowthTally;
use membrane_store::{StoreError, StoreGauges, StoreStats};
use tokio_postgres::Row;

use crate::db::Db;
use crate::error::Doing;
use crate::rows::{get, read, unsigned};
use crate::store::{Call, Shared};

const COUNTING: &str = "count rows";

/// Counts rows and bytes, in one snapshot. Texts are measured where they are, never sent, sorted or joined.
pub(crate) async fn stats(db: Db<'_>) -> Result<StoreStats, StoreError> {
    db.begin_long_snapshot().await.doing(COUNTING)?;
    let mut growth = GrowthTally::default();
    each(db, "SELECT id, created_at FROM chat_sessions", |row| {
        let created_at = read("chat_sessions", row, |row| Ok(Timestamp::parse(get(row, 1)?)?))?;
        growth.add_session(created_at);
        Ok(())
    })
    .await?;
    let texts = measure_turns(db, &mut growth).await?;
    let counted = db.query(COUNTS, &[]).await.doing(COUNTING)?;
    let bytes = bytes(db).await?;
    db.batch("COMMIT").await.doing(COUNTING)?;
    let counts: Vec<i64> = match counted.first() {
        Some(row) => {
            (0..row.len()).map(|column| row.try_get(column)).collect::<Result<_, _>>().doing(COUNTING)?
        }
        None => Vec::new(),
    };
    let count = |number: usize| counts.get(number).copied().map_or(0, unsigned);
    Ok(StoreStats {
        sessions: count(0),
        turns_shown: count(1),
        turns_stored: texts.turns,
        text_bytes_shown: texts.bytes_shown,
        text_bytes_stored: texts.bytes_stored,
        histories: count(2),
        slices: count(3),
        checkpoints: count(4),
        crystals: count(5),
        runs: count(6),
        bytes,
        // The server's own, for all its databases.
        log_bytes: 0,
        free_bytes: 0,
        growth: growth.finish(),
    })
}

const COUNTS: &str = "SELECT count(*), coalesce(sum(turn_count), 0)::BIGINT, (SELECT count(*) FROM histories), \
     (SELECT count(*) FROM slices), (SELECT count(*) FROM chat_checkpoints), \
     (SELECT count(*) FROM chat_crystals), (SELECT count(*) FROM runs) FROM chat_sessions";

/// What all turns add up to.
#[derive(Debug, Default)]
struct Texts {
    turns: u64,
    bytes_stored: u64,
    bytes_shown: u64,
}

/// All turns, segment by segment. A NUL takes two bytes here, and one as it was said.
const TURNS: &str = "SELECT segment_id, position, octet_length(replace(user_message, chr(1), ''))::BIGINT \
     + octet_length(replace(assistant_response, chr(1), '')), started_at \
     FROM turns ORDER BY segment_id, position";

/// Where in which segment how many sessions begin, or cease, to show its turns.
const EDGES: &str = "SELECT segment_id, edge, sum(change)::BIGINT FROM ( \
         SELECT sl.segment_id, sl.segment_offset AS start, \
             sl.segment_offset - sl.start + least(coalesce(sl.stop, s.turn_count), s.turn_count) AS stop \
         FROM chat_sessions s JOIN slices sl ON sl.history_id = s.history_id AND sl.start < s.turn_count) stretch \
     CROSS JOIN LATERAL (VALUES (start, 1), (stop, -1)) AS edges (edge, change) \
     GROUP BY segment_id, edge HAVING sum(change) <> 0 ORDER BY segment_id, edge";

/// Goes once through the turns and, beside them, through what sessions show of each segment: so a turn that many
/// sessions share is read once.
async fn measure_turns(db: Db<'_>, growth: &mut GrowthTally) -> Result<Texts, StoreError> {
    let mut edges: Vec<(i64, i64, i64)> = Vec::new();
    each(db, EDGES, |row| {
        edges.push(read("slices", row, |row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?)))?);
        Ok(())
    })
    .await?;
    let mut edges = edges.into_iter().peekable();
    let mut texts = Texts::default();
    let (mut segment, mut shown) = (None, 0_i64);
    each(db, TURNS, |row| {
        let (of, position, bytes, started_at): (i64, i64, i64, i64) =
            read("turns", row, |row| Ok((get(row, 0)?, get(row, 1)?, get(row, 2)?, get(row, 3)?)))?;
        if segment.replace(of) != Some(of) {
            shown = 0;
        }
        while let Some((at, _, change)) = edges.next_if(|(at, edge, _)| (*at, *edge) <= (of, position)) {
            shown += if at == of { change } else { 0 };
        }
        texts.turns += 1;
        texts.bytes_stored += unsigned(bytes);
        texts.bytes_shown += unsigned(bytes) * unsigned(shown);
        growth.add_turn(Timestamp::from_micros(started_at));
        Ok(())
    })
    .await?;
    Ok(texts)
}

/// Takes row after row, and keeps none.
async fn each(
    db: Db<'_>,
    sql: &str,
    mut take: impl FnMut(&Row) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut rows = pin!(db.stream(sql, &[]).await.doing(COUNTING)?);
    while let Some(row) = rows.try_next().await.doing(COUNTING)? {
        take(&row)?;
    }
    Ok(())
}

/// What our tables take on the server's disk, with their indexes and long texts.
async fn bytes(db: Db<'_>) -> Result<u64, StoreError> {
    let doing = "measure the tables";
    // Those of this keep, wherever `search_path` finds it.
    let sql =
        "SELECT coalesce(sum(pg_total_relation_size(to_regclass(name))), 0)::BIGINT FROM unnest($1) AS name";
    let row = db.find(sql, &crate::value::values![crate::migrations::tables()]).await.doing(doing)?;
    row.map(|row| row.try_get(0)).transpose().doing(doing).map(|bytes| bytes.map_or(0, unsigned))
}

/// How much there is, without counting. While the server cannot be asked, its bytes are those of the last time.
pub(crate) async fn gauges(shared: &Arc<Shared>, call: Call) -> Result<StoreGauges, StoreError> {
    // Taken before this call asks for one, too.
    let connections = shared.pool.gauges();
    let asked = async {
        let conn = shared.pool.get().await?;
        conn.within(bytes(conn.db()?)).await
    };
    match asked.await {
        Ok(bytes) => shared.bytes.store(bytes, Ordering::Relaxed),
        Err(error @ StoreError::Closed) => return Err(error),
        Err(error) => tracing::debug!(%error, "the tables cannot be measured"),
    }
    if shared.counts.is_due() {
        // Nobody waits for it: what others wrote shows the next time.
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let _call = call;
            let counted = async {
                let conn = shared.pool.get().await?;
                conn.at_leisure(shared.counts.count(conn.db()?)).await
            };
            if let Err(error) = counted.await {
                tracing::debug!(%error, "sessions and turns could not be counted");
            }
        });
    }
    let (sessions, turns) = shared.counts.get();
    let (queued, queue_capacity) = shared.commits.gauges();
    let bytes = shared.bytes.load(Ordering::Relaxed);
    Ok(StoreGauges { sessions, turns, bytes, queued, queue_capacity, connections: Some(connections) })
}
