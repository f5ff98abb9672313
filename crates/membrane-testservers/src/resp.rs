//! A few words of the language of Redis: one command, one answer.
//!
//! Not here: answers of several parts.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::time::Duration;

/// A server that says nothing for so long is not there.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Sends commands one after the other and returns the last answer: a status, a number or a text.
///
/// # Errors
/// The connection broke off, or an answer was an error.
pub(crate) fn ask(stream: impl Read + Write, commands: &[&[&str]]) -> io::Result<String> {
    let mut stream = BufReader::new(stream);
    let mut answer = String::new();
    for command in commands {
        let words: String =
            command.iter().fold(String::new(), |text, word| text + &format!("${}\r\n{word}\r\n", word.len()));
        stream.get_mut().write_all(format!("*{}\r\n{words}", command.len()).as_bytes())?;
        answer = read(&mut stream)?;
    }
    Ok(answer)
}

fn read(stream: &mut BufReader<impl Read>) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let line = line.trim_end();
    let mut chars = line.chars();
    match chars.next() {
        Some('+' | ':') => Ok(chars.as_str().to_owned()),
        Some('-') => Err(io::Error::other(chars.as_str())),
        Some('$') => {
            // A negative length stands for a value that is not there.
            let n_bytes: i64 = chars.as_str().parse().map_err(io::Error::other)?;
            let Ok(n_bytes) = usize::try_from(n_bytes) else { return Ok(String::new()) };
            let mut bytes = vec![0; n_bytes + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(n_bytes);
            String::from_utf8(bytes).map_err(io::Error::other)
        }
        None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(_) => Err(io::Error::other(format!("an answer of several parts: {line}"))),
    }
}
