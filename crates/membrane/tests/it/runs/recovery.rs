//! Recovery: what is left when a process dies in the middle of an answer, and who may pick it up.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use membrane::store::Write;
use membrane::{Chat, NewTurn, RunReader, RunSettings, SessionId, State, Store, TurnStatus, WriteOptions};
use membrane_sqlite::{SqliteOptions, SqliteStore};

use super::stage::{Answer, Stage, hear, hear_text, store_in_paused_time, until};
use crate::keep::{Keep, on_every_store};
use crate::meddling::{Before, Meddling, Verdict};

on_every_store!(
    a_run_of_a_dead_owner_is_closed_once,
    of_two_who_recover_at_once_one_closes_the_run,
    a_run_that_ends_while_it_is_recovered_is_left_alone,
    an_expired_run_is_closed_and_its_old_owner_writes_no_more,
    a_turn_that_comes_after_the_run_was_closed_is_not_kept,
    what_is_driven_here_is_never_closed_by_ourselves,
    an_abandoned_run_is_seen_and_cancelled,
    a_model_is_shown_the_turn_that_was_closed_for_it,
    a_model_is_shown_what_came_while_its_run_began,
);

/// A lease that expires at once and is never renewed but with news.
fn short() -> RunSettings {
    RunSettings {
        lease_for: Duration::from_millis(1),
        renew_every: Duration::from_secs(3600),
        flush_every: Duration::from_millis(1),
        ..RunSettings::default()
    }
}

async fn a_run_of_a_dead_owner_is_closed_once(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    // Whoever owns it was never held.
    keep.begin_run(&id).await;
    assert_eq!(keep.chat.recover_runs().await.unwrap(), 1);
    assert_eq!(keep.chat.recover_runs().await.unwrap(), 0);
    let turn = keep.kept(&id).await.pop().unwrap().turn;
    assert_eq!((turn.user.content.as_str(), turn.assistant.content.as_str()), ("wait", ""));
    assert_eq!(turn.error.as_ref().map(|error| error.code.as_str()), Some("server_stopped"));
    assert_eq!((turn.status, keep.record(&id).await.state), (TurnStatus::Interrupted, State::Idle));
    keep.say(&id, "on").await;
}

async fn of_two_who_recover_at_once_one_closes_the_run(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    keep.begin_run(&id).await;
    let (late, _) = Meddling::doing(Before::Commit, &keep.store, 1, |somebody| async move {
        assert_eq!(somebody.recover_runs().await.unwrap(), 1);
    });
    assert_eq!(late.recover_runs().await.unwrap(), 0);
    assert_eq!(keep.words(&id).await, ["u0", "wait"]);
}

async fn a_run_that_ends_while_it_is_recovered_is_left_alone(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    keep.begin_run(&id).await;
    let (doomed, store) = (id.clone(), Arc::clone(&keep.store));
    let (late, _) = Meddling::doing(Before::Commit, &keep.store, 1, move |somebody| {
        let doomed = doomed.clone();
        async move { somebody.delete_session(&doomed).await.unwrap() }
    });
    assert_eq!(late.recover_runs().await.unwrap(), 0);
    assert_eq!(store.find_session(&id).await.unwrap(), None);
}

async fn a_model_is_shown_the_turn_that_was_closed_for_it(keep: &Keep) {
    let mut stage = Stage::on(&keep.store);
    let id = keep.session_of(1).await.id;
    // Whoever owns it was never held: sending closes it first.
    keep.begin_run(&id).await;
    let (reader, answer) = stage.send(&id, "on").await;
    assert_eq!(shown(&answer), ["u0", "wait"]);
    answer.end();
    hear(reader).await;
}

async fn a_model_is_shown_what_came_while_its_run_began(keep: &Keep) {
    let id = keep.session_of(70).await.id;
    let (chat, own, is_done) = (keep.chat.clone(), id.clone(), AtomicBool::new(false));
    let store = Meddling::judging(&keep.store, move |change| {
        let begins = matches!(change.writes.as_slice(), [Write::BeginRun { .. }]);
        let acts = begins && !is_done.swap(true, Ordering::Relaxed);
        let (chat, id) = (chat.clone(), own.clone());
        async move {
            if acts {
                let between = NewTurn::new("between", "so");
                chat.append(&id, between, WriteOptions::default()).await.unwrap();
            }
            Verdict::Pass
        }
    });
    let mut stage = Stage::on(&store);
    for expected in [71, 72] {
        let (reader, answer) = stage.send(&id, "on").await;
        let shown = shown(&answer);
        assert_eq!((shown.len(), shown[0].as_str(), shown[70].as_str()), (expected, "u0", "between"));
        answer.end();
        hear(reader).await;
    }
}

