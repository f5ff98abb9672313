//! Group commit of appends: those that wait at the same moment go as one statement; who is alone sends it himself.
//!
//! A session is *busy* while a statement or a transaction of this store appends to it: what comes meanwhile waits, so that
//! appends to one session keep their order. What cannot be sent on a condition, because its session is not known here or is
//! not as it was, is carried out by a transaction, after which the session is known.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use membrane_core::ids::SessionId;
use membrane_store::{Change, Receipt, StoreError, Write};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::append::{self, Chain};
use crate::apply::{Prepared, Record, TurnRows};
use crate::commit::{commit_alone, transaction};
use crate::db::Statement;
use crate::error::{Doing, LOST, is_contention, slow, unavailable};
use crate::options::PostgresOptions;
use crate::store::{Call, Shared};
use crate::tally::Tally;

/// How many statements are under way at once: while one is written, the next is gathered and sent.
const MAX_STATEMENTS: usize = 2;

/// How many bytes of text go as one statement, unless one change alone is more.
const MAX_BYTES: usize = 4 << 20;

/// Between two tries to find out what became of a statement.
const PAUSE: Duration = Duration::from_millis(50);

type Outcome = Result<Receipt, StoreError>;

/// The appends of one store that wait or are under way.
pub(crate) struct Batches {
    desk: Mutex<Desk>,
    /// For what goes on after a caller went away.
    runtime: Handle,
    queue_len: usize,
    max_batch: usize,
}

#[derive(Default)]
struct Desk {
    queue: VecDeque<Append>,
    busy: HashSet<SessionId>,
    n_statements: usize,
    /// How many were just answered and may come back before others are served.
    n_answered: usize,
}

/// An append that waits.
struct Append {
    session: SessionId,
    n_bytes: usize,
    prepared: Box<Prepared>,
    reply: oneshot::Sender<Outcome>,
    deadline: Instant,
    call: Call,
}

impl Append {
    /// A caller that went away meanwhile does not want to know.
    fn answer(self, outcome: Outcome) {
        let _ = self.reply.send(outcome);
        drop(self.call);
    }
}

impl Batches {
    pub(crate) fn new(options: &PostgresOptions) -> Self {
        Self {
            desk: Mutex::default(),
            runtime: Handle::current(),
            queue_len: options.queue_len.max(1),
            max_batch: options.max_batch.max(1),
        }
    }

    /// How many appends wait, and how many may.
    pub(crate) fn gauges(&self) -> (u64, u64) {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        (count(self.desk().queue.len()), count(self.queue_len))
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes next: no session twice at a time, and each session's in order.
    fn next(&self) -> Option<Vec<Append>> {
        let mut desk = self.desk();
        if desk.n_statements >= MAX_STATEMENTS || desk.queue.is_empty() {
            return None;
        }
        let (mut batch, mut sessions, mut n_bytes) = (Vec::new(), HashSet::new(), 0);
        let mut left = VecDeque::with_capacity(desk.queue.len());
        let mut is_full = false;
        for append in std::mem::take(&mut desk.queue) {
            if append.reply.is_closed() {
                // Its caller went away before it was begun.
                continue;
            }
            is_full |=
                batch.len() >= self.max_batch || (n_bytes + append.n_bytes > MAX_BYTES && !batch.is_empty());
            if is_full || desk.busy.contains(&append.session) {
                left.push_back(append);
                continue;
            }
            n_bytes += append.n_bytes;
            sessions.insert(append.session.clone());
            batch.push(append);
        }
        desk.queue = left;
        if batch.is_empty() {
            return None;
        }
        desk.busy.extend(sessions);
        desk.n_statements += 1;
        Some(batch)
    }

    /// Puts back what has to wait for its session, before all others.
    fn put_back(&self, appends: impl DoubleEndedIterator<Item = Append>) {
        let mut desk = self.desk();
        appends.rev().for_each(|append| desk.queue.push_front(append));
    }
}

/// Whether a change is an append that may go with others.
pub(crate) fn is_append(change: &Change) -> bool {
    append::target(change).is_some()
}

/// Commits an append, together with those that wait at the same moment.
pub(crate) async fn commit(
    shared: &Arc<Shared>,
    call: Call,
    prepared: Prepared,
    deadline: Instant,
) -> Outcome {
    let Some(session) = append::target(&prepared.change).cloned() else {
        return commit_alone(shared, call, prepared, deadline).await;
    };
    let batches = &shared.commits.batches;
    let (reply, answer) = oneshot::channel();
    let n_bytes = n_bytes(&prepared.change);
    let prepared = Box::new(prepared);
    let append = Append { session, n_bytes, prepared, reply, deadline, call };
    let alone = {
        let mut desk = batches.desk();
        let is_alone = desk.queue.is_empty()
            && desk.n_statements < MAX_STATEMENTS
            && !desk.busy.contains(&append.session);
        if is_alone {
            desk.busy.insert(append.session.clone());
            desk.n_statements += 1;
            Some(append)
        } else if desk.queue.len() >= batches.queue_len + desk.n_answered {
            return Err(unavailable("too many calls are waiting"));
        } else {
            desk.queue.push_back(append);
            None
        }
    };
    if let Some(append) = alone {
        Box::pin(carry_out(shared, vec![append])).await;
    }
    match tokio::time::timeout_at(deadline, answer).await {
        Ok(outcome) => outcome.unwrap_or(Err(StoreError::Closed)),
        Err(_) => Err(slow()),
    }
}

fn n_bytes(change: &Change) -> usize {
    let turns = change.writes.iter().flat_map(|write| match write {
        Write::AppendTurns { turns, .. } => turns.as_slice(),
        _ => &[],
    });
    turns.map(|turn| turn.user.content.len() + turn.assistant.content.len()).sum()
}

/// The right to append to sessions, and to have a statement under way. Whoever waits is served when it ends, however it ends.
struct Place {
    shared: Arc<Shared>,
    sessions: Vec<SessionId>,
    has_statement: bool,
    n_answered: usize,
}

impl Place {
    /// So many may come back while this is still held.
    fn note_answered(&mut self, n_answered: usize) {
        self.n_answered = n_answered;
        self.shared.commits.batches.desk().n_answered += n_answered;
    }

