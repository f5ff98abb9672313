//! Creating, renaming and deleting sessions.

use membrane_core::evidence::LegacyTotals;
use membrane_core::history::{Cut, Head, Slice};
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::change::Origin;
use membrane_store::{StoreError, Subject, codec};
use rusqlite::{Connection, params};

use crate::apply::moves::{Standing, standing_at};
use crate::apply::record::{Dirty, Record, Tx, family_of};
use crate::apply::turns::{insert_history, insert_segment, insert_slice};
use crate::apply::{keys, past, purge};
use crate::error::{Doing, store_error};
use crate::rows::signed;

/// Inserts a session, with a history of its own unless it points at another's.
pub(super) fn create(
    tx: &mut Tx<'_>,
    session: &NewSession,
    origin: &Origin,
    created_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let conn = tx.conn;
    let family = session.family.as_str();
    let mut head = None;
    let cut = match origin {
        Origin::Cut(cut) => *cut,
        Origin::Empty { legacy } => {
            let history = insert_history(conn, family)?;
            let segment = insert_segment(conn, family, &session.id)?;
            let open = Slice { start: 0, stop: None, segment, offset: 0, base: Totals::ZERO };
            insert_slice(conn, history, &open)?;
            insert_legacy(conn, history, legacy)?;
            head = Some(Head { segment, position: 0 });
            Cut { history, turn_count: 0 }
        }
        Origin::Slices { slices, legacy } => {
            let history = insert_history(conn, family)?;
            slices.iter().try_for_each(|slice| insert_slice(conn, history, slice))?;
            insert_legacy(conn, history, legacy)?;
            Cut { history, turn_count: slices.last().and_then(|slice| slice.stop).unwrap_or(0) }
        }
    };
    let standing = standing_at(conn, cut)?;
    let created_text = created_at.map_or_else(|| tx.now_text.clone(), |at| at.to_string());
    let mut record = Record {
        id: session.id.clone(),
        number: 0,
        version: 1,
        state: State::Idle,
        cut,
        head,
        last_order_at: standing.last_order_at,
        totals: standing.totals,
        flipped: standing.flipped,
        legacy: standing.legacy,
        last_active: created_text.clone(),
        created_at: created_text,
        dirty: Dirty::No,
        is_raised: true,
    };
    record.number = insert(tx, session, &record)?;
    conn.prepare_cached("DELETE FROM deleted_sessions WHERE id = ?1")
        .and_then(|mut statement| statement.execute([session.id.as_str()]))
        .doing("remove a tombstone")?;
    tx.admit(record);
    tx.tally.sessions += 1;
    Ok(())
}

const INSERT: &str = "INSERT INTO chat_sessions (id, project_id, parent_id, fork_point, branch_name, state, \
     turn_count, context_size, evidence_json, metadata_json, created_at, last_active, family_id, title, \
     tags_json, version, history_id, head_segment_id, head_position, last_order_at, flipped, legacy_alpha, \
     legacy_beta, sum_succeeded, sum_failed, sum_tool_calls, sum_chars, sum_code_blocks) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, \
     ?22, ?23, ?24, ?25, ?26, ?27, ?28)";

fn insert(tx: &Tx<'_>, session: &NewSession, record: &Record) -> Result<i64, StoreError> {
    let mut statement = tx.conn.prepare_cached(INSERT).doing("insert a session")?;
    let inserted = statement.insert(params![
        session.id.as_str(),
        session.project_id,
        session.parent_id.as_ref().map(SessionId::as_str),
        session.fork_point.map(signed),
        session.branch_name,
        record.state.as_str(),
        signed(record.cut.turn_count),
        record.totals.tokens,
        record.evidence_json(tx.now),
        session.metadata.as_str(),
        record.created_at,
        record.last_active,
        session.family.as_str(),
        session.title,
        codec::encode_list(&session.tags)?,
        signed(record.version),
        record.cut.history.0,
        record.head.map(|head| head.segment.0),
        record.head.map(|head| head.position),
        record.last_order_at.map(Timestamp::as_micros),
        record.flipped,
        record.legacy.alpha,
        record.legacy.beta,
        record.totals.succeeded,
        record.totals.failed,
        record.totals.tool_calls,
        record.totals.chars,
        record.totals.code_blocks,
    ]);
    inserted.map_err(|error| match error.sqlite_error() {
        Some(failure) if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE => {
            StoreError::already_exists(Subject::Session, &session.id)
        }
        _ => store_error("insert a session", error),
    })
}

pub(super) fn insert_legacy(
    conn: &Connection,
    history: HistoryId,
    legacy: &[membrane_core::evidence::LegacySet],
) -> Result<(), StoreError> {
    for set in legacy {
        conn.prepare_cached(
            "INSERT INTO legacy_sets (history_id, origin_id, alpha, beta) VALUES (?1, ?2, ?3, ?4)",
        )
        .and_then(|mut statement| {
            statement.execute(params![history.0, set.origin.as_str(), set.alpha, set.beta])
        })
        .doing("insert legacy observations")?;
    }
    Ok(())
}

