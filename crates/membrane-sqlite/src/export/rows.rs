//! Sessions and turns as V1's rows.

use membrane_core::error::ValueError;
use membrane_core::evidence::{Evidence, LegacySet, LegacyTotals, is_flipped};
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_core::turn::{KeptTurn, Totals};
use membrane_store::codec::{self, TurnText};
use membrane_store::kgents::extras::{self, SessionExtras, TurnExtras};

use super::times::LocalTimes;

/// What a thread adds up to, turn by turn, by the signals that were read with the turns: whoever signals meanwhile
/// changes the next export, and not half of this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Walk {
    legacy: LegacyTotals,
    totals: Totals,
    flipped: i64,
}

/// What one turn did to the evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) confidence: f64,
    pub(super) change: f64,
}

impl Walk {
    /// Before the first turn.
    pub(super) fn with(legacy: &[LegacySet]) -> Self {
        Self { legacy: LegacyTotals::of(legacy), totals: Totals::ZERO, flipped: 0 }
    }

    /// What the turns so far add up to.
    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    /// The evidence after them.
    pub(super) fn evidence(&self) -> Evidence {
        Evidence::derive(self.totals, self.flipped, self.legacy)
    }

    /// Goes on over the next turn.
    pub(super) fn step(&mut self, kept: &KeptTurn) -> Step {
        let before = self.evidence().confidence();
        let latest = kept.signals.last().map(|signal| signal.kind);
        self.flipped += i64::from(is_flipped(kept.turn.observes_success(), latest));
        self.totals = kept.totals;
        let confidence = self.evidence().confidence();
        Step { confidence, change: confidence - before }
    }
}

/// Evidence in kgents' form, with times of its kind.
pub(super) fn evidence_json(
    session: &Session,
    updated_at: Timestamp,
    evidence: &Evidence,
    turn_count: u64,
    times: &mut LocalTimes,
) -> String {
    let created_at = times.text(session.created_at);
    codec::evidence_json(&session.id, &created_at, times.text(updated_at), evidence, turn_count)
}

/// What V1 has no column for in a session. `is_parent_there` says whether the file holds its parent.
pub(super) fn session_extras(
    session: &Session,
    legacy: Vec<LegacySet>,
    is_parent_there: bool,
) -> SessionExtras {
    SessionExtras {
        title: session.title.clone(),
        tags: session.tags.clone(),
        pinned: session.pinned,
        archived: session.archived,
        trailing: session.trailing,
        parent_id: session.parent_id.clone().filter(|_| !is_parent_there),
        family: (session.family != session.id).then(|| session.family.clone()),
        legacy,
    }
}

/// What V1 has no column for in a turn; its tools aside, for which a row has one.
pub(super) fn turn_extras(kept: &KeptTurn, extra_json: Option<String>) -> TurnExtras {
    TurnExtras {
        status: kept.turn.status,
        extra_json,
        signals: kept.signals.clone(),
        is_legacy: kept.turn.is_legacy,
        ..TurnExtras::plain(kept.turn.id.clone())
    }
}

/// `tools_json` and `evidence_delta_json` of a turn.
pub(super) fn turn_texts(kept: &KeptTurn, step: Step) -> Result<(Option<String>, String), ValueError> {
    let TurnText { tools_json, extra_json } = codec::encode_turn(&kept.turn)?;
    let extras = turn_extras(kept, extra_json).encode()?;
    let delta = if kept.turn.is_legacy {
        // What it changed is not known.
        "{}".to_owned()
    } else {
        let succeeded = kept.turn.tools().filter(|tool| tool.success).count();
        format!(
            "{{\"tools_executed\":{},\"tools_succeeded\":{succeeded},\"confidence_change\":{}}}",
            kept.turn.tools().count(),
            step.change
        )
    };
    Ok((tools_json, extras::insert(&delta, &extras)))
}
