//! One session from end to end.

use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::SessionId;
use membrane_core::session::Session;
use membrane_core::state::State;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Signal, Turn};

use super::checkpoints;
use super::evidence;
use super::notes::Notes;
use super::plan::{Plan, new_session, past};
use super::turns::{self, Thread};
use super::{LoadError, LoadOptions, ask, commit, single};
use crate::change::{Change, Origin, Past, Requirement, Write};
use crate::kgents::old::{OldCrystal, OldSession, OldTurn, Sink, Source, StoredTurn};
use crate::kgents::report::{Oddity, Report};

/// How many turns, and how many bytes of them, are written in one change.
const MAX_TURNS: usize = 256;
const MAX_BYTES: usize = 2 << 20;

/// How many values that are kept aside are written in one change.
const MAX_ASIDE: usize = 256;

/// Loads sessions.
pub(super) struct Loader<'a> {
    source: &'a mut dyn Source,
    sink: &'a mut dyn Sink,
    options: &'a LoadOptions,
    watch: &'a mut dyn FnMut(&Report),
    /// The turns of the session that was last looked up as a parent: brothers come one after the other.
    parent: Option<(SessionId, Vec<StoredTurn>)>,
}

/// What its turns were.
#[derive(Default)]
pub(super) struct Loaded {
    /// What tells each of them.
    pub(super) turns: Vec<StoredTurn>,
    /// Where the session stands.
    pub(super) cut: Option<Cut>,
    succeeded: f64,
    failed: f64,
    /// What users said of turns that are new.
    signals: Vec<(u64, Vec<Signal>)>,
    newest: Option<Timestamp>,
    is_conflict: bool,
    n_written: u64,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        source: &'a mut dyn Source,
        sink: &'a mut dyn Sink,
        options: &'a LoadOptions,
        watch: &'a mut dyn FnMut(&Report),
    ) -> Self {
        Self { source, sink, options, watch, parent: None }
    }

    /// Loads the next session; `false` after the last one.
    pub(super) fn load_next(&mut self, report: &mut Report) -> Result<bool, LoadError> {
        let next = self.source.next_session()?;
        self.keep_rest(report)?;
        let Some(old) = next else { return Ok(false) };
        report.count_read(old.place.table);
        let mut notes = Notes { report, options: self.options, session: old.id.clone(), aside: Vec::new() };
        let plan = self.plan(&mut notes, &old)?;
        let mut loaded = self.load_turns(&mut notes, &old, &plan)?;
        if loaded.is_conflict {
            self.skip_companions(&mut notes)?;
        } else {
            let is_settled = plan.existing.is_some() && loaded.n_written == 0;
            let past =
                (!is_settled).then(|| past(&plan, &old, (loaded.succeeded, loaded.failed), loaded.newest));
            if let Some(past) = &past {
                self.write_past(&plan, past, &mut loaded)?;
            }
            self.load_checkpoints(&mut notes, &plan, &loaded, past.as_ref())?;
            self.load_crystal(&mut notes, &plan, is_settled)?;
            match (&plan.existing, loaded.n_written) {
                (None, _) => notes.report.sessions_created += 1,
                (Some(_), 0) => notes.report.sessions_unchanged += 1,
                (Some(_), _) => notes.report.sessions_extended += 1,
            }
            if is_settled {
                // It was kept when the session was loaded first.
                notes.aside.clear();
            }
        }
        self.flush(&mut notes, plan.last_active)?;
        (self.watch)(report);
        Ok(true)
    }

    /// Keeps what the source hands out beside sessions.
    pub(super) fn keep_rest(&mut self, report: &mut Report) -> Result<(), LoadError> {
        let mut change = Change::at(self.options.now);
        loop {
            let next = self.source.next_aside()?;
            if next.is_none() || change.writes.len() >= MAX_ASIDE {
                let full = std::mem::replace(&mut change, Change::at(self.options.now));
                if !full.writes.is_empty() {
                    commit(self.sink, full, || "what is kept of the old file".to_owned())?;
                }
            }
            let Some((row, finding)) = next else { return Ok(()) };
            if row.is_whole(&finding.place) {
                report.count_skipped(finding.place.table);
            }
            report.add(finding);
            report.kept_aside += 1;
            let what = || format!("{} of {}", row.row, row.source);
            if !ask(self.sink.has_old_row(&row), what)? {
                change = change.write(Write::KeepOldRow(row));
            }
        }
    }

    fn plan(&mut self, notes: &mut Notes<'_>, old: &OldSession) -> Result<Plan, LoadError> {
        let place = &old.place;
        let created = notes.time(place, "created_at", old.created_at.as_deref());
        let active = notes.time(place, "last_active", old.last_active.as_deref());
        let created_at = created.or(active).unwrap_or(self.options.now);
        let id = SessionId::from_stored(&old.id);
        let evidence = evidence::read(notes, place, old.evidence_json.as_deref());
        if let Some(state) = old.state.as_deref().filter(|state| *state != State::Idle.as_str()) {
            let what =
                format!("state was {state:?}; what was under way then is not in the file, it is idle now");
            notes.note(Oddity::Unfinished, place, what);
            notes.keep(place, "state", state, "what was under way when the file was left");
        }
        let extra_parent = evidence.extras.as_ref().and_then(|extras| extras.parent_id.clone());
        let parent_id = extra_parent.or_else(|| old.parent_id.as_deref().map(SessionId::from_stored));
        let parent = match &parent_id {
            Some(parent) if *parent != id => {
                ask(self.sink.find_session(parent), || format!("the parent of session {id}"))?
            }
            _ => None,
        };
        if parent_id.is_some() && parent.is_none() && evidence.extras.is_none() {
            let parent = parent_id.as_ref().map_or("", SessionId::as_str);
            let what = format!("parent {parent:?} is not there, or not yet; its id is kept");
            notes.note(Oddity::DanglingParent, place, what);
        }
        let existing = match ask(self.sink.find_session(&id), || format!("session {id}"))? {
            Some(session) => {
                let digests = ask(self.sink.list_digests(&id), || format!("the turns of session {id}"))?;
                Some((session, digests))
            }
            None => None,
        };
        let known = if existing.is_some() { 0 } else { self.count_shared(parent.as_ref())? };
        let last_active = active.unwrap_or(created_at);
        let has_last_active = active.is_some();
        Ok(Plan {
            id,
            created_at,
            last_active,
            has_last_active,
            evidence,
            parent_id,
            parent,
            known,
            existing,
        })
    }

    /// How many first turns the session may share with its parent, as far as the parent is as the file has it.
    fn count_shared(&mut self, parent: Option<&Session>) -> Result<u64, LoadError> {
        let Some(parent) = parent else { return Ok(0) };
        let shared = self.source.count_shared_turns()?.min(parent.turn_count());
        if shared > 0 && self.parent.as_ref().is_none_or(|(id, _)| *id != parent.id) {
            let what = || format!("the turns of session {}", parent.id);
            let digests = ask(self.sink.list_digests(&parent.id), what)?;
            self.parent = Some((parent.id.clone(), digests));
        }
        Ok(shared)
    }

    /// Reads all turns, and writes those that are not there yet.
    fn load_turns(
        &mut self,
        notes: &mut Notes<'_>,
        old: &OldSession,
        plan: &Plan,
    ) -> Result<Loaded, LoadError> {
        let mut loaded = Loaded::default();
        let mut batch = Batch::default();
        let has_total = match &plan.evidence.extras {
            Some(_) => false,
            None => plan.evidence.total.is_some(),
        };
        let mut thread = Thread { has_total, fallback: plan.created_at, number: 0 };
        let mut is_created = plan.existing.is_some();
        let (mut is_misnumbered, mut table) = (false, None);
        loaded.cut = plan.existing.as_ref().map(|(session, _)| session.cut);
        while let Some(turn) = self.source.next_turn()? {
            notes.report.count_read(turn.place.table);
            table = Some(turn.place.table);
            if !is_misnumbered
                && turn.turn_number.is_some_and(|number| u64::try_from(number) != Ok(thread.number))
            {
                is_misnumbered = true;
                let had = turn.turn_number.unwrap_or_default();
                let what =
                    format!("turn_number {had} is turn {} of its session; numbered anew", thread.number);
                notes.note(Oddity::WrongNumber, &turn.place, what);
            }
            let new = turns::read(notes, &turn, &thread);
            let seen = StoredTurn::of(&new.turn);
            loaded.turns.push(seen);
            loaded.newest = loaded.newest.max(Some(new.turn.completed_at.max(new.turn.started_at)));
            match new.turn.observes_success() {
                Some(true) => loaded.succeeded += 1.0,
                Some(false) => loaded.failed += 1.0,
                None => {}
            }
            let number = thread.number;
            thread.number += 1;
            thread.fallback = new.turn.completed_at;
            if !is_created && self.is_shared(plan, number, &seen) {
                notes.report.turns_shared += 1;
                self.keep_other_end(notes, &turn, number, &seen);
                continue;
            }
            if let Some((_, stored)) = &plan.existing
                && let Some(stored) = usize::try_from(number).ok().and_then(|number| stored.get(number))
            {
                loaded.is_conflict |= stored.digest != seen.digest;
                continue;
            }
            if loaded.is_conflict {
                continue;
            }
            if !is_created {
                self.create(notes, old, plan, number)?;
                is_created = true;
            }
            if !new.signals.is_empty() {
                loaded.signals.push((number, new.signals));
            }
            loaded.n_written += 1;
            if batch.add(new.turn) {
                self.append(notes, plan, &mut batch, &mut loaded)?;
            }
        }
        let n_turns = thread.number;
        if !is_created {
            self.create(notes, old, plan, n_turns)?;
        }
        self.append(notes, plan, &mut batch, &mut loaded)?;
        if old.turn_count.is_some_and(|count| u64::try_from(count) != Ok(n_turns)) {
            let said = old.turn_count.unwrap_or_default();
            let what = format!("turn_count was {said}, the rows are {n_turns}; counted anew");
            notes.note(Oddity::WrongCount, &old.place, what);
        }
        if loaded.is_conflict {
            let what = format!(
                "session {} is in the keep already, with other turns; it stays as it is there, and the file's {n_turns} \
                 turns are not taken in; to have both, load the file into another keep",
                plan.id
            );
            notes.note(Oddity::Conflict, &old.place, what);
            notes.report.take_back(old.place.table, 1);
            if let Some(table) = table {
                notes.report.take_back(table, n_turns);
            }
        } else if loaded.cut.is_none() {
            let found = ask(self.sink.find_session(&plan.id), || format!("session {}", plan.id))?;
            loaded.cut = found.map(|session| session.cut);
        }
        Ok(loaded)
    }

    fn is_shared(&self, plan: &Plan, number: u64, turn: &StoredTurn) -> bool {
        let stored = self.parent.as_ref().map(|(_, digests)| digests);
        let at = usize::try_from(number).ok();
        number < plan.known
            && stored
                .zip(at)
                .and_then(|(stored, at)| stored.get(at))
                .is_some_and(|stored| stored.is_same(turn))
    }

    /// Keeps when the fork's copy of a turn ended, if that is another time than the parent's.
    fn keep_other_end(&self, notes: &mut Notes<'_>, old: &OldTurn, number: u64, seen: &StoredTurn) {
        let stored = self.parent.as_ref().map(|(_, turns)| turns);
        let at = usize::try_from(number).ok();
        let differs = stored
            .zip(at)
            .and_then(|(stored, at)| stored.get(at))
            .is_some_and(|stored| stored.completed_at != seen.completed_at);
        if let (true, Some(text)) = (differs, &old.completed_at) {
            let reason = "the turn is shared with the parent, where it ended at another time";
            notes.keep(&old.place, "completed_at", text, reason);
        }
    }

    /// Makes the session, on the parent's first `shared` turns.
    fn create(
        &mut self,
        notes: &mut Notes<'_>,
        old: &OldSession,
        plan: &Plan,
        shared: u64,
    ) -> Result<(), LoadError> {
        let mut change = Change::at(plan.last_active);
        let mut origin = Origin::Empty { legacy: Vec::new() };
        if let (Some(parent), true) = (&plan.parent, shared > 0) {
            let what = || format!("the history of session {}", parent.id);
            if let Some(history) = ask(self.sink.find_history(parent.cut.history), what)? {
                origin = Origin::Slices { slices: history.prefix(shared), legacy: Vec::new() };
                let cut = Cut { history: parent.cut.history, turn_count: shared };
                change = change.require(Requirement::Sees { session: parent.id.clone(), cut });
            }
        }
        let session = new_session(notes, old, plan);
        change = change.write(Write::CreateSession { session, origin, created_at: Some(plan.created_at) });
        commit(self.sink, change, || format!("session {}", plan.id))?;
        Ok(())
    }

    fn append(
        &mut self,
        notes: &mut Notes<'_>,
        plan: &Plan,
        batch: &mut Batch,
        loaded: &mut Loaded,
    ) -> Result<(), LoadError> {
        let turns = batch.take();
        if !turns.is_empty() {
            notes.report.turns_written += u64::try_from(turns.len()).unwrap_or(u64::MAX);
            let append = Write::AppendTurns { session: plan.id.clone(), turns };
            let receipt = commit(self.sink, single(plan.last_active, append), || {
                format!("turns of session {}", plan.id)
            })?;
            loaded.cut = receipt.stamp(&plan.id).map(|stamp| stamp.cut);
            (self.watch)(notes.report);
        }
        if notes.aside.len() >= MAX_ASIDE {
            self.flush(notes, plan.last_active)?;
        }
        Ok(())
    }

    /// Writes what follows from no turn, and what users said.
    fn write_past(&mut self, plan: &Plan, past: &Past, loaded: &mut Loaded) -> Result<(), LoadError> {
        let what = || format!("session {}", plan.id);
        let write = Write::SetPast { session: plan.id.clone(), past: past.clone() };
        commit(self.sink, single(plan.last_active, write), what)?;
        let Some(cut) = loaded.cut else { return Ok(()) };
        if loaded.signals.is_empty() {
            return Ok(());
        }
        let Some(history) = ask(self.sink.find_history(cut.history), what)? else { return Ok(()) };
        for (number, signals) in std::mem::take(&mut loaded.signals) {
            let Some(at) = history.locate(number) else { continue };
            self.add_signals(plan, at, signals)?;
        }
        Ok(())
    }

    fn add_signals(&mut self, plan: &Plan, at: TurnRef, signals: Vec<Signal>) -> Result<(), LoadError> {
        let mut change = Change::at(plan.last_active);
        for signal in signals {
            change = change.write(Write::AddSignal { at, signal });
        }
        commit(self.sink, change, || format!("signals of session {}", plan.id))?;
        Ok(())
    }

    fn load_checkpoints(
        &mut self,
        notes: &mut Notes<'_>,
        plan: &Plan,
        loaded: &Loaded,
        past: Option<&Past>,
    ) -> Result<(), LoadError> {
        let mut is_late = false;
        let there = match &plan.existing {
            Some(_) => {
                let what = || format!("the checkpoints of session {}", plan.id);
                ask(self.sink.list_checkpoints(&plan.id), what)?
            }
            None => Vec::new(),
        };
        while let Some(old) = self.source.next_checkpoint()? {
            notes.report.count_read(old.place.table);
            if there.iter().any(|checkpoint| checkpoint.id.as_str() == old.id) {
                continue;
            }
            let Some(cut) = loaded.cut else { continue };
            let has_total = plan.evidence.extras.is_none() && plan.evidence.total.is_some();
            let thread = checkpoints::Standing { id: &plan.id, cut, turns: &loaded.turns, has_total };
            let made = checkpoints::load(notes, self.sink, &thread, &old, plan.last_active)?;
            is_late |= made.is_some_and(|at| at > plan.last_active);
        }
        if let (true, Some(past)) = (is_late, past) {
            // Making it moved the session, which counts as activity.
            let write = Write::SetPast { session: plan.id.clone(), past: past.clone() };
            commit(self.sink, single(plan.last_active, write), || format!("session {}", plan.id))?;
        }
        Ok(())
    }

    fn load_crystal(
        &mut self,
        notes: &mut Notes<'_>,
        plan: &Plan,
        is_settled: bool,
    ) -> Result<(), LoadError> {
        let Some(old) = self.source.crystal()? else { return Ok(()) };
        notes.report.count_read(old.place.table);
        let crystal = checkpoints::crystal(notes, &plan.id, &old, plan.last_active);
        if !is_settled {
            commit(self.sink, single(plan.last_active, Write::SaveCrystal(crystal)), || {
                format!("the crystal of session {}", plan.id)
            })?;
            notes.report.crystals_written += 1;
        }
        Ok(())
    }

    /// Reads past the checkpoints and the crystal of a session that is not taken in.
    fn skip_companions(&mut self, notes: &mut Notes<'_>) -> Result<(), LoadError> {
        notes.aside.clear();
        while let Some(old) = self.source.next_checkpoint()? {
            notes.report.count_skipped(old.place.table);
        }
        if let Some(OldCrystal { place, .. }) = self.source.crystal()? {
            notes.report.count_skipped(place.table);
        }
        Ok(())
    }

    /// Writes what is kept aside.
    fn flush(&mut self, notes: &mut Notes<'_>, now: Timestamp) -> Result<(), LoadError> {
        let rows = std::mem::take(&mut notes.aside);
        if rows.is_empty() {
            return Ok(());
        }
        notes.report.kept_aside += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let change =
            rows.into_iter().fold(Change::at(now), |change, row| change.write(Write::KeepOldRow(row)));
        commit(self.sink, change, || format!("what is kept of session {}", notes.session))?;
        Ok(())
    }
}

/// Turns that wait to be written together.
#[derive(Default)]
struct Batch {
    turns: Vec<Turn>,
    bytes: usize,
}

impl Batch {
    /// Adds one; says whether it is time to write.
    fn add(&mut self, turn: Turn) -> bool {
        self.bytes += turn.user.content.len() + turn.assistant.content.len();
        self.turns.push(turn);
        self.turns.len() >= MAX_TURNS || self.bytes >= MAX_BYTES
    }

    fn take(&mut self) -> Vec<Turn> {
        self.bytes = 0;
        std::mem::take(&mut self.turns)
    }
}
