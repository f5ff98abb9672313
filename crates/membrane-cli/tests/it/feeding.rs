//! Turns from standard input.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::tool::{Ran, Tool};

fn line(user: &str) -> String {
    format!("{}\n", serde_json::json!({"user": user, "assistant": "yes"}))
}

#[test]
fn a_whole_conversation_is_appended_in_order() {
    let tool = Tool::new();
    let lines: String = (0..1000).map(|n| line(&format!("u{n}"))).collect();
    let ran = tool.feed(&["append", "--new", "--project", "p", "--stdin", "--json"], lines.as_bytes());
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((answer["appended"].as_u64(), answer["turn_number"].as_u64()), (Some(1000), Some(0)));
    let id = answer["session_id"].as_str().unwrap();
    assert_eq!(tool.words(id), (0..1000).map(|n| format!("u{n}")).collect::<Vec<_>>());
    let more = tool.feed(&["append", id, "--stdin", "--json"], line("more").as_bytes());
    let answer: serde_json::Value = serde_json::from_str(&more.stdout).unwrap();
    assert_eq!((answer["turn_number"].as_u64(), answer["turn_count"].as_u64()), (Some(1000), Some(1001)));
}

#[test]
fn no_lines_append_nothing() {
    let tool = Tool::new();
    let ran = tool.feed(&["append", "--new", "--stdin", "--json"], b"\n \n");
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((answer["appended"].as_u64(), answer["turn_number"].as_u64()), (Some(0), None));
    assert_eq!(tool.words(answer["session_id"].as_str().unwrap()).len(), 0);
}

#[test]
fn a_line_that_cannot_be_read_names_its_number_and_ends_it() {
    for (bad, word) in [
        (&b"nonsense"[..], "column"),
        (b"{\"user\": \"a\"}", "assistant"),
        (b"{\"user\": \"a\", \"assistant\": \"b\", \"answer\": 1}", "answer"),
        (b"[1]", "column"),
        (b"{\"user\": \"\xff\", \"assistant\": \"b\"}", "UTF-8"),
        (b"{\"user\": \"\\ud800\", \"assistant\": \"b\"}", "hex escape"),
        (b"{\"user\": \"a\", \"assistant\": \"b\", \"tools\": [{\"name\": \"t\", \"duration_ms\": 1e999}]}", "column"),
    ] {
        let tool = Tool::new();
        let input = [line("one").as_bytes(), b"\n", line("two").as_bytes(), bad, b"\n", line("never").as_bytes()].concat();
        let ran = tool.feed(&["append", "--new", "--stdin"], &input);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        let id = ran.stdout.trim_end();
        ran.complains_of(&["line 4", word, "2 turns appended", id]);
        assert_eq!(tool.words(id), ["one", "two"]);
    }
}

#[test]
fn text_of_every_kind_comes_back() {
    let tool = Tool::new();
    let texts = ["", "\0", "🙂 العربية a\u{301}", "\r\n\t\"\\", "\u{feff}\u{202e}"];
    let lines: String = texts.iter().map(|text| line(text)).collect();
    let ran = tool.feed(&["append", "--new", "--stdin"], lines.as_bytes());
    assert_eq!(tool.words(ran.stdout.trim_end()), texts);
}

#[test]
fn a_line_of_many_megabytes_is_one_turn_and_a_message_over_the_limit_is_refused() {
    let tool = Tool::new();
    let message = "é".repeat(2 * 1024 * 1024);
    let ran = tool.feed(&["append", "--new", "--stdin"], line(&message).as_bytes());
    let id = ran.stdout.trim_end();
    assert!(ran.code == Some(0) && tool.words(id) == [message.clone()], "4 MiB come back");
    let input = [line("before"), line(&(message + "x")), line("after")].concat();
    let ran = tool.feed(&["append", id, "--stdin"], input.as_bytes());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    ran.complains_of(&["user message", "4194305", "4194304"]);
    assert!(!tool.words(id).contains(&"after".to_owned()));
}

#[test]
fn turns_are_appended_as_they_come() {
    let tool = Tool::new();
    let id = tool.session_of(0);
    let mut child = tool.spawn(&["append", &id, "--stdin"]);
    let mut stdin = child.stdin.take().unwrap();
    for count in 1..=3 {
        stdin.write_all(line("live").as_bytes()).unwrap();
        stdin.flush().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while tool.words(&id).len() < count {
            assert!(Instant::now() < deadline, "turn {count} is not there though its line is");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    drop(stdin);
    assert!(child.wait_with_output().unwrap().status.success());
}

#[test]
fn several_processes_append_to_one_session_and_lose_nothing() {
    const PROCESSES: usize = 4;
    const EACH: usize = 50;
    let tool = Tool::new();
    let id = tool.session_of(0);
    std::thread::scope(|scope| {
        let feeders: Vec<_> = (0..PROCESSES)
            .map(|process| {
                let (tool, id) = (&tool, &id);
                scope.spawn(move || -> Ran {
                    let lines: String = (0..EACH).map(|n| line(&format!("{process}.{n}"))).collect();
                    tool.feed(&["append", id, "--stdin"], lines.as_bytes())
                })
            })
            .collect();
        for feeder in feeders {
            let ran = feeder.join().unwrap();
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    });
    let words = tool.words(&id);
    assert_eq!(words.len(), PROCESSES * EACH);
    for process in 0..PROCESSES {
        let prefix = format!("{process}.");
        let mine: Vec<&String> = words.iter().filter(|word| word.starts_with(&prefix)).collect();
        assert!(mine.iter().zip(0..).all(|(word, n)| **word == format!("{process}.{n}")), "{mine:?}");
    }
    assert!(tool.ok(&["check"]).contains("200 turns"));
}
