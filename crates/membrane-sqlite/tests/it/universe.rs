//! Files as kgents' Universe writes them: what is read of them, in which order, and what is kept aside.

use std::collections::BTreeMap;
use std::path::PathBuf;

use membrane_sqlite::universe::UniverseSource;
use membrane_sqlite::{OldFormat, detect};
use membrane_store::kgents::{Finding, Oddity, OldRow, OldSession, OldTurn, Source, SourceError};
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// A file, written to as kgents writes: rows are only ever added.
struct Universe {
    folder: tempfile::TempDir,
    conn: Connection,
    n_rows: u32,
}

/// A conversation as kgents holds it in memory.
#[derive(Clone, Default)]
struct Chat {
    id: String,
    parent: Option<String>,
    fork_point: Option<u64>,
    turns: Vec<(u64, String, String, String)>,
}

impl Universe {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("default.db.db")).unwrap();
        conn.execute_batch(
            "PRAGMA journal_mode=WAL;
             CREATE TABLE IF NOT EXISTS data (
                 id TEXT PRIMARY KEY, content BLOB NOT NULL, created_at REAL NOT NULL, causal_parent TEXT, metadata TEXT);
             CREATE INDEX IF NOT EXISTS idx_created ON data(created_at);
             CREATE INDEX IF NOT EXISTS idx_parent ON data(causal_parent);",
        )
        .unwrap();
        Self { folder, conn, n_rows: 0 }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("default.db.db")
    }

    /// All files beside it, with their bytes.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        files
            .map(|file| (file.file_name().into_string().unwrap(), std::fs::read(file.path()).unwrap()))
            .filter(|(name, _)| !name.ends_with("-shm"))
            .collect()
    }

    fn raw(&mut self, content: &dyn rusqlite::ToSql, metadata: Option<&str>) -> String {
        self.n_rows += 1;
        let id = format!("{:032x}", self.n_rows);
        let at = 1_766_000_000.0 + f64::from(self.n_rows) / 1000.0;
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO data VALUES (?1, ?2, ?3, NULL, ?4)")
            .unwrap()
            .execute(params![id, content, at, metadata])
            .unwrap();
        id
    }

    /// A document, as `json.dumps` writes it.
    fn put(&mut self, schema: &str, mut document: Value) -> String {
        document["_schema"] = schema.into();
        document["_version"] = 1.into();
        let metadata = json!({ "schema": schema }).to_string();
        self.raw(&document.to_string().into_bytes(), Some(&metadata))
    }

    /// Saves a session as kgents does: its row, and all of its turns once more.
    fn save(&mut self, chat: &Chat) {
        let n_turns = chat.turns.len();
        self.put(
            "chat.session",
            session(
                &chat.id,
                json!({
                    "parent_id": chat.parent, "fork_point": chat.fork_point, "turn_count": n_turns,
                }),
            ),
        );
        for (number, user, reply, started) in &chat.turns {
            self.put(
                "chat.turn",
                turn(
                    &chat.id,
                    *number,
                    user,
                    json!({
                        "assistant_response": reply, "started_at": started,
                        "completed_at": format!("2026-01-01T00:00:00.{:06}", self.n_rows),
                    }),
                ),
            );
        }
    }

    fn open(&self) -> UniverseSource {
        UniverseSource::open(&self.path(), &mut |_| {}).unwrap()
    }

    fn read(&self) -> Everything {
        everything(&mut self.open()).unwrap()
    }
}

fn merged(mut base: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object") };
    for (name, value) in more {
        base[name] = value;
    }
    base
}

fn session(id: &str, more: Value) -> Value {
    merged(
        json!({
            "session_id": id, "project_id": null, "parent_id": null, "fork_point": null, "branch_name": "main",
            "state": "idle", "turn_count": 0, "context_size": 0, "evidence_json": "{\"prior_alpha\": 2}",
            "metadata_json": "{}", "is_merged": false, "merged_into": null,
            "created_at": "2026-01-01T00:00:00", "last_active": "2026-01-01T00:00:00.5",
        }),
        more,
    )
}