/// What the user had said before, as the model is shown it.
fn shown(answer: &Answer) -> Vec<String> {
    answer.prompt.history.iter().map(|turn| turn.user.content.clone()).collect()
}

/// A run whose lease has expired, with `half` in its log.
async fn expired(keep: &Keep, stage: &mut Stage) -> (SessionId, RunReader, Answer) {
    let id = keep.session_of(0).await.id;
    let (reader, answer) = stage.send(&id, "hi").await;
    answer.say("half");
    let run = keep.store.find_run(&id).await.unwrap().unwrap();
    until("half of it is in the log", || async {
        !keep.store.list_pieces(&run.id, 0).await.unwrap().is_empty()
    })
    .await;
    until("the lease has expired", || async {
        keep.store.list_stale_runs(&[], 10).await.unwrap().iter().any(|stale| stale.id == run.id)
    })
    .await;
    (id, reader, answer)
}

async fn an_expired_run_is_closed_and_its_old_owner_writes_no_more(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, short());
    let (id, reader, answer) = expired(keep, &mut stage).await;
    assert_eq!(keep.chat.recover_runs().await.unwrap(), 1);
    answer.say("and more");
    answer.unheard().await;
    assert_eq!(hear(reader).await.error_code(), "server_stopped", "it hears how it was closed");
    let turn = keep.kept(&id).await.pop().unwrap().turn;
    assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "half"));
    stage.until_idle(&id).await;
    stage.exchange(&id, "again", "whole").await;
    assert_eq!(keep.words(&id).await, ["hi", "again"]);
}

async fn a_turn_that_comes_after_the_run_was_closed_is_not_kept(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, short());
    let (id, reader, answer) = expired(keep, &mut stage).await;
    assert_eq!(keep.chat.recover_runs().await.unwrap(), 1);
    answer.end();
    assert_eq!(hear(reader).await.error_code(), "server_stopped");
    let turns = keep.kept(&id).await;
    assert_eq!((turns.len(), turns[0].turn.status), (1, TurnStatus::Interrupted));
}

async fn what_is_driven_here_is_never_closed_by_ourselves(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, short());
    let (_, reader, answer) = expired(keep, &mut stage).await;
    assert_eq!(stage.chat.recover_runs().await.unwrap(), 0);
    answer.say(" and half");
    answer.end();
    assert_eq!(hear(reader).await.finished().turn.assistant.content, "half and half");
}

async fn an_abandoned_run_is_seen_and_cancelled(keep: &Keep) {
    let mut stage = Stage::with(&keep.store, short());
    let (id, reader, answer) = expired(keep, &mut stage).await;
    let pending = keep.chat.find_pending(&keep.record(&id).await).await.unwrap().unwrap();
    assert_eq!((pending.turn_number, pending.user_message.as_str()), (0, "hi"));
    assert_eq!(pending.partial, "half");
    keep.chat.cancel(&id, None).await.unwrap();
    let turn = keep.kept(&id).await.pop().unwrap().turn;
    assert_eq!(turn.error.map(|error| error.code).as_deref(), Some("cancelled"));
    assert_eq!(turn.assistant.content, "half");
    drop(answer);
    assert_eq!(hear(reader).await.error_code(), "cancelled");
}

/// A process that dies: with its own runtime, of which nothing is left.
struct Doomed {
    runtime: tokio::runtime::Runtime,
    ids: Vec<SessionId>,
    readers: Vec<RunReader>,
    store: Weak<SqliteStore>,
}

