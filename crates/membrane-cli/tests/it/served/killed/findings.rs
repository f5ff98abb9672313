//! What a server is found to have done to what it acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use membrane::responder::Echo;
use serde_json::Value;

use super::super::http::Client;

/// How many turns a page holds.
const PAGE: usize = 500;

/// A turn as the server shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) id: String,
    pub(super) user: String,
    status: String,
    answer: String,
}

impl Kept {
    pub(super) fn of(turn: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            id: text(&turn["id"]),
            user: text(&turn["user_message"]["content"]),
            status: text(&turn["status"]),
            answer: text(&turn["assistant_response"]["content"]),
        }
    }

    pub(super) fn list(turns: &Value) -> Vec<Self> {
        turns.as_array().map(|turns| turns.iter().map(Self::of).collect()).unwrap_or_default()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.status == "complete"
    }

    /// Whether the answer is the echo's: all of it, or a beginning if it was interrupted.
    pub(super) fn is_true(&self) -> bool {
        let whole = Echo::text(&self.user);
        match self.status.as_str() {
            "complete" => self.answer == whole,
            "interrupted" => whole.starts_with(&self.answer),
            _ => false,
        }
    }
}

/// All turns of a session.
pub(super) fn turns_of(client: Client, id: &str) -> std::io::Result<Vec<Kept>> {
    let mut turns = Vec::new();
    loop {
        let answer = client.try_get(&format!("/api/chat/{id}/turns?from={}&limit={PAGE}", turns.len()))?;
        let page = Kept::list(&answer.body["turns"]);
        let is_last = page.len() < PAGE;
        turns.extend(page);
        if is_last {
            return Ok(turns);
        }
    }
}

/// What went wrong, counted and told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Findings {
    pub(super) n_lost: usize,
    pub(super) n_doubled: usize,
    pub(super) n_reordered: usize,
    pub(super) told: Vec<String>,
}

impl Findings {
    pub(super) fn add(&mut self, other: Self) {
        self.n_lost += other.n_lost;
        self.n_doubled += other.n_doubled;
        self.n_reordered += other.n_reordered;
        self.told.extend(other.told);
    }

    pub(super) fn lost(&mut self, mut what: String) {
        self.n_lost += 1;
        what.insert_str(0, "lost: ");
        self.told.push(what);
    }

    pub(super) fn doubled(&mut self, mut what: String) {
        self.n_doubled += 1;
        what.insert_str(0, "doubled: ");
        self.told.push(what);
    }

    pub(super) fn reordered(&mut self, mut what: String) {
        self.n_reordered += 1;
        what.insert_str(0, "reordered: ");
        self.told.push(what);
    }

    pub(super) fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    /// Holds what is there against what must be there. No two messages are alike.
    pub(super) fn compare(&mut self, session: &str, expected: &[Kept], found: &[Kept]) {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for turn in found {
            *counts.entry(&turn.user).or_default() += 1;
        }
        let n_before = self.told.len();
        for turn in expected {
            match counts.get(turn.user.as_str()) {
                None => self.lost(format!("{:?} of {session}", turn.user)),
                Some(1) => {}
                Some(_) => self.doubled(format!("{:?} of {session}", turn.user)),
            }
        }
        let known: BTreeSet<&str> = expected.iter().map(|turn| turn.user.as_str()).collect();
        for turn in found.iter().filter(|turn| !known.contains(turn.user.as_str())) {
            self.tell(format!("{:?} of {session} is there and must not be", turn.user));
        }
        if self.told.len() > n_before {
            return;
        }
        for (expected, found) in expected.iter().zip(found) {
            if expected.user != found.user {
                self.reordered(format!("{:?} and {:?} of {session}", expected.user, found.user));
            } else if expected != found {
                self.tell(format!("{session} holds {found:?}, not {expected:?}"));
            }
        }
    }
}

#[test]
fn what_is_lost_doubled_reordered_or_changed_is_told_apart() {
    let turn = |user: &str| Kept {
        id: format!("turn-{user}"),
        user: user.to_owned(),
        status: "complete".to_owned(),
        answer: Echo::text(user),
    };
    let (a, b) = (turn("a"), turn("b"));
    let judge = |expected: &[Kept], found: &[Kept]| {
        let mut findings = Findings::default();
        findings.compare("s", expected, found);
        (findings.n_lost, findings.n_doubled, findings.n_reordered, findings.told.len())
    };
    let both = [a.clone(), b.clone()];
    assert_eq!(judge(&both, &both), (0, 0, 0, 0));
    assert_eq!(judge(&both, &both[..1]), (1, 0, 0, 1));
    assert_eq!(judge(&both[..1], &both), (0, 0, 0, 1));
    assert_eq!(judge(&both, &[a.clone(), b.clone(), b.clone()]), (0, 1, 0, 1));
    assert_eq!(judge(&both, &[b.clone(), a.clone()]), (0, 0, 2, 2));
    assert_eq!(judge(&both, &[a, Kept { answer: "other".to_owned(), ..b }]), (0, 0, 0, 1));
}
