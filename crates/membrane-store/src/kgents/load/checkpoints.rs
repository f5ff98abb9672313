//! Checkpoints and crystals: which turns an old checkpoint sees, and where those are that only it has.

use membrane_core::checkpoint::CheckpointKind;
use membrane_core::crystal::Crystal;
use membrane_core::history::Cut;
use membrane_core::ids::{CheckpointId, SessionId};
use membrane_core::json::Json;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, Turn};

use super::contexts::{self, OldContext};
use super::notes::Notes;
use super::turns::{self, NewTurn, Thread};
use super::{LoadError, ask, commit};
use crate::change::{Change, Leave, Write};
use crate::error::StoreError;
use crate::kgents::json;
use crate::kgents::old::{OldCheckpoint, OldCrystal, Place, Sink, StoredTurn};
use crate::kgents::report::Oddity;

/// The session that a checkpoint is of.
pub(super) struct Standing<'a> {
    pub(super) id: &'a SessionId,
    pub(super) cut: Cut,
    /// What tells each of its turns.
    pub(super) turns: &'a [StoredTurn],
    pub(super) has_total: bool,
}

/// Makes the checkpoint; says when it was made.
pub(super) fn load(
    notes: &mut Notes<'_>,
    sink: &mut dyn Sink,
    session: &Standing<'_>,
    old: &OldCheckpoint,
    fallback: Timestamp,
) -> Result<Option<Timestamp>, LoadError> {
    let place = &old.place;
    let created_at = notes.time(place, "created_at", old.created_at.as_deref()).unwrap_or(fallback);
    let OldContext { turns, extras } = contexts::read(notes, old);
    let is_ours = extras.is_some();
    if let Some(evidence) =
        old.evidence_json.as_deref().filter(|text| !is_ours && !matches!(text.trim(), "" | "{}" | "null"))
    {
        notes.keep(
            place,
            "evidence_json",
            evidence,
            "the evidence then, as the old file had it; derived anew here",
        );
    }
    let (name, kind) = extras.map_or((None, CheckpointKind::Named), |extras| (extras.name, extras.kind));
    let (seen, own) = match turns {
        Some(turns) => {
            let listed = i64::try_from(turns.len()).unwrap_or(i64::MAX);
            if let Some(said) = old.turn_count.filter(|said| *said != listed) {
                let what = format!("turn_count was {said}, its context holds {listed}; it sees those");
                notes.note(Oddity::WrongCount, place, what);
                notes.keep(place, "turn_count", &said.to_string(), "not the number of turns in its context");
            }
            let turns = read_turns(notes, session, &turns, created_at);
            compare(session, turns)
        }
        None => (count(notes, session, old), Vec::new()),
    };
    let (own, signals): (Vec<Turn>, Vec<Vec<Signal>>) =
        own.into_iter().map(|new| (new.turn, new.signals)).unzip();
    if !own.is_empty() {
        let what = format!(
            "{} of its {} turns are not in its session any more; they are kept with the checkpoint",
            own.len(),
            seen + u64::try_from(own.len()).unwrap_or(u64::MAX)
        );
        notes.note(Oddity::OnlyInCheckpoint, place, what);
    }
    let id = CheckpointId::from_stored(&old.id);
    let made = id.clone();
    let at = Cut { history: session.cut.history, turn_count: seen };
    let n_own = u64::try_from(own.len()).unwrap_or(u64::MAX);
    let mut change = Change::at(created_at);
    if own.is_empty() && kind == CheckpointKind::Named {
        let session = session.id.clone();
        change = change.write(Write::CreateCheckpoint { id, session, name, cut: at });
    } else {
        // The session goes there, adds what is missing, and leaves the checkpoint on its way back.
        let here = CheckpointId::from_stored(&format!("{id}-way-back"));
        let keep = Leave { id: here.clone(), kind: CheckpointKind::Named, name: None };
        change = change.write(Write::MoveSession { session: session.id.clone(), to: at, leave: keep });
        if !own.is_empty() {
            change = change.write(Write::AppendTurns { session: session.id.clone(), turns: own });
        }
        let leave = Leave { id, kind, name };
        change = change.write(Write::MoveSession { session: session.id.clone(), to: session.cut, leave });
        change = change.write(Write::DeleteCheckpoint { session: session.id.clone(), id: here });
    }
    match commit(sink, change, || format!("checkpoint {} of session {}", old.id, session.id)) {
        Ok(_) => {}
        Err(LoadError::Sink { source: StoreError::AlreadyExists { .. }, .. }) => {
            let problem = "another session of the keep has a checkpoint of this id";
            notes.note(Oddity::Conflict, place, format!("{problem}; this one is kept aside"));
            notes.keep(place, "context_json", old.context_json.as_deref().unwrap_or_default(), problem);
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    if signals.iter().any(|signals| !signals.is_empty()) {
        add_signals(sink, session, &made, (seen..).zip(signals), created_at)?;
    }
    notes.report.turns_written += n_own;
    notes.report.checkpoints_written += 1;
    Ok(Some(created_at))
}

/// Writes what users said of turns that only a checkpoint has, by their numbers in it.
fn add_signals(
    sink: &mut dyn Sink,
    session: &Standing<'_>,
    id: &CheckpointId,
    signals: impl Iterator<Item = (u64, Vec<Signal>)>,
    now: Timestamp,
) -> Result<(), LoadError> {
    let what = || format!("signals of checkpoint {id} of session {}", session.id);
    let there = ask(sink.list_checkpoints(session.id), what)?;
    let Some(made) = there.into_iter().find(|checkpoint| checkpoint.id == *id) else { return Ok(()) };
    let Some(history) = ask(sink.find_history(made.cut.history), what)? else { return Ok(()) };
    for (number, signals) in signals {
        let Some(at) = history.locate(number).filter(|_| !signals.is_empty()) else { continue };
        let change = signals
            .into_iter()
            .fold(Change::at(now), |change, signal| change.write(Write::AddSignal { at, signal }));
        commit(sink, change, what)?;
    }
    Ok(())
}

fn read_turns(
    notes: &mut Notes<'_>,
    session: &Standing<'_>,
    turns: &[crate::kgents::OldTurn],
    created_at: Timestamp,
) -> Vec<NewTurn> {
    let mut thread = Thread { has_total: session.has_total, fallback: created_at, number: 0 };
    let mut read = |old| {
        let new = turns::read(notes, old, &thread);
        thread.number += 1;
        thread.fallback = new.turn.completed_at;
        new
    };
    turns.iter().map(&mut read).collect()
}

/// How many of the turns are the session's first ones, and those that are not.
fn compare(session: &Standing<'_>, mut turns: Vec<NewTurn>) -> (u64, Vec<NewTurn>) {
    // A context may say more of a turn's tools than its row does.
    let is_same = |(NewTurn { turn, .. }, stored): &(&NewTurn, &StoredTurn)| {
        let seen = StoredTurn::of(turn);
        seen.digest == stored.digest && (seen.n_tools == 0 || seen.n_tools == stored.n_tools)
    };
    let shared = turns.iter().zip(session.turns).take_while(is_same).count();
    let own = turns.split_off(shared);
    (u64::try_from(shared).unwrap_or(u64::MAX), own)
}

/// What a checkpoint sees that names no turns.
fn count(notes: &mut Notes<'_>, session: &Standing<'_>, old: &OldCheckpoint) -> u64 {
    let there = session.cut.turn_count;
    match old.turn_count.map(u64::try_from) {
        Some(Ok(count)) if count <= there => count,
        None => there,
        Some(_) => {
            let said = old.turn_count.unwrap_or_default();
            let what = format!(
                "turn_count {said}, but its session has {there} turns and its context holds none; it sees {there} now"
            );
            notes.note(Oddity::WrongCount, &old.place, what);
            notes.keep(&old.place, "turn_count", &said.to_string(), "more turns than there are");
            there
        }
    }
}

/// Reads a crystal.
pub(super) fn crystal(
    notes: &mut Notes<'_>,
    session: &SessionId,
    old: &OldCrystal,
    fallback: Timestamp,
) -> Crystal {
    let place = &old.place;
    let key_decisions = list(notes, place, "key_decisions_json", old.key_decisions_json.as_deref());
    let artifacts = list(notes, place, "artifacts_json", old.artifacts_json.as_deref());
    let final_evidence = match old.final_evidence_json.as_deref().filter(|text| !text.trim().is_empty()) {
        None => Json::empty_object(),
        Some(text) => match Json::parse("evidence", text) {
            Ok(json) if json.is_object() => json,
            _ => {
                let problem = "not a JSON object";
                notes.set_aside(Oddity::BadJson, place, "final_evidence_json", text, problem);
                Json::empty_object()
            }
        },
    };
    let final_turn_count = match old.final_turn_count.map(u64::try_from) {
        Some(Ok(count)) => count,
        None => 0,
        Some(Err(_)) => {
            let text = old.final_turn_count.unwrap_or_default().to_string();
            let problem = "a number of turns is never negative";
            notes.set_aside(Oddity::WrongCount, place, "final_turn_count", &text, problem);
            0
        }
    };
    let created_at = notes.time(place, "created_at", old.created_at.as_deref()).unwrap_or(fallback);
    Crystal {
        session: session.clone(),
        title: old.title.clone(),
        summary: old.summary.clone(),
        key_decisions,
        artifacts,
        final_evidence,
        final_turn_count,
        created_at,
    }
}

fn list(notes: &mut Notes<'_>, place: &Place, column: &str, text: Option<&str>) -> Vec<String> {
    let Some(text) = text.filter(|text| !matches!(text.trim(), "" | "null")) else { return Vec::new() };
    let (repaired, repairs) = json::repair(text);
    let Ok(values) = serde_json::from_str::<Vec<serde_json::Value>>(&repaired) else {
        notes.set_aside(Oddity::BadJson, place, column, text, "not a JSON list");
        return Vec::new();
    };
    if !repairs.is_nothing() || values.iter().any(|value| !value.is_string()) {
        notes.set_aside(Oddity::BadJson, place, column, text, "not a list of texts alone");
    }
    let text = |value| match value {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    values.into_iter().map(text).collect()
}
