//! A lean client: a connection for each request, answers as JSON, streams event by event.
//!
//! Not here: when which request makes sense.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::server::PATIENCE;

/// Speaks to a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    addr: SocketAddr,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body; null if there is none.
    pub(super) body: Value,
}

/// An answer that comes in events.
#[derive(Debug)]
pub(super) struct Events {
    body: BufReader<Body>,
    last_id: String,
}

/// What a send is answered with at first.
#[derive(Debug)]
pub(super) enum Sent {
    /// The message was taken.
    Taken(Events),
    /// It was not.
    Refused(Answer),
}

impl Client {
    pub(super) fn of(addr: SocketAddr) -> Self {
        Self { addr }
    }

    pub(super) fn try_get(&self, path: &str) -> io::Result<Answer> {
        self.open("GET", path, &[], None)?.answer()
    }

    pub(super) fn try_post(&self, path: &str, body: &Value) -> io::Result<Answer> {
        self.open("POST", path, &[], Some(body))?.answer()
    }

    /// Gets what must be there.
    #[track_caller]
    pub(super) fn get(&self, path: &str) -> Value {
        let answer = self.try_get(path).unwrap();
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    }

    /// What `/metrics` tells under this name, with its labels.
    #[track_caller]
    pub(super) fn metric(&self, name: &str) -> String {
        let text = self.open("GET", "/metrics", &[], None).unwrap().text().unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name} is not in {text}")).to_owned()
    }

    #[track_caller]
    pub(super) fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body).unwrap()
    }

    /// Posts with an idempotency key.
    #[track_caller]
    pub(super) fn post_with_key(&self, path: &str, body: &Value, key: &str) -> Answer {
        let head = self.open("POST", path, &[("Idempotency-Key", key)], Some(body)).unwrap();
        head.answer().unwrap()
    }

    /// A new session's id.
    #[track_caller]
    pub(super) fn create(&self) -> String {
        let answer = self.post("/api/chat/session", &json!({}));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().unwrap().to_owned()
    }

    /// A session without its turns.
    #[track_caller]
    pub(super) fn session(&self, id: &str) -> Value {
        self.get(&format!("/api/chat/session/{id}?turns=none"))
    }

    /// All turns of a session, which has few.
    #[track_caller]
    pub(super) fn turns(&self, id: &str) -> Vec<Value> {
        let page = self.get(&format!("/api/chat/{id}/turns?limit=500"));
        let turns = page["turns"].as_array().unwrap().clone();
        assert_eq!(page["total"], turns.len(), "the page must hold all");
        turns
    }

    /// Sends a message; numbered events, or whole frames.
    pub(super) fn try_send(
        &self,
        id: &str,
        message: &str,
        form: &str,
        key: Option<&str>,
    ) -> io::Result<Sent> {
        let path = format!("/api/chat/{id}/send?stream={form}");
        let headers: Vec<_> = key.iter().map(|key| ("Idempotency-Key", *key)).collect();
        let head = self.open("POST", &path, &headers, Some(&json!({"message": message})))?;
        if head.status == 200 { Ok(Sent::Taken(head.events())) } else { head.answer().map(Sent::Refused) }
    }

    /// Sends a message that must be taken; numbered events.
    #[track_caller]
    pub(super) fn send(&self, id: &str, message: &str) -> Events {
        match self.try_send(id, message, "delta", None).unwrap() {
            Sent::Taken(events) => events,
            Sent::Refused(answer) => panic!("the message was refused: {answer:?}"),
        }
    }

    /// Listens to what is under way on a session or has just ended; nothing if the server knows of nothing.
    #[track_caller]
    pub(super) fn attach(&self, id: &str) -> Option<Events> {
        let head = self.open("GET", &format!("/api/chat/{id}/stream"), &[], None).unwrap();
        assert!([200, 204].contains(&head.status), "{}", head.status);
        (head.status == 200).then(|| head.events())
    }

    /// Goes on listening after an event; nothing if there is nothing more.
    #[track_caller]
    pub(super) fn attach_after(&self, id: &str, last_id: &str) -> Option<Events> {
        let headers = [("Last-Event-ID", last_id)];
        let head = self.open("GET", &format!("/api/chat/{id}/stream"), &headers, None).unwrap();
        assert!([200, 204].contains(&head.status), "{}", head.status);
        (head.status == 200).then(|| head.events())
    }

    /// Posts what is answered with a stream.
    #[track_caller]
    pub(super) fn post_for_events(&self, path: &str, body: &Value) -> Events {
        let head = self.open("POST", path, &[], Some(body)).unwrap();
        assert!(head.status < 300, "{path}: {:?}", head.answer());
        head.events()
    }

    /// Follows what happens to sessions, after an event or from now on.
    #[track_caller]
    pub(super) fn feed(&self, after: Option<&str>) -> Events {
        let headers: Vec<_> = after.iter().map(|id| ("Last-Event-ID", *id)).collect();
        let head = self.open("GET", "/api/chat/events", &headers, None).unwrap();
        assert_eq!(head.status, 200);
        head.events()
    }

    /// Sends a message that must be refused.
    #[track_caller]
    pub(super) fn refused(&self, id: &str, message: &str) -> Answer {
        match self.try_send(id, message, "delta", None).unwrap() {
            Sent::Taken(_) => panic!("the message was taken"),
            Sent::Refused(answer) => answer,
        }
    }

    /// A connection on which nothing was said yet.
    pub(super) fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// The head of the request for `body`.
    fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> io::Result<Head> {
        let mut stream = self.connect()?;
        stream.write_all(&request(method, path, headers, body))?;
        Head::read(BufReader::new(stream))
    }
}

