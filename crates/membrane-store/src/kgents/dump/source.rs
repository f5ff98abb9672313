//! The text as a source: session by session, each read again when its turn comes.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{Read, Seek, SeekFrom};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::convert::{self, Original, SESSIONS, TURNS, row_of, row_of_turn};
use super::scan::{At, ScanError, Span, scan};
use crate::kgents::fields;
use crate::kgents::json;
use crate::kgents::old::{
    OldCheckpoint, OldCrystal, OldRow, OldSession, OldTurn, Place, Source, SourceError,
};
use crate::kgents::report::{Finding, Oddity};

/// What to do about text that is no JSON.
const REMEDY: &str = "repair the text there, or fetch it again";

/// Reads the sessions of a JSON text.
#[derive(Debug)]
pub struct DumpSource<R> {
    reader: R,
    entries: Vec<Entry>,
    /// Those that are given, parents before children.
    order: VecDeque<usize>,
    by_id: HashMap<String, usize>,
    n_turns: u64,
    /// Copies, and the turns in them.
    copies: (u64, u64),
    /// Turns of sessions that are kept aside whole.
    n_turns_aside: Vec<(Oddity, u64)>,
    /// Sessions that are kept aside whole.
    whole: VecDeque<(usize, Oddity, String)>,
    aside: VecDeque<(OldRow, Finding)>,
    session: Option<Current>,
}

/// What is known of each session.
#[derive(Debug)]
struct Entry {
    span: Span,
    id: Option<String>,
    parent: Option<String>,
    last_active: Option<String>,
    n_turns: u64,
    digest: [u8; 32],
}

/// The session that the calls are about.
#[derive(Debug)]
struct Current {
    id: String,
    parent: Option<usize>,
    base: i64,
    turns: Vec<Option<Value>>,
    next: usize,
}

/// A session as it was read.
struct Parsed {
    text: String,
    value: Value,
    repairs: json::Repairs,
}

impl<R: Read + Seek> DumpSource<R> {
    /// Looks through the text for its sessions.
    ///
    /// # Errors
    /// [`SourceError::Damaged`] with line and column if it is not such JSON, or holds sessions without turns, as
    /// kgents' persistent router answers them; [`SourceError::Read`] if it cannot be read.
    pub fn open(mut reader: R) -> Result<Self, SourceError> {
        reader.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let spans = scan(&mut reader).map_err(|error| match error {
            ScanError::Io(error) => unreadable(error),
            ScanError::Text(at, problem) => damaged(at, problem, REMEDY),
        })?;
        let mut source = Self {
            reader,
            entries: Vec::with_capacity(spans.len()),
            order: VecDeque::new(),
            by_id: HashMap::new(),
            n_turns: 0,
            copies: (0, 0),
            n_turns_aside: Vec::new(),
            whole: VecDeque::new(),
            aside: VecDeque::new(),
            session: None,
        };
        for span in spans {
            source.note(span)?;
        }
        source.put_in_order();
        Ok(source)
    }

    /// Notes a session, and whether it counts.
    fn note(&mut self, span: Span) -> Result<(), SourceError> {
        let parsed = self.parse(span)?;
        let digest = Sha256::digest(parsed.text.as_bytes()).into();
        let mut entry = Entry { span, id: None, parent: None, last_active: None, n_turns: 0, digest };
        let number = self.entries.len();
        let Value::Object(mut object) = parsed.value else {
            self.keep_whole(number, &entry, Oddity::WrongType, "it is no session; kept aside".to_owned());
            self.entries.push(entry);
            return Ok(());
        };
        match object.get("turns") {
            Some(Value::Array(turns)) => entry.n_turns = u64::try_from(turns.len()).unwrap_or(u64::MAX),
            None | Some(Value::Null) => {
                let problem = "there is a session without its turns, as the persistent router answers it";
                let remedy = "no call of that router gives turns: import its database file instead, \
                              ~/.local/share/kgents/default.db.db by default";
                return Err(damaged(span.at, problem.to_owned(), remedy));
            }
            Some(_) => {}
        }
        self.n_turns += entry.n_turns;
        let mut text = |name: &str| match object.remove(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            _ => None,
        };
        (entry.id, entry.parent, entry.last_active) = (text("id"), text("parent_id"), text("last_active"));
        let Some(id) = entry.id.clone() else {
            self.keep_whole(number, &entry, Oddity::NoId, "it has no id; kept aside".to_owned());
            self.entries.push(entry);
            return Ok(());
        };
        let earlier = self.by_id.get(&id).and_then(|earlier| Some((*earlier, self.entries.get(*earlier)?)));
        match earlier {
            None => {
                self.by_id.insert(id, number);
            }
            Some((_, same)) if same.digest == entry.digest => {
                self.copies.0 += 1;
                self.copies.1 += entry.n_turns;
            }
            Some((earlier, other)) => {
                // Texts of times in one zone have the order of the times.
                let is_newer = entry.last_active >= other.last_active;
                let what = "the session is there again as it was at another time; kept aside".to_owned();
                if is_newer {
                    let n_turns = other.n_turns;
                    self.by_id.insert(id, number);
                    self.n_turns_aside.push((Oddity::Duplicate, n_turns));
                    self.whole.push_back((earlier, Oddity::Duplicate, what));
                } else {
                    self.keep_whole(number, &entry, Oddity::Duplicate, what);
                }
            }
        }
        self.entries.push(entry);
        Ok(())
    }

