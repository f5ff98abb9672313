//! The handle, and how a decision is committed: read, decide, commit on condition that what was read
//! still holds, else again. What each call decides is in the room of that call.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use membrane_core::ids::{IdSource, InstanceId, RandomIds, SessionId};
use membrane_core::session::Session;
use membrane_core::time::{Clock, SystemClock, Timestamp};
use membrane_responder::{Echo, ModelChoice, Responder};
use membrane_store::{Change, Receipt, Requirement, Store, StoreError, StoreGauges, StoreStats};
use tokio::sync::OnceCell;

use crate::error::ChatError;
use crate::lead::Leads;
use crate::limits::Limits;
use crate::options::Scope;
use crate::runs::{LiveRuns, Recoveries, RunSettings, Stop};

/// How often a decision is made anew because the session changed while it was made.
const MAX_DECISIONS: u32 = 64;

/// When to try again after that.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// How long turns that were interrupted at the end have to be kept.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The keep of sessions. A cheap handle: clone it freely, all clones share one store.
///
/// Every call that writes is atomic, and durable when it returns. Dropping the future of a call leaves
/// either nothing or the complete change.
#[derive(Debug, Clone)]
pub struct Chat {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn IdSource>,
    pub(crate) limits: Limits,
    responder: Arc<dyn Responder>,
    /// Which model answers in a project, where that is not the configured one.
    pub(crate) project_models: HashMap<String, ModelChoice>,
    run_settings: RunSettings,
    runs: LiveRuns,
    pub(crate) leads: Leads,
    pub(crate) recoveries: Recoveries,
    /// This process's name among the owners of runs; known to the store before it owns the first.
    instance: OnceCell<InstanceId>,
}

/// Puts a [`Chat`] together from parts; made by [`Chat::builder`].
#[derive(Debug)]
pub struct ChatBuilder {
    shared: Shared,
}

impl ChatBuilder {
    /// Takes the time from `clock` instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.shared.clock = clock;
        self
    }

    /// Takes new ids from `ids` instead of the system's random source.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.shared.ids = ids;
        self
    }

    /// Accepts values up to `limits` instead of the defaults.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.shared.limits = limits;
        self
    }

    /// Who answers messages; the echo by default.
    #[must_use]
    pub fn responder(mut self, responder: Arc<dyn Responder>) -> Self {
        self.shared.responder = responder;
        self
    }

    /// Which model answers in these projects, unless a session chooses itself, by `model` in its metadata.
    #[must_use]
    pub fn project_models(mut self, models: HashMap<String, ModelChoice>) -> Self {
        self.shared.project_models = models;
        self
    }

    /// Drives runs as `settings` say instead of the defaults.
    #[must_use]
    pub fn runs(mut self, settings: RunSettings) -> Self {
        self.shared.run_settings = settings;
        self
    }

    /// The handle.
    pub fn build(self) -> Chat {
        Chat { shared: Arc::new(self.shared) }
    }
}

/// What a decision may go by beside what it reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// The time of the change.
    pub(crate) now: Timestamp,
    /// How many leading turns of the cut that the last attempt moved to are still there, if not all.
    pub(crate) intact: Option<u64>,
}

/// What a call decided on what it read.
pub(crate) enum Decision {
    /// To commit this.
    Commit(Change),
    /// Nothing: what it read was read in parts that do not fit each other.
    Again,
}

impl Chat {
    /// A handle on `store` with the system's clock, random ids and the default limits.
    pub fn create(store: Arc<dyn Store>) -> Self {
        Self::builder(store).build()
    }

    /// A handle on `store` whose clock, ids and limits can be set.
    pub fn builder(store: Arc<dyn Store>) -> ChatBuilder {
        ChatBuilder {
            shared: Shared {
                store,
                clock: Arc::new(SystemClock),
                ids: Arc::new(RandomIds),
                limits: Limits::default(),
                responder: Arc::new(Echo::default()),
                project_models: HashMap::new(),
                run_settings: RunSettings::default(),
                runs: LiveRuns::default(),
                leads: Leads::default(),
                recoveries: Recoveries::default(),
                instance: OnceCell::new(),
            },
        }
    }

    /// What values are accepted.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// How much there is. May scan; not for a hot path.
    pub async fn stats(&self) -> Result<StoreStats, ChatError> {
        Ok(self.store().stats().await?)
    }

    /// Looks for rows that contradict each other, one line per finding. Scans everything.
    pub async fn check(&self) -> Result<Vec<String>, ChatError> {
        Ok(self.store().check().await?)
    }

