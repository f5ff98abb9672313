//! Everything that a keep shows, to compare before and after.

use membrane_core::branches::BranchNode;
use membrane_core::checkpoint::Checkpoint;
use membrane_core::crystal::Crystal;
use membrane_core::history::History;
use membrane_core::page::{PageRequest, SessionFilter};
use membrane_core::run::{Piece, Run};

use super::fixture::Fixture;
use crate::{StoreStats, Thread};

/// Everything that the trait shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    shown: Vec<Shown>,
    stats: StoreStats,
}

#[derive(Debug, Clone, PartialEq)]
struct Shown {
    thread: Thread,
    history: History,
    checkpoints: Vec<Checkpoint>,
    crystal: Option<Crystal>,
    run: Option<Run>,
    pieces: Vec<Piece>,
    family: Vec<BranchNode>,
}

impl Fixture {
    /// Everything that the trait shows of a keep of at most 1,000 sessions.
    pub async fn snapshot(&self) -> Snapshot {
        let page = PageRequest::first(1_000);
        let page = self.store.list_sessions(&SessionFilter::default(), &page).await.unwrap();
        assert_eq!(page.next, None, "a snapshot shows at most 1,000 sessions");
        let mut shown = Vec::new();
        for session in page.sessions {
            let thread = self.thread(&session.id).await;
            assert_eq!(thread.session, session, "a list and a thread show the same session");
            let in_parts = self.thread_in_parts(&session.id, 0..u64::MAX).await;
            assert_eq!(in_parts.as_ref(), Some(&thread), "a thread in two parts is the thread");
            let run = self.store.find_run(&session.id).await.unwrap();
            let pieces = match &run {
                Some(run) => self.store.list_pieces(&run.id, 0).await.unwrap(),
                None => Vec::new(),
            };
            let mut family = self.store.list_family(&session.family).await.unwrap();
            family.sort_by(|a, b| a.id().cmp(b.id()));
            shown.push(Shown {
                thread,
                history: self.history(&session.id).await,
                checkpoints: self.store.list_checkpoints(&session.id).await.unwrap(),
                crystal: self.store.find_crystal(&session.id).await.unwrap(),
                run,
                pieces,
                family,
            });
        }
        Snapshot { shown, stats: self.stats().await }
    }
}
