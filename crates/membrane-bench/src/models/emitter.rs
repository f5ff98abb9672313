//! A model server that does nothing but speak in time: it answers OpenAI's chat completions with pieces at a steady pace, each
//! the moment at which it was sent, so that whoever reads it knows how long it took.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::interval;

use crate::Failure;

/// What it says, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speech {
    pub(crate) pieces: usize,
    pub(crate) pause: Duration,
    /// How long a piece is, in bytes; filled up behind the moment.
    pub(crate) piece_bytes: usize,
}

/// The moment, in nanoseconds since this process asked first.
pub(crate) fn moment() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    u64::try_from(START.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Speaks to whoever asks, until the runtime ends.
pub(crate) async fn start(speech: Speech) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    moment();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                // A client that goes away in the middle is no trouble.
                let _ = converse(stream, speech).await;
            });
        }
    });
    Ok(addr)
}

async fn converse(stream: TcpStream, speech: Speech) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut n_body = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let lower = line.to_ascii_lowercase();
            if let Some(length) = lower.strip_prefix("content-length:") {
                n_body = length.trim().parse().map_err(io::Error::other)?;
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        let mut body = vec![0; n_body];
        stream.read_exact(&mut body).await?;
        speak(stream.get_mut(), speech).await?;
    }
}

async fn speak(stream: &mut TcpStream, speech: Speech) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    let mut ticks = interval(speech.pause.max(Duration::from_micros(1)));
    for _ in 0..speech.pieces {
        ticks.tick().await;
        let mut piece = format!("@{} ", moment());
        while piece.len() < speech.piece_bytes {
            piece.push('x');
        }
        let choice = format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{piece}"}}}}]}}"#);
        chunk(stream, &format!("data: {choice}\n\n")).await?;
    }
    let end = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    chunk(stream, &format!("data: {end}\n\ndata: [DONE]\n\n")).await?;
    stream.write_all(b"0\r\n\r\n").await
}

async fn chunk(stream: &mut TcpStream, text: &str) -> io::Result<()> {
    stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).await
}
