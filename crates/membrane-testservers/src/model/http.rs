//! As much HTTP/1.1 as a client of model APIs needs: reading a request, writing a head and chunks.
//!
//! Not here: what is answered.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

/// The longest line of a head that is read.
const MAX_LINE: u64 = 64 << 10;
/// The longest body that is read.
const MAX_BODY: u64 = 256 << 20;
/// From here on, what was written is sent.
const FLUSH_AT: usize = 16 << 10;

/// What a client asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// Such as `/v1/messages`, query included.
    pub path: String,
    /// In order, with names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null if it is no JSON.
    pub body: Value,
}

impl Request {
    /// The first header of this name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Reads the next request; `None` if the client has closed the connection instead.
    pub(super) fn read(stream: &mut impl BufRead) -> io::Result<Option<Self>> {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(None);
        }
        let mut words = line.split(' ');
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::Error::other(format!("no request: {line}")));
        };
        let mut request =
            Self { method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Value::Null };
        loop {
            let line = read_line(stream)?;
            let Some((name, value)) = line.split_once(':') else { break };
            request.headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let body = if request.header("transfer-encoding").is_some() {
            read_chunks(stream)?
        } else {
            let n_bytes = request.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            read_exactly(stream, n_bytes)?
        };
        request.body = serde_json::from_slice(&body).unwrap_or_default();
        Ok(Some(request))
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(MAX_LINE).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

fn read_exactly(stream: &mut impl BufRead, n_bytes: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    let n_read = stream.take(n_bytes.min(MAX_BODY)).read_to_end(&mut body)?;
    if u64::try_from(n_read).is_ok_and(|n_read| n_read == n_bytes) {
        Ok(body)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let n_bytes = u64::from_str_radix(&line, 16).map_err(io::Error::other)?;
        body.extend(read_exactly(stream, n_bytes)?);
        read_line(stream)?;
        if n_bytes == 0 {
            return Ok(body);
        }
    }
}

/// Writes one response, and gathers small writes until they are worth sending.
pub(super) struct Response<W> {
    stream: W,
    buffer: Vec<u8>,
    is_chunked: bool,
}

impl<W: Write> Response<W> {
    /// The head of a response whose length nobody knows.
    pub(super) fn begin(
        stream: W,
        status: u16,
        headers: &[(&str, &str)],
        is_chunked: bool,
    ) -> io::Result<Self> {
        let mut response = Self { stream, buffer: Vec::new(), is_chunked };
        response.head(status, headers);
        let framing = if is_chunked { "transfer-encoding: chunked" } else { "connection: close" };
        response.buffer.extend_from_slice(format!("{framing}\r\n\r\n").as_bytes());
        response.flush()?;
        Ok(response)
    }

    /// A response of one piece.
    pub(super) fn whole(stream: W, status: u16, headers: &[(&str, &str)], body: &str) -> io::Result<()> {
        let mut response = Self { stream, buffer: Vec::new(), is_chunked: false };
        response.head(status, headers);
        response.buffer.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        response.flush()
    }

    fn head(&mut self, status: u16, headers: &[(&str, &str)]) {
        let lines: String =
            headers.iter().fold(String::new(), |text, (name, value)| text + name + ": " + value + "\r\n");
        // The words that belong to the numbers are for people; no client reads them.
        self.buffer.extend_from_slice(format!("HTTP/1.1 {status} Status\r\n{lines}").as_bytes());
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_chunked {
            self.buffer.extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            self.buffer.extend_from_slice(bytes);
            self.buffer.extend_from_slice(b"\r\n");
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        if self.buffer.len() >= FLUSH_AT { self.flush() } else { Ok(()) }
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        let outcome = self.stream.write_all(&self.buffer);
        self.buffer.clear();
        outcome
    }

    /// The body's end, as it should be.
    pub(super) fn end(mut self) -> io::Result<()> {
        if self.is_chunked {
            self.buffer.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_with_a_length_and_in_chunks_until_there_are_no_more() {
        let bytes = b"POST /a?b HTTP/1.1\r\nContent-Length: 2\r\nX-Y: z\r\n\r\n{}\
            POST /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n[\r\n1\r\n]\r\n0\r\n\r\n";
        let mut stream = &bytes[..];
        let first = Request::read(&mut stream).expect("it is well-formed").expect("it is there");
        assert_eq!((first.path.as_str(), first.header("x-y")), ("/a?b", Some("z")));
        assert_eq!(first.body, serde_json::json!({}));
        let second = Request::read(&mut stream).expect("it is well-formed").expect("it is there");
        assert_eq!((second.method.as_str(), second.body), ("POST", serde_json::json!([])));
        assert_eq!(Request::read(&mut stream).expect("the end is no error"), None);
    }

    #[test]
    fn a_response_is_written_in_chunks_or_until_the_end() {
        let mut bytes = Vec::new();
        let mut response = Response::begin(&mut bytes, 200, &[("a", "b")], true).expect("memory takes all");
        response.write(b"hello hello hello").expect("memory takes all");
        response.end().expect("memory takes all");
        let text = String::from_utf8(bytes).expect("it is text");
        assert!(
            text.starts_with("HTTP/1.1 200 Status\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n11\r\nhello")
        );
        assert!(text.ends_with("hello\r\n0\r\n\r\n"), "{text}");
    }
}
