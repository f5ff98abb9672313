//! Clients that are slow, half there, or gone: none of them holds the server up, and none is waited for for ever.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpSocket;

use crate::app::{TestApp, at, send};
use crate::client::{Call, Connection, until};

const SHORT: Duration = Duration::from_millis(250);

#[tokio::test]
async fn a_head_that_does_not_come_to_its_end_is_not_waited_for() {
    let app = TestApp::with(|setup| setup.server.header_timeout = SHORT).await;
    for beginning in ["", "GET", "GET /health HTTP/1.1\r\nHost: te", "GET /health HTTP/1.1\r\nHost: test\r\n"]
    {
        let mut connection = Connection::open(app.addr).await;
        connection.write(beginning.as_bytes()).await;
        assert!(connection.is_closed().await, "{beginning:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_idle_is_closed() {
    let app = TestApp::with(|setup| setup.server.header_timeout = SHORT).await;
    let mut connection = Connection::open(app.addr).await;
    for _ in 0..2 {
        connection.call(&Call::get("/health")).await.json(200);
    }
    assert!(connection.is_closed().await);
    app.stop().await;
}

#[tokio::test]
async fn a_stream_is_not_idle_however_long_it_says_nothing() {
    let app = TestApp::with(|setup| setup.server.header_timeout = SHORT).await;
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "hi").await;
    // Another connection is idle for as long, and closed.
    let mut idle = Connection::open(app.addr).await;
    for _ in 0..3 {
        idle.call(&Call::get("/health")).await.json(200);
        assert!(idle.is_closed().await);
        idle = Connection::open(app.addr).await;
    }
    drop(idle);
    speaker.say("late");
    assert_eq!(events.plain().await["content"], "late");
    drop(speaker);
    assert_eq!(events.last().await["type"], "done");
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_told_so_and_the_connection_is_closed() {
    let app = TestApp::with(|setup| setup.http.body_timeout = SHORT).await;
    let id = app.new_session().await;
    let whole = send(&id, "hi").bytes();
    let mut connection = Connection::open(app.addr).await;
    connection.write(&whole[..whole.len() - 3]).await;
    let answer = connection.answer("POST").await.expect("an answer");
    let n_bytes = json!({"message": "hi"}).to_string().len() - 3;
    let detail =
        format!("the body stopped after {n_bytes} bytes, nothing came for 250 ms; send the request again");
    answer.refused(408, "timeout", &detail);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(connection.is_closed().await);
    assert_eq!(app.session(&id).await["turn_count"], 0);
    app.stop().await;
}

#[tokio::test]
async fn a_body_that_comes_slowly_is_taken() {
    let app = TestApp::with(|setup| setup.http.body_timeout = Duration::from_secs(10)).await;
    let id = app.new_session().await;
    let mut connection = Connection::open(app.addr).await;
    for byte in send(&id, "hi").bytes() {
        connection.write(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.answer("POST").await.unwrap().status(), 200);
    drop(connection);
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_is_gone_in_the_middle_of_its_request_changes_nothing() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let whole = send(&id, "hi").bytes();
    for n_bytes in [1, 20, whole.len() - 1] {
        let mut connection = Connection::open(app.addr).await;
        connection.write(&whole[..n_bytes]).await;
    }
    let session = app.session(&id).await;
    assert_eq!((&session["turn_count"], &session["pending"]), (&json!(0), &json!(null)));
    app.say(&id, "whole").await;
    app.stop().await;
}

#[tokio::test]
async fn a_client_that_says_it_is_done_in_the_middle_of_its_request_is_not_waited_for() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let whole = send(&id, "hi").bytes();
    for n_bytes in [20, whole.len() - 1] {
        let mut connection = Connection::open(app.addr).await;
        connection.write(&whole[..n_bytes]).await;
        connection.finish_writing().await;
        if let Some(answer) = connection.answer("POST").await {
            assert_eq!(answer.status(), 400, "{}", answer.text());
        }
    }
    assert_eq!(app.session(&id).await["turn_count"], 0);
    app.stop().await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_off_and_the_turn_goes_on() {
    let app = TestApp::with(|setup| setup.server.write_timeout = 2 * SHORT).await;
    let id = app.new_session().await;
    // A small window, so that little of the answer fits on its way.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut connection = Connection::on(socket.connect(app.addr).await.unwrap());
    connection.write(&send(&id, &"x".repeat(2 << 20)).bytes()).await;
    let (head, _) = connection.head("POST").await.unwrap();
    assert_eq!(head.status, 200);
    let mut listening = app.listen(&id).await;
    assert_eq!(listening.last().await["turn_count"], 1);
    // The server lets go of the stream, though the client is still there.
    until(async || app.metrics().await.find("membrane_streams_active", &[]) == Some(0.0)).await;
    drop(connection);
    app.stop().await;
}

#[tokio::test]
async fn further_connections_wait_until_there_is_a_place() {
    let app = TestApp::with(|setup| setup.server.max_connections = 1).await;
    let mut first = Connection::open(app.addr).await;
    first.call(&Call::get("/health")).await.json(200);
    let mut second = Connection::open(app.addr).await;
    second.write(&Call::get("/health").bytes()).await;
    first.call(&Call::get("/health")).await.json(200);
    drop(first);
    second.answer("GET").await.expect("its turn has come").json(200);
    drop(second);
    app.stop().await;
}

#[tokio::test]
async fn what_is_not_http_is_not_answered_as_if_it_were() {
    let app = TestApp::start().await;
    for nonsense in ["\u{0}\u{1}\u{2}\r\n\r\n", "HELLO\r\n\r\n", "GET / HTTP/1.1\r\nBad Header: x\r\n\r\n"] {
        let mut connection = Connection::open(app.addr).await;
        connection.write(nonsense.as_bytes()).await;
        let answer = connection.answer("GET").await.expect("an answer");
        assert_eq!((answer.status(), answer.text()), (400, String::new()), "{nonsense:?}");
    }
    let call = Call::post(at("nil", "send"), &json!({})).header("Idempotency-Key", "a\u{0}b");
    assert_eq!(app.call(call).await.status(), 400);
    app.stop().await;
}
