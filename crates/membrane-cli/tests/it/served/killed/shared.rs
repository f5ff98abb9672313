//! What all clients were told of a session that they share. Nothing is ever taken off it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::super::http::Client;
use super::findings::{Findings, Kept, turns_of};

/// A session that many write to.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) id: String,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    /// Counts what is entered, so that before and after can be told.
    clock: u64,
    messages: BTreeMap<String, Message>,
}

#[derive(Debug)]
struct Message {
    sent_at: u64,
    has_begun: bool,
    /// When it was acknowledged, as which turn, and under which number.
    acknowledged: Option<(u64, Kept, u64)>,
}

impl Shared {
    pub(super) fn new(id: String) -> Self {
        Self { id, log: Mutex::default() }
    }

    /// Notes that a message is about to be sent.
    pub(super) fn sends(&self, user: &str) {
        let mut log = self.log.lock().unwrap();
        log.clock += 1;
        let message = Message { sent_at: log.clock, has_begun: false, acknowledged: None };
        log.messages.insert(user.to_owned(), message);
    }

    /// Notes that the message was refused: it must not be there.
    pub(super) fn refused(&self, user: &str) {
        self.log.lock().unwrap().messages.remove(user);
    }

    /// Notes that the answer began.
    pub(super) fn began(&self, user: &str) {
        if let Some(message) = self.log.lock().unwrap().messages.get_mut(user) {
            message.has_begun = true;
        }
    }

    /// Notes that the turn was acknowledged under this number.
    pub(super) fn acknowledged(&self, turn: Kept, number: u64) {
        let mut log = self.log.lock().unwrap();
        log.clock += 1;
        let now = log.clock;
        if let Some(message) = log.messages.get_mut(&turn.user) {
            message.acknowledged = Some((now, turn, number));
        }
    }

    /// At the end: holds the session against what everybody was told.
    pub(super) fn close(&self, client: Client, findings: &mut Findings) {
        let session = client.session(&self.id);
        if session["state"] != "idle" || !session["pending"].is_null() {
            findings.tell(format!("session {} is stuck: {session}", self.id));
        }
        let found = turns_of(client, &self.id).unwrap();
        let log = self.log.lock().unwrap();
        let mut places: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut newest_sent_at = 0;
        for (index, turn) in found.iter().enumerate() {
            places.entry(&turn.user).or_default().push(index);
            let Some(message) = log.messages.get(&turn.user) else {
                findings.tell(format!("{:?} of {} is there and must not be", turn.user, self.id));
                continue;
            };
            if !turn.is_true() {
                findings.tell(format!("session {} holds {turn:?}", self.id));
            }
            if message.acknowledged.as_ref().is_some_and(|(at, ..)| *at < newest_sent_at) {
                findings.reordered(format!("{:?} of {} stands behind a later one", turn.user, self.id));
            }
            newest_sent_at = newest_sent_at.max(message.sent_at);
        }
        for (user, message) in &log.messages {
            let places = places.get(user.as_str()).map(Vec::as_slice).unwrap_or_default();
            match (places, &message.acknowledged) {
                ([_, _, ..], _) => findings.doubled(format!("{user:?} of {}", self.id)),
                ([], Some(_)) => findings.lost(format!("{user:?} of {}", self.id)),
                ([], None) if message.has_begun => {
                    findings.lost(format!("{user:?} of {}, whose answer had begun", self.id));
                }
                ([index], Some((_, turn, number))) => {
                    if *index as u64 != *number {
                        findings.reordered(format!("{user:?} of {}: {index}, not {number}", self.id));
                    } else if found[*index] != *turn {
                        findings.tell(format!("{} holds {:?}, not {turn:?}", self.id, found[*index]));
                    }
                }
                ([_] | [], None) => {}
            }
        }
    }
}
