//! Membrane's keep on a file: opened, written with entries as turns, read back and held to its promises.
//!
//! Not here: what happens to the file meanwhile; every test brings its own trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use membrane::{
    Appended, Chat, ChatError, NewSessionOptions, NewTurn, PageRequest, Session, SessionFilter, SessionId,
    WriteOptions,
};
use membrane_crashtest::campaign::Failure;
use membrane_crashtest::entry::Entry;
use membrane_sqlite::{SqliteOptions, SqliteStore};
use tokio::runtime::{Builder, Runtime};

/// How long a change waits for another process. Long, because the machine that tests may be busy: a test that
/// wants a refusal sets its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A keep with the runtime that it needs, for callers that are plain threads.
pub(crate) struct Keep {
    runtime: Runtime,
    pub(crate) chat: Chat,
}

impl Keep {
    pub(crate) fn open(options: SqliteOptions) -> Result<Self, Failure> {
        let runtime = runtime()?;
        let chat = runtime.block_on(open(options))?;
        Ok(Self { runtime, chat })
    }

    pub(crate) fn wait_for<F: Future>(&self, call: F) -> F::Output {
        self.runtime.block_on(call)
    }

    pub(crate) fn close(self) -> Result<(), Failure> {
        Ok(self.runtime.block_on(self.chat.close())?)
    }
}

/// Two threads, as many as the machines have that these tests are made for.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    Ok(Builder::new_multi_thread().worker_threads(2).enable_time().build()?)
}

pub(crate) async fn open(options: SqliteOptions) -> Result<Chat, Failure> {
    Ok(Chat::create(Arc::new(SqliteStore::open(options).await?)))
}

/// Makes the session `name`, unless it is there.
pub(crate) async fn ensure_session(chat: &Chat, name: &str) -> Result<SessionId, Failure> {
    let id = SessionId::parse(name)?;
    match chat.create_session(NewSessionOptions { id: Some(id.clone()), ..Default::default() }).await {
        Ok(_) | Err(ChatError::AlreadyExists { .. }) => Ok(id),
        Err(error) => Err(error.into()),
    }
}

/// Appends the entry as one turn: the user names it, the answer is its text.
pub(crate) async fn append(chat: &Chat, id: &SessionId, entry: Entry) -> Result<Appended, ChatError> {
    chat.append(id, NewTurn::new(entry.to_string(), entry.text()), WriteOptions::default()).await
}

/// The entries that a session's turns hold, in order; `None` if there is no such session.
///
/// # Errors
/// A turn is no whole entry, or the session's own count is another one.
pub(crate) async fn entries_of(chat: &Chat, id: &SessionId) -> Result<Option<Vec<Entry>>, Failure> {
    let Some(session) = chat.load_session(id).await? else { return Ok(None) };
    let mut entries = Vec::with_capacity(session.turns.len());
    for turn in &*session.turns {
        let entry = Entry::parse(&turn.assistant.content)?;
        if turn.user.content != entry.to_string() {
            return Err(format!("half a turn: {:?} asks for {entry}", turn.user.content).into());
        }
        entries.push(entry);
    }
    let turn_count = session.record().map(Session::turn_count);
    if turn_count != Some(entries.len() as u64) {
        return Err(format!("session {id} counts {turn_count:?} turns and shows {}", entries.len()).into());
    }
    Ok(Some(entries))
}

/// Every session with its project, branch name and entries.
pub(crate) async fn list_all(chat: &Chat) -> Result<Vec<Listed>, Failure> {
    let mut all = Vec::new();
    let mut request = PageRequest::first(100);
    loop {
        let page = chat.list_sessions(&SessionFilter::default(), &request).await?;
        for session in page.sessions {
            let entries = entries_of(chat, &session.id).await?.ok_or("a listed session is not there")?;
            all.push(Listed {
                id: session.id,
                project: session.project_id,
                branch_name: session.branch_name,
                entries,
            });
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None if all.len() as u64 == page.total => return Ok(all),
            None => return Err(format!("{} sessions listed of {}", all.len(), page.total).into()),
        }
    }
}

/// A session as a list shows it.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) id: SessionId,
    pub(crate) project: Option<String>,
    pub(crate) branch_name: String,
    pub(crate) entries: Vec<Entry>,
}

/// Fails with the keep's own findings, if there are any.
pub(crate) async fn must_be_sound(chat: &Chat) -> Result<(), Failure> {
    let findings = chat.check().await?;
    if findings.is_empty() { Ok(()) } else { Err(format!("not sound: {}", findings.join("; ")).into()) }
}

/// Whether each writer's entries stand in the order in which it made them, each once.
pub(crate) fn in_order(entries: &[Entry]) -> Result<(), Failure> {
    let mut last: BTreeMap<u32, Entry> = BTreeMap::new();
    for entry in entries {
        if let Some(before) = last.insert(entry.writer, *entry)
            && before.number >= entry.number
        {
            return Err(format!("{entry} stands after {before}").into());
        }
    }
    Ok(())
}

/// A writer makes an entry when the one before is kept: each writer's entries are 1, 2, 3 and so on.
pub(crate) fn must_be_whole(entries: &[Entry]) -> Result<(), Failure> {
    let mut n_of = BTreeMap::<u32, u64>::new();
    for entry in entries {
        let n = n_of.entry(entry.writer).or_default();
        *n += 1;
        if *n != entry.number {
            return Err(format!("{entry} stands at place {n} of its writer's").into());
        }
    }
    Ok(())
}

/// What writers said about a keep's entries while they wrote.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) submitted: BTreeSet<Entry>,
    pub(crate) acknowledged: BTreeSet<Entry>,
    pub(crate) refused: BTreeSet<Entry>,
}

impl Account {
    /// Fails unless `found` holds everything that was acknowledged, nothing that was refused, nothing that
    /// nobody submitted, and nothing twice.
    pub(crate) fn must_match(&self, found: &[Entry]) -> Result<(), Failure> {
        let once: BTreeSet<Entry> = found.iter().copied().collect();
        let problems = [
            ("acknowledged and lost", self.acknowledged.difference(&once).copied().collect::<Vec<_>>()),
            ("refused and there", self.refused.intersection(&once).copied().collect()),
            ("there and never submitted", once.difference(&self.submitted).copied().collect()),
        ];
        for (problem, entries) in problems {
            if let Some(first) = entries.first() {
                return Err(format!("{} {problem}, first {first}", entries.len()).into());
            }
        }
        if once.len() == found.len() { Ok(()) } else { Err("an entry is there twice".into()) }
    }
}