fn turn(session: &str, number: u64, user: &str, more: Value) -> Value {
    merged(
        json!({
            "turn_id": format!("{session}:{number}"), "session_id": session, "turn_number": number,
            "user_message": user, "assistant_response": "yes", "user_linearity": "preserved",
            "assistant_linearity": "preserved", "tools_json": null, "evidence_delta_json": null, "confidence": null,
            "started_at": format!("2026-01-01T00:00:{number:02}"), "completed_at": "2026-01-01T01:00:00",
        }),
        more,
    )
}

impl Chat {
    fn new(id: &str) -> Self {
        Self { id: id.to_owned(), ..Self::default() }
    }

    fn add(&mut self, user: &str) {
        let number = self.turns.len() as u64;
        let started = format!("2026-01-01T00:{:02}:{:02}", number / 60, number % 60);
        self.turns.push((number, user.to_owned(), format!("re: {user}"), started));
    }
}

/// All that a source gives.
#[derive(Debug, Default)]
struct Everything {
    sessions: Vec<OldSession>,
    turns: BTreeMap<String, Vec<OldTurn>>,
    shared: BTreeMap<String, u64>,
    checkpoints: BTreeMap<String, Vec<String>>,
    crystals: BTreeMap<String, String>,
    aside: Vec<(OldRow, Finding)>,
}

impl Everything {
    fn ids(&self) -> Vec<&str> {
        self.sessions.iter().map(|session| session.id.as_str()).collect()
    }

    fn words(&self, session: &str) -> Vec<&str> {
        self.turns[session].iter().map(|turn| turn.user_message.as_str()).collect()
    }

    /// What is kept aside: its kind and its source.
    fn odd(&self) -> Vec<(Oddity, &str)> {
        self.aside.iter().map(|(row, finding)| (finding.oddity, row.source.as_str())).collect()
    }
}

/// Reads all of a source, and checks that each row is accounted for.
fn everything(source: &mut dyn Source) -> Result<Everything, SourceError> {
    let mut all = Everything::default();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    while let Some(session) = source.next_session()? {
        *counts.entry("chat.session").or_default() += 1;
        let id = session.id.clone();
        all.shared.insert(id.clone(), source.count_shared_turns()?);
        let turns = all.turns.entry(id.clone()).or_default();
        while let Some(turn) = source.next_turn()? {
            *counts.entry("chat.turn").or_default() += 1;
            turns.push(turn);
        }
        while let Some(checkpoint) = source.next_checkpoint()? {
            *counts.entry("chat.checkpoint").or_default() += 1;
            all.checkpoints.entry(id.clone()).or_default().push(checkpoint.id);
        }
        if let Some(crystal) = source.crystal()? {
            *counts.entry("chat.crystal").or_default() += 1;
            all.crystals.insert(id, crystal.title);
        }
        all.sessions.push(session);
        while let Some(aside) = source.next_aside()? {
            all.aside.push(aside);
        }
    }
    while let Some(aside) = source.next_aside()? {
        all.aside.push(aside);
    }
    for (row, finding) in &all.aside {
        if row.is_whole(&finding.place) {
            *counts.entry(finding.place.table).or_default() += 1;
        }
        assert_eq!(row.row, finding.place.row);
    }
    for (table, _, rows) in source.skipped()? {
        *counts.entry(table).or_default() += rows;
    }
    for (table, total) in source.totals()? {
        assert_eq!(counts.get(table).copied().unwrap_or(0), total, "{table}: {all:?}");
    }
    Ok(all)
}

