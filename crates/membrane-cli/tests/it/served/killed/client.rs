//! One client: makes sessions, sends, forks, rewinds and leaves checkpoints until it is told to end, and goes on
//! after every kill.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use membrane_crashtest::seed::Choices;
use serde_json::{Value, json};

use super::super::http::{Answer, Client, Sent};
use super::book::{Book, Doubt};
use super::findings::{Findings, Kept};
use super::stage::Stage;

/// How many sessions of its own a client has at the most.
const MAX_BOOKS: usize = 4;

/// A client with what it knows.
#[derive(Debug)]
pub(super) struct Player<'a> {
    stage: &'a Stage,
    choices: Choices,
    pub(super) books: Vec<Book>,
    pub(super) findings: Findings,
}

/// Why a call came to nothing.
enum Broken {
    /// The connection broke, as it does when the server is killed.
    Connection(io::Error),
    /// The server gave an answer that it must not give.
    Wrong,
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl<'a> Player<'a> {
    pub(super) fn new(stage: &'a Stage, choices: Choices) -> Self {
        Self { stage, choices, books: Vec::new(), findings: Findings::default() }
    }

    /// Plays until all is over.
    pub(super) fn play(mut self) -> Self {
        let mut at_least = 0;
        while let Some((number, client)) = self.stage.server(at_least) {
            at_least = number + 1;
            match self.play_with(client) {
                Ok(()) | Err(Broken::Wrong) => break,
                Err(Broken::Connection(error)) if self.stage.is_alive(number) => {
                    self.findings.tell(format!("a server that lives broke a connection: {error}"));
                    break;
                }
                Err(Broken::Connection(_)) => {}
            }
        }
        self
    }

    /// Plays with one server until all is over.
    fn play_with(&mut self, client: Client) -> Result<(), Broken> {
        // What it left must be there at once.
        for book in &mut self.books {
            book.settle(client, &mut self.findings)?;
        }
        while !self.stage.is_over() {
            if self.books.is_empty() {
                self.create(client)?;
            }
            let book = self.choices.below(self.books.len());
            match self.choices.below(100) {
                0..70 => self.send(client, book)?,
                70..85 => self.send_shared(client)?,
                85..88 => self.fork(client, book)?,
                88..90 => self.fork_shared(client)?,
                90..95 => self.rewind(client, book)?,
                95..97 => self.create(client)?,
                _ => self.leave_checkpoint(client, book)?,
            }
        }
        Ok(())
    }

    /// A message unlike all others, of varying length.
    fn message(&mut self) -> String {
        format!("message {} {}", self.stage.name(), "x".repeat(self.choices.below(160)))
    }

    /// Numbered events or whole frames.
    fn form(&mut self) -> &'static str {
        if self.choices.one_in(2) { "delta" } else { "cumulative" }
    }

    fn create(&mut self, client: Client) -> Result<(), Broken> {
        if self.books.len() >= MAX_BOOKS {
            return Ok(());
        }
        let body = json!({"project_id": format!("project-{}", self.stage.name())});
        let made = self.make(client, "/api/chat/session", &body)?;
        self.books.push(Book::new(id_of(&made), Vec::new()));
        Ok(())
    }

    fn fork(&mut self, client: Client, book: usize) -> Result<(), Broken> {
        if self.books.len() >= MAX_BOOKS {
            return Ok(());
        }
        let Book { id, turns, .. } = &self.books[book];
        let (id, mut turns) = (id.clone(), turns.clone());
        turns.truncate(self.choices.below(turns.len() + 1));
        let body = json!({"branch_name": format!("branch-{}", self.stage.name()), "fork_point": turns.len()});
        let made = self.make(client, &format!("/api/chat/{id}/fork"), &body)?;
        self.findings.compare("the answer to a fork", &turns, &Kept::list(&made["turns"]));
        self.books.push(Book::new(id_of(&made), turns));
        Ok(())
    }

    fn fork_shared(&mut self, client: Client) -> Result<(), Broken> {
        if self.books.len() >= MAX_BOOKS {
            return Ok(());
        }
        let stage = self.stage;
        let shared = &stage.shared[self.choices.below(stage.shared.len())];
        let body = json!({"branch_name": format!("branch-{}", stage.name())});
        let made = self.make(client, &format!("/api/chat/{}/fork", shared.id), &body)?;
        self.books.push(Book::new(id_of(&made), Kept::list(&made["turns"])));
        Ok(())
    }

