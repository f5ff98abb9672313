//! `append`: one turn from the command line, or many from standard input in batches.

use std::io::BufReader;

use membrane::{ChatSession, NewSessionOptions, NewTurn, SessionId, WriteOptions};
use serde_json::json;
use tokio::sync::mpsc::Receiver;

use super::lines::{self, Line, MAX_LINE_BYTES};
use super::{Keep, session_id};
use crate::args::Append;
use crate::failure::Failure;
use crate::output::Output;
use crate::text;

/// How many turns that have come are committed together.
const MAX_BATCH_TURNS: usize = 256;

/// The batch is closed when its texts have this many bytes.
const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// What was appended so far.
struct Progress {
    session: SessionId,
    first: Option<u64>,
    appended: u64,
    turn_count: u64,
    version: u64,
}

pub(super) async fn append(keep: &Keep, args: Append, output: &mut Output) -> Result<(), Failure> {
    if args.id.is_some() && args.user.is_none() && !args.stdin {
        return Err(Failure::usage("nothing to append; give --user and --assistant, or --stdin"));
    }
    let turn = args.user.clone().zip(args.assistant.clone()).map(|(user, reply)| NewTurn::new(user, reply));
    let progress = match (&args.id, args.stdin) {
        (Some(id), true) => from_stdin(keep, &session_id(id)?).await?,
        (Some(id), false) => one(keep, &session_id(id)?, turn).await?,
        (None, true) => {
            let options = NewSessionOptions {
                project_id: args.project,
                branch_name: args.branch,
                title: args.title,
                ..NewSessionOptions::default()
            };
            let id = keep.chat.create_session(options).await?.id;
            announce(&id, output)?;
            from_stdin(keep, &id).await?
        }
        (None, false) => {
            let progress = create(keep, &args, turn).await?;
            announce(&progress.session, output)?;
            progress
        }
    };
    report(&progress, args.new, output)
}

/// A new session with its first turn, or none, in one commit.
async fn create(keep: &Keep, args: &Append, turn: Option<NewTurn>) -> Result<Progress, Failure> {
    let mut session: ChatSession = keep.chat.new_session();
    session.project_id.clone_from(&args.project);
    session.title.clone_from(&args.title);
    if let Some(branch) = &args.branch {
        session.branch_name.clone_from(branch);
    }
    if let Some(turn) = turn {
        session.add(turn);
    }
    let saved = keep.chat.save_session(&mut session).await?;
    Ok(Progress {
        session: session.id().clone(),
        first: (saved.appended > 0).then_some(0),
        appended: saved.appended,
        turn_count: saved.appended,
        version: saved.version,
    })
}

/// One turn, or none: then only where the session stands, if it takes turns at all.
async fn one(keep: &Keep, id: &SessionId, turn: Option<NewTurn>) -> Result<Progress, Failure> {
    let turns = turn.into_iter().collect();
    let appended = keep.chat.append_many(id, turns, WriteOptions::default()).await?;
    Ok(Progress {
        session: id.clone(),
        first: Some(appended.turn_number),
        appended: u64::try_from(appended.turn_ids.len()).unwrap_or(u64::MAX),
        turn_count: appended.turn_count,
        version: appended.version,
    })
}

/// Appends turns as they come: what has arrived while a batch was committed is the next batch.
async fn from_stdin(keep: &Keep, id: &SessionId) -> Result<Progress, Failure> {
    let mut input = lines::read(BufReader::new(std::io::stdin()), MAX_LINE_BYTES)?;
    let mut progress = Progress { first: None, appended: 0, ..one(keep, id, None).await? };
    loop {
        let Batch { turns, from, failed } = next_batch(&mut input).await;
        if turns.is_empty() && failed.is_none() {
            return Ok(progress);
        }
        let count = u64::try_from(turns.len()).unwrap_or(u64::MAX);
        if count > 0 {
            let appended = keep
                .chat
                .append_many(id, turns, WriteOptions::default())
                .await
                .map_err(|error| Failure::from(error).at(&format!("turns from line {from} on")))
                .map_err(|failure| failure.after(&progress.in_words()))?;
            progress.first.get_or_insert(appended.turn_number);
            progress.appended += count;
            progress.turn_count = appended.turn_count;
            progress.version = appended.version;
        }
        if let Some((number, failure)) = failed {
            return Err(failure.at(&format!("line {number}")).after(&progress.in_words()));
        }
    }
}

struct Batch {
    turns: Vec<NewTurn>,
    /// The line of the first of them.
    from: u64,
    /// The line after them, if it cannot be read.
    failed: Option<(u64, Failure)>,
}

/// Waits for a turn, and takes along what else has come by then. Empty at the end of the input.
async fn next_batch(input: &mut Receiver<Line>) -> Batch {
    let mut batch = Batch { turns: Vec::new(), from: 0, failed: None };
    let mut bytes = 0;
    let mut next = input.recv().await;
    while let Some(Line { number, turn }) = next {
        match turn {
            Err(failure) => {
                batch.failed = Some((number, failure));
                break;
            }
            Ok(turn) => {
                if batch.turns.is_empty() {
                    batch.from = number;
                }
                bytes += turn.user.content.len() + turn.assistant.content.len();
                batch.turns.push(turn);
            }
        }
        if batch.turns.len() >= MAX_BATCH_TURNS || bytes >= MAX_BATCH_BYTES {
            break;
        }
        next = input.try_recv().ok();
    }
    batch
}

impl Progress {
    fn in_words(&self) -> String {
        format!(
            "{} appended to {} before it, none after",
            text::count(self.appended, "turn"),
            self.session.as_str()
        )
    }
}

/// Says a new session's id at once: whoever feeds it may want to look at it meanwhile.
fn announce(id: &SessionId, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    match output.line(id.as_str()).and_then(|()| output.flush()) {
        // Nobody wants to know the id, but the turns are still to be kept.
        Err(failure) if failure.is_closed_pipe() => Ok(()),
        ended => ended,
    }
}

fn report(progress: &Progress, is_new: bool, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&json!({
            "session_id": progress.session.as_str(),
            "created": is_new,
            "appended": progress.appended,
            "turn_number": progress.first,
            "turn_count": progress.turn_count,
            "version": progress.version,
        }));
    }
    let appended = text::count(progress.appended, "turn");
    output.note(&format!("{appended} appended, {} in all", progress.turn_count))
}