#[test]
fn each_turn_of_a_session_that_was_saved_again_and_again_is_given_once() {
    let mut file = Universe::new();
    let mut chat = Chat::new("s");
    for n in 0..7 {
        chat.add(&format!("u{n}"));
        file.save(&chat);
    }
    let all = file.read();
    assert_eq!(all.words("s"), ["u0", "u1", "u2", "u3", "u4", "u5", "u6"]);
    assert_eq!(all.sessions[0].turn_count, Some(7), "the newest row counts");
    assert_eq!(all.aside, []);
    let mut source = file.open();
    assert_eq!(source.totals().unwrap()[..2], [("chat.session", 7), ("chat.turn", 28)]);
    assert_eq!(source.skipped().unwrap()[1], ("chat.turn", Oddity::Duplicate, 21));
    // Each was written with another end; the first one is nearest the truth.
    assert_eq!(all.turns["s"][0].completed_at.as_deref(), Some("2026-01-01T00:00:00.000001"));
}

#[test]
fn lists_that_were_loaded_doubled_and_saved_doubled_come_out_single() {
    let mut file = Universe::new();
    let mut chat = Chat::new("s");
    for n in 0..5 {
        chat.add(&format!("u{n}"));
        file.save(&chat);
        // What kgents loads is everything that is there, in order of the numbers.
        let mut loaded = [chat.turns.clone(), chat.turns.clone()].concat();
        loaded.sort_by_key(|turn| turn.0);
        file.save(&Chat { turns: loaded, ..chat.clone() });
    }
    assert_eq!(file.read().words("s"), ["u0", "u1", "u2", "u3", "u4"]);
}

#[test]
fn turns_of_one_number_come_in_order_of_their_start_and_then_of_their_writing() {
    let mut file = Universe::new();
    file.put("chat.session", session("s", json!({})));
    for (number, user, started) in
        [(1, "c", "2026-01-01T00:00:09"), (0, "b", "2026-01-01T00:00:00.5"), (0, "a", "2026-01-01T00:00:00")]
    {
        file.put("chat.turn", turn("s", number, user, json!({ "started_at": started })));
    }
    for user in ["z", "y"] {
        file.put(
            "chat.turn",
            turn("s", 2, user, json!({ "started_at": "", "turn_number": null, "turn_id": null })),
        );
    }
    let all = file.read();
    assert_eq!(all.words("s"), ["a", "b", "c", "z", "y"]);
    assert_eq!(all.turns["s"][3].turn_number, None);
}

#[test]
fn parents_come_before_their_children_and_circles_end() {
    let mut file = Universe::new();
    for (id, parent) in [
        ("c", Some("b")),
        ("b", Some("a")),
        ("a", None),
        ("x", Some("y")),
        ("y", Some("x")),
        ("z", Some("x")),
        ("self", Some("self")),
        ("lost", Some("gone")),
    ] {
        file.put("chat.session", session(id, json!({ "parent_id": parent })));
    }
    let all = file.read();
    assert_eq!(all.ids(), ["a", "self", "lost", "b", "c", "x", "y", "z"]);
}

#[test]
fn a_fork_shares_the_turns_that_are_its_parents_in_every_column() {
    let mut file = Universe::new();
    file.put("chat.session", session("b", json!({ "parent_id": "a" })));
    file.put("chat.session", session("a", json!({})));
    for n in 0..700 {
        file.put("chat.turn", turn("a", n, "u", json!({})));
        let differs = if n == 600 {
            json!({ "tools_json": "[]", "turn_id": null })
        } else {
            json!({ "turn_id": null })
        };
        file.put("chat.turn", turn("b", n, "u", differs));
    }
    let all = file.read();
    assert_eq!(all.shared, [("a".to_owned(), 0), ("b".to_owned(), 600)].into());
    assert_eq!(all.turns["b"].len(), 700);
}

