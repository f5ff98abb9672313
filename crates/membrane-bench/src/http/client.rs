//! A small HTTP/1.1 client: one connection, one request after another, each answer read to its last byte.
//!
//! Not here: anything that a benchmark's own servers never send, such as redirects or informational answers.

use std::net::SocketAddr;
use std::ops::Range;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

/// How much is read at once, at least.
const READ_BYTES: usize = 16 * 1024;

/// A connection that is kept alive.
pub(crate) struct Client<S = TcpStream> {
    stream: S,
    /// What has arrived, and how much of it was looked at.
    raw: Vec<u8>,
    taken: usize,
    body: Vec<u8>,
}

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
    /// In how many chunks the body came; 0 if its length was told in its head.
    pub(crate) n_chunks: usize,
}

enum BodyEnd {
    After(usize),
    LastChunk,
}

impl Client {
    /// Connects.
    pub(crate) async fn connect(addr: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self::on(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    fn on(stream: S) -> Self {
        Self { stream, raw: Vec::new(), taken: 0, body: Vec::new() }
    }

    /// Sends a whole request, and reads the answer to its end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        self.stream.write_all(request).await?;
        self.raw.clear();
        self.taken = 0;
        self.body.clear();
        let (status, end) = self.read_head().await?;
        let n_chunks = match end {
            BodyEnd::After(n_bytes) => {
                self.read_sized(n_bytes).await?;
                0
            }
            BodyEnd::LastChunk => self.read_chunks().await?,
        };
        if self.taken < self.raw.len() {
            return Err("the server sent more than it was asked for".into());
        }
        Ok(Answer { status, body: &self.body, n_chunks })
    }

    async fn read_head(&mut self) -> Result<(u16, BodyEnd), Failure> {
        let status_line = self.read_line().await?;
        let status = self.text(status_line)?.split(' ').nth(1).unwrap_or_default();
        let status = status.parse().map_err(|_| format!("{status:?} is no HTTP status"))?;
        let mut end = None;
        loop {
            let line = self.read_line().await?;
            if line.is_empty() {
                break;
            }
            let (name, value) = self.text(line)?.split_once(':').ok_or("a header without a colon")?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                end = Some(BodyEnd::After(value.parse()?));
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                end = Some(BodyEnd::LastChunk);
            }
        }
        Ok((status, end.ok_or("an answer that does not say where it ends")?))
    }

    async fn read_sized(&mut self, n_bytes: usize) -> Result<(), Failure> {
        let arrived = n_bytes.min(self.raw.len() - self.taken);
        self.body.extend_from_slice(&self.raw[self.taken..self.taken + arrived]);
        self.taken += arrived;
        self.body.reserve(n_bytes - arrived);
        while self.body.len() < n_bytes {
            let left = u64::try_from(n_bytes - self.body.len())?;
            some((&mut self.stream).take(left).read_buf(&mut self.body).await?)?;
        }
        Ok(())
    }

    async fn read_chunks(&mut self) -> Result<usize, Failure> {
        let mut n_chunks = 0;
        loop {
            let line = self.read_line().await?;
            let size = self.text(line)?.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("{size:?} is no chunk's size"))?;
            if size == 0 {
                // Trailers, if there are any, up to an empty line.
                while !self.read_line().await?.is_empty() {}
                return Ok(n_chunks);
            }
            let end = self.taken + size;
            while self.raw.len() < end + 2 {
                self.read_more().await?;
            }
            if self.raw[end..end + 2] != *b"\r\n" {
                return Err("a chunk is longer than it says".into());
            }
            self.body.extend_from_slice(&self.raw[self.taken..end]);
            self.taken = end + 2;
            n_chunks += 1;
        }
    }

    /// The place of the next line, without its end.
    async fn read_line(&mut self) -> Result<Range<usize>, Failure> {
        let start = self.taken;
        let mut searched = start;
        loop {
            if let Some(at) = self.raw[searched..].windows(2).position(|pair| pair == b"\r\n") {
                let end = searched + at;
                self.taken = end + 2;
                return Ok(start..end);
            }
            // Its end may have arrived by half.
            searched = self.raw.len().saturating_sub(1).max(start);
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Failure> {
        self.raw.reserve(READ_BYTES);
        some(self.stream.read_buf(&mut self.raw).await?)
    }

    fn text(&self, place: Range<usize>) -> Result<&str, Failure> {
        Ok(std::str::from_utf8(&self.raw[place])?)
    }
}

fn some(n_bytes: usize) -> Result<(), Failure> {
    if n_bytes > 0 { Ok(()) } else { Err("the server closed the connection in the middle".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what a server says, which arrives in parts of `part` bytes.
    async fn read(said: &'static str, part: usize) -> Result<(u16, String, usize), String> {
        let (ours, mut theirs) = tokio::io::duplex(part);
        let server = tokio::spawn(async move {
            theirs.read_exact(&mut [0; 4]).await.unwrap();
            theirs.write_all(said.as_bytes()).await
        });
        let mut client = Client::on(ours);
        let answer = client.ask(b"ask!").await.map_err(|error| error.to_string())?;
        let read = (answer.status, String::from_utf8(answer.body.to_vec()).unwrap(), answer.n_chunks);
        server.await.unwrap().unwrap();
        Ok(read)
    }

    #[tokio::test]
    async fn a_body_of_a_told_length_is_read_to_its_end() {
        for part in [1, 2, 7, 1000] {
            let said = "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\nx: y\r\n\r\nhe\r\nl";
            assert_eq!(read(said, part).await, Ok((404, "he\r\nl".to_owned(), 0)));
        }
    }

    #[tokio::test]
    async fn a_body_in_chunks_is_read_to_its_end() {
        for part in [1, 2, 3, 7, 1000] {
            let said = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\
                        3\r\na\r\n\r\nA;of=interest\r\n0123456789\r\n0\r\nsum: 1\r\n\r\n";
            assert_eq!(read(said, part).await, Ok((200, "a\r\n0123456789".to_owned(), 2)));
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_too_long_or_without_an_end_is_an_error() {
        let cut_off = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        assert!(read(cut_off, 1000).await.is_err_and(|error| error.contains("in the middle")));
        let too_long = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n12";
        assert!(read(too_long, 1000).await.is_err_and(|error| error.contains("more than")));
        let without = "HTTP/1.1 200 OK\r\n\r\n";
        assert!(read(without, 1000).await.is_err_and(|error| error.contains("where it ends")));
        let lying = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhello\r\n0\r\n\r\n";
        assert!(read(lying, 1000).await.is_err_and(|error| error.contains("longer than it says")));
    }
}
