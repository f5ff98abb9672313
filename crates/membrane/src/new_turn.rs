//! Turns as callers give them: the message and the answer, and whatever else there was. Ids and times
//! that nobody gave are filled in when the turn is appended.

use membrane_core::ids::{IdSource, TurnId};
use membrane_core::json::Json;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Item, Linearity, Message, Turn, TurnError, TurnStatus};

/// A finished turn that is not in any session yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTurn {
    /// How it ended.
    pub status: TurnStatus,
    /// What the user said.
    pub user: Message,
    /// The answer, or what had arrived of it.
    pub assistant: Message,
    /// Tools, reasoning and whatever else happened in between, in order.
    pub items: Vec<Item>,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider's own token counts, unchanged.
    pub usage: Option<Json>,
    /// Why the model stopped.
    pub finish_reason: Option<String>,
    /// What went wrong.
    pub error: Option<TurnError>,
    /// A JSON list kept for clients that know it.
    pub portal_emissions: Option<Json>,
    /// When the user's message came in; `None` for `completed_at`, or the time of the append.
    pub started_at: Option<Timestamp>,
    /// When the turn was finished; `None` for the time of the append, or `started_at` if that is later.
    pub completed_at: Option<Timestamp>,
}

impl NewTurn {
    /// A complete plain turn, both messages tagged `preserved`.
    pub fn new(user: impl Into<String>, assistant: impl Into<String>) -> Self {
        Self {
            status: TurnStatus::Complete,
            user: Message::new(user),
            assistant: Message::new(assistant),
            items: Vec::new(),
            model: None,
            usage: None,
            finish_reason: None,
            error: None,
            portal_emissions: None,
            started_at: None,
            completed_at: None,
        }
    }

    /// The same turn, ended in another way.
    #[must_use]
    pub fn status(mut self, status: TurnStatus) -> Self {
        self.status = status;
        self
    }

    /// The same turn with these items in between.
    #[must_use]
    pub fn items(mut self, items: Vec<Item>) -> Self {
        self.items = items;
        self
    }

    /// The same turn with these tags on the user's message and on the answer.
    #[must_use]
    pub fn linearity(mut self, user: Linearity, assistant: Linearity) -> Self {
        self.user.linearity = user;
        self.assistant.linearity = assistant;
        self
    }

    pub(crate) fn into_turn(self, ids: &dyn IdSource, now: Timestamp) -> Turn {
        let started_at = self.started_at.or(self.completed_at).unwrap_or(now);
        Turn {
            id: TurnId::generate(ids),
            status: self.status,
            user: self.user,
            assistant: self.assistant,
            items: self.items,
            model: self.model,
            usage: self.usage,
            finish_reason: self.finish_reason,
            error: self.error,
            portal_emissions: self.portal_emissions,
            is_legacy: false,
            started_at,
            completed_at: self.completed_at.unwrap_or(now.max(started_at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane_core::ids::SequentialIds;

    fn times(started: Option<i64>, completed: Option<i64>) -> (i64, i64) {
        let turn = NewTurn {
            started_at: started.map(Timestamp::from_micros),
            completed_at: completed.map(Timestamp::from_micros),
            ..NewTurn::new("a", "b")
        };
        let turn = turn.into_turn(&SequentialIds::default(), Timestamp::from_micros(100));
        (turn.started_at.as_micros(), turn.completed_at.as_micros())
    }

    #[test]
    fn times_that_were_given_are_kept_and_others_follow_from_them() {
        assert_eq!(times(None, None), (100, 100));
        assert_eq!(times(Some(40), None), (40, 100));
        assert_eq!(times(Some(400), None), (400, 400));
        assert_eq!(times(None, Some(60)), (60, 60));
        assert_eq!(times(Some(70), Some(60)), (70, 60));
    }
}