    /// Gives the right to append to one of the sessions to another place.
    fn split_off(&mut self, session: &SessionId) -> Self {
        self.sessions.retain(|held| held != session);
        Self {
            shared: Arc::clone(&self.shared),
            sessions: vec![session.clone()],
            has_statement: false,
            n_answered: 0,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut desk = self.shared.commits.batches.desk();
            for session in &self.sessions {
                desk.busy.remove(session);
            }
            desk.n_statements -= usize::from(self.has_statement);
            desk.n_answered -= self.n_answered;
        }
        serve(&self.shared);
    }
}

/// Begins as many statements as there may be.
fn serve(shared: &Arc<Shared>) {
    let batches = &shared.commits.batches;
    while let Some(batch) = batches.next() {
        let shared = Arc::clone(shared);
        batches.runtime.spawn(async move { carry_out(&shared, batch).await });
    }
}

/// Carries appends out whose sessions are now busy with them, and answers them; those that a statement cannot do are left to
/// tasks of their own.
async fn carry_out(shared: &Arc<Shared>, batch: Vec<Append>) {
    let mut groups = by_session(batch);
    let sessions = groups.iter().filter_map(|group| group.front().map(|append| append.session.clone()));
    let mut place = Place {
        shared: Arc::clone(shared),
        sessions: sessions.collect(),
        has_statement: true,
        n_answered: 0,
    };
    let sent = send(shared, &groups).await;
    let mut answers = Vec::new();
    for (group, fate) in groups.iter_mut().zip(sent) {
        let receipts = match fate {
            Fate::Done(record, receipts) => {
                shared.commits.records.put(*record);
                receipts.into_iter().map(Ok).collect()
            }
            Fate::Failed(errors) => errors.into_iter().map(Err).collect(),
            Fate::Left => {
                if let Some(first) = group.pop_front() {
                    let place = place.split_off(&first.session);
                    shared.commits.batches.runtime.spawn(by_transaction(place, first));
                }
                Vec::new()
            }
        };
        for outcome in receipts {
            answers.extend(group.pop_front().map(|append| (append, outcome)));
        }
    }
    // What is left of a group waits for its session again, before all that came later.
    shared.commits.batches.put_back(groups.into_iter().flatten());
    if answers.len() > 1 {
        // Whoever is answered now may append again at once, and goes with the next statement if that waits for him: the more
        // share one, the less each costs the server.
        place.note_answered(answers.len());
        for (append, outcome) in answers.drain(..) {
            append.answer(outcome);
        }
        tokio::task::yield_now().await;
    }
    drop(place);
    for (append, outcome) in answers {
        append.answer(outcome);
    }
}

/// Carries out one append by a transaction; its session stays busy until then.
async fn by_transaction(place: Place, append: Append) {
    let outcome = transaction(&place.shared, &append.prepared, append.deadline).await;
    drop(place);
    append.answer(outcome);
}

/// Appends of the same session together, in order, and sessions in the order in which they are locked.
fn by_session(batch: Vec<Append>) -> Vec<VecDeque<Append>> {
    let mut groups: Vec<VecDeque<Append>> = Vec::with_capacity(batch.len());
    let mut places = HashMap::with_capacity(batch.len());
    for append in batch {
        let place = *places.entry(append.session.clone()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push_back(append),
            None => groups.push(VecDeque::from([append])),
        }
    }
    groups.sort_by(|a, b| {
        a.front().map(|append| &append.session).cmp(&b.front().map(|append| &append.session))
    });
    groups
}

/// What became of a session's appends.
enum Fate {
    /// So many were carried out.
    Done(Box<Record>, Vec<Receipt>),
    /// So many failed, or it is not known what became of them.
    Failed(Vec<StoreError>),
    /// Nothing: a transaction has to see.
    Left,
}

/// Sends what can be sent on a condition as one statement. Gives each session's fate.
async fn send(shared: &Shared, groups: &[VecDeque<Append>]) -> Vec<Fate> {
    let mut rows = TurnRows::default();
    let mut chains = Vec::with_capacity(groups.len());
    let mut is_sent = Vec::with_capacity(groups.len());
    for group in groups {
        let record = group.front().and_then(|append| shared.commits.records.take(&append.session));
        let changes = || group.iter().map(|append| &*append.prepared);
        let chain = record.and_then(|record| Chain::of(record, changes(), chains.len(), &mut rows));
        is_sent.push(chain.is_some());
        chains.extend(chain);
    }
    if chains.is_empty() {
        return groups.iter().map(|_| Fate::Left).collect();
    }
    let deadline = groups.iter().flatten().map(|append| append.deadline).max();
    let statement = append::statement(&chains, rows);
    let sent = send_surely(shared, &chains, &statement, deadline.unwrap_or_else(Instant::now)).await;
    drop(statement);
    let fail = |chain: &Chain, reason: &Cow<'static, str>| {
        (0..chain.len()).map(|_| unavailable(reason.clone())).collect()
    };
    let fates: Vec<Fate> = match sent {
        Ok((is_done, was_lost)) => {
            let fate = |(chain, is_done): (Chain, bool)| {
                if !is_done && was_lost {
                    // The first time may still be under way, behind somebody's lock.
                    return Fate::Failed(fail(&chain, &LOST.into()));
                }
                if !is_done {
                    return Fate::Left;
                }
                let (record, receipts) = chain.into_done();
                Fate::Done(Box::new(record), receipts)
            };
            chains.into_iter().zip(is_done).map(fate).collect()
        }
        Err(Trouble::Refused) => chains.iter().map(|_| Fate::Left).collect(),
        Err(Trouble::Unavailable(reason)) => {
            chains.iter().map(|chain| Fate::Failed(fail(chain, &reason))).collect()
        }
    };
    let mut fates = fates.into_iter();
    is_sent
        .into_iter()
        .map(|is_sent| if is_sent { fates.next() } else { None }.unwrap_or(Fate::Left))
        .collect()
}

