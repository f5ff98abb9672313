//! Asks for an answer and notes when each of its pieces is there.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::emitter::moment;
use crate::Failure;

/// How long the pieces of an answer took, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// From the request to the first piece.
    pub(crate) first: u64,
    /// From each piece's sending to its arrival.
    pub(crate) pieces: Vec<u64>,
    /// All that came.
    pub(crate) bytes: usize,
}

/// Sends a request and reads the answer to its last event.
pub(crate) async fn ask(addr: SocketAddr, path: &str, body: &str) -> Result<Heard, Failure> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let asked_at = moment();
    stream.write_all(request.as_bytes()).await?;
    let (mut heard, mut unread) = (Heard::default(), Vec::new());
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n_read = stream.read(&mut buffer).await?;
        let now = moment();
        if n_read == 0 {
            return Err("the answer broke off".into());
        }
        heard.bytes += n_read;
        unread.extend_from_slice(buffer.get(..n_read).unwrap_or_default());
        // The last event repeats the whole answer.
        let last = position(&unread, b"\"type\":\"done\"").unwrap_or(unread.len());
        let mut done = 0;
        // A moment stands between `@` and a space; the last one may still be coming.
        while let Some(at) = find(&unread, done, b'@').filter(|at| *at < last) {
            let Some(end) = find(&unread, at, b' ') else { break };
            let digits = std::str::from_utf8(unread.get(at + 1..end).unwrap_or_default())?;
            let sent_at: u64 = digits.parse()?;
            if heard.pieces.is_empty() {
                heard.first = now.saturating_sub(asked_at);
            }
            heard.pieces.push(now.saturating_sub(sent_at));
            done = end;
        }
        if last < unread.len() || position(&unread, b"[DONE]").is_some() {
            return Ok(heard);
        }
        if position(&unread, b"\"type\":\"error\"").or(position(&unread, b"\"detail\"")).is_some() {
            return Err(String::from_utf8_lossy(&unread).into_owned().into());
        }
        unread.drain(..done);
    }
}

fn find(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    bytes.get(from..)?.iter().position(|found| *found == byte).map(|at| at + from)
}

fn position(bytes: &[u8], words: &[u8]) -> Option<usize> {
    bytes.windows(words.len()).position(|window| window == words)
}
