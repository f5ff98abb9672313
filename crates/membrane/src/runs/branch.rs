//! Saying something else at a point, or having the model answer it once more: a fork there and a message on it, as one change.

use std::sync::{Arc, Mutex, PoisonError};

use membrane_core::error::DomainError;
use membrane_core::history::Cut;
use membrane_core::ids::{SessionId, TurnId};
use membrane_core::run::Run;
use membrane_core::session::{NewSession, Session};
use membrane_core::state::Action;
use membrane_core::turn::Message;
use membrane_store::change::Origin;
use membrane_store::{Change, Requirement, Write};

use super::begin::{Begun, Sent};
use super::live::LiveRun;
use crate::chat::{Attempt, Chat, Decision};
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};
use crate::sessions::odd_result;

/// What to say instead.
#[derive(Debug, Clone, PartialEq)]
pub struct EditOptions {
    /// The new message; may be empty.
    pub message: Message,
    /// What the new session is called; `edit-<n>` for `None`.
    pub branch_name: Option<String>,
    /// Makes the call happen once: the same key and body again listens to the same answer.
    pub key: Option<ClientKey>,
}

/// How to have a message answered once more.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RegenerateOptions {
    /// What the new session is called; `regenerate-<n>` for `None`.
    pub branch_name: Option<String>,
    /// Makes the call happen once: the same key and body again listens to the same answer.
    pub key: Option<ClientKey>,
}

/// What is to be said at a point.
struct Instead {
    /// The same as before for `None`.
    message: Option<Message>,
    branch_name: String,
    scope: Option<Scope>,
}

impl Chat {
    /// Says something else in place of turn `turn_number`: in a new session, which holds the turns before it. The old one
    /// stays as it is. Gives a reader of the answer, which knows the new session.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session.
    /// - [`ChatError::Refused`]: it has no such turn.
    /// - [`ChatError::TooLarge`]: the message or the branch name is over its limit.
    /// - [`ChatError::KeyReused`], [`ChatError::AnswerGone`], [`ChatError::Unavailable`]: as [`Chat::send`].
    pub async fn edit_turn(
        &self,
        id: &SessionId,
        turn_number: i64,
        options: EditOptions,
    ) -> Result<Sent, ChatError> {
        self.limits().check_message(&options.message)?;
        self.limits().check_optional_name("branch name", options.branch_name.as_deref())?;
        let instead = Instead {
            message: Some(options.message),
            branch_name: options.branch_name.unwrap_or_else(|| format!("edit-{turn_number}")),
            scope: Scope::new(&format!("turns/{turn_number}/edit"), Some(id), options.key)?,
        };
        self.say_instead(id, turn_number, instead).await
    }

    /// Has the message of turn `turn_number` answered once more: in a new session, which holds the turns before it. The old
    /// one stays as it is. Gives a reader of the answer, which knows the new session.
    ///
    /// # Errors
    /// As [`Chat::edit_turn`].
    pub async fn regenerate_turn(
        &self,
        id: &SessionId,
        turn_number: i64,
        options: RegenerateOptions,
    ) -> Result<Sent, ChatError> {
        self.limits().check_optional_name("branch name", options.branch_name.as_deref())?;
        let instead = Instead {
            message: None,
            branch_name: options.branch_name.unwrap_or_else(|| format!("regenerate-{turn_number}")),
            scope: Scope::new(&format!("turns/{turn_number}/regenerate"), Some(id), options.key)?,
        };
        self.say_instead(id, turn_number, instead).await
    }

    async fn say_instead(
        &self,
        id: &SessionId,
        turn_number: i64,
        instead: Instead,
    ) -> Result<Sent, ChatError> {
        let id = id.clone();
        self.spawn_run(move |chat| async move { chat.begin_instead(&id, turn_number, &instead).await }).await
    }

