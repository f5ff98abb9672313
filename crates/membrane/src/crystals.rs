//! Crystals: what remains of a session, and whether one is due. Having a model write one is not here.

use membrane_core::crystal::{self, Crystal};
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::session::Session;
use membrane_core::state::Action;
use membrane_store::{Change, IdempotencyKey, Requirement, Subject, Write, codec};

use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};

/// A crystal as its author gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrystalDraft {
    /// The session it sums up.
    pub session: SessionId,
    /// Its title.
    pub title: String,
    /// Its text.
    pub summary: String,
    /// What was decided.
    pub key_decisions: Vec<String>,
    /// What was made.
    pub artifacts: Vec<String>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

/// How much a session has in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Significance {
    /// The score, by kgents' formula; 0 for fewer than ten turns.
    pub score: f64,
    /// Whether a crystal is due.
    pub is_significant: bool,
}

/// How much a session has in it, from its totals; reads nothing.
pub fn significance(session: &Session) -> Significance {
    let (turns, totals) = (session.turn_count(), session.totals);
    Significance {
        score: crystal::significance(turns, totals),
        is_significant: crystal::is_significant(turns, totals),
    }
}

impl Chat {
    /// Writes a session's crystal, with a snapshot of its evidence and its number of turns. A second
    /// one replaces the first.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: a turn is under way.
    /// - [`ChatError::TooLarge`]: a text is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn save_crystal(&self, draft: CrystalDraft) -> Result<Crystal, ChatError> {
        self.limits().check_name("title", &draft.title)?;
        self.limits().check_text("summary", &draft.summary)?;
        draft.key_decisions.iter().try_for_each(|text| self.limits().check_text("key decision", text))?;
        draft.artifacts.iter().try_for_each(|text| self.limits().check_text("artifact", text))?;
        let id = &draft.session;
        let scope = Scope::new("save_crystal", Some(id), draft.key.clone())?;
        let key = scope.as_ref().map(|scope| scope.with(""));
        let decide = |attempt| self.decide_crystal(attempt, &draft, key.as_ref());
        self.commit_decided(scope.as_ref(), decide).await?;
        let found = self.load_crystal(id).await?;
        found.ok_or_else(|| ChatError::NotFound { subject: Subject::Crystal, id: id.to_string() })
    }

    async fn decide_crystal(
        &self,
        attempt: Attempt,
        draft: &CrystalDraft,
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let id = &draft.session;
        let session = self.get_session(id).await?;
        session.state.require(id, Action::Crystallize)?;
        let crystal = Crystal {
            session: id.clone(),
            title: draft.title.clone(),
            summary: draft.summary.clone(),
            key_decisions: draft.key_decisions.clone(),
            artifacts: draft.artifacts.clone(),
            final_evidence: evidence_snapshot(&session)?,
            final_turn_count: session.turn_count(),
            created_at: attempt.now,
        };
        // The snapshot is of this version; of another one it would be wrong.
        let change = Change::at(attempt.now)
            .once(key.cloned())
            .require(Requirement::Version { session: id.clone(), version: session.version })
            .require(Requirement::Allows { session: id.clone(), action: Action::Crystallize })
            .write(Write::SaveCrystal(crystal));
        Ok(Decision::Commit(change))
    }

    /// Finds a session's crystal.
    pub async fn load_crystal(&self, id: &SessionId) -> Result<Option<Crystal>, ChatError> {
        Ok(self.store().find_crystal(id).await?)
    }
}

fn evidence_snapshot(session: &Session) -> Result<Json, ChatError> {
    let created_at = session.created_at.to_string();
    let text = codec::evidence_json(
        &session.id,
        &created_at,
        session.last_active,
        &session.evidence(),
        session.turn_count(),
    );
    Ok(Json::parse("evidence", &text)?)
}
