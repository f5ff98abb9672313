//! What clients say to a model's calls of tools: results, yes and no. The turn goes on when all calls have their results, on
//! the process that took the last one in; until then it waits, whatever is stopped and started.

use std::sync::Arc;

use membrane_core::error::DomainError;
use membrane_core::ids::{RunId, SessionId, TurnId};
use membrane_core::json::Json;
use membrane_core::run::{OpenCall, Piece, PieceBody, Run, Transcript};
use membrane_core::session::Session;
use membrane_core::state::Action;
use membrane_core::tool::{Consent, ConsentKind, ToolEffect, ToolUse};
use membrane_store::{Change, Receipt, Requirement, StoreError, Subject, Write};
use tokio::task::yield_now;

use super::begin::{Begun, Sent};
use super::live::LiveRun;
use crate::chat::Chat;
use crate::error::ChatError;
use crate::options::{ClientKey, Scope};
use crate::sessions::odd_result;

/// How often an answer is made anew because another one came in meanwhile.
const MAX_ATTEMPTS: u32 = 64;

/// Who it was, if a client does not say.
const SOMEBODY: &str = "user";

/// What came of a tool's use.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolAnswer {
    /// What it gave.
    pub output: Json,
    /// Whether it worked.
    pub success: bool,
    /// Why it did not.
    pub error: Option<String>,
    /// How long it took, in milliseconds; the time since the model called for `None`.
    pub duration_ms: Option<f64>,
    /// Who hands it in; `user` for `None`.
    pub by: Option<String>,
    /// Makes the call happen once: the same key and body again listens to the same answer.
    pub key: Option<ClientKey>,
}

/// What somebody says to the use of a tool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToolDecision {
    /// Why.
    pub reason: Option<String>,
    /// Who; `user` for `None`.
    pub by: Option<String>,
    /// Makes the call happen once.
    pub key: Option<ClientKey>,
}

/// What is written of a call, and whether it has its result with it.
struct Said {
    pieces: Vec<PieceBody>,
    settles: bool,
}

/// What became of it.
enum Written {
    /// The turn goes on, and this process is to drive it.
    GoesOn(Arc<LiveRun>, usize),
    /// It still waits.
    Waits(Run, u64, usize),
    /// It had been said before, under the same key, of this turn.
    Before(SaidBefore),
}

/// The turn of which something was said, as the key keeps it.
struct SaidBefore {
    turn_id: TurnId,
    turn_number: u64,
    /// The session's version when its run began.
    version: u64,
}

impl SaidBefore {
    fn text(&self) -> String {
        format!("{}\n{}\n{}", self.turn_id.as_str(), self.turn_number, self.version)
    }

    fn read(receipt: &Receipt) -> Result<Self, ChatError> {
        let mut parts = receipt.result.split('\n');
        let turn_id = parts.next().map(TurnId::from_stored);
        let mut number = || parts.next().and_then(|text| text.parse().ok());
        match (turn_id, number(), number()) {
            (Some(turn_id), Some(turn_number), Some(version)) => Ok(Self { turn_id, turn_number, version }),
            _ => Err(odd_result(receipt)),
        }
    }
}

impl Chat {
    /// Hands in what came of a tool that the model called, and gives a reader of the answer from there on: to its end if this
    /// was the last result that was missing, else to where it waits for the others.
    ///
    /// A tool that only looks needs nobody's consent. To hand in the result of one that changes something is to have seen
    /// that it did, which is recorded. One whose effect cannot be undone is to be approved before.
    ///
    /// # Errors
    /// - [`ChatError::NotFound`]: no such session, or the turn has no such call.
    /// - [`ChatError::Refused`]: nothing waits for a tool, the call has its result, or it is not approved.
    /// - [`ChatError::TooLarge`]: the output is over the limit for a message.
    /// - [`ChatError::KeyReused`]: the key was used with another body.
    pub async fn answer_tool(
        &self,
        id: &SessionId,
        call_id: &str,
        answer: ToolAnswer,
    ) -> Result<Sent, ChatError> {
        self.limits().check_output(&answer.output)?;
        self.limits().check_optional_text("error", answer.error.as_deref())?;
        self.limits().check_optional_name("name of who answers", answer.by.as_deref())?;
        let scope = Scope::new(&format!("tools/{call_id}"), Some(id), answer.key.clone())?;
        let (id, call_id) = (id.clone(), call_id.to_owned());
        self.spawn_run(|chat| async move {
            let say = |open: &OpenCall| chat.result_of(open, &answer);
            let written = chat.say(&id, &call_id, scope.as_ref(), say).await?;
            chat.read_on(&id, written).await
        })
        .await
    }

