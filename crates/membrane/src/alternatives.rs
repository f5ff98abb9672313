//! What else was said at a point: the turns that stand there in a family of forks.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use membrane_core::branches::BranchNode;
use membrane_core::history::{History, Span, TurnRef};
use membrane_core::ids::{HistoryId, SessionId};
use membrane_core::session::Session;
use membrane_core::turn::KeptTurn;

use crate::chat::Chat;
use crate::error::ChatError;

/// A turn that stands at a point.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// A session that holds it: the one that was asked, else the oldest.
    pub session: Session,
    /// The turn as that session holds it.
    pub kept: KeptTurn,
}

impl Chat {
    /// The turns that follow the same turns as turn `turn_number` of a session does, in all its family: that one first, then
    /// those of other sessions, oldest session first. A turn that many sessions share is there once.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: it has no such turn.
    pub async fn alternatives(
        &self,
        id: &SessionId,
        turn_number: i64,
    ) -> Result<Vec<Alternative>, ChatError> {
        let session = self.get_session(id).await?;
        let number = session.resolve_turn_number(turn_number)?;
        let family = self.store().list_family(&session.family).await?;
        let mut others: Vec<Session> = family
            .into_iter()
            .filter_map(|node| match node {
                BranchNode::Live(other) if other.turn_count() > number && other.id != *id => Some(*other),
                BranchNode::Live(_) | BranchNode::Deleted(_) => None,
            })
            .collect();
        others.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let mut points: HashMap<HistoryId, Option<(Vec<Span>, TurnRef)>> = HashMap::new();
        let (mut before, mut seen, mut alternatives) = (None, Vec::new(), Vec::new());
        for session in std::iter::once(session).chain(others) {
            let found = match points.entry(session.cut.history) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let history = self.store().find_history(*unknown.key()).await?;
                    unknown.insert(history.and_then(|history| point(&history, number)))
                }
            };
            // A session that was changed or deleted meanwhile is left out.
            let Some((prefix, at)) = found else { continue };
            if *before.get_or_insert_with(|| prefix.clone()) != *prefix || seen.contains(at) {
                continue;
            }
            seen.push(*at);
            let turns = self.store().load_turns(session.cut, number..number.saturating_add(1)).await?;
            alternatives.extend(turns.into_iter().next().map(|kept| Alternative { session, kept }));
        }
        Ok(alternatives)
    }
}

/// What stands before a turn, and its identity.
fn point(history: &History, number: u64) -> Option<(Vec<Span>, TurnRef)> {
    let at = history.locate(number)?;
    let mut before: Vec<Span> = Vec::new();
    for span in history.spans(number) {
        match before.last_mut() {
            // Two slices of one stretch are the same turns as one.
            Some(last) if last.segment == span.segment && last.to == span.from => last.to = span.to,
            _ => before.push(span),
        }
    }
    Some((before, at))
}