/// Changes names and flags.
pub(super) fn patch(tx: &mut Tx<'_>, id: &SessionId, patch: &SessionPatch) -> Result<(), StoreError> {
    let conn = tx.conn;
    let record = tx.record(id)?;
    if patch.is_empty() {
        return Ok(());
    }
    let number = record.number;
    record.mark(Dirty::State);
    tx.raise(id)?;
    let tags = patch.tags.as_deref().map(codec::encode_list).transpose()?;
    conn.prepare_cached(
        "UPDATE chat_sessions SET \
         project_id = CASE WHEN ?2 THEN ?3 ELSE project_id END, \
         branch_name = coalesce(?4, branch_name), \
         title = CASE WHEN ?5 THEN ?6 ELSE title END, \
         tags_json = coalesce(?7, tags_json), \
         pinned = coalesce(?8, pinned), \
         archived = coalesce(?9, archived), \
         trailing = coalesce(?10, trailing), \
         metadata_json = coalesce(?11, metadata_json) \
         WHERE number = ?1",
    )
    .and_then(|mut statement| {
        statement.execute(params![
            number,
            patch.project_id.is_some(),
            patch.project_id.as_ref().and_then(Option::as_ref),
            patch.branch_name,
            patch.title.is_some(),
            patch.title.as_ref().and_then(Option::as_ref),
            tags,
            patch.pinned,
            patch.archived,
            patch.trailing,
            patch.metadata.as_ref().map(membrane_core::json::Json::as_str),
        ])
    })
    .doing("change a session's names")?;
    Ok(())
}

/// Marks a session as gone into a merge.
pub(super) fn mark_merged(tx: &mut Tx<'_>, id: &SessionId, into: &SessionId) -> Result<(), StoreError> {
    let conn = tx.conn;
    let record = tx.record(id)?;
    let number = record.number;
    record.mark(Dirty::State);
    tx.raise(id)?;
    conn.prepare_cached("UPDATE chat_sessions SET is_merged = 1, merged_into = ?2 WHERE number = ?1")
        .and_then(|mut statement| statement.execute(params![number, into.as_str()]))
        .doing("mark a session as merged")?;
    Ok(())
}

/// Deletes a session and every turn that nothing else reaches. Gives the version that it had.
pub(super) fn delete(tx: &mut Tx<'_>, id: &SessionId) -> Result<u64, StoreError> {
    let doing = "delete a session";
    let conn = tx.conn;
    tx.flush()?;
    let record = tx.record(id)?;
    let (number, cut, version) = (record.number, record.cut, record.version);
    let family = family_of(conn, number)?;
    let mut doomed = purge::Candidates::default();
    doomed.add_cut(conn, cut)?;
    doomed.add_checkpoints_of(conn, id)?;
    doomed.add_segments_of(conn, id)?;
    keys::forget_session(tx, id)?;
    conn.prepare_cached(
        "INSERT INTO deleted_sessions (id, family_id, parent_id, fork_point, deleted_at) \
         SELECT id, family_id, parent_id, fork_point, ?2 FROM chat_sessions WHERE number = ?1 \
         ON CONFLICT (id) DO UPDATE SET family_id = excluded.family_id, parent_id = excluded.parent_id, \
         fork_point = excluded.fork_point, deleted_at = excluded.deleted_at",
    )
    .and_then(|mut statement| statement.execute(params![number, tx.now_text]))
    .doing(doing)?;
    conn.prepare_cached("DELETE FROM chat_sessions WHERE number = ?1")
        .and_then(|mut statement| statement.execute([number]))
        .map_err(|error| why_not_deleted(conn, id, error))?;
    conn.prepare_cached(
        "DELETE FROM deleted_sessions WHERE family_id = ?1 \
         AND NOT EXISTS (SELECT 1 FROM chat_sessions WHERE family_id = ?1)",
    )
    .and_then(|mut statement| statement.execute([&family]))
    .doing(doing)?;
    conn.prepare_cached("UPDATE segments SET owner_id = NULL WHERE owner_id = ?1")
        .and_then(|mut statement| statement.execute([id.as_str()]))
        .doing(doing)?;
    past::forget(conn, id)?;
    tx.dismiss(id);
    tx.tally.sessions -= 1;
    doomed.purge(conn, &mut tx.tally)?;
    Ok(version)
}

/// Old files may hold tables of others whose rows refer to sessions; kgents did not switch foreign keys on.
fn why_not_deleted(conn: &Connection, id: &SessionId, error: rusqlite::Error) -> StoreError {
    let is_referenced = error
        .sqlite_error()
        .is_some_and(|failure| failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_FOREIGNKEY);
    if !is_referenced {
        return store_error("delete a session", error);
    }
    let table = conn.query_row(
        "SELECT m.name FROM sqlite_schema m, pragma_foreign_key_list(m.name) f \
         WHERE m.type = 'table' AND lower(f.\"table\") = 'chat_sessions' AND f.on_delete <> 'CASCADE' \
         AND f.on_delete <> 'SET NULL' LIMIT 1",
        [],
        |row| row.get(0),
    );
    StoreError::Referenced { session: id.clone(), table: table.unwrap_or_else(|_| "unknown".to_owned()) }
}

impl Standing {
    /// Nothing yet, but for what old files knew.
    pub(super) fn before_first(legacy: LegacyTotals) -> Self {
        Self { totals: Totals::ZERO, last_order_at: None, flipped: 0, legacy }
    }
}
