//! What a client was told of a session that nobody else writes to.
//!
//! While the server lives there is no doubt. What was under way when it died may have happened or not; what the
//! restarted server shows decides it, and from then on it must stay so.

use std::io;

use super::super::http::Client;
use super::findings::{Findings, Kept, turns_of};

/// A session and what it must hold.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) id: String,
    pub(super) turns: Vec<Kept>,
    /// Names of checkpoints that were acknowledged.
    pub(super) checkpoints: Vec<String>,
    pub(super) doubt: Option<Doubt>,
}

/// A call that was not answered to its end.
#[derive(Debug)]
pub(super) enum Doubt {
    /// A message; once an answer had begun, it must be there.
    Send { user: String, has_begun: bool },
    /// One turn taken off.
    Rewind,
}

impl Book {
    pub(super) fn new(id: String, turns: Vec<Kept>) -> Self {
        Self { id, turns, checkpoints: Vec::new(), doubt: None }
    }

    /// Reads the session and holds it against what it must be.
    pub(super) fn settle(&mut self, client: Client, findings: &mut Findings) -> io::Result<()> {
        let session = client.try_get(&format!("/api/chat/session/{}?turns=none", self.id))?;
        let found = turns_of(client, &self.id)?;
        if session.status != 200 {
            findings.lost(format!("session {}: {session:?}", self.id));
            return Ok(());
        }
        if session.body["state"] != "idle" || !session.body["pending"].is_null() {
            findings.tell(format!("session {} is stuck: {}", self.id, session.body));
        }
        match self.doubt.take() {
            Some(Doubt::Rewind) if found.len() + 1 == self.turns.len() => {
                self.turns.pop();
            }
            Some(Doubt::Rewind) | None => {}
            Some(Doubt::Send { user, has_begun }) => match found.get(self.turns.len()) {
                Some(turn) if turn.user == user => {
                    if !turn.is_true() {
                        findings.tell(format!("session {} holds {turn:?}", self.id));
                    }
                    self.turns.push(turn.clone());
                }
                _ if has_begun => findings.lost(format!("{user:?} of {}, whose answer had begun", self.id)),
                _ => {}
            },
        }
        findings.compare(&self.id, &self.turns, &found);
        Ok(())
    }

    /// At the end: also the checkpoints.
    pub(super) fn close(&mut self, client: Client, findings: &mut Findings) {
        self.settle(client, findings).unwrap();
        let list = client.get(&format!("/api/chat/{}/checkpoints", self.id));
        let list = list["checkpoints"].as_array().unwrap();
        for name in &self.checkpoints {
            match list.iter().filter(|found| found["name"] == name.as_str()).count() {
                0 => findings.lost(format!("checkpoint {name} of {}", self.id)),
                1 => {}
                _ => findings.doubled(format!("checkpoint {name} of {}", self.id)),
            }
        }
    }
}