#[test]
fn checkpoints_and_crystals_are_given_in_their_newest_form_and_the_older_ones_kept() {
    let mut file = Universe::new();
    file.put("chat.session", session("s", json!({})));
    let checkpoint = |id: &str, at: &str, context: &str| {
        json!({ "checkpoint_id": id, "session_id": "s", "turn_count": 1, "context_json": context,
                "evidence_json": "{}", "created_at": at })
    };
    file.put("chat.checkpoint", checkpoint("late", "2026-01-02T00:00:00", "{}"));
    file.put("chat.checkpoint", checkpoint("early", "2026-01-01T00:00:00", "{}"));
    file.put("chat.checkpoint", checkpoint("late", "2026-01-02T00:00:00", "{}"));
    file.put("chat.checkpoint", checkpoint("late", "2026-01-02T00:00:00", "{\"turns\": []}"));
    for title in ["old", "old", "new"] {
        file.put(
            "chat.crystal",
            json!({ "session_id": "s", "title": title, "summary": "…", "final_turn_count": 1 }),
        );
    }
    let all = file.read();
    assert_eq!(all.checkpoints["s"], ["early", "late"]);
    assert_eq!(all.crystals["s"], "new");
    assert_eq!(all.odd(), [(Oddity::Duplicate, "chat.checkpoint"), (Oddity::Duplicate, "chat.crystal")]);
    let old: Value = serde_json::from_str(&all.aside[1].0.value).unwrap();
    assert!(old["content"]["text"].as_str().unwrap().contains("\"old\""), "{old}");
}

#[test]
fn rows_whose_session_is_not_there_come_out_whole() {
    let mut file = Universe::new();
    file.put("chat.turn", turn("gone", 0, "hello", json!({})));
    let id = file.put("chat.turn", turn("gone", 0, "hello", json!({})));
    file.put("chat.crystal", json!({ "session_id": "gone", "title": "t", "summary": "s" }));
    file.put("chat.checkpoint", json!({ "session_id": "gone", "checkpoint_id": "c" }));
    let all = file.read();
    assert_eq!(all.sessions, []);
    let orphans = ["chat.turn", "chat.crystal", "chat.checkpoint"].map(|source| (Oddity::Orphan, source));
    assert_eq!(all.odd(), orphans);
    assert!(all.aside.iter().all(|(row, _)| row.session.as_deref() == Some("gone")));
    let row: Value = serde_json::from_str(&all.aside[0].0.value).unwrap();
    assert_eq!(all.aside[0].1.place.row, format!("id {:?}", row["id"].as_str().unwrap()));
    assert_ne!(row["id"], json!(id), "the first of two copies is the one that is kept");
    assert_eq!(row["metadata"], json!("{\"schema\":\"chat.turn\"}"));
}

#[test]
fn documents_that_cannot_be_read_are_kept_as_they_are() {
    let mut file = Universe::new();
    let chat = Some("{\"schema\": \"chat.turn\"}");
    let unreadable: [(&dyn rusqlite::ToSql, Option<&str>, Oddity); 10] = [
        (&b"\xff\xfe{}".to_vec(), chat, Oddity::NotText),
        (&b"{\"session_id\": ".to_vec(), chat, Oddity::BadJson),
        (&"[1]", chat, Oddity::BadJson),
        (&7, chat, Oddity::WrongType),
        (&b"{}".to_vec(), chat, Oddity::NoId),
        (&"{\"session_id\": 5}", chat, Oddity::NoId),
        (&"{\"session_id\": \"\"}", chat, Oddity::NoId),
        (&"{\"session_id\": null}", chat, Oddity::NoId),
        (&"{\"_schema\": \"chat.turn\", \"session_id\": \"s\"", None, Oddity::BadJson),
        (&b"{\"_schema\": \"chat.session\", \"x\": \"\xff\"}".to_vec(), None, Oddity::NotText),
    ];
    for (content, metadata, _) in &unreadable {
        file.raw(content, *metadata);
    }
    let all = file.read();
    assert_eq!(all.sessions, []);
    let kinds: Vec<_> = all.aside.iter().map(|(_, finding)| finding.oddity).collect();
    assert_eq!(kinds, unreadable.iter().map(|(_, _, kind)| *kind).collect::<Vec<_>>());
    assert!(all.aside[0].0.value.contains("{\"hex\":\"fffe7b7d\"}"), "{:?}", all.aside[0]);
    assert!(all.aside[3].0.value.contains("\"content\":7"), "{:?}", all.aside[3]);
}