    /// Says yes to a tool's use. Gives nothing away but that: the tool runs at the client.
    ///
    /// # Errors
    /// As [`Chat::answer_tool`].
    pub async fn approve_tool(
        &self,
        id: &SessionId,
        call_id: &str,
        decision: ToolDecision,
    ) -> Result<(), ChatError> {
        let consent = self.consent(ConsentKind::Approved, &decision)?;
        let scope = Scope::new(&format!("tools/{call_id}/approve"), Some(id), decision.key)?;
        let say = |open: &OpenCall| {
            // Who said so first has said so.
            let is_new = open.consent.as_ref().is_none_or(|before| before.kind != ConsentKind::Approved);
            let said = PieceBody::Consent { call_id: open.call.call_id.clone(), consent: consent.clone() };
            Ok(Said { pieces: if is_new { vec![said] } else { Vec::new() }, settles: false })
        };
        self.say(id, call_id, scope.as_ref(), say).await.map(|_| ())
    }

    /// Says no to a tool's use, which is its result: the model is told, and the turn goes on if it waits for nothing else.
    ///
    /// # Errors
    /// As [`Chat::answer_tool`].
    pub async fn deny_tool(
        &self,
        id: &SessionId,
        call_id: &str,
        decision: ToolDecision,
    ) -> Result<(), ChatError> {
        let consent = self.consent(ConsentKind::Denied, &decision)?;
        let scope = Scope::new(&format!("tools/{call_id}/deny"), Some(id), decision.key)?;
        let (id, call_id) = (id.clone(), call_id.to_owned());
        let denied = self.spawn_run(|chat| async move {
            let say = |open: &OpenCall| Ok(denial_of(open, &consent));
            let written = chat.say(&id, &call_id, scope.as_ref(), say).await?;
            chat.read_on(&id, written).await
        });
        denied.await.map(|_| ())
    }

    fn consent(&self, kind: ConsentKind, decision: &ToolDecision) -> Result<Consent, ChatError> {
        self.limits().check_optional_text("reason", decision.reason.as_deref())?;
        self.limits().check_optional_name("name of who decides", decision.by.as_deref())?;
        let by = decision.by.clone().unwrap_or_else(|| SOMEBODY.to_owned());
        Ok(Consent { kind, by, reason: decision.reason.clone(), at: self.now() })
    }

    fn result_of(&self, open: &OpenCall, answer: &ToolAnswer) -> Result<Said, ChatError> {
        let OpenCall { call, consent } = open;
        if call.effect == ToolEffect::Destructive && !consent.as_ref().is_some_and(Consent::is_given) {
            let refusal = DomainError::NotApproved { call_id: call.call_id.clone(), tool: call.name.clone() };
            return Err(refusal.into());
        }
        let now = self.now();
        let seen = || Consent {
            kind: ConsentKind::Answered,
            by: answer.by.clone().unwrap_or_else(|| SOMEBODY.to_owned()),
            reason: None,
            at: now,
        };
        let is_to_be_seen = call.effect == ToolEffect::Write && consent.is_none();
        let began_at = consent.as_ref().map_or(call.called_at, |consent| consent.at);
        let took = || now.duration_since(began_at).as_secs_f64() * 1000.0;
        let used = ToolUse {
            output: answer.output.clone(),
            success: answer.success,
            duration_ms: answer.duration_ms.unwrap_or_else(took),
            effect: Some(call.effect),
            error: answer.error.clone(),
            consent: if is_to_be_seen { Some(seen()) } else { consent.clone() },
            ..ToolUse::new(call.call_id.clone(), call.name.clone(), call.input.clone())
        };
        Ok(Said { pieces: vec![PieceBody::Tool(used)], settles: true })
    }

    /// Writes what is said of a call, and lets the turn go on if it has all results then.
    async fn say(
        &self,
        id: &SessionId,
        call_id: &str,
        scope: Option<&Scope>,
        say: impl Fn(&OpenCall) -> Result<Said, ChatError>,
    ) -> Result<Written, ChatError> {
        for _ in 0..MAX_ATTEMPTS {
            let session = self.get_session(id).await?;
            match self.say_once(&session, call_id, scope, &say).await {
                // Somebody else has said something of it, or has ended it.
                Err(ChatError::Store(StoreError::LeaseLost { .. })) => {}
                Err(refusal) => {
                    let Some(scope) = scope else { return Err(refusal) };
                    let Some(receipt) = self.find_receipt(scope).await? else { return Err(refusal) };
                    return Ok(Written::Before(SaidBefore::read(&receipt)?));
                }
                written => return written,
            }
            yield_now().await;
        }
        let reason = "the call keeps changing".into();
        Err(ChatError::Unavailable { reason, retry_after: std::time::Duration::from_millis(100) })
    }