/// Why a statement as a whole was not carried out.
enum Trouble {
    /// The database refused it: nothing was done.
    Refused,
    /// The database cannot be reached, or was lost before it answered.
    Unavailable(Cow<'static, str>),
}

/// Sends the statement, and again if the connection was lost before it answered: on its condition it is carried out once. Says
/// for each chain whether it was, and whether the connection was lost: who is then not as expected may be so because of the
/// first time.
async fn send_surely(
    shared: &Shared,
    chains: &[Chain],
    statement: &Statement<'_>,
    deadline: Instant,
) -> Result<(Vec<bool>, bool), Trouble> {
    let mut was_lost = false;
    loop {
        let lost = match send_once(shared, chains, statement, was_lost, deadline).await {
            Ok(is_done) => return Ok((is_done, was_lost)),
            Err(Sent::Not(StoreError::Unavailable { reason, .. })) if !was_lost => {
                return Err(Trouble::Unavailable(reason));
            }
            Err(
                Sent::Maybe(StoreError::Unavailable { reason, .. })
                | Sent::Not(StoreError::Unavailable { reason, .. }),
            ) => reason,
            Err(_) if !was_lost => return Err(Trouble::Refused),
            Err(_) => LOST.into(),
        };
        was_lost = true;
        if Instant::now() + PAUSE >= deadline {
            return Err(Trouble::Unavailable(lost));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether a statement that failed was sent at all.
enum Sent {
    Not(StoreError),
    /// The server took it back: others wait for what it locked, and it for them.
    Refused,
    Maybe(StoreError),
}

async fn send_once(
    shared: &Shared,
    chains: &[Chain],
    statement: &Statement<'_>,
    was_lost: bool,
    deadline: Instant,
) -> Result<Vec<bool>, Sent> {
    let doing = "append turns";
    let conn = shared.pool.get_until(deadline).await.map_err(Sent::Not)?;
    let db = conn.db().map_err(Sent::Not)?;
    let committing = shared.counts.committing().await;
    let mut is_refused = false;
    let work = async {
        let sent = append::send(db, chains, statement).await;
        is_refused = sent.as_ref().is_err_and(is_contention);
        let mut is_done = sent.doing(doing)?;
        if was_lost && is_done.contains(&false) {
            let is_there = append::look(db, chains).await.doing(doing)?;
            is_done.iter_mut().zip(is_there).for_each(|(is_done, is_there)| *is_done |= is_there);
        }
        Ok(is_done)
    };
    let is_done = match conn.within(work).await {
        Ok(is_done) => is_done,
        Err(_) if is_refused => return Err(Sent::Refused),
        Err(error) => return Err(Sent::Maybe(error)),
    };
    let done = || chains.iter().zip(&is_done).filter(|(_, is_done)| **is_done).map(|(chain, _)| chain);
    committing.keep(Tally { sessions: 0, turns: done().map(Chain::n_turns).sum() });
    shared.meters.note_batch(done().map(Chain::len).sum());
    Ok(is_done)
}
