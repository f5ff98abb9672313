//! What a person does from a shell.

use crate::tool::Tool;

#[test]
fn a_conversation_is_kept_branched_merged_and_deleted() {
    let tool = Tool::new();
    let id = tool.id(&[
        "append",
        "--new",
        "--project",
        "alpha",
        "--title",
        "Sums",
        "--user",
        "2 + 2?",
        "--assistant",
        "4",
    ]);
    tool.ok(&["append", &id, "--user", "-3 + 3?", "--assistant", "0"]);
    let shown = tool.ok(&["show", &id]);
    for words in ["2 turns, idle", "Sums", "alpha", "user: 2 + 2?", "assistant: 4", "user: -3 + 3?"] {
        assert!(shown.contains(words), "{words:?} is not in {shown}");
    }
    let listed = tool.ok(&["sessions", "--project", "alpha"]);
    assert!(listed.starts_with(&id) && listed.contains("2 turns") && listed.contains("Sums"), "{listed}");
    assert_eq!(tool.ok(&["sessions", "--project", "beta"]), "");

    let fork = tool.id(&["fork", &id, "--at", "1", "--branch", "what-if"]);
    tool.ok(&["append", &fork, "--user", "3 * 3?", "--assistant", "9"]);
    let diff = tool.ok(&["diff", &id, &fork]);
    assert!(diff.contains("1 turn in common") && diff.contains("> [1] 3 * 3? -> 9"), "{diff}");
    let tree = tool.ok(&["branches", &fork]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].contains(&id) && lines[1].starts_with("*   ") && lines[1].contains("what-if"), "{tree}");

    let merged = tool.id(&["merge", &id, &fork, "--strategy", "interleave"]);
    assert_eq!(tool.words(&merged), ["2 + 2?", "-3 + 3?", "3 * 3?"]);
    let picks = [format!("{fork}:1"), format!("{id}:0")];
    let manual =
        tool.id(&["merge", &id, &fork, "--strategy", "manual", "--pick", &picks[0], "--pick", &picks[1]]);
    assert_eq!(tool.words(&manual), ["3 * 3?", "2 + 2?"]);

    let named = tool.id(&["checkpoint", &merged, "--name", "all of it"]);
    let rewound = tool.run(&["rewind", &merged, "2"]);
    assert_eq!(tool.words(&merged), ["2 + 2?"]);
    let undo = rewound.stderr.trim_end().rsplit("membrane ").next().unwrap().to_owned();
    tool.ok(&undo.split(' ').collect::<Vec<_>>());
    assert_eq!(tool.words(&merged).len(), 3, "what rewind says to undo it does undo it");
    tool.ok(&["rewind", &merged, "1"]);
    tool.ok(&["restore", &merged, &named]);
    assert_eq!(tool.words(&merged).len(), 3);
    let left = tool.ok(&["checkpoint", &merged, "--list"]);
    assert!(left.lines().count() == 5 && left.contains("all of it") && left.contains("rewind"), "{left}");
    tool.ok(&["checkpoint", &merged, "--delete", &named]);
    assert!(!tool.ok(&["checkpoint", &merged, "--list"]).contains("all of it"));

    let said = tool.ok(&["feedback", &merged, "1", "negative", "--comment", "no"]);
    assert!(said.contains("0.60"), "{said}");
    assert!(tool.ok(&["show", &merged]).contains("feedback: negative: no"));

    assert!(tool.ok(&["check"]).contains("4 sessions, 3 turns"));
    tool.ok(&["delete", &id]);
    assert!(tool.ok(&["branches", &fork]).contains(&format!("{id}  deleted")));
    assert_eq!(tool.words(&fork).len(), 2, "a fork outlives its parent");
    for id in [&fork, &merged, &manual] {
        tool.ok(&["delete", id]);
    }
    assert!(tool.ok(&["check"]).contains("0 sessions, 0 turns"));
}

#[test]
fn show_takes_a_part_and_says_that_there_is_more() {
    let tool = Tool::new();
    let id = tool.session_of(10);
    let part = tool.run(&["show", &id, "--from", "3", "--limit", "2"]);
    assert!(part.stdout.contains("user: u3") && part.stdout.contains("user: u4"), "{part:?}");
    assert!(!part.stdout.contains("user: u2") && !part.stdout.contains("user: u5"), "{part:?}");
    assert!(part.stderr.contains("2 of 10 turns"), "{part:?}");
    let session = tool.json(&["show", &id, "--from", "8"]);
    assert_eq!(session["turns"][0]["turn_number"], 8);
    assert_eq!((session["turns"].as_array().unwrap().len(), &session["turns_truncated"]), (2, &true.into()));
    assert_eq!(tool.json(&["show", &id])["turns_truncated"], false);
    assert_eq!(tool.json(&["show", &id, "--from", "99"])["turns"].as_array().unwrap().len(), 0);
}

#[test]
fn a_list_is_paged_through_with_cursors() {
    let tool = Tool::new();
    let mut ids: Vec<String> = (0..7).map(|_| tool.id(&["append", "--new", "--branch", "b"])).collect();
    tool.id(&["append", "--new"]);
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut args = vec!["sessions", "--branch", "b", "--limit", "3"];
        if let Some(cursor) = &cursor {
            args.extend(["--cursor", cursor]);
        }
        let page = tool.json(&args);
        assert_eq!((&page["total"], &page["limit"]), (&7.into(), &3.into()));
        let sessions = page["sessions"].as_array().unwrap();
        found.extend(sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    ids.reverse();
    assert_eq!(found, ids, "newest first, each once");
}

#[test]
fn what_was_said_cannot_steer_the_terminal() {
    let tool = Tool::new();
    let id = tool.id(&[
        "append",
        "--new",
        "--title",
        "\u{1b}[2J",
        "--user",
        "\u{1b}]0;x\u{7}",
        "--assistant",
        "\r\u{9b}1m",
    ]);
    for shown in [tool.ok(&["show", &id]), tool.ok(&["sessions"])] {
        assert!(!shown.chars().any(|char| char.is_control() && char != '\n'), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J"), "{shown}");
    }
    let session = tool.json(&["show", &id]);
    assert_eq!(session["turns"][0]["user_message"]["content"], "\u{1b}]0;x\u{7}", "in JSON it is unchanged");
}

#[test]
fn completions_know_every_command() {
    let tool = Tool::new();
    let help = tool.ok(&["--help"]);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 15, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = tool.ok(&["completions", shell]);
        for command in &commands {
            assert!(script.contains(command), "{command} is missing for {shell}");
        }
        assert!(script.contains("database-url"), "{shell}");
    }
    assert!(!tool.database().exists(), "completions need no database");
}
