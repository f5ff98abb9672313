//! Files in the form that kgents really writes: one table of JSON documents, written anew with each save.
//!
//! Not here: V1 files ([`super::v1`]).

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::{Value, json};

use super::cell::{Cell, hex};
use super::texts::{Source, Temper, consistent_evidence};
use super::times;
use crate::campaign::Failure;
use crate::seed::Choices;

/// A document before it is written.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its key.
    pub id: String,
    /// Its bytes; JSON, unless it was damaged.
    pub content: Vec<u8>,
    /// Seconds since 1970.
    pub created_at: Cell,
    /// What names its schema, JSON.
    pub metadata: Cell,
    /// The session that it is of, if it is as kgents wrote it.
    pub session: Option<String>,
    /// Whether it is broken in such a way that it can only be kept as it is.
    pub must_be_kept: bool,
}

/// A turn, as far as it tells one from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its number as kgents wrote it.
    pub number: i64,
    /// When it began.
    pub started: String,
    /// What the user said.
    pub user: String,
    /// The answer.
    pub reply: String,
}

/// A file.
#[derive(Debug, Clone)]
pub struct UniverseFile {
    /// How much in it is odd.
    pub temper: Temper,
    /// Its documents in the order of writing.
    pub documents: Vec<Document>,
    /// What each session must show, by its id: those whose documents are all sound.
    pub sessions: BTreeMap<String, Expected>,
    /// How many documents of each schema of the chat there are.
    pub n_documents: BTreeMap<&'static str, u64>,
}

/// What a session must show afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expected {
    /// Its turns in order, each once.
    pub turns: Vec<Told>,
    /// The session that it was forked from.
    pub parent: Option<String>,
    /// Its branch name.
    pub branch: String,
    /// Its project.
    pub project: Option<String>,
    /// Its checkpoints: id and the turns that each saw.
    pub checkpoints: BTreeMap<String, Vec<(String, String)>>,
    /// Its crystal's title.
    pub crystal: Option<String>,
}

struct Author {
    source: Source,
    documents: Vec<Document>,
    sessions: BTreeMap<String, Expected>,
    n_documents: BTreeMap<&'static str, u64>,
    clock: u32,
}

/// The `number`-th Universe file of a campaign.
pub fn invent(seed: u64, number: u64) -> UniverseFile {
    let mut choices = Choices::of_item(seed ^ 0x756e_6976_6572_7365, number);
    let temper = match choices.below(3) {
        0 => Temper::Calm,
        1 => Temper::Lively,
        _ => Temper::Wild,
    };
    // JSON holds no bytes that are no text: oddities of types and bytes are put in afterwards.
    let source = Source { choices, temper, is_loose: false, is_utf16: true };
    let mut author = Author {
        source,
        documents: Vec::new(),
        sessions: BTreeMap::new(),
        n_documents: BTreeMap::new(),
        clock: 0,
    };
    for n in 0..=author.source.choices.below(7) {
        author.live_through(n);
    }
    let mut file = UniverseFile {
        temper,
        documents: author.documents,
        sessions: author.sessions,
        n_documents: author.n_documents,
    };
    if temper != Temper::Calm {
        file.damage(&mut author.source);
    }
    file
}

impl Author {
    fn random_hex(&mut self, n_digits: usize) -> String {
        let bytes = [
            self.source.choices.next_number().to_be_bytes(),
            self.source.choices.next_number().to_be_bytes(),
        ];
        hex(bytes.as_flattened()).chars().take(n_digits).collect()
    }