/// The bytes of a request after which the server closes the connection.
pub(super) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Vec<u8> {
    let mut lines = vec![format!("{method} {path} HTTP/1.1"), "Host: membrane".to_owned()];
    lines.push("Connection: close".to_owned());
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let body = body.map(Value::to_string).unwrap_or_default();
    if !body.is_empty() {
        lines.push("Content-Type: application/json".to_owned());
        lines.push(format!("Content-Length: {}", body.len()));
    }
    format!("{}\r\n\r\n{body}", lines.join("\r\n")).into_bytes()
}

/// An answer's first lines; the body comes behind them.
struct Head {
    status: u16,
    body: Body,
}

impl Head {
    fn read(mut input: BufReader<TcpStream>) -> io::Result<Self> {
        let first = read_line(&mut input)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("{first:?} is no status line")))?;
        let mut rest = Rest::UntilClosed;
        loop {
            let line = read_line(&mut input)?;
            let Some((name, value)) = line.split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", n_bytes) => {
                    rest = Rest::Bytes(n_bytes.parse().map_err(io::Error::other)?);
                }
                ("transfer-encoding", "chunked") => rest = Rest::Chunks { left: 0 },
                _ => {}
            }
        }
        if status == 204 {
            rest = Rest::Bytes(0);
        }
        Ok(Self { status, body: Body { input, rest } })
    }

    fn answer(self) -> io::Result<Answer> {
        let status = self.status;
        let text = self.text()?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? };
        Ok(Answer { status, body })
    }

    fn text(mut self) -> io::Result<String> {
        let mut text = String::new();
        self.body.read_to_string(&mut text)?;
        Ok(text)
    }

    fn events(self) -> Events {
        Events { body: BufReader::new(self.body), last_id: String::new() }
    }
}

/// A body; ends with an error when the connection breaks before its end.
#[derive(Debug)]
struct Body {
    input: BufReader<TcpStream>,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    UntilClosed,
    Bytes(u64),
    Chunks { left: u64 },
}

impl Read for Body {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.rest {
            Rest::UntilClosed => return self.input.read(into),
            Rest::Bytes(left) => left,
            Rest::Chunks { left } => {
                if *left == 0 {
                    let size = read_line(&mut self.input)?;
                    *left = u64::from_str_radix(&size, 16).map_err(io::Error::other)?;
                    if *left == 0 {
                        read_line(&mut self.input)?;
                        self.rest = Rest::Bytes(0);
                        return Ok(0);
                    }
                }
                left
            }
        };
        let n_wanted = into.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let n_read = self.input.read(&mut into[..n_wanted])?;
        if n_read == 0 && n_wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= n_read as u64;
        if *left == 0 && matches!(self.rest, Rest::Chunks { .. }) {
            read_line(&mut self.input)?;
        }
        Ok(n_read)
    }
}

/// A line without its end, which must be there.
fn read_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let line = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

impl Events {
    /// The next event's data; `None` at the end.
    pub(super) fn try_next(&mut self) -> io::Result<Option<Value>> {
        loop {
            let mut line = String::new();
            if self.body.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let whole = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
            if let Some(id) = whole.strip_prefix("id: ") {
                id.clone_into(&mut self.last_id);
            }
            let data = whole.strip_prefix("data: ");
            if let Some(data) = data {
                let data = serde_json::from_str(data)?;
                // An event is one when the empty line behind it is there.
                self.body.read_line(&mut line)?;
                return if line.ends_with("\n\n") {
                    Ok(Some(data))
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The id of the last event.
    pub(super) fn last_id(&self) -> &str {
        &self.last_id
    }

    /// The next event, which must come.
    #[track_caller]
    pub(super) fn next(&mut self) -> Value {
        self.try_next().unwrap().expect("the stream must go on")
    }

    /// Reads numbered events until the text of the answer is at least this long; the text.
    #[track_caller]
    pub(super) fn read_text(&mut self, n_bytes: usize) -> String {
        let mut text = String::new();
        while text.len() < n_bytes {
            let event = self.next();
            assert_eq!(event["type"], "delta", "{event}");
            text.push_str(event["delta"].as_str().unwrap());
        }
        text
    }

    /// Reads to the end: the last event.
    #[track_caller]
    pub(super) fn last(mut self) -> Value {
        let mut last = Value::Null;
        while let Some(event) = self.try_next().unwrap() {
            last = event;
        }
        last
    }
}
