//! Merging two sessions into a new one. What a merge of two threads is, is decided in core; here what
//! it needs is read, and the result is committed if both sources still have it.

use std::collections::BTreeMap;

use membrane_core::error::{DomainError, ValueError};
use membrane_core::evidence::unite_legacy;
use membrane_core::history::{History, Slice, Span, TurnMark, TurnRef};
use membrane_core::ids::SessionId;
use membrane_core::json::Json;
use membrane_core::merge::{self, MergeStrategy, Pick};
use membrane_core::session::{NewSession, Session};
use membrane_core::state::Action;
use membrane_store::change::Origin;
use membrane_store::{Change, IdempotencyKey, Requirement, Write};
use serde_json::value::RawValue;

use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};
use crate::sessions::made_session;

/// How to merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeOptions {
    /// How two threads become one.
    pub strategy: MergeStrategy,
    /// For a manual merge, the turns to keep, in order; else empty.
    pub picks: Vec<Pick>,
    /// What the merge is called; `None` for the names of both, joined by `+`.
    pub branch_name: Option<String>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self { strategy: MergeStrategy::Sequential, picks: Vec::new(), branch_name: None, key: None }
    }
}

impl MergeOptions {
    /// Merges by `strategy`, which is not `manual`.
    pub fn by(strategy: MergeStrategy) -> Self {
        Self { strategy, ..Self::default() }
    }

    /// Keeps these turns, in this order.
    pub fn picking(picks: Vec<Pick>) -> Self {
        Self { strategy: MergeStrategy::Manual, picks, ..Self::default() }
    }
}

/// One of the two that are merged.
struct Source {
    session: Session,
    history: History,
}

impl Source {
    fn spans(&self) -> Vec<Span> {
        self.history.spans(self.session.turn_count())
    }
}

impl Chat {
    /// Makes a new session of the turns of two: the same turns, not copies. It belongs to the family
    /// and the project of `base` (or else the project of `other`), has its title, tags and metadata,
    /// and in the metadata `merged_from`, the ids of both. Both are marked as merged and stay.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: one of them is not there.
    /// - [`ChatError::Refused`]: both are the same; a turn is under way on one; a manual merge without
    ///   picks, or a pick from elsewhere, of no turn, or of one twice; picks without a manual merge.
    /// - [`ChatError::TooLarge`]: the given branch name or the metadata is over its limit.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    /// - [`ChatError::Unavailable`]: the sessions keep changing.
    pub async fn merge(
        &self,
        base: &SessionId,
        other: &SessionId,
        options: MergeOptions,
    ) -> Result<Session, ChatError> {
        check_options(base, other, &options)?;
        let scope = Scope::new("merge", Some(base), options.key.clone())?;
        let new_id = SessionId::generate(self.ids());
        let key = scope.as_ref().map(|scope| scope.with(new_id.as_str()));
        let decide = |attempt| self.decide_merge(attempt, [base, other], &new_id, &options, key.as_ref());
        let receipt = self.commit_decided(scope.as_ref(), decide).await?;
        self.get_session(&made_session(&receipt, new_id)).await
    }

    async fn decide_merge(
        &self,
        attempt: Attempt,
        [base, other]: [&SessionId; 2],
        new_id: &SessionId,
        options: &MergeOptions,
        key: Option<&IdempotencyKey>,
    ) -> Result<Decision, ChatError> {
        let (Some(left), Some(right)) = (self.read_source(base).await?, self.read_source(other).await?)
        else {
            return Ok(Decision::Again);
        };
        let sources = [&left.session, &right.session];
        for source in sources {
            source.state.require(&source.id, Action::Merge)?;
        }
        let Some(slices) = self.lay_out(options, &left, &right).await? else {
            return Ok(Decision::Again);
        };
        let legacy = unite_legacy(&left.history.legacy, &right.history.legacy);
        let session = self.name_merge(new_id, sources, options.branch_name.as_deref())?;
        let mut change = Change::at(attempt.now).once(key.cloned()).write(Write::CreateSession {
            session,
            origin: Origin::Slices { slices, legacy },
            created_at: None,
        });
        for source in sources {
            change = change
                .require(Requirement::Allows { session: source.id.clone(), action: Action::Merge })
                .require(Requirement::Sees { session: source.id.clone(), cut: source.cut })
                .write(Write::MarkMerged { session: source.id.clone(), into: new_id.clone() });
        }
        Ok(Decision::Commit(change))
    }

    /// A session with its history; `None` when it moved to another one in between.
    async fn read_source(&self, id: &SessionId) -> Result<Option<Source>, ChatError> {
        let session = self.get_session(id).await?;
        let history = self.store().find_history(session.cut.history).await?;
        Ok(history.map(|history| Source { session, history }))
    }

