//! What is read of texts as the router writes them.

use std::io::Cursor;

use serde_json::{Value, json};

use super::DumpSource;
use crate::kgents::old::{OldSession, OldTurn, Source, SourceError};
use crate::kgents::report::Oddity;

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content, "mentions": [], "linearity_tag": "preserved"})
}

fn turn(number: u64, user: &str) -> Value {
    json!({
        "turn_number": number, "user_message": message("user", user), "assistant_response": message("assistant", "yes"),
        "tools_used": [], "portal_emissions": [], "confidence": 0.5,
        "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0, "confidence_change": 0.0},
        "started_at": "2026-01-01T00:00:00", "completed_at": "2026-01-01T00:00:01",
    })
}

fn session(id: &str, parent: Option<&str>, turns: &[Value]) -> Value {
    json!({
        "id": id, "project_id": null, "branch_name": "main", "parent_id": parent, "fork_point": null, "turns": turns,
        "context_size": 12, "created_at": "2026-01-01T00:00:00", "last_active": "2026-01-01T00:00:00",
        "evidence": {"prior_alpha": 1.0, "prior_beta": 1.0, "confidence": 0.5, "should_stop": false,
            "tools_succeeded": 0, "tools_failed": 0, "ashc_equivalence": null, "ashc_data": null},
        "is_merged": false, "merged_into": null,
    })
}

/// Everything of a text, with the rows that are accounted for and how many there are.
#[derive(Debug, Default)]
struct Everything {
    sessions: Vec<(OldSession, Vec<OldTurn>, u64)>,
    odd: Vec<(Oddity, String, String)>,
}

impl Everything {
    fn ids(&self) -> Vec<&str> {
        self.sessions.iter().map(|(session, ..)| session.id.as_str()).collect()
    }

    fn odd(&self) -> Vec<(Oddity, &str)> {
        self.odd.iter().map(|(oddity, source, _)| (*oddity, source.as_str())).collect()
    }
}

fn read(text: &str) -> Result<Everything, SourceError> {
    let mut source = DumpSource::open(Cursor::new(text.as_bytes()))?;
    let mut all = Everything::default();
    let (mut sessions, mut turns) = (0, 0);
    loop {
        let next = source.next_session()?;
        if let Some(session) = &next {
            let shared = source.count_shared_turns()?;
            let mut thread = Vec::new();
            while let Some(turn) = source.next_turn()? {
                thread.push(turn);
            }
            sessions += 1;
            turns += thread.len() as u64;
            all.sessions.push((session.clone(), thread, shared));
            assert_eq!((source.next_checkpoint()?, source.crystal()?), (None, None));
        }
        while let Some((row, finding)) = source.next_aside()? {
            if row.is_whole(&finding.place) {
                *(if row.source == "turns" { &mut turns } else { &mut sessions }) += 1;
            }
            all.odd.push((finding.oddity, row.source, row.value));
        }
        if next.is_none() {
            break;
        }
    }
    for (table, _, rows) in source.skipped()? {
        *(if table == "turns" { &mut turns } else { &mut sessions }) += rows;
    }
    assert_eq!(source.totals()?, [("sessions", sessions), ("turns", turns)], "{text}");
    Ok(all)
}