    async fn say_once(
        &self,
        session: &Session,
        call_id: &str,
        scope: Option<&Scope>,
        say: impl Fn(&OpenCall) -> Result<Said, ChatError>,
    ) -> Result<Written, ChatError> {
        session.state.require(&session.id, Action::AnswerTool)?;
        // It was ended since the session was read.
        let gone = || StoreError::LeaseLost { run: RunId::from_stored("") };
        let run = self.store().find_run(&session.id).await?.ok_or_else(gone)?;
        let mut pieces = self.store().list_pieces(&run.id, 0).await?;
        let known = pieces.len();
        let open = Transcript::open_calls(&pieces);
        let Some(call) = open.iter().find(|open| open.call.call_id == call_id) else {
            return Err(not_open(&pieces, call_id));
        };
        let Said { pieces: news, settles } = say(call)?;
        let goes_on = settles && open.len() == 1;
        let turn_number = session.turn_count();
        let said = SaidBefore { turn_id: run.turn_id.clone(), turn_number, version: run.version };
        let numbers = u64::try_from(known).unwrap_or(u64::MAX)..;
        let news: Vec<Piece> = numbers.zip(news).map(|(seq, body)| Piece { seq, body }).collect();
        let mut change = Change::at(self.now())
            .once(scope.map(|scope| scope.with(said.text())))
            .require(Requirement::Waiting { run: run.id.clone() })
            .write(Write::AppendPieces { run: run.id.clone(), pieces: news.clone() });
        if !goes_on {
            let receipt = self.store().commit(change).await?;
            return Ok(if receipt.replayed {
                Written::Before(SaidBefore::read(&receipt)?)
            } else {
                Written::Waits(run, turn_number, known)
            });
        }
        let beginning = self.runs().begin(&run.turn_id).ok_or_else(ChatError::stopping)?;
        let lease = self.new_lease().await?;
        let lease_for = self.run_settings().lease_for;
        change = change.write(Write::ResumeRun { run: run.id.clone(), lease: lease.clone(), lease_for });
        let receipt = self.store().commit(change).await?;
        if receipt.replayed {
            return Ok(Written::Before(SaidBefore::read(&receipt)?));
        }
        pieces.extend(news);
        let live = Arc::new(LiveRun::driven(Run { lease, ..run }, turn_number, pieces));
        beginning.open(&live);
        self.watch_stops();
        Ok(Written::GoesOn(live, known))
    }

    async fn read_on(&self, id: &SessionId, written: Written) -> Result<Begun, ChatError> {
        match written {
            Written::GoesOn(live, known) => Ok(Begun::New(live, known)),
            Written::Waits(run, turn_number, known) => {
                Ok(Begun::Before(self.follow(run, turn_number).await?, known))
            }
            Written::Before(SaidBefore { turn_id, turn_number, version }) => {
                Ok(Begun::Before(self.find_answer(id, &turn_id, turn_number, version).await?, 0))
            }
        }
    }
}

/// A no, which is the call's result.
fn denial_of(open: &OpenCall, consent: &Consent) -> Said {
    let call = &open.call;
    let why = consent.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let used = ToolUse {
        success: false,
        effect: Some(call.effect),
        error: Some(format!("{} denied the use of this tool{why}", consent.by)),
        consent: Some(consent.clone()),
        ..ToolUse::new(call.call_id.clone(), call.name.clone(), call.input.clone())
    };
    Said { pieces: vec![PieceBody::Tool(used)], settles: true }
}

/// Why there is nothing to say of a call: it has its result, or there is none of that name.
fn not_open(pieces: &[Piece], call_id: &str) -> ChatError {
    let was_called =
        pieces.iter().any(|piece| matches!(&piece.body, PieceBody::Call(call) if call.call_id == call_id));
    if was_called {
        return DomainError::AlreadyAnswered { call_id: call_id.to_owned() }.into();
    }
    ChatError::NotFound { subject: Subject::ToolCall, id: call_id.to_owned() }
}
