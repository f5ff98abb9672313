//! Creating, renaming and deleting sessions.

use std::borrow::Cow;

use membrane_core::evidence::{LegacySet, LegacyTotals};
use membrane_core::history::{Cut, Head, Slice};
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::json::Json;
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::Totals;
use membrane_store::change::Origin;
use membrane_store::{StoreError, Subject, codec};

use super::moves::{Standing, standing_at};
use super::purge::Candidates;
use super::record::{Dirty, Record};
use super::turns::{insert_history, insert_segment, insert_slice};
use super::tx::{Meaning, Tx};
use super::{keys, past};
use crate::rows::signed;
use crate::value::{Value, escape, values};

/// Inserts a session, with a history of its own unless it points at another's.
pub(super) async fn create<'a>(
    tx: &mut Tx<'a>,
    session: &'a NewSession,
    origin: &'a Origin,
    created_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let family = &session.family;
    let mut head = None;
    let (cut, standing) = match origin {
        Origin::Cut(cut) => (*cut, standing_at(tx, *cut).await?.1),
        Origin::Empty { legacy } => {
            let history = insert_history(tx, family).await?;
            let segment = insert_segment(tx, family, &session.id).await?;
            let open = Slice { start: 0, stop: None, segment, offset: 0, base: Totals::ZERO };
            insert_slice(tx, history, &open);
            insert_legacy(tx, history, legacy);
            head = Some(Head { segment, position: 0 });
            let legacy = LegacyTotals::of(legacy);
            (Cut { history, turn_count: 0 }, Standing::before_first(legacy))
        }
        Origin::Slices { slices, legacy } => {
            let history = insert_history(tx, family).await?;
            for slice in slices {
                insert_slice(tx, history, slice);
            }
            insert_legacy(tx, history, legacy);
            let cut = Cut { history, turn_count: slices.last().and_then(|slice| slice.stop).unwrap_or(0) };
            (cut, standing_at(tx, cut).await?.1)
        }
    };
    let created_text = created_at.map_or_else(|| tx.now_text.clone(), |at| at.to_string());
    let record = Record {
        id: session.id.clone(),
        family: session.family.clone(),
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
    insert(tx, session, &record)?;
    tx.put("remove a tombstone", "DELETE FROM deleted_sessions WHERE id = $1", values![session.id.as_str()]);
    tx.admit(record);
    tx.tally.sessions += 1;
    Ok(())
}

const INSERT: &str = "INSERT INTO chat_sessions (id, project_id, parent_id, fork_point, branch_name, state, \
     turn_count, context_size, evidence_json, metadata_json, created_at, last_active, family_id, title, \
     tags_json, version, history_id, head_segment_id, head_position, last_order_at, flipped, legacy_alpha, \
     legacy_beta, sum_succeeded, sum_failed, sum_tool_calls, sum_chars, sum_code_blocks, active_slot) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, \
     $22, $23, $24, $25, $26, $27, $28, left($12, 18))";

fn insert<'a>(tx: &mut Tx<'a>, session: &'a NewSession, record: &Record) -> Result<(), StoreError> {
    let values = values![
        session.id.as_str(),
        &session.project_id,
        session.parent_id.as_ref().map(SessionId::as_str),
        session.fork_point.map(signed),
        &session.branch_name,
        record.state.as_str(),
        signed(record.cut.turn_count),
        record.totals.tokens,
        record.evidence_json(tx.now),
        session.metadata.as_str(),
        record.created_at.clone(),
        record.last_active.clone(),
        session.family.as_str(),
        &session.title,
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
    ];
    let taken = Meaning::Taken(Subject::Session, session.id.to_string());
    tx.put_meaning("insert a session", INSERT, values, taken);
    Ok(())
}

pub(super) fn insert_legacy<'a>(tx: &mut Tx<'a>, history: HistoryId, legacy: &'a [LegacySet]) {
    for set in legacy {
        tx.put(
            "insert legacy observations",
            "INSERT INTO legacy_sets (history_id, origin_id, alpha, beta) VALUES ($1, $2, $3, $4)",
            values![history.0, set.origin.as_str(), set.alpha, set.beta],
        );
    }
}

