//! Putting a read together: from memory, from the shared cache, and the rest from the store.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use membrane_core::history::Span;
use membrane_core::turn::KeptTurn;
use membrane_store::located::PAGE_LEN;
use membrane_store::{LocatedTurns, Store, StoreError, StoredTurn};

use crate::memory::Memory;
use crate::needs::{Need, needs};
use crate::page::{Page, PageKey, Verdict};
use crate::shared::Shared;
use crate::telemetry::Meters;

/// The levels of a cache, and how often turns were deleted.
#[derive(Debug)]
pub(crate) struct Levels {
    pub(crate) memory: Option<Memory>,
    pub(crate) shared: Option<Shared>,
    /// A page that was read before a deletion and is put after it may hold what was deleted. It is taken back then.
    pub(crate) deletions: AtomicU64,
    pub(crate) meters: Meters,
}

/// A page on its way.
#[derive(Debug, Clone, Default)]
struct Found {
    page: Arc<Page>,
    /// Whether the witness vouches for it; else its last turn has yet to be compared.
    is_proven: bool,
    /// Whether it is so in memory.
    in_memory: bool,
    /// Whether it is so in the shared cache.
    in_shared: bool,
}

impl Found {
    fn lacks(&self, need: &Need) -> u64 {
        if self.is_proven { need.mask & !self.page.mask() } else { need.mask }
    }
}

/// A read that has all that it needs: its turns, and the pages that they were in.
pub(crate) type Complete = (Vec<KeptTurn>, Arc<[PageKey]>);

impl Levels {
    /// What to hand to [`Self::read`], from before the turns were located.
    pub(crate) fn deletions(&self) -> u64 {
        self.deletions.load(Ordering::Acquire)
    }

    /// The turns that were located; `None` if they are not there any more, or not as they were located: then they must be
    /// read in one piece.
    pub(crate) async fn read(
        self: &Arc<Self>,
        store: &dyn Store,
        located: LocatedTurns,
        deletions: u64,
    ) -> Result<Option<Complete>, StoreError> {
        let Some(needs) = needs(&located) else { return Ok(None) };
        let mut found: HashMap<PageKey, Found> = HashMap::with_capacity(needs.len());
        self.look_in_memory(&needs, &mut found);
        self.look_in_shared(&needs, &mut found).await;
        let spans = missing(&needs, &found);
        let strange = load(store, &needs, &mut found, &spans).await?;
        if !strange.is_empty() {
            // Pages of another time: they are read anew as if nothing had been kept.
            let spans = missing(&strange, &found);
            load(store, &strange, &mut found, &spans).await?;
        }
        for (key, need) in &needs {
            let is_whole = found.get(key).is_some_and(|found| {
                found.page.judge(&need.witness) == Verdict::Proven && need.mask & !found.page.mask() == 0
            });
            if !is_whole {
                self.forget(&[*key]);
                return Ok(None);
            }
        }
        let turns = located.assemble(|at| {
            let key = PageKey::of(at.segment, at.position);
            found.get(&key)?.page.get(at.position).map(|stored| &**stored)
        });
        self.keep(found, deletions);
        Ok(turns.map(|turns| (turns, needs.into_keys().collect())))
    }

    fn look_in_memory(&self, needs: &BTreeMap<PageKey, Need>, found: &mut HashMap<PageKey, Found>) {
        let Some(memory) = &self.memory else { return };
        let mut hits = 0;
        for (key, need) in needs {
            let Some(page) = memory.get(*key) else { continue };
            let verdict = page.judge(&need.witness);
            if verdict == Verdict::Refuted {
                memory.remove(*key);
                continue;
            }
            let is_proven = verdict == Verdict::Proven;
            let page = Found { page, is_proven, in_memory: true, in_shared: true };
            hits += u64::from(page.lacks(need) == 0);
            found.insert(*key, page);
        }
        self.meters.memory.hits.increment(hits);
        self.meters.memory.misses.increment(u64::try_from(needs.len()).unwrap_or(0) - hits);
    }

    async fn look_in_shared(&self, needs: &BTreeMap<PageKey, Need>, found: &mut HashMap<PageKey, Found>) {
        let Some(shared) = &self.shared else { return };
        let is_missing =
            |key: &PageKey, need: &Need| found.get(key).is_none_or(|found| found.lacks(need) != 0);
        let wanted: Vec<PageKey> =
            needs.iter().filter(|(key, need)| is_missing(key, need)).map(|(key, _)| *key).collect();
        if wanted.is_empty() {
            return;
        }
        let mut hits = 0;
        for (key, page) in shared.get(&wanted).await {
            let Some(need) = needs.get(&key) else { continue };
            let is_proven = match page.judge(&need.witness) {
                Verdict::Refuted => continue,
                verdict => verdict == Verdict::Proven,
            };
            let theirs = Found { page: Arc::new(page), is_proven, in_memory: false, in_shared: true };
            hits += u64::from(theirs.lacks(need) == 0);
            let is_better = found.get(&key).is_none_or(|ours| {
                let rank = |found: &Found| (found.is_proven, found.page.turns().len());
                rank(&theirs) > rank(ours)
            });
            if is_better {
                found.insert(key, theirs);
            }
        }
        self.meters.shared.hits.increment(hits);
        self.meters.shared.misses.increment(u64::try_from(wanted.len()).unwrap_or(0) - hits);
    }