#[test]
fn what_the_document_says_of_its_schema_counts_more_than_the_metadata() {
    let mut file = Universe::new();
    let document = |schema: &str, mut document: Value| {
        document["_schema"] = schema.into();
        document.to_string()
    };
    file.raw(&document("chat.session", session("s", json!({}))), None);
    file.raw(
        &document("chat.turn", turn("s", 0, "as text", json!({}))),
        Some("{\"schema\": \"chat.session\"}"),
    );
    file.raw(&document("chat.turn", turn("s", 1, "no metadata", json!({}))).into_bytes(), Some("nonsense"));
    file.raw(
        &turn("s", 2, "no schema", json!({})).to_string(),
        Some("{\"schema\": \"chat.turn\", \"tags\": \"a\"}"),
    );
    file.raw(&document("witness.mark", json!({ "session_id": "s" })), Some("{\"schema\": \"witness.mark\"}"));
    file.raw(&b"\xff\xfe".to_vec(), None);
    let all = file.read();
    assert_eq!(all.words("s"), ["as text", "no metadata", "no schema"]);
    assert_eq!(file.open().n_other_rows(), 2);
    assert_eq!(all.odd(), [(Oddity::UnknownField, "chat.turn.metadata"); 3]);
}

#[test]
fn odd_values_are_read_as_well_as_they_can_be_and_kept() {
    let mut file = Universe::new();
    file.put("chat.session", session("s", json!({ "is_merged": "true", "fork_point": "3", "mood": "good" })));
    let document = turn("s", 0, "half", json!({ "confidence": "high", "user_linearity": 7 })).to_string();
    let document = document.replace("\"half\"", "\"half \\ud800 of it\\u0000\"").replace("null", "NaN");
    file.raw(&document.into_bytes(), Some("{\"schema\": \"chat.turn\"}"));
    file.put("chat.turn", merged(turn("s", 1, "v2", json!({})), json!({ "_version": 2 })));
    let last = file.n_rows;
    file.conn.execute("UPDATE data SET content = replace(CAST(content AS TEXT), '\"_version\":1', '\"_version\":2') WHERE rowid = ?1", [last]).unwrap();
    let all = file.read();
    let read = &all.sessions[0];
    assert_eq!((read.is_merged, read.fork_point), (true, Some(3)));
    let turn = &all.turns["s"][0];
    assert_eq!(turn.user_message, "half \u{fffd} of it\0");
    assert_eq!((turn.confidence, turn.user_linearity.as_deref()), (None, Some("7")));
    assert_eq!(
        all.odd(),
        [
            (Oddity::WrongType, "chat.session.fork_point"),
            (Oddity::WrongType, "chat.session.is_merged"),
            (Oddity::UnknownField, "chat.session.mood"),
            (Oddity::NotText, "chat.turn.content"),
            (Oddity::BadJson, "chat.turn.content"),
            (Oddity::WrongType, "chat.turn.user_linearity"),
            (Oddity::WrongType, "chat.turn.confidence"),
            (Oddity::UnknownWord, "chat.turn._version"),
        ]
    );
    assert!(all.aside[3].0.value.contains("half \\ud800 of it"), "{:?}", all.aside[3]);
}

#[test]
fn a_turn_that_was_written_again_with_other_tools_is_given_as_it_was_last_and_kept_as_it_was_first() {
    let mut file = Universe::new();
    file.put("chat.session", session("s", json!({})));
    file.put("chat.turn", turn("s", 0, "u", json!({})));
    file.put(
        "chat.turn",
        turn("s", 0, "u", json!({ "tools_json": "[\"grep\"]", "completed_at": "2026-01-01T02:00:00" })),
    );
    file.put(
        "chat.turn",
        turn("s", 0, "u", json!({ "tools_json": "[\"grep\"]", "completed_at": "2026-01-01T03:00:00" })),
    );
    let all = file.read();
    assert_eq!(all.turns["s"].len(), 1);
    assert_eq!(all.turns["s"][0].tools_json.as_deref(), Some("[\"grep\"]"));
    assert_eq!(all.turns["s"][0].completed_at.as_deref(), Some("2026-01-01T02:00:00"));
    assert_eq!(all.odd(), [(Oddity::Duplicate, "chat.turn")]);
}