    fn put(&mut self, schema: &'static str, mut document: Value) {
        let session = document.get("session_id").and_then(Value::as_str).map(str::to_owned);
        if let Some(object) = document.as_object_mut() {
            object.insert("_schema".to_owned(), json!(schema));
            object.insert("_version".to_owned(), json!(1));
        }
        self.clock += 1;
        *self.n_documents.entry(schema).or_default() += 1;
        let id = self.random_hex(32);
        self.documents.push(Document {
            id,
            content: document.to_string().into_bytes(),
            created_at: Cell::Real(1_760_000_000.25 + f64::from(self.clock)),
            metadata: Cell::text(json!({"schema": schema}).to_string()),
            session,
            must_be_kept: false,
        });
        if self.source.choices.one_in(6) {
            let id = self.random_hex(32);
            self.documents.push(Document {
                id,
                content: br#"{"action": "noticed", "_schema": "witness.mark", "_version": 1}"#.to_vec(),
                created_at: Cell::Real(1_760_000_000.5 + f64::from(self.clock)),
                metadata: Cell::text(r#"{"schema": "witness.mark"}"#),
                session: None,
                must_be_kept: false,
            });
        }
    }

    /// One session from its first save to its last: each writes the session and all of its turns again.
    fn live_through(&mut self, n: usize) {
        let id = format!("session-{}", self.random_hex(12));
        let start = u64::try_from(n).unwrap_or(0) * 3_000_000;
        let mut told = Expected { branch: "main".to_owned(), ..Expected::default() };
        if self.source.choices.one_in(2) {
            told.project = Some("p1".to_owned());
        }
        let others: Vec<_> =
            self.sessions.iter().map(|(id, other)| (id.clone(), other.turns.clone())).collect();
        if let Some((parent, turns)) = others.get(self.source.choices.below(others.len() * 2 + 1)) {
            let n_taken = self.source.choices.below(turns.len() + 1);
            told.turns.extend(turns.iter().take(n_taken).cloned());
            told.parent = Some(parent.clone());
            told.branch = format!("branch-{n}");
        }
        // Two that wrote at the same time took the same number.
        let is_concurrent = told.turns.is_empty() && self.source.choices.one_in(4);
        for save in 0..=self.source.choices.below(5) {
            let number = if is_concurrent { 0 } else { i64::try_from(told.turns.len()).unwrap_or(0) };
            let user = format!("{} {}", self.source.plain(), self.random_hex(6));
            let reply = self.source.plain();
            let started = times::naive(start, u64::try_from(save).unwrap_or(0), 7);
            told.turns.push(Told { number, started, user, reply });
            if self.source.choices.one_in(4) {
                let id = format!("ckpt-{}", self.random_hex(12));
                let seen = told.turns.iter().map(|turn| (turn.user.clone(), turn.reply.clone())).collect();
                told.checkpoints.insert(id, seen);
            }
            self.save(&id, &told, start, is_concurrent);
        }
        if self.source.choices.one_in(3) {
            told.crystal = Some("A summary".to_owned());
            self.put(
                "chat.crystal",
                json!({"session_id": id, "title": "A summary", "summary": "é", "key_decisions_json": "[\"a\"]",
                    "artifacts_json": "[]", "final_evidence_json": "{}", "final_turn_count": told.turns.len(),
                    "created_at": times::naive(start, 90, 0)}),
            );
        }
        self.sessions.insert(id, told);
    }

    fn save(&mut self, id: &str, told: &Expected, start: u64, is_concurrent: bool) {
        let at = times::naive(start, 0, 0);
        self.put(
            "chat.session",
            json!({"session_id": id, "project_id": told.project, "parent_id": told.parent,
                "fork_point": told.parent.as_ref().map(|_| 1), "branch_name": told.branch, "state": "idle",
                "turn_count": told.turns.len(), "context_size": 10, "evidence_json": consistent_evidence(told.turns.len(), &at),
                "metadata_json": "{}", "is_merged": false, "merged_into": null, "created_at": at, "last_active": at}),
        );
        // A save that knew nothing of the other one writes its own turn alone.
        let from = if is_concurrent { told.turns.len() - 1 } else { 0 };
        for turn in told.turns.get(from..).unwrap_or(&[]) {
            self.put(
                "chat.turn",
                json!({"turn_id": format!("{id}:{}", turn.number), "session_id": id, "turn_number": turn.number,
                    "user_message": turn.user, "assistant_response": turn.reply, "user_linearity": "preserved",
                    "assistant_linearity": "preserved", "tools_json": null, "evidence_delta_json": null,
                    "confidence": null, "started_at": turn.started, "completed_at": times::naive(start, u64::from(self.clock), 9)}),
            );
        }
        for (checkpoint, seen) in &told.checkpoints {
            let turns: Vec<_> = (0..)
                .zip(seen)
                .map(|(number, (user, reply)): (u32, _)| {
                    json!({"id": format!("turn-{number:012x}"), "turn_number": number, "user_message": user,
                        "assistant_response": reply, "linearity_tag": "preserved", "started_at": at, "completed_at": null})
                })
                .collect();
            self.put(
                "chat.checkpoint",
                json!({"checkpoint_id": checkpoint, "session_id": id, "turn_count": seen.len(),
                    "context_json": json!({"id": "ctx-1", "turns": turns}).to_string(),
                    "evidence_json": "{}", "created_at": at}),
            );
        }
    }
}

impl UniverseFile {
    /// Adds documents that are broken in every way; those of the sessions above stay as they are.
    fn damage(&mut self, source: &mut Source) {
        let known: Vec<_> = self.sessions.keys().cloned().collect();
        for n in 0..=source.choices.below(11) {
            let session = known.get(source.choices.below(known.len())).cloned().unwrap_or_default();
            let text = |text: &str| text.as_bytes().to_vec();
            let kind = source.choices.below(12);
            let keep = !matches!(kind, 4 | 8 | 9);
            let (schema, content) = match kind {
                0 => ("chat.turn", vec![0xff, 0xfe, b'{', b'}']),
                1 => ("chat.session", text("{\"session_id\": ")),
                2 => ("chat.turn", text("[]")),
                3 => ("chat.turn", text("{\"_schema\": \"chat.turn\", \"user_message\": \"of nobody\"}")),
                4 => (
                    "chat.session",
                    text("{\"session_id\": 17, \"branch_name\": [\"x\"], \"turn_count\": \"many\"}"),
                ),
                5 => (
                    "chat.checkpoint",
                    text(&format!("{{\"session_id\": \"{session}\", \"context_json\": NaN}}")),
                ),
                6 => (
                    "chat.turn",
                    text(&format!(
                        "{{\"session_id\": \"session-gone-{n}\", \"turn_number\": 0, \
                        \"user_message\": \"a\", \"assistant_response\": \"b\", \"started_at\": \"2025-06-15T12:00:00\"}}"
                    )),
                ),
                7 => ("chat.crystal", text("{\"session_id\": \"\", \"title\": null}")),
                8 => (
                    "chat.session",
                    text(&format!(
                        "{{\"session_id\": \"knot-{n}\", \"parent_id\": \"knot-{n}\", \
                        \"created_at\": \"2025-06-15T12:00:00\", \"last_active\": \"never\", \"unknown\": {{\"a\": 1}}}}"
                    )),
                ),
                9 => (
                    "chat.turn",
                    text(&format!("{{\"session_id\": \"lone-{n}\", \"user_message\": \"\\ud800\"}}")),
                ),
                10 => ("chat.session", Vec::new()),
                _ => ("chat.turn", text(&"[".repeat(20_000))),
            };
            *self.n_documents.entry(schema).or_default() += 1;
            let created_at = match source.choices.below(4) {
                0 => Cell::text("soon"),
                1 => Cell::Real(f64::INFINITY),
                _ => Cell::Real(1_759_000_000.0),
            };
            let document = Document {
                id: format!("{n:032x}"),
                content,
                created_at,
                metadata: Cell::text(json!({"schema": schema}).to_string()),
                session: None,
                must_be_kept: keep,
            };
            let at = source.choices.below(self.documents.len() + 1);
            self.documents.insert(at, document);
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA synchronous = OFF;
             CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB NOT NULL, created_at REAL NOT NULL,
                 causal_parent TEXT, metadata TEXT);
             CREATE INDEX idx_created ON data (created_at);
             CREATE INDEX idx_parent ON data (causal_parent);",
        )?;
        let tx = conn.transaction()?;
        {
            let mut statement = tx.prepare(
                "INSERT INTO data (id, content, created_at, causal_parent, metadata) VALUES (?1, ?2, ?3, NULL, ?4)",
            )?;
            for document in &self.documents {
                statement.execute(params![
                    document.id,
                    document.content,
                    document.created_at,
                    document.metadata
                ])?;
            }
        }
        tx.commit()?;
        conn.close().map_err(|(_, error)| error.into())
    }
}
