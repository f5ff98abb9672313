//! The model server: real connections, written to and read from byte by byte.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use membrane_testservers::model::{Answer, ModelServer, Step};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

fn connect(server: &ModelServer) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", server.port())).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("the time is not zero");
    stream
}

/// A stream with a request on its way.
fn ask(server: &ModelServer, path: &str, body: &str) -> TcpStream {
    let mut stream = connect(server);
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}", body.len());
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("it reads");
    stream
}

/// What is answered until the last chunk, or until the end if that comes first.
fn read(stream: &mut TcpStream) -> String {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let n_read = stream.read(&mut buffer).expect("it answers");
        bytes.extend_from_slice(&buffer[..n_read]);
        if n_read == 0 || bytes.ends_with(b"\r\n0\r\n\r\n") {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}

fn chat(message: &str) -> String {
    let content = message.replace('"', "\\\"");
    format!(r#"{{"model": "m", "stream": true, "messages": [{{"role": "user", "content": "{content}"}}]}}"#)
}

const CHAT: &str = "/v1/chat/completions";

#[test]
fn an_answer_that_nobody_wrote_repeats_the_users_words() {
    let server = ModelServer::start().expect("a port is free");
    let text = read(&mut ask(&server, CHAT, &chat("hello there")));
    assert!(text.contains("text/event-stream") && text.contains(r#""content":"hello ""#), "{text}");
    assert!(text.contains("data: [DONE]"), "{text}");
    let requests = server.requests();
    assert_eq!((requests[0].path.as_str(), requests[0].header("host")), (CHAT, Some("x")));
    assert_eq!(requests[0].body["messages"][0]["content"], "hello there");
}

#[test]
fn what_was_queued_is_answered_first_and_a_script_in_the_message_after_that() {
    let server = ModelServer::start().expect("a port is free");
    server.then(Answer::status(429, "{}").header("retry-after", "7"));
    let script = chat(r#"{"membrane_test": [{"text": "scripted"}, "cut"]}"#);
    let first = read(&mut ask(&server, CHAT, &script));
    assert!(first.starts_with("HTTP/1.1 429 ") && first.contains("retry-after: 7"), "{first}");
    let second = read(&mut ask(&server, CHAT, &script));
    assert!(second.contains("scripted") && !second.contains("[DONE]"), "{second}");
    assert!(!second.ends_with("0\r\n\r\n"), "it was cut");
}

#[test]
fn a_client_that_hangs_up_during_a_pause_is_noticed() {
    let server = ModelServer::start().expect("a port is free");
    for step in [Step::Hold, Step::Wait(Duration::from_secs(600))] {
        server.then(Answer::default().say("a").step(step));
        drop(ask(&server, CHAT, &chat("x")));
    }
    server.wait_for_hung_up(2).expect("both are seen");
}

#[test]
fn a_pause_ends_when_it_is_released() {
    let server = ModelServer::start().expect("a port is free");
    server.then(Answer::default().say("before").hold().say("after"));
    let mut stream = ask(&server, CHAT, &chat("x"));
    server.wait_for_requests(1).expect("it was asked");
    server.release();
    assert!(read(&mut stream).contains("after"));
    assert_eq!(server.n_hung_up(), 0);
}

#[test]
fn a_thousand_connections_are_served_at_once_and_go_with_the_server() {
    // Both ends of each connection are in this process.
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("it is below the limit");
    let server = ModelServer::start().expect("a port is free");
    for _ in 0..1000 {
        server.then(Answer::default().say("held").hold());
    }
    let mut streams: Vec<TcpStream> = (0..1000).map(|_| ask(&server, CHAT, &chat("x"))).collect();
    server.wait_for_requests(1000).expect("all are read");
    server.release_all();
    for stream in &mut streams[..990] {
        assert!(read(stream).contains("[DONE]"));
    }
    server.then(Answer::default().step(Step::Wait(Duration::from_secs(600))));
    let mut last = ask(&server, CHAT, &chat("x"));
    server.wait_for_requests(1001).expect("it is read");
    let start = Instant::now();
    drop(server);
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    assert!(!read(&mut last).contains("[DONE]"));
}

#[test]
fn the_program_prints_its_url_and_lives_until_its_input_ends() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_membrane-testservers"))
        .args(["model", "--pace-ms", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut output = program.stdout.take().expect("it is piped");
    let mut url = String::new();
    while !url.ends_with('\n') {
        let mut byte = [0];
        output.read_exact(&mut byte).expect("it prints a line");
        url.push(char::from(byte[0]));
    }
    let address = url.trim().strip_prefix("http://").expect("it is a URL");
    let stream = TcpStream::connect(address).expect("it listens");
    drop((stream, program.stdin.take()));
    assert!(program.wait().expect("it ends").success());
}
