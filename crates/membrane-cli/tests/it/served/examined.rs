//! A server that has the database: the doctor names it, and a repair is refused with its name.

use serde_json::Value;

use super::http::Client;
use super::server::Serving;

#[test]
fn the_server_that_has_the_database_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let serving = Serving::on(&folder.path().join("keep.db"));
    let mut server = serving.spawn();
    let addr = server.addr();
    let client = Client::of(addr);
    client.create();
    let addr = addr.to_string();
    let ran = serving.command(&["doctor", "--json", "--addr", &addr]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let document: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let found = |name: &str| {
        let checks = document["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).unwrap()["found"].as_str().unwrap().to_owned()
    };
    assert!(found("locks").contains("has it open (keep.db"), "{}", found("locks"));
    assert!(found("locks").contains("serve"), "{}", found("locks"));
    assert!(found("address").contains("serves this database"), "{}", found("address"));
    assert_eq!(found("instances"), "one server has the database");

    let refused = serving.command(&["check", "--repair"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("in use by another process") && said.contains("serve"), "{said}");
    client.create();
    server.stop();
}