fn refused(text: &str, words: &[&str]) {
    let error = read(text).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn a_list_an_envelope_a_session_and_lines_give_the_same() {
    let [a, b] = ["a", "b"].map(|id| session(id, None, &[turn(1, "hi"), turn(2, "ho")]));
    let pretty = serde_json::to_string_pretty(&json!([a, b])).unwrap();
    let texts = [
        json!([a, b]).to_string(),
        pretty,
        json!({"total": 2, "sessions": [a, b], "limit": 50}).to_string(),
        format!("{a}\n{b}\n"),
        format!("\u{feff} {}{}", json!([a]), json!({"sessions": [b]})),
    ];
    for text in &texts {
        let all = read(text).unwrap();
        assert_eq!(all.ids(), ["a", "b"], "{text}");
        assert_eq!(all.odd(), []);
        let (session, turns, _) = &all.sessions[0];
        assert_eq!((session.fork_point, session.is_merged), (None, false));
        assert_eq!(session.created_at.as_deref(), Some("2026-01-01T00:00:00"));
        assert!(session.evidence_json.as_deref().unwrap().contains("\"prior_alpha\":1.0"));
        let numbers: Vec<_> = turns.iter().map(|turn| turn.turn_number).collect();
        assert_eq!(numbers, [Some(0), Some(1)], "counted from 0 like everywhere else");
        assert_eq!((turns[1].user_message.as_str(), turns[1].assistant_response.as_str()), ("ho", "yes"));
        assert_eq!((turns[0].tools_json.as_deref(), turns[0].user_mentions_json.as_deref()), (None, None));
    }
    for nothing in ["", " \n", "[]", "{\"sessions\": []}"] {
        assert_eq!(read(nothing).unwrap().ids(), [] as [&str; 0]);
    }
}

#[test]
fn what_turns_hold_beside_their_words_comes_along() {
    let mut full = turn(1, "@file look");
    full["user_message"]["mentions"] = json!([{"type": "file", "query": "a", "resolved_path": null}]);
    full["user_message"]["linearity_tag"] = "required".into();
    full["tools_used"] =
        json!([{"name": "grep", "input": {}, "output": "x", "success": true, "duration_ms": 1.5}]);
    full["portal_emissions"] = json!([{"portal_id": "p"}]);
    let all = read(&session("s", None, &[full]).to_string()).unwrap();
    let turn = &all.sessions[0].1[0];
    assert!(turn.user_mentions_json.as_deref().unwrap().contains("\"query\":\"a\""));
    assert_eq!(turn.user_linearity.as_deref(), Some("required"));
    assert_eq!(turn.assistant_linearity.as_deref(), Some("preserved"));
    assert!(turn.tools_json.as_deref().unwrap().contains("\"grep\""));
    assert_eq!(turn.portal_emissions_json.as_deref(), Some("[{\"portal_id\":\"p\"}]"));
    assert!(turn.evidence_delta_json.is_some() && turn.confidence == Some(0.5));
    assert_eq!(all.odd(), []);
}

#[test]
fn parents_come_first_and_forks_share_what_is_the_same() {
    let turns: Vec<Value> = (1..=4).map(|n| turn(n, "same")).collect();
    let mut forked = turns.clone();
    forked[2] = turn(3, "other");
    let text = json!([
        session("child", Some("parent"), &forked),
        session("x", Some("y"), &[]),
        session("y", Some("x"), &[]),
        session("parent", None, &turns),
        session("self", Some("self"), &turns),
        session("lost", Some("gone"), &turns),
    ]);
    let all = read(&text.to_string()).unwrap();
    assert_eq!(all.ids(), ["parent", "self", "lost", "child", "x", "y"]);
    assert_eq!(all.sessions.iter().map(|(.., shared)| *shared).collect::<Vec<_>>(), [0, 0, 0, 2, 0, 0]);
}

#[test]
fn a_session_that_comes_twice_is_taken_as_it_was_last() {
    let early = session("s", None, &[turn(1, "a")]);
    let mut late = session("s", None, &[turn(1, "a"), turn(2, "b")]);
    late["last_active"] = "2026-02-01T00:00:00".into();
    for text in [json!([early, late, late]), json!([late, early, late])] {
        let all = read(&text.to_string()).unwrap();
        assert_eq!(all.sessions[0].1.len(), 2);
        assert_eq!(all.odd(), [(Oddity::Duplicate, "sessions")]);
        assert_eq!(all.odd[0].2, early.to_string(), "word for word");
    }
}

#[test]
fn what_is_odd_is_read_as_well_as_it_can_be_and_kept() {
    let mut odd = session("s", None, &[turn(1, "a"), json!("no turn"), turn(3, "c"), json!({})]);
    odd["mood"] = "good".into();
    odd["is_merged"] = 1.into();
    odd["turns"][0]["user_message"]["role"] = "system".into();
    odd["turns"][0]["user_message"]["content"] = 5.into();
    odd["turns"][2]["user_message"] = "text alone".into();
    let all = read(&json!([null, odd, {"turns": [1, 2]}, session("t", None, &[])]).to_string()).unwrap();
    assert_eq!(all.ids(), ["s", "t"]);
    let words: Vec<_> = all.sessions[0].1.iter().map(|turn| turn.user_message.as_str()).collect();
    assert_eq!(words, ["5", "text alone", ""]);
    let expected = [
        (Oddity::WrongType, "sessions.is_merged"),
        (Oddity::UnknownField, "sessions.mood"),
        (Oddity::WrongType, "turns.user_message.content"),
        (Oddity::UnknownWord, "turns.user_message.role"),
        (Oddity::WrongType, "turns"),
        (Oddity::WrongType, "turns.user_message"),
        (Oddity::WrongType, "turns.assistant_response"),
        (Oddity::WrongType, "sessions"),
        (Oddity::NoId, "sessions"),
    ];
    assert_eq!(all.odd(), expected);
}

#[test]
fn python_s_own_json_is_read_and_the_text_kept() {
    let text = session("s", None, &[turn(1, "half")]).to_string();
    let text = text.replace("\"half\"", "\"half \\ud83d\"").replace("0.5", "NaN");
    let all = read(&text).unwrap();
    assert_eq!(all.sessions[0].1[0].user_message, "half \u{fffd}");
    assert_eq!(all.odd(), [(Oddity::NotText, "sessions.text"), (Oddity::BadJson, "sessions.text")]);
    assert_eq!(all.odd[0].2, text);
}

#[test]
fn what_is_no_such_json_is_refused_with_its_place() {
    let good = session("s", None, &[]);
    refused("hello", &["line 1, column 1", "'h' stands here", "a list of sessions"]);
    refused(&format!("[{good},\n {{\"id\": tru}}]"), &["line 2, column 12", "repair the text"]);
    refused(&format!("[{good}\n {good}]"), &["line 2, column 2", "a comma"]);
    refused(&format!("[{good},"), &["a value was expected"]);
    refused(
        &format!("[{good},\n {{\"id\": \"a"),
        &["line 2, column 11", "ends within a string that begins at line 2, column 9"],
    );
    refused("{\"sessions\": [{\"id\": 1}", &["the text ends here", "the end of the list"]);
    refused("{a: 1}", &["a name in quotes"]);
    refused("[{]", &["the text ends here"]);
    refused(&"[".repeat(100_000), &["ends within"]);
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_place() {
    let mut bytes = b"[\n{\"id\": \"a\",\n \"turns\": [], \"x\": \"\xff\"}]".to_vec();
    let error = DumpSource::open(Cursor::new(&bytes)).unwrap_err().to_string();
    assert!(error.contains("line 3, column 21") && error.contains("UTF-8"), "{error}");
    bytes.clear();
    assert!(DumpSource::open(Cursor::new(&bytes)).is_ok());
}

#[test]
fn the_persistent_router_s_answer_is_refused_with_the_remedy() {
    let mut without = session("s", None, &[]);
    without.as_object_mut().unwrap().remove("turns");
    let text = json!({"sessions": [without], "total": 1, "limit": 50, "offset": 0}).to_string();
    refused(&text, &["without its turns", "import its database file", "default.db.db"]);
}