    fn keep_whole(&mut self, number: usize, entry: &Entry, oddity: Oddity, what: String) {
        self.n_turns_aside.push((oddity, entry.n_turns));
        self.whole.push_back((number, oddity, what));
    }

    /// Parents before children; of a circle, the one that comes first in the text first.
    fn put_in_order(&mut self) {
        let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut current: Vec<usize> = self.by_id.values().copied().collect();
        current.sort_unstable();
        let mut ready: VecDeque<usize> = VecDeque::new();
        for number in &current {
            match self.parent_of(*number) {
                Some(parent) => children.entry(parent).or_default().push(*number),
                None => ready.push_back(*number),
            }
        }
        let mut seen: HashSet<usize> = HashSet::new();
        let mut rest = current.iter().copied();
        loop {
            while let Some(number) = ready.pop_front() {
                if seen.insert(number) {
                    self.order.push_back(number);
                    ready.extend(children.remove(&number).unwrap_or_default());
                }
            }
            match rest.find(|number| !seen.contains(number)) {
                Some(number) => ready.push_back(number),
                None => return,
            }
        }
    }

    /// The session's parent, if it is here and another one.
    fn parent_of(&self, number: usize) -> Option<usize> {
        let parent = self.by_id.get(self.entries.get(number)?.parent.as_ref()?).copied()?;
        (parent != number).then_some(parent)
    }

    fn parse(&mut self, span: Span) -> Result<Parsed, SourceError> {
        let text = self.text(span)?;
        let (repaired, repairs) = json::repair(&text);
        let value = serde_json::from_str(&repaired).map_err(|error| {
            let message = error.to_string();
            let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
            damaged(within(span.at, error.line(), error.column()), message.to_owned(), REMEDY)
        })?;
        Ok(Parsed { text, value, repairs })
    }

    fn text(&mut self, span: Span) -> Result<String, SourceError> {
        self.reader.seek(SeekFrom::Start(span.start)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        let length = span.end.saturating_sub(span.start);
        (&mut self.reader).take(length).read_to_end(&mut bytes).map_err(unreadable)?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..at).unwrap_or_default();
            let lines = before.split(|byte| *byte == b'\n').count();
            let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
            damaged(within(span.at, lines, column), "the text is not UTF-8".to_owned(), REMEDY)
        })
    }

    /// A session's turns, and the number of the first one.
    fn turns_of(object: &mut Map<String, Value>) -> (Vec<Option<Value>>, i64) {
        let turns = match object.swap_remove("turns") {
            Some(Value::Array(turns)) => turns,
            Some(other) => {
                // It is no list, and will be found among what nobody knows.
                object.insert("turns".to_owned(), other);
                Vec::new()
            }
            None => Vec::new(),
        };
        let first = turns.first().and_then(|turn| fields::as_integer(turn.get("turn_number")?));
        // The router counts from 1, everybody else from 0.
        (turns.into_iter().map(Some).collect(), i64::from(first != Some(0)))
    }
}

impl<R: Read + Seek> Source for DumpSource<R> {
    fn next_session(&mut self) -> Result<Option<OldSession>, SourceError> {
        self.session = None;
        let Some(number) = self.order.pop_front() else { return Ok(None) };
        let Some((span, id)) =
            self.entries.get(number).and_then(|entry| Some((entry.span, entry.id.clone()?)))
        else {
            return Ok(None);
        };
        let Parsed { text, value, repairs } = self.parse(span)?;
        let Value::Object(mut object) = value else { return Ok(None) };
        let (turns, base) = Self::turns_of(&mut object);
        let original = (!repairs.is_nothing()).then_some(Original { text: &text, repairs });
        let (session, parts) = convert::session(&id, object, original);
        self.aside.extend(parts);
        self.session = Some(Current { id, parent: self.parent_of(number), base, turns, next: 0 });
        Ok(Some(session))
    }