    /// Takes no more messages, for all clones of the handle, gives up what this process leads, and waits for the turns
    /// under way: at most for `patience`, then they are interrupted and kept with what had arrived.
    pub async fn drain(&self, patience: Duration) {
        self.runs().refuse_more();
        let wait = async {
            if tokio::time::timeout(patience, self.runs().idle()).await.is_err() {
                self.runs().stop_all(Stop::Shutdown);
                // A store that takes no turns may keep one for long; its user's words are safe.
                let _ = tokio::time::timeout(STOP_PATIENCE, self.runs().idle()).await;
            }
        };
        tokio::join!(self.give_up_leads(), wait);
    }

    /// Interrupts the turns that are under way, keeps them with what had arrived, and lets go of files and
    /// connections, for all clones of the handle. Later calls fail with [`ChatError::Closed`], a send with
    /// [`ChatError::Unavailable`].
    pub async fn close(&self) -> Result<(), ChatError> {
        self.drain(Duration::ZERO).await;
        Ok(self.store().close().await?)
    }

    /// Whether the keep can do its work: it is not about to be closed, and the store answers.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`] if it cannot.
    pub async fn ready(&self) -> Result<(), ChatError> {
        if self.runs().is_closed() {
            return Err(ChatError::stopping());
        }
        Ok(self.store().ready().await?)
    }

    /// How many turns are under way in this process.
    pub fn n_open_runs(&self) -> usize {
        self.runs().n_open()
    }

    /// Gauges of the store, cheap to read.
    pub async fn gauges(&self) -> Result<StoreGauges, ChatError> {
        Ok(self.store().gauges().await?)
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.shared.store
    }

    pub(crate) fn shared_store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.shared.store)
    }

    pub(crate) fn ids(&self) -> &dyn IdSource {
        &*self.shared.ids
    }

    pub(crate) fn responder(&self) -> &dyn Responder {
        &*self.shared.responder
    }

    pub(crate) fn run_settings(&self) -> &RunSettings {
        &self.shared.run_settings
    }

    pub(crate) fn runs(&self) -> &LiveRuns {
        &self.shared.runs
    }

    /// This process's name among the owners of runs.
    pub(crate) async fn instance(&self) -> Result<InstanceId, ChatError> {
        let hold = || async {
            let instance = InstanceId::generate(self.ids());
            self.store().hold_instance(&instance).await.map(|()| instance)
        };
        Ok(self.shared.instance.get_or_try_init(hold).await?.clone())
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    /// The session, or [`ChatError::NotFound`].
    pub(crate) async fn get_session(&self, id: &SessionId) -> Result<Session, ChatError> {
        self.store().find_session(id).await?.ok_or_else(|| ChatError::session_not_found(id))
    }

    /// Decides and commits until the commit finds what the decision was made on.
    ///
    /// `decide` must carry the scope's key in its change. When it refuses, the call may still be the
    /// repetition of one that was made before the session came to be as it is: then that one's receipt
    /// is the answer.
    pub(crate) async fn commit_decided<F>(
        &self,
        scope: Option<&Scope>,
        decide: impl Fn(Attempt) -> F,
    ) -> Result<Receipt, ChatError>
    where
        F: Future<Output = Result<Decision, ChatError>>,
    {
        let mut intact = None;
        for _ in 0..MAX_DECISIONS {
            match decide(Attempt { now: self.now(), intact }).await {
                Ok(Decision::Commit(change)) => match self.store().commit(change).await {
                    Ok(receipt) => return Ok(receipt),
                    Err(StoreError::Gap { intact: found, .. }) => intact = Some(found),
                    Err(error) if error.is_stale_decision() => {}
                    Err(error) => return Err(error.into()),
                },
                Ok(Decision::Again) => {}
                Err(refusal) => return self.replayed_or(scope, refusal).await,
            }
            tokio::task::yield_now().await;
        }
        Err(ChatError::Unavailable { reason: "the session keeps changing".into(), retry_after: RETRY_AFTER })
    }

    /// The receipt of the same call made earlier, else the refusal.
    async fn replayed_or(&self, scope: Option<&Scope>, refusal: ChatError) -> Result<Receipt, ChatError> {
        let Some(scope) = scope else { return Err(refusal) };
        self.find_receipt(scope).await?.ok_or(refusal)
    }

    /// The receipt of the same call made earlier, if there was one.
    pub(crate) async fn find_receipt(&self, scope: &Scope) -> Result<Option<Receipt>, ChatError> {
        let Some(session) = scope.session() else { return Ok(None) };
        // A key is looked up before requirements are checked, and no session is at version 0: this change
        // answers with the earlier receipt or fails without writing.
        let never = Requirement::Version { session: session.clone(), version: 0 };
        let lookup = Change::at(self.now()).once(Some(scope.with(""))).require(never);
        match self.store().commit(lookup).await {
            Ok(receipt) => Ok(Some(receipt)),
            Err(StoreError::NotFound { .. } | StoreError::Conflict { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