#[test]
fn nothing_of_the_file_and_beside_it_changes_whoever_has_it_open() {
    for is_open in [true, false] {
        let mut file = Universe::new();
        let mut chat = Chat::new("s");
        chat.add("u");
        file.save(&chat);
        if !is_open {
            // As a crash leaves it: the rows are in the log alone.
            let crashed = Universe::new();
            let Universe { folder, conn, .. } = crashed;
            conn.close().unwrap();
            for (name, bytes) in file.files() {
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            file = Universe { folder, conn: Connection::open_in_memory().unwrap(), n_rows: 0 };
        }
        let before = file.files();
        assert!(before["default.db.db-wal"].len() > 4096, "the test needs a log with content");
        let mut source = file.open();
        assert_eq!(everything(&mut source).unwrap().words("s"), ["u"]);
        if is_open {
            file.put("chat.session", session("written meanwhile", json!({})));
            assert!(source.next_session().unwrap().is_none());
            assert_eq!(file.read().ids().len(), 2);
            continue;
        }
        drop(source);
        assert_eq!(detect(&file.path()).unwrap(), OldFormat::Universe);
        assert!(before == file.files(), "the file or its log changed");
    }
}

#[test]
fn a_file_that_was_closed_stays_byte_for_byte_as_it_was() {
    let mut file = Universe::new();
    let mut chat = Chat::new("s");
    chat.add("u");
    file.save(&chat);
    let Universe { folder, conn, .. } = file;
    conn.close().unwrap();
    let file = Universe { folder, conn: Connection::open_in_memory().unwrap(), n_rows: 0 };
    let before = file.files();
    assert_eq!(before.len(), 1);
    assert_eq!(file.read().words("s"), ["u"]);
    assert!(before == file.files());
}

#[test]
fn kinds_of_files_are_told_apart_by_their_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    assert!(detect(&path).is_err(), "a file that is not there");
    for (sql, expected) in [
        ("CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB)", OldFormat::Universe),
        (
            "CREATE TABLE chat_sessions (id TEXT PRIMARY KEY); CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT); INSERT INTO schema_version VALUES (1, '')",
            OldFormat::V1,
        ),
        (
            "CREATE TABLE data (x); CREATE TABLE notes (y)",
            OldFormat::Unknown { tables: vec!["data".into(), "notes".into()] },
        ),
        ("", OldFormat::Unknown { tables: vec![] }),
    ] {
        drop(std::fs::remove_file(&path));
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        assert_eq!(detect(&path).unwrap_or(OldFormat::NotSqlite), expected, "{sql}");
    }
    std::fs::write(&path, "[{\"id\": \"a\"}]").unwrap();
    assert_eq!(detect(&path).unwrap(), OldFormat::NotSqlite);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_is_told_from_old_files() {
    let keep = crate::keep::Keep::new();
    drop(keep.open().await);
    assert_eq!(detect(&keep.path()).unwrap(), OldFormat::Membrane);
}

#[test]
fn a_table_that_cannot_be_a_universe_and_a_damaged_file_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE data (id TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID").unwrap();
    let error = UniverseSource::open(&path, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("rowid") && error.contains("Universe wrote"), "{error}");

    let mut file = Universe::new();
    for n in 0..2000 {
        file.put("chat.turn", turn("s", n, "u", json!({})));
    }
    file.conn.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let mut bytes = std::fs::read(file.path()).unwrap();
    let middle = bytes.len() / 8192 * 4096;
    bytes[middle..middle + 4096 * 8].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();
    let error = UniverseSource::open(&path, &mut |_| {}).unwrap_err().to_string();
    assert!(error.contains("data") && error.contains("rowid") && error.contains(".recover"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