    /// Makes a session.
    fn make(&mut self, client: Client, path: &str, body: &Value) -> Result<Value, Broken> {
        let add = |counter: &AtomicUsize| counter.fetch_add(1, Ordering::SeqCst);
        let answer = client.try_post(path, body).inspect_err(|_| {
            add(&self.stage.n_maybe_made);
        })?;
        let made = self.expect(201, path, answer)?;
        add(&self.stage.n_made);
        Ok(made)
    }

    fn rewind(&mut self, client: Client, book: usize) -> Result<(), Broken> {
        let book = &mut self.books[book];
        if book.turns.is_empty() {
            return Ok(());
        }
        let path = format!("/api/chat/{}/rewind", book.id);
        book.doubt = Some(Doubt::Rewind);
        let answer = client.try_post(&path, &json!({"turns": 1}))?;
        book.doubt = None;
        book.turns.pop();
        self.expect(200, &path, answer).map(drop)
    }

    fn leave_checkpoint(&mut self, client: Client, book: usize) -> Result<(), Broken> {
        let name = format!("checkpoint-{}", self.stage.name());
        let path = format!("/api/chat/{}/checkpoint", self.books[book].id);
        let answer = client.try_post(&path, &json!({"name": name}))?;
        self.expect(201, &path, answer)?;
        self.books[book].checkpoints.push(name);
        Ok(())
    }

    /// Sends to a session of its own, which nothing keeps from taking it.
    fn send(&mut self, client: Client, book: usize) -> Result<(), Broken> {
        let (user, form) = (self.message(), self.form());
        let id = self.books[book].id.clone();
        self.books[book].doubt = Some(Doubt::Send { user: user.clone(), has_begun: false });
        match client.try_send(&id, &user, form, None)? {
            Sent::Refused(answer) => self.wrong(format!("a send to {id} was refused: {answer:?}")),
            Sent::Taken(mut events) => {
                self.books[book].doubt = Some(Doubt::Send { user: user.clone(), has_begun: true });
                let (turn, number) = self.hear(&user, || events.try_next())?;
                let book = &mut self.books[book];
                book.doubt = None;
                if number != book.turns.len() as u64 {
                    self.findings.tell(format!("{user:?} of {id} has number {number}"));
                }
                book.turns.push(turn);
                Ok(())
            }
        }
    }

    /// Sends to a session that others send to, so that it may be busy.
    fn send_shared(&mut self, client: Client) -> Result<(), Broken> {
        let (user, form) = (self.message(), self.form());
        let stage = self.stage;
        let shared = &stage.shared[self.choices.below(stage.shared.len())];
        shared.sends(&user);
        match client.try_send(&shared.id, &user, form, None)? {
            Sent::Refused(Answer { status: 409, body }) if body["code"] == "busy" => {
                shared.refused(&user);
                Ok(())
            }
            Sent::Refused(answer) => self.wrong(format!("a send to {} was refused: {answer:?}", shared.id)),
            Sent::Taken(mut events) => {
                shared.began(&user);
                let (turn, number) = self.hear(&user, || events.try_next())?;
                shared.acknowledged(turn, number);
                Ok(())
            }
        }
    }

    /// Hears an answer to its end: the turn and its number.
    fn hear(
        &mut self,
        user: &str,
        mut next: impl FnMut() -> io::Result<Option<Value>>,
    ) -> Result<(Kept, u64), Broken> {
        while let Some(event) = next()? {
            self.stage.hear();
            if event["type"] == "done" {
                let turn = Kept::of(&event["turn"]);
                if turn.user != user || !turn.is_complete() || !turn.is_true() {
                    self.findings.tell(format!("{user:?} became {turn:?}"));
                }
                self.stage.acknowledge();
                return Ok((turn, event["turn_count"].as_u64().unwrap_or(0).wrapping_sub(1)));
            }
            if event["type"] == "error" {
                return self.wrong(format!("{user:?} ended with {event}"));
            }
        }
        self.wrong(format!("the answer to {user:?} has no end"))
    }

    /// The body of an answer that must have this status.
    fn expect(&mut self, status: u16, path: &str, answer: Answer) -> Result<Value, Broken> {
        if answer.status != status {
            return self.wrong(format!("{path}: {answer:?}"));
        }
        self.stage.acknowledge();
        Ok(answer.body)
    }

    fn wrong<T>(&mut self, what: String) -> Result<T, Broken> {
        self.findings.tell(what);
        Err(Broken::Wrong)
    }
}

fn id_of(made: &Value) -> String {
    made["id"].as_str().unwrap_or_default().to_owned()
}