    /// The slices of the merge; `None` when a source lost turns while this was read.
    async fn lay_out(
        &self,
        options: &MergeOptions,
        left: &Source,
        right: &Source,
    ) -> Result<Option<Vec<Slice>>, ChatError> {
        let store = self.store();
        let (spans, marks) = match options.strategy {
            MergeStrategy::Interleave => {
                let (a, b) =
                    (store.list_marks(left.session.cut).await?, store.list_marks(right.session.cut).await?);
                (merge::interleave(&a, &b), [a, b].concat())
            }
            MergeStrategy::Sequential | MergeStrategy::Manual => {
                let spans = if options.strategy == MergeStrategy::Manual {
                    merge::manual(&options.picks, |pick| locate(pick, left, right))?
                } else {
                    merge::sequential(&left.spans(), &right.spans())
                };
                let marks = store.find_marks(&merge::ends(&spans)).await?;
                (spans, marks)
            }
        };
        let marks: BTreeMap<TurnRef, TurnMark> = marks.into_iter().map(|mark| (mark.at, mark)).collect();
        // The only way to fail is a mark that is missing: its turn was deleted since the session was read.
        Ok(merge::lay_out(&spans, &marks).ok())
    }

    fn name_merge(
        &self,
        id: &SessionId,
        [base, other]: [&Session; 2],
        branch_name: Option<&str>,
    ) -> Result<NewSession, ChatError> {
        let branch_name = match branch_name {
            Some(name) => name.to_owned(),
            None => self.limits().cut_name(format!("{}+{}", base.branch_name, other.branch_name)),
        };
        self.limits().check_name("branch name", &branch_name)?;
        let metadata = with_merged_from(&base.metadata, [&base.id, &other.id])?;
        self.limits().check_metadata(&metadata)?;
        Ok(NewSession {
            id: id.clone(),
            family: base.family.clone(),
            project_id: base.project_id.clone().or_else(|| other.project_id.clone()),
            parent_id: Some(base.id.clone()),
            fork_point: None,
            branch_name,
            title: base.title.clone(),
            tags: base.tags.clone(),
            metadata,
        })
    }
}

fn check_options(base: &SessionId, other: &SessionId, options: &MergeOptions) -> Result<(), ChatError> {
    if base == other {
        return Err(DomainError::MergeWithItself { session: base.clone() }.into());
    }
    if options.strategy != MergeStrategy::Manual && !options.picks.is_empty() {
        return Err(ValueError::Unknown {
            what: "merge strategy for picked turns",
            value: options.strategy.to_string(),
            allowed: "manual",
        }
        .into());
    }
    Ok(())
}

fn locate(pick: &Pick, left: &Source, right: &Source) -> Result<TurnRef, DomainError> {
    let source = [left, right]
        .into_iter()
        .find(|source| source.session.id == pick.session)
        .ok_or_else(|| DomainError::PickFromElsewhere { session: pick.session.clone() })?;
    let number = source.session.resolve_turn_number(pick.turn_number)?;
    source.history.locate(number).ok_or_else(|| DomainError::NoSuchTurn {
        session: pick.session.clone(),
        turn_number: pick.turn_number,
        turn_count: source.session.turn_count(),
    })
}

/// The metadata with `merged_from` set; every other entry stays as it is, byte for byte.
fn with_merged_from(metadata: &Json, ids: [&SessionId; 2]) -> Result<Json, ValueError> {
    let entries: Entries = serde_json::from_str(metadata.as_str())
        .map_err(|error| ValueError::NotJson { what: "metadata", problem: error.to_string() })?;
    let from = serde_json::Value::from(ids.map(SessionId::as_str).as_slice());
    let kept = entries.0.iter().filter(|(key, _)| key.get() != "\"merged_from\"");
    let mut entries: Vec<String> = kept.map(|(key, value)| format!("{key}:{value}")).collect();
    entries.push(format!("\"merged_from\":{from}"));
    let text = format!("{{{}}}", entries.join(","));
    Json::parse("metadata", &text)
}

/// An object's entries in their order and spelling: numbers of any size, keys of any kind.
struct Entries(Vec<(Box<RawValue>, Box<RawValue>)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Entries;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(metadata: &str) -> String {
        let ids = [SessionId::from_stored("a"), SessionId::from_stored("b\"")];
        let metadata = Json::parse("metadata", metadata).unwrap();
        with_merged_from(&metadata, [&ids[0], &ids[1]]).unwrap().to_string()
    }

    #[test]
    fn merged_from_is_added_and_all_else_stays_as_it_is() {
        assert_eq!(merged("{}"), r#"{"merged_from":["a","b\""]}"#);
        assert_eq!(
            merged(r#"{ "z": 1e400, "\ud800": [1, 2] }"#),
            r#"{"z":1e400,"\ud800":[1, 2],"merged_from":["a","b\""]}"#
        );
    }

    #[test]
    fn an_earlier_merged_from_is_replaced() {
        assert_eq!(
            merged(r#"{"merged_from":["x","y"],"k":true}"#),
            r#"{"k":true,"merged_from":["a","b\""]}"#
        );
    }
}