impl Doomed {
    /// It has answers under way of which `half` is in the log.
    async fn at(path: &Path, n_runs: usize) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let path = path.to_owned();
        let life = runtime.spawn(async move {
            let store = Arc::new(SqliteStore::open(SqliteOptions::at(path)).await.unwrap());
            let settings = RunSettings { flush_every: Duration::from_millis(1), ..RunSettings::default() };
            let shared: Arc<dyn Store> = Arc::clone(&store) as _;
            let mut stage = Stage::with(&shared, settings);
            let (mut ids, mut readers) = (Vec::new(), Vec::new());
            for _ in 0..n_runs {
                let id = stage.session().await;
                let (reader, answer) = stage.send(&id, "hi").await;
                answer.say("half");
                let run = shared.find_run(&id).await.unwrap().unwrap();
                until("it is in the log", || async {
                    !shared.list_pieces(&run.id, 0).await.unwrap().is_empty()
                })
                .await;
                // It never ends.
                std::mem::forget(answer);
                ids.push(id);
                readers.push(reader);
            }
            (ids, readers, Arc::downgrade(&store))
        });
        let (ids, readers, store) = life.await.unwrap();
        Self { runtime, ids, readers, store }
    }

    async fn die(self) -> (Vec<SessionId>, Vec<RunReader>) {
        assert!(self.store.upgrade().is_some(), "its runs hold it");
        self.runtime.shutdown_background();
        until("nothing is left of it", || async { self.store.strong_count() == 0 }).await;
        (self.ids, self.readers)
    }
}

async fn chat_at(path: &Path) -> (Chat, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(SqliteOptions::at(path)).await.unwrap());
    (Chat::create(Arc::clone(&store)), store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_had_under_way_is_closed_with_what_had_arrived() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keep.db");
    let doomed = Doomed::at(&path, 3).await;
    let (chat, store) = chat_at(&path).await;
    assert_eq!(chat.recover_runs().await.unwrap(), 0, "it is alive");
    let (ids, readers) = doomed.die().await;
    for reader in readers {
        assert_eq!(hear(reader).await.lost(), "internal", "nobody waits for ever");
    }
    let mut n_closed = 0;
    let owners = store.list_lease_owners().await.unwrap();
    until("it is known to be dead", || async { store.list_dead_instances(&owners).await.unwrap() == owners })
        .await;
    n_closed += chat.recover_runs().await.unwrap();
    n_closed += chat.recover_runs().await.unwrap();
    assert_eq!(n_closed, 3);
    for id in ids {
        let thread = chat.load_turns(&id, 0..u64::MAX).await.unwrap().unwrap();
        let turn = &thread.turns[0].turn;
        assert_eq!((thread.turns.len(), thread.session.state), (1, State::Idle));
        assert_eq!((turn.status, turn.assistant.content.as_str()), (TurnStatus::Interrupted, "half"));
    }
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_recover_at_once_close_each_run_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keep.db");
    let (ids, _readers) = Doomed::at(&path, 20).await.die().await;
    let heirs = [chat_at(&path).await, chat_at(&path).await];
    let owners = heirs[0].1.list_lease_owners().await.unwrap();
    until("it is known to be dead", || async {
        heirs[0].1.list_dead_instances(&owners).await.unwrap() == owners
    })
    .await;
    let recoveries = heirs.iter().map(|(chat, _)| {
        let chat = chat.clone();
        tokio::spawn(async move { chat.recover_runs().await.unwrap() })
    });
    let n_closed: usize = join_all(recoveries).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(n_closed, 20);
    for id in ids {
        assert_eq!(heirs[1].0.find_session(&id).await.unwrap().unwrap().turn_count(), 1);
    }
    assert_eq!(heirs[0].1.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_living_owners_run_is_never_closed() {
    let settings = RunSettings {
        lease_for: Duration::from_millis(300),
        renew_every: Duration::from_millis(100),
        ..RunSettings::default()
    };
    let store = store_in_paused_time();
    let mut stage = Stage::with(&store, settings);
    let (elsewhere, id) = (Chat::create(Arc::clone(&store)), stage.session().await);
    let (mut reader, answer) = stage.send(&id, "hi").await;
    for second in 0..30 {
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(elsewhere.recover_runs().await.unwrap(), 0);
        }
        // News now and then, which renew it too.
        if second % 7 == 0 {
            answer.say("x");
            hear_text(&mut reader, "x").await;
        }
    }
    answer.end();
    assert_eq!(hear(reader).await.finished().turn.assistant.content, "xxxxx");
    let (reader, _answer) = stage.send(&id, "again").await;
    drop(stage);
    drop(reader);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(elsewhere.recover_runs().await.unwrap(), 0, "a run goes on without a handle");
}
