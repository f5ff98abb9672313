//! Paths that nobody expects: ids of any form, unknown routes, the wrong verb.

use membrane::NewSessionOptions;
use serde_json::json;

use crate::app::{TestApp, at, session_id};
use crate::client::{Call, Connection};

#[tokio::test]
async fn an_id_of_any_form_names_its_session() {
    let app = TestApp::start().await;
    for (path, id) in [
        ("7", "7"),
        ("a%2Fb", "a/b"),
        ("%00", "\0"),
        ("%F0%9F%99%82", "🙂"),
        ("..", ".."),
        ("%2E%2E%2F%2E%2E", "../.."),
        (".", "."),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%25", "%"),
        ("100%", "100%"),
        ("%3F%23", "?#"),
        ("send", "send"),
        ("{id}", "{id}"),
    ] {
        let session = NewSessionOptions { id: Some(session_id(id)), ..NewSessionOptions::default() };
        app.chat.create_session(session).await.unwrap();
        for alias in ["session", "sessions"] {
            assert_eq!(app.get(format!("/api/chat/{alias}/{path}")).await.json(200)["id"], id, "{path}");
        }
        assert_eq!(app.say(path, "hi").await["turn_count"], 1, "{path}");
        let tree = app.get(format!("/api/chat/sessions/{path}/branches")).await.json(200);
        assert_eq!(tree["branches"][0]["id"], id);
        app.get(at(path, "turns?limit=1")).await.json(200);
        app.delete(format!("/api/chat/{path}")).await.empty(204);
    }
    app.stop().await;
}

#[tokio::test]
async fn the_words_of_fixed_paths_name_sessions_where_they_can() {
    let app = TestApp::start().await;
    for id in ["session", "sessions", "events"] {
        let gone = format!("Session {id} not found");
        app.delete(format!("/api/chat/{id}")).await.refused(404, "not_found", &gone);
        let session = NewSessionOptions { id: Some(session_id(id)), ..NewSessionOptions::default() };
        app.chat.create_session(session).await.unwrap();
        app.session(id).await;
        app.delete(format!("/api/chat/{id}")).await.empty(204);
        app.delete(format!("/api/chat/{id}")).await.refused(404, "not_found", &gone);
    }
    app.stop().await;
}

#[tokio::test]
async fn what_cannot_be_an_id_is_not_found() {
    let app = TestApp::start().await;
    let long = "x".repeat(60_000);
    let shown = format!("Session {}… not found", "x".repeat(64));
    for (path, detail) in [
        ("%FF", "Session %FF not found"),
        ("%F0%9F", "Session %F0%9F not found"),
        ("nil", "Session nil not found"),
        (&format!("{long}%FF"), &shown),
    ] {
        app.get(format!("/api/chat/session/{path}")).await.refused(404, "not_found", detail);
        app.delete(format!("/api/chat/{path}")).await.refused(404, "not_found", detail);
        let send = Call::post(at(path, "send"), &json!({"message": "hi"}));
        app.call(send).await.refused(404, "not_found", detail);
    }
    let answer = app.get(format!("/api/chat/session/{long}")).await;
    assert_eq!(answer.json(404)["code"], "not_found");
    // Longer than any URI may be: the connection refuses it before there is a route.
    let answer = app.get(format!("/api/chat/session/{}", "x".repeat(70_000))).await;
    assert_eq!(answer.status(), 414);
    app.stop().await;
}

#[tokio::test]
async fn an_unknown_route_and_a_wrong_verb_are_told_in_fastapis_words() {
    let app = TestApp::start().await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/api/chat"),
        ("GET", "/api/chat/"),
        ("GET", "/api/chat/session/"),
        ("POST", "/api/chat/x/unknown"),
        ("POST", "/api/chat/mention/resolve"),
        ("POST", "/api/chat/x/approve-tool"),
        ("POST", "/api/chat//send"),
        ("GET", "/api/chat/x/turns/"),
        ("PUT", "/nowhere"),
        ("GET", "/api/chat/trust/stats"),
    ] {
        let answer = app.call(Call::new(method, path, "")).await;
        assert_eq!(answer.json(404)["detail"], "Not Found", "{method} {path}");
    }
    for (method, path) in [
        ("PUT", "/api/chat/session"),
        ("GET", "/api/chat/session"),
        ("PATCH", "/api/chat/sessions"),
        ("GET", "/api/chat/x"),
        ("GET", "/api/chat/x/send"),
        ("POST", "/api/chat/x/evidence"),
        ("OPTIONS", "/api/chat/x/send"),
        ("BREW", "/api/chat/sessions"),
        ("POST", "/health"),
        ("DELETE", "/metrics"),
    ] {
        let answer = app.call(Call::new(method, path, "")).await;
        answer.refused(405, "method_not_allowed", "Method Not Allowed");
        assert!(answer.header("allow").is_some(), "{method} {path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_head_is_a_get_without_its_body() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    let mut connection = Connection::open(app.addr).await;
    for path in [format!("/api/chat/session/{id}"), "/health".to_owned(), at(&id, "evidence")] {
        let whole = connection.call(&Call::get(path.clone())).await;
        let head = connection.call(&Call::new("HEAD", path, "")).await;
        assert_eq!((head.status(), head.text()), (200, String::new()));
        assert_eq!(head.header("content-length"), whole.header("content-length"));
    }
    drop(connection);
    app.stop().await;
}

#[tokio::test]
async fn liveness_and_readiness_are_told() {
    let app = TestApp::start().await;
    for (path, status) in [("/health", "ok"), ("/ready", "ready")] {
        let expected = json!({"status": status, "version": env!("CARGO_PKG_VERSION")});
        assert_eq!(app.get(path).await.json(200), expected);
    }
    app.chat.drain(std::time::Duration::ZERO).await;
    let answer = app.get("/ready").await;
    answer.refused(503, "unavailable", "unavailable: the server is stopping; try again in 1000 ms");
    assert_eq!(answer.header("retry-after"), Some("1"));
    app.get("/health").await.json(200);
    app.stop().await;
}