/// Changes names and flags.
pub(super) fn patch<'a>(
    tx: &mut Tx<'a>,
    id: &'a SessionId,
    patch: &'a SessionPatch,
) -> Result<(), StoreError> {
    let record = tx.record(id)?;
    if patch.is_empty() {
        return Ok(());
    }
    record.mark(Dirty::State);
    tx.raise(id)?;
    let tags = patch.tags.as_deref().map(codec::encode_list).transpose()?;
    tx.put(
        "change a session's names",
        "UPDATE chat_sessions SET \
         project_id = CASE WHEN $2 THEN $3 ELSE project_id END, \
         branch_name = coalesce($4, branch_name), \
         title = CASE WHEN $5 THEN $6 ELSE title END, \
         tags_json = coalesce($7, tags_json), \
         pinned = coalesce($8, pinned), \
         archived = coalesce($9, archived), \
         \"trailing\" = coalesce($10, \"trailing\"), \
         metadata_json = coalesce($11, metadata_json) \
         WHERE id = $1",
        values![
            id.as_str(),
            patch.project_id.is_some(),
            patch.project_id.as_ref().and_then(Option::as_deref),
            patch.branch_name.as_deref(),
            patch.title.is_some(),
            patch.title.as_ref().and_then(Option::as_deref),
            Value::Text(tags.map(|tags| Cow::Owned(escape(&tags).into_owned()))),
            patch.pinned,
            patch.archived,
            patch.trailing,
            patch.metadata.as_ref().map(Json::as_str),
        ],
    );
    Ok(())
}

/// Marks a session as gone into a merge.
pub(super) fn mark_merged<'a>(
    tx: &mut Tx<'a>,
    id: &'a SessionId,
    into: &'a SessionId,
) -> Result<(), StoreError> {
    tx.record(id)?.mark(Dirty::State);
    tx.raise(id)?;
    tx.put(
        "mark a session as merged",
        "UPDATE chat_sessions SET is_merged = TRUE, merged_into = $2 WHERE id = $1",
        values![id.as_str(), into.as_str()],
    );
    Ok(())
}

/// Deletes a session and every turn that nothing else reaches.
pub(super) async fn delete<'a>(tx: &mut Tx<'a>, id: &'a SessionId) -> Result<(), StoreError> {
    let doing = "delete a session";
    tx.flush();
    let record = tx.record(id)?;
    let (family, cut) = (record.family.to_string(), record.cut);
    let mut doomed = Candidates::default();
    doomed.add_session(tx, id, cut).await?;
    keys::forget_session(tx, id);
    let now = tx.now_text.clone();
    tx.put(
        doing,
        "INSERT INTO deleted_sessions (id, family_id, parent_id, fork_point, deleted_at) \
         SELECT id, family_id, parent_id, fork_point, $2 FROM chat_sessions WHERE id = $1 \
         ON CONFLICT (id) DO UPDATE SET family_id = excluded.family_id, parent_id = excluded.parent_id, \
         fork_point = excluded.fork_point, deleted_at = excluded.deleted_at",
        values![id.as_str(), now],
    );
    tx.put_meaning(
        doing,
        "DELETE FROM chat_sessions WHERE id = $1",
        values![id.as_str()],
        Meaning::Referenced(id.clone()),
    );
    tx.put(
        doing,
        "DELETE FROM deleted_sessions WHERE family_id = $1 \
         AND NOT EXISTS (SELECT 1 FROM chat_sessions WHERE family_id = $1)",
        values![family],
    );
    tx.put(doing, "UPDATE segments SET owner_id = NULL WHERE owner_id = $1", values![id.as_str()]);
    past::forget(tx, id);
    tx.dismiss(id);
    tx.tally.sessions -= 1;
    doomed.purge(tx).await
}
