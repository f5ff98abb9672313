//! What a session becomes: decided before its turns are read, and what follows from them all.

use membrane_core::evidence::LegacySet;
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::session::{MAIN_BRANCH, NewSession, Session, SessionPatch};
use membrane_core::time::Timestamp;

use super::evidence::OldEvidence;
use super::notes::Notes;
use crate::change::Past;
use crate::kgents::extras::SessionExtras;
use crate::kgents::old::{OldSession, StoredTurn};
use crate::kgents::report::Oddity;

/// What is known of a session before its turns.
pub(super) struct Plan {
    pub(super) id: SessionId,
    pub(super) created_at: Timestamp,
    pub(super) last_active: Timestamp,
    /// Whether the file says so.
    pub(super) has_last_active: bool,
    pub(super) evidence: OldEvidence,
    pub(super) parent_id: Option<SessionId>,
    pub(super) parent: Option<Session>,
    /// How many turns are there already: the session's own, or its parent's.
    pub(super) known: u64,
    /// Whether the session itself is there already, and with which turns.
    pub(super) existing: Option<(Session, Vec<StoredTurn>)>,
}

/// A session as it is created.
pub(super) fn new_session(notes: &mut Notes<'_>, old: &OldSession, plan: &Plan) -> NewSession {
    let place = &old.place;
    let extras = plan.evidence.extras.clone().unwrap_or_default();
    let family = extras.family.or_else(|| plan.parent.as_ref().map(|parent| parent.family.clone()));
    let fork_point = match old.fork_point.map(u64::try_from) {
        Some(Err(_)) => {
            let text = old.fork_point.unwrap_or_default().to_string();
            notes.set_aside(Oddity::WrongCount, place, "fork_point", &text, "a fork point is never negative");
            None
        }
        Some(Ok(point)) => Some(point),
        None => None,
    };
    let metadata = old.metadata_json.as_deref().filter(|text| !matches!(text.trim(), "" | "null"));
    let metadata = match metadata.map(|text| Json::parse("metadata", text)) {
        None => Json::empty_object(),
        Some(Ok(json)) if json.is_object() => json,
        Some(Ok(_)) => {
            let text = old.metadata_json.as_deref().unwrap_or_default();
            notes.set_aside(Oddity::BadJson, place, "metadata_json", text, "not a JSON object");
            Json::empty_object()
        }
        Some(Err(problem)) => {
            let text = old.metadata_json.as_deref().unwrap_or_default();
            notes.set_aside(Oddity::BadJson, place, "metadata_json", text, problem.to_string());
            Json::empty_object()
        }
    };
    NewSession {
        project_id: old.project_id.clone(),
        family: family.or_else(|| plan.parent_id.clone()).unwrap_or_else(|| plan.id.clone()),
        parent_id: plan.parent_id.clone(),
        fork_point,
        branch_name: old.branch_name.clone().unwrap_or_else(|| MAIN_BRANCH.to_owned()),
        title: extras.title,
        tags: extras.tags,
        metadata,
        ..NewSession::root(plan.id.clone())
    }
}

/// What follows from no turn. `observed` is what the turns say themselves: successes and failures.
pub(super) fn past(plan: &Plan, old: &OldSession, observed: (f64, f64), newest: Option<Timestamp>) -> Past {
    let legacy = match (&plan.evidence.extras, &plan.evidence.total) {
        (Some(extras), _) => extras.legacy.clone(),
        (None, Some(total)) => {
            // What the turns say themselves is not counted twice.
            let set =
                LegacySet::from_total(plan.id.clone(), total.alpha - observed.0, total.beta - observed.1);
            if set.alpha > 0.0 || set.beta > 0.0 { vec![set] } else { Vec::new() }
        }
        (None, None) => Vec::new(),
    };
    // A file that does not say when it was used last has at least the newest turn's end.
    let newest = newest.filter(|_| !plan.has_last_active);
    let last_active = newest.map_or(plan.last_active, |newest| newest.max(plan.last_active));
    let SessionExtras { pinned, archived, trailing, .. } = plan.evidence.extras.clone().unwrap_or_default();
    Past {
        is_merged: old.is_merged,
        merged_into: old.merged_into.as_deref().map(SessionId::from_stored),
        patch: SessionPatch {
            pinned: Some(pinned),
            archived: Some(archived),
            trailing: Some(trailing),
            ..SessionPatch::default()
        },
        last_active: match &plan.existing {
            Some((session, _)) => session.last_active.max(last_active),
            None => last_active,
        },
        legacy,
    }
}
