//! Finds where sessions begin and end, without understanding more of the JSON than its brackets and strings. What
//! stands between them is read, and judged, later.

use std::io::{self, BufRead, BufReader, Read};

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// Its first byte.
    pub(super) start: u64,
    /// The byte after its last one.
    pub(super) end: u64,
    /// Where it begins.
    pub(super) at: At,
}

/// A place in a text; both are counted from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u64,
    pub(super) column: u64,
}

/// Why nothing can be found.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    /// It is no such JSON.
    Text(At, String),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Finds all sessions of a text.
pub(super) fn scan(reader: &mut dyn Read) -> Result<Vec<Span>, ScanError> {
    let at = At { line: 1, column: 1 };
    let mut scanner = Scanner { reader: BufReader::new(reader), offset: 0, at, spans: Vec::new() };
    scanner.skip_mark()?;
    loop {
        match scanner.skip_space()? {
            None => return Ok(scanner.spans),
            Some(b'[') => scanner.list()?,
            Some(b'{') => scanner.object()?,
            Some(_) => return scanner.expected("a session, a list of sessions, or {\"sessions\": […]}"),
        }
    }
}

struct Scanner<'r> {
    reader: BufReader<&'r mut dyn Read>,
    offset: u64,
    at: At,
    spans: Vec<Span>,
}

impl Scanner<'_> {
    fn peek(&mut self) -> Result<Option<u8>, ScanError> {
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().copied()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Goes on behind the byte that was looked at.
    fn step(&mut self, byte: u8) {
        self.reader.consume(1);
        self.offset += 1;
        if byte == b'\n' {
            self.at = At { line: self.at.line + 1, column: 1 };
        } else {
            self.at.column += 1;
        }
    }

    /// Takes a byte; `what` says what ends too early if there is none.
    fn take(&mut self, what: &str, from: At) -> Result<u8, ScanError> {
        let Some(byte) = self.peek()? else {
            let problem = format!(
                "the text ends within {what} that begins at line {}, column {}",
                from.line, from.column
            );
            return Err(ScanError::Text(self.at, problem));
        };
        self.step(byte);
        Ok(byte)
    }

    fn expected<T>(&mut self, what: &str) -> Result<T, ScanError> {
        let found = match self.peek()? {
            None => "the text ends here".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("{:?} stands here", char::from(byte)),
            Some(byte) => format!("the byte {byte:#04x} stands here"),
        };
        Err(ScanError::Text(self.at, format!("{found}, {what} was expected")))
    }

    /// A byte order mark, which some programs write.
    fn skip_mark(&mut self) -> Result<(), ScanError> {
        for byte in [0xef, 0xbb, 0xbf] {
            if self.peek()? != Some(byte) {
                break;
            }
            self.step(byte);
        }
        Ok(())
    }

    fn skip_space(&mut self) -> Result<Option<u8>, ScanError> {
        loop {
            match self.peek()? {
                Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) => self.step(byte),
                other => return Ok(other),
            }
        }
    }

    /// A list of sessions.
    fn list(&mut self) -> Result<(), ScanError> {
        let from = self.at;
        self.take("a list", from)?;
        if self.skip_space()? == Some(b']') {
            self.take("a list", from)?;
            return Ok(());
        }
        loop {
            self.skip_space()?;
            let (start, at) = (self.offset, self.at);
            self.value()?;
            self.spans.push(Span { start, end: self.offset, at });
            match self.skip_space()? {
                Some(b',') => self.step(b','),
                Some(b']') => {
                    self.step(b']');
                    return Ok(());
                }
                _ => return self.expected("a comma or the end of the list"),
            }
        }
    }

    /// A session, or an object with a list of them.
    fn object(&mut self) -> Result<(), ScanError> {
        let (start, from) = (self.offset, self.at);
        self.take("an object", from)?;
        let mut holds_sessions = false;
        if self.skip_space()? == Some(b'}') {
            self.step(b'}');
        } else {
            loop {
                if self.skip_space()? != Some(b'"') {
                    return self.expected("a name in quotes");
                }
                let name = self.name()?;
                if self.skip_space()? != Some(b':') {
                    return self.expected("a colon");
                }
                self.step(b':');
                if self.skip_space()? == Some(b'[') && name == b"sessions" {
                    holds_sessions = true;
                    self.list()?;
                } else {
                    self.value()?;
                }
                match self.skip_space()? {
                    Some(b',') => self.step(b','),
                    Some(b'}') => {
                        self.step(b'}');
                        break;
                    }
                    _ => return self.expected("a comma or the end of the object"),
                }
            }
        }
        if !holds_sessions {
            self.spans.push(Span { start, end: self.offset, at: from });
        }
        Ok(())
    }

    /// A name, as it is spelled; of a long one the beginning.
    fn name(&mut self) -> Result<Vec<u8>, ScanError> {
        const KEPT: usize = 16;
        let from = self.at;
        self.take("a name", from)?;
        let mut name = Vec::new();
        loop {
            match self.take("a name", from)? {
                b'"' => return Ok(name),
                b'\\' => {
                    self.take("a name", from)?;
                    // The name that is looked for needs no escapes.
                    name.push(b'\\');
                }
                byte if name.len() < KEPT => name.push(byte),
                _ => {}
            }
        }
    }

    /// Any value: to the bracket that closes it, to the end of its quotes, or to what cannot belong to it.
    fn value(&mut self) -> Result<(), ScanError> {
        let from = self.at;
        let mut depth = 0_u64;
        loop {
            match self.peek()? {
                Some(byte @ (b'[' | b'{')) => {
                    self.step(byte);
                    depth += 1;
                }
                Some(byte @ (b']' | b'}')) if depth > 0 => {
                    self.step(byte);
                    depth -= 1;
                }
                Some(b'"') => self.string()?,
                Some(b',' | b']' | b'}') | None if depth == 0 => return self.expected("a value"),
                None => {
                    self.take("a value", from)?;
                }
                Some(byte) if depth > 0 => self.step(byte),
                Some(_) => return self.word(),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn string(&mut self) -> Result<(), ScanError> {
        let from = self.at;
        self.take("a string", from)?;
        loop {
            match self.take("a string", from)? {
                b'"' => return Ok(()),
                b'\\' => {
                    self.take("a string", from)?;
                }
                _ => {}
            }
        }
    }

    /// A number, a constant, or what should be one.
    fn word(&mut self) -> Result<(), ScanError> {
        loop {
            match self.peek()? {
                None | Some(b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r') => return Ok(()),
                Some(byte) => self.step(byte),
            }
        }
    }
}
