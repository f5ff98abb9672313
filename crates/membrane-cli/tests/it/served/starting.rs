//! How a server starts, and what it says when it cannot.
//!
//! Not here: what can be set (`configuration`).

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use super::http::Client;
use super::server::{ServerProcess, Serving};

#[test]
fn a_server_says_in_one_line_where_it_listens_and_makes_the_folder_of_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("not").join("there").join("keep.db");
    let serving = Serving::on(&database);
    let mut server = ServerProcess::of(serving.command(&["serve", "--addr", "127.0.0.1:0", "--json"]));
    let line: Value = serde_json::from_str(&server.line().unwrap()).unwrap();
    let keys: Vec<&String> = line.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["listening", "database"]);
    assert_eq!(line["database"], database.display().to_string());
    let addr = line["listening"].as_str().unwrap().strip_prefix("http://127.0.0.1:").unwrap();
    let port: u16 = addr.parse().unwrap();
    assert_ne!(port, 0, "the real port");
    let client = Client::of(([127, 0, 0, 1], port).into());
    assert_eq!(client.get("/ready")["status"], "ready");
    client.create();
    assert!(database.is_file());
    server.stop();

    let mut server = ServerProcess::of(serving.command(&["serve", "--addr", "127.0.0.1:0"]));
    let line = server.line().unwrap();
    let url = line.strip_prefix("listening on ").and_then(|rest| rest.split_once(',')).unwrap().0;
    assert!(
        line.contains(&database.display().to_string()) && line.contains(&format!("{url}/docs")),
        "{line}"
    );
    let client = Client::of(url.strip_prefix("http://").unwrap().parse().unwrap());
    assert_eq!(client.get("/api/chat/sessions")["total"], 1);
    server.stop();
}

/// Starts a server that must not come up: what it says.
#[track_caller]
fn refusal(serving: &Serving, addr: &str) -> String {
    let mut server = ServerProcess::of(serving.command(&["serve", "--addr", addr]));
    assert_eq!(server.line(), None, "it must print nothing");
    let ended = server.wait_for_end();
    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default().to_owned();
    assert!(last.starts_with("membrane: "), "{ended:?}");
    last
}

#[test]
fn an_address_in_use_is_named_with_what_to_do_and_no_database_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keep.db");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let said = refusal(&Serving::on(&database), &addr);
    for word in [&addr, "in use", "--addr"] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!database.exists());
}

#[test]
fn an_address_that_is_none_is_named_with_what_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(&Serving::on(&folder.path().join("keep.db")), "localhost");
    assert!(said.contains("localhost") && said.contains("127.0.0.1:8642"), "{said}");
}

#[test]
fn a_database_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let text = "somebody's work\n".repeat(100);
    let file = folder.path().join("notes.txt");
    fs::write(&file, &text).unwrap();
    for database in [folder.path().to_owned(), file.join("keep.db"), file.clone()] {
        let said = refusal(&Serving::on(&database), "127.0.0.1:0");
        let name = folder.path().file_name().unwrap().to_string_lossy();
        assert!(said.contains(&*name), "{} is not in {said}", database.display());
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}