    /// Keeps what a level does not have.
    fn keep(self: &Arc<Self>, found: HashMap<PageKey, Found>, deletions: u64) {
        let (mut new, mut put) = (Vec::new(), Vec::new());
        for (key, found) in found {
            if let Some(memory) = self.memory.as_ref().filter(|_| !found.in_memory) {
                memory.put(key, Arc::clone(&found.page));
                put.push(key);
            }
            if self.shared.is_some() && !found.in_shared {
                new.push((key, found.page));
            }
        }
        if self.deletions() != deletions {
            self.forget(&put);
            return;
        }
        if let (Some(shared), false) = (&self.shared, new.is_empty()) {
            // Nobody waits for it, and if many are at it already, it is not worth it.
            let Ok(place) = Arc::clone(&shared.putting).try_acquire_owned() else { return };
            let levels = Arc::clone(self);
            tokio::spawn(async move {
                let _place = place;
                let Some(shared) = &levels.shared else { return };
                shared.put(&new).await;
                if levels.deletions() != deletions {
                    let keys: Vec<PageKey> = new.into_iter().map(|(key, _)| key).collect();
                    levels.remove(&keys).await;
                }
            });
        }
    }

    /// Removes pages from memory.
    pub(crate) fn forget(&self, keys: &[PageKey]) {
        if let Some(memory) = &self.memory {
            for key in keys {
                memory.remove(*key);
            }
        }
    }

    /// Removes pages wherever they are.
    pub(crate) async fn remove(&self, keys: &[PageKey]) {
        self.forget(keys);
        if let Some(shared) = &self.shared {
            shared.remove(keys).await;
        }
    }
}

/// Loads spans into pages. Gives what is needed of those that turned out to be another's, which are not among the found
/// any more.
async fn load(
    store: &dyn Store,
    needs: &BTreeMap<PageKey, Need>,
    found: &mut HashMap<PageKey, Found>,
    spans: &[Span],
) -> Result<BTreeMap<PageKey, Need>, StoreError> {
    let mut strange = BTreeMap::new();
    if spans.is_empty() {
        return Ok(strange);
    }
    let mut loaded: HashMap<PageKey, Vec<Arc<StoredTurn>>> = HashMap::new();
    for stored in store.load_spans(spans).await? {
        let key = PageKey::of(stored.at.segment, stored.at.position);
        loaded.entry(key).or_default().push(Arc::new(stored));
    }
    for (key, turns) in loaded {
        let Some(need) = needs.get(&key) else { continue };
        match join(found.remove(&key), need, &turns) {
            Some(page) => {
                found.insert(key, Found { page: Arc::new(page), is_proven: true, ..Found::default() });
            }
            None => drop(strange.insert(key, need.clone())),
        }
    }
    Ok(strange)
}

/// What has to be loaded: of each page what it lacks, and of one that no witness vouches for yet its last turn once more,
/// which then does.
fn missing(needs: &BTreeMap<PageKey, Need>, found: &HashMap<PageKey, Found>) -> Vec<Span> {
    let mut spans = Vec::new();
    for (key, need) in needs {
        let found = found.get(key);
        let mut lacks = found.map_or(need.mask, |found| found.lacks(need));
        let open = found.filter(|found| !found.is_proven);
        if let Some(last) = open.and_then(|found| found.page.last_before(need.witness.position)) {
            let page = open.map_or(0, |found| found.page.mask());
            lacks = need.mask & !page | crate::page::bit(last.at.position);
        }
        if lacks != 0 {
            let at = |bit: u32| key.number * PAGE_LEN + i64::from(bit);
            let (from, to) = (at(lacks.trailing_zeros()), at(u64::BITS - lacks.leading_zeros()));
            spans.push(Span { segment: key.segment, from, to });
        }
    }
    spans
}

/// A page with what was loaded; `None` if it was another's.
fn join(found: Option<Found>, need: &Need, loaded: &[Arc<StoredTurn>]) -> Option<Page> {
    let Some(found) = found else { return Some(Page::new(loaded.iter().cloned())) };
    if found.is_proven {
        return Some(found.page.with(loaded));
    }
    let Some(last) = found.page.last_before(need.witness.position) else {
        return Some(Page::new(loaded.iter().cloned()));
    };
    let is_same = loaded.iter().any(|loaded| {
        loaded.at == last.at && loaded.order_at == last.order_at && loaded.turn.id == last.turn.id
    });
    is_same.then(|| found.page.up_to(last.at.position).with(loaded))
}