    async fn begin_instead(
        &self,
        id: &SessionId,
        turn_number: i64,
        instead: &Instead,
    ) -> Result<Begun, ChatError> {
        let new_id = SessionId::generate(self.ids());
        let turn_id = TurnId::generate(self.ids());
        let beginning = self.runs().begin(&turn_id).ok_or_else(ChatError::stopping)?;
        let empty = Message::new(String::new());
        let draft = self.new_run(new_id.clone(), turn_id.clone(), empty, None).await?;
        // What the last decision made of the draft: the one that was committed.
        let begun = Mutex::new(None);
        let (draft, last) = (&draft, &begun);
        let decide = move |attempt: Attempt| async move {
            let (run, change) = self.decide_instead(attempt, id, turn_number, instead, draft.clone()).await?;
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
            Ok(Decision::Commit(change))
        };
        let receipt = self.commit_decided(instead.scope.as_ref(), decide).await?;
        if receipt.replayed {
            drop(beginning);
            let (session, turn_id) = receipt.result.split_once('\n').ok_or_else(|| odd_result(&receipt))?;
            let (session, turn_id) = (SessionId::from_stored(session), TurnId::from_stored(turn_id));
            let number = u64::try_from(turn_number).unwrap_or(0);
            return Ok(Begun::Before(self.find_answer(&session, &turn_id, number, 1).await?, 0));
        }
        let stamp = receipt.stamp(&new_id).ok_or_else(|| odd_result(&receipt))?;
        let run = begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        let run = Run { version: stamp.version, ..run.ok_or_else(|| odd_result(&receipt))? };
        let live = Arc::new(LiveRun::driven(run, stamp.cut.turn_count, Vec::new()));
        beginning.open(&live);
        self.watch_stops();
        Ok(Begun::New(live, 0))
    }

    async fn decide_instead(
        &self,
        attempt: Attempt,
        id: &SessionId,
        turn_number: i64,
        instead: &Instead,
        draft: Run,
    ) -> Result<(Run, Change), ChatError> {
        let parent = self.get_session(id).await?;
        let number = parent.resolve_turn_number(turn_number)?;
        let message = match &instead.message {
            Some(message) => message.clone(),
            None => self.message_of(&parent, number).await?,
        };
        let run = Run { user: message, model: self.model_on(&parent), ..draft };
        let cut = Cut { turn_count: number, ..parent.cut };
        let session = NewSession {
            id: run.session.clone(),
            family: parent.family,
            project_id: parent.project_id,
            parent_id: Some(parent.id),
            fork_point: Some(number),
            branch_name: instead.branch_name.clone(),
            title: parent.title,
            tags: parent.tags,
            metadata: parent.metadata,
        };
        let result = || format!("{}\n{}", run.session.as_str(), run.turn_id.as_str());
        let change = Change::at(attempt.now)
            .once(instead.scope.as_ref().map(|scope| scope.with(result())))
            .require(Requirement::Allows { session: id.clone(), action: Action::Fork })
            // With the turn itself: it is what is said something else in place of.
            .require(Requirement::Sees {
                session: id.clone(),
                cut: Cut { turn_count: number.saturating_add(1), ..parent.cut },
            })
            .write(Write::CreateSession { session, origin: Origin::Cut(cut), created_at: None })
            .write(Write::BeginRun { run: run.clone(), lease_for: self.run_settings().lease_for });
        Ok((run, change))
    }

    /// What the user said in a turn that the session has.
    async fn message_of(&self, session: &Session, number: u64) -> Result<Message, ChatError> {
        let turns = self.store().load_turns(session.cut, number..number.saturating_add(1)).await?;
        let gone = || DomainError::NoSuchTurn {
            session: session.id.clone(),
            turn_number: i64::try_from(number).unwrap_or(i64::MAX),
            turn_count: session.turn_count(),
        };
        let kept = turns.into_iter().next().ok_or_else(gone).map_err(ChatError::from)?;
        Ok(kept.turn.user)
    }
}
