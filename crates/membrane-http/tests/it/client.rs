//! A small HTTP/1.1 client on a socket. It sends what it is told, byte for byte, reads answers part by part, may
//! stop reading at any time, and cuts the connection when it is dropped.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Returns once it is so; asks again and again, and fails if it does not become so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let becoming = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, becoming).await.expect("it becomes so");
}

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Call {
    /// A request whose body has no declared type.
    pub(crate) fn new(method: &str, path: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self { method: method.to_owned(), path: path.into(), headers: Vec::new(), body: body.into() }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path, "")
    }

    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path, "")
    }

    /// A request with a JSON body.
    pub(crate) fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path, body.to_string()).header("Content-Type", "application/json")
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    /// As it stands on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: test\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        if self.method == "POST" || !self.body.is_empty() {
            write!(head, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// The beginning of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is sent more than once");
        value
    }
}

/// How the rest of an answer is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Bytes(usize),
    Chunks,
    Nothing,
}

/// A connection. Dropping it cuts it.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }

    pub(crate) fn on(stream: TcpStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("the server reads").unwrap();
    }

    /// Says that nothing more will be sent, and goes on listening.
    pub(crate) async fn finish_writing(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Waits until the server has read the head of a request that expects leave to go on, and gives it.
    pub(crate) async fn leave_to_send(&mut self) {
        let interim = self.until(b"\r\n\r\n").await.expect("the server answers");
        assert_eq!(String::from_utf8(interim).unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Sends a request whose answer may come, and the connection end, before all of it is sent.
    pub(crate) async fn call(&mut self, call: &Call) -> Answer {
        let _ = timeout(PATIENCE, self.stream.write_all(&call.bytes())).await.expect("the server reads");
        self.answer(&call.method).await.expect("the server answers")
    }

    /// The next answer, or none if the connection was closed before one.
    pub(crate) async fn answer(&mut self, method: &str) -> Option<Answer> {
        let (head, mut rest) = self.head(method).await?;
        let mut body = Vec::new();
        while let Some(part) = self.part(&mut rest).await {
            body.extend_from_slice(&part);
        }
        Some(Answer { head, body })
    }

    /// The beginning of the next answer, and what follows it.
    pub(crate) async fn head(&mut self, method: &str) -> Option<(Head, Rest)> {
        let text = String::from_utf8(self.until(b"\r\n\r\n").await?).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").expect("an answer of HTTP/1.1");
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header has a value");
            (name.to_owned(), value.to_owned())
        });
        let head = Head { status: status[..3].parse().unwrap(), headers: headers.collect() };
        let length = head.header("content-length").map(|length| length.parse().unwrap());
        let rest = match (head.status, head.header("transfer-encoding"), length) {
            (204 | 304, _, _) => Rest::Nothing,
            _ if method == "HEAD" => Rest::Nothing,
            (_, Some("chunked"), None) => Rest::Chunks,
            (_, None, length) => Rest::Bytes(length.expect("an answer says how long it is")),
            framing => panic!("an answer is delimited in two ways: {framing:?}"),
        };
        Some((head, rest))
    }

    /// The next part of a body as soon as it is there; `None` at its end.
    pub(crate) async fn part(&mut self, rest: &mut Rest) -> Option<Vec<u8>> {
        match *rest {
            Rest::Nothing | Rest::Bytes(0) => None,
            Rest::Bytes(left) => {
                while self.received.is_empty() {
                    assert!(self.more().await > 0, "the answer breaks off");
                }
                let taken = left.min(self.received.len());
                *rest = Rest::Bytes(left - taken);
                Some(self.received.drain(..taken).collect())
            }
            Rest::Chunks => {
                let size = String::from_utf8(self.until(b"\r\n").await.expect("a chunk")).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                while self.received.len() < size + 2 {
                    assert!(self.more().await > 0, "the answer breaks off");
                }
                let chunk: Vec<u8> = self.received.drain(..size).collect();
                assert_eq!(self.received.drain(..2).collect::<Vec<_>>(), b"\r\n", "a chunk's end");
                if size == 0 {
                    *rest = Rest::Nothing;
                }
                (size > 0).then_some(chunk)
            }
        }
    }

    /// Whether the server closes the connection without a further byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.received.is_empty() && self.more().await == 0
    }

    /// Everything up to and with `end`; `None` if the connection is closed before anything came.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            let found = self.received[searched..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                return Some(self.received.drain(..searched + at + end.len()).collect());
            }
            searched = self.received.len().saturating_sub(end.len());
            if self.more().await == 0 {
                assert!(self.received.is_empty(), "the answer breaks off: {:?}", self.received);
                return None;
            }
        }
    }

    /// Receives something; 0 when the connection has ended.
    async fn more(&mut self) -> usize {
        let mut part = vec![0; 64 * 1024];
        let n_bytes = timeout(PATIENCE, self.stream.read(&mut part)).await.expect("the server answers");
        // A server that closes with something unread resets the connection.
        let n_bytes = n_bytes.unwrap_or(0);
        self.received.extend_from_slice(&part[..n_bytes]);
        n_bytes
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The JSON of an answer that must have this status.
    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status(), status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).unwrap()
    }

    /// An answer that must be empty.
    #[track_caller]
    pub(crate) fn empty(&self, status: u16) {
        assert_eq!((self.status(), self.text()), (status, String::new()));
        assert_eq!(self.header("content-type"), None);
    }

    /// A refusal with exactly these words.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str, detail: &str) {
        let expected = serde_json::json!({"detail": detail, "code": code});
        assert_eq!(self.json(status), expected);
    }

    /// The entries of a 422.
    #[track_caller]
    pub(crate) fn wrong_fields(&self) -> Vec<Value> {
        let body = self.json(422);
        assert_eq!(body["code"], "invalid_body");
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
        body["detail"].as_array().expect("a list of what is wrong").clone()
    }
}