    fn next_turn(&mut self) -> Result<Option<OldTurn>, SourceError> {
        let Some(current) = &mut self.session else { return Ok(None) };
        loop {
            let at = current.next;
            let Some(turn) = current.turns.get_mut(at).and_then(Option::take) else { return Ok(None) };
            current.next += 1;
            match turn {
                Value::Object(object) => {
                    let (turn, parts) = convert::turn(&current.id, at, current.base, object);
                    self.aside.extend(parts);
                    return Ok(Some(turn));
                }
                other => {
                    let place = Place { table: TURNS, row: row_of_turn(&current.id, at) };
                    let what = "it is no turn; kept aside".to_owned();
                    let session = Some(current.id.clone());
                    self.aside.push_back(whole(session, place, other.to_string(), Oddity::WrongType, what));
                }
            }
        }
    }

    fn count_shared_turns(&mut self) -> Result<u64, SourceError> {
        let Some(Current { parent: Some(parent), .. }) = self.session else { return Ok(0) };
        let Some(span) = self.entries.get(parent).map(|entry| entry.span) else { return Ok(0) };
        let Value::Object(mut object) = self.parse(span)?.value else { return Ok(0) };
        let (theirs, their_base) = Self::turns_of(&mut object);
        let Some(current) = &self.session else { return Ok(0) };
        let mut shared = 0;
        for (at, (our, their)) in current.turns.iter().zip(theirs).enumerate() {
            let (Some(Value::Object(our)), Some(Value::Object(their))) = (our, their) else { break };
            // What is odd in them is told when they are read for good.
            let (our, _) = convert::turn(&current.id, at, current.base, our.clone());
            let (their, _) = convert::turn(&current.id, at, their_base, their);
            // kgents wrote the end of a turn anew at each save.
            let plain = |turn| OldTurn { completed_at: None, ..turn };
            if plain(our) != plain(their) {
                break;
            }
            shared += 1;
        }
        Ok(shared)
    }

    fn next_checkpoint(&mut self) -> Result<Option<OldCheckpoint>, SourceError> {
        // The router keeps none.
        Ok(None)
    }

    fn crystal(&mut self) -> Result<Option<OldCrystal>, SourceError> {
        Ok(None)
    }

    fn next_aside(&mut self) -> Result<Option<(OldRow, Finding)>, SourceError> {
        if let Some(aside) = self.aside.pop_front() {
            return Ok(Some(aside));
        }
        let Some((number, oddity, what)) = self.whole.pop_front() else { return Ok(None) };
        let Some((span, id)) = self.entries.get(number).map(|entry| (entry.span, entry.id.clone())) else {
            return Ok(None);
        };
        let row = match &id {
            Some(id) => row_of(id),
            None => format!("line {}, column {}", span.at.line, span.at.column),
        };
        let text = self.text(span)?;
        Ok(Some(whole(id, Place { table: SESSIONS, row }, text, oddity, what)))
    }

    fn skipped(&mut self) -> Result<Vec<(&'static str, Oddity, u64)>, SourceError> {
        let copies =
            [(SESSIONS, Oddity::Duplicate, self.copies.0), (TURNS, Oddity::Duplicate, self.copies.1)];
        let aside = self.n_turns_aside.iter().map(|(oddity, turns)| (TURNS, *oddity, *turns));
        Ok(copies.into_iter().chain(aside).collect())
    }

    fn totals(&mut self) -> Result<Vec<(&'static str, u64)>, SourceError> {
        let n_sessions = u64::try_from(self.entries.len()).unwrap_or(u64::MAX);
        Ok(vec![(SESSIONS, n_sessions), (TURNS, self.n_turns)])
    }
}

fn whole(
    session: Option<String>,
    place: Place,
    value: String,
    oddity: Oddity,
    what: String,
) -> (OldRow, Finding) {
    let row = OldRow {
        session,
        source: place.table.to_owned(),
        row: place.row.clone(),
        value,
        reason: what.clone(),
    };
    (row, Finding { oddity, place, what })
}

fn unreadable(error: std::io::Error) -> SourceError {
    SourceError::Read(Box::new(error))
}

fn damaged(at: At, problem: String, remedy: &str) -> SourceError {
    let row = format!("line {}, column {}", at.line, at.column);
    SourceError::Damaged { place: Place { table: SESSIONS, row }, problem, remedy: remedy.to_owned() }
}

/// A place in the whole text, from one in a session that begins at `from`.
fn within(from: At, line: usize, column: usize) -> At {
    let (line, column) = (u64::try_from(line).unwrap_or(1), u64::try_from(column).unwrap_or(1));
    match line {
        0 | 1 => At { line: from.line, column: from.column + column.max(1) - 1 },
        _ => At { line: from.line + line - 1, column },
    }
}
