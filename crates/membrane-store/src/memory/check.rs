//! Rows that contradict each other. Everything that is derived is counted again here in the slowest,
//! plainest way.

use std::collections::BTreeSet;

use membrane_core::history::{Cut, TurnRef};
use membrane_core::run::RunPhase;
use membrane_core::session::Session;
use membrane_core::state::State as SessionState;
use membrane_core::turn::{SignalKind, Totals};

use super::state::{State, User};

impl State {
    /// One line per finding.
    pub(super) fn check(&self) -> Vec<String> {
        let mut findings = Vec::new();
        self.check_sessions(&mut findings);
        self.check_histories(&mut findings);
        self.check_segments(&mut findings);
        self.check_turns(&mut findings);
        self.check_companions(&mut findings);
        findings
    }

    fn check_sessions(&self, findings: &mut Vec<String>) {
        for (id, record) in self.sessions.iter() {
            let mut find = |what: &str| findings.push(format!("session {id}: {what}"));
            match self.view(record) {
                Ok(session) => self.check_recount(&session, &mut find),
                Err(error) => find(&format!("cannot be read: {error}")),
            }
            if !self.users_of.contains(&(record.cut.history, User::Session(id.clone()))) {
                find("its history does not know it");
            }
            if !self.activity_of.contains(&(record.last_active, id.clone())) {
                find("the list of sessions does not show it");
            }
            if !self.members_of.contains(&(record.family.clone(), id.clone())) {
                find("its family does not know it");
            }
            let fitting = match self.runs.get(id).map(|row| row.run.phase) {
                None => SessionState::Idle,
                Some(RunPhase::Running) => SessionState::Processing,
                Some(RunPhase::AwaitingTool) => SessionState::AwaitingTool,
            };
            if record.state != fitting {
                find("its state does not fit its run");
            }
            if record.version == 0 {
                find("versions count from 1");
            }
        }
        let listed = [("list", self.activity_of.len()), ("families", self.members_of.len())];
        for (what, count) in listed {
            if count != self.sessions.len() {
                findings.push(format!("{what}: {count} sessions, but there are {}", self.sessions.len()));
            }
        }
    }

    /// Counts, totals and evidence, turn by turn.
    fn check_recount(&self, session: &Session, find: &mut impl FnMut(&str)) {
        let turns = self.load_turns(session.cut, 0..u64::MAX);
        if u64::try_from(turns.len()) != Ok(session.cut.turn_count) {
            find("turn_count is not the number of turns that its history shows");
        }
        let (mut totals, mut flipped, mut seen) = (Totals::ZERO, 0, BTreeSet::new());
        for turn in &turns {
            totals = totals + turn.turn.measures();
            let latest = turn.signals.last().map(|signal| signal.kind);
            let turned =
                turn.turn.observes_success() == Some(true) && latest.is_some_and(SignalKind::is_against);
            flipped += i64::from(turned);
            if turn.totals != totals {
                find(&format!("the totals after turn {} are not the sum over its turns", turn.number));
            }
            if turn.flipped != flipped {
                find(&format!("the count of turned turns up to {} is wrong", turn.number));
            }
            if !seen.insert(turn.at) {
                find(&format!("turn {} is shown twice", turn.number));
            }
        }
        if session.totals != totals {
            find("totals are not the sum over its turns");
        }
        if session.flipped != flipped {
            find("the count of turns that signals turned is wrong");
        }
    }

    fn check_histories(&self, findings: &mut Vec<String>) {
        for (id, history) in self.histories.iter() {
            let mut find = |what: &str| findings.push(format!("history {}: {what}", id.0));
            if self.users(*id).next().is_none() {
                find("nothing points at it");
            }
            let (mut expected, mut totals) = (Some(0), Some(Totals::ZERO));
            for slice in &history.slices {
                if Some(slice.start) != expected || slice.stop.is_some_and(|stop| stop <= slice.start) {
                    find("its slices leave a gap or overlap");
                }
                expected = slice.stop;
                if !self.readers_of.contains(&(slice.segment, *id)) || !self.segments.contains(&slice.segment)
                {
                    find("a segment that it reads from does not know it");
                }
                // The ends may be gone where only an automatic checkpoint saw them.
                let mark = |number: u64| history.locate(number).and_then(|at| self.mark(at));
                let before = mark(slice.start).map(|first| slice.base + (first.sums - first.own));
                if before.zip(totals).is_some_and(|(before, totals)| before != totals) {
                    find("its totals do not go on from one slice to the next");
                }
                let last = slice.stop.and_then(|stop| mark(stop.wrapping_sub(1)));
                totals = last.map(|last| slice.base + last.sums);
            }
            if !history.legacy.is_sorted_by(|a, b| a.origin < b.origin) {
                find("its legacy observations are not in order, or one is there twice");
            }
        }
        for ((history, user), ()) in self.users_of.iter() {
            let cut = match user {
                User::Session(id) => self.sessions.get(id).map(|session| session.cut),
                User::Checkpoint(id) => self.checkpoints.get(id).map(|row| row.checkpoint.cut),
            };
            if cut.is_none_or(|cut: Cut| cut.history != *history) || !self.histories.contains(history) {
                findings.push(format!("history {}: {user:?} does not point at it", history.0));
            }
        }
    }

    fn check_segments(&self, findings: &mut Vec<String>) {
        for (id, segment) in self.segments.iter() {
            let mut find = |what: &str| findings.push(format!("segment {}: {what}", id.0));
            if self.readers(*id).next().is_none() {
                find("no history reads from it");
            }
            let owner = segment.owner.as_ref();
            if owner.is_some_and(|owner| !self.sessions.contains(owner)) {
                find("its owner is gone");
            }
            if owner.is_some_and(|owner| !self.segments_of.contains(&(owner.clone(), *id))) {
                find("its owner does not know it");
            }
            let open = self
                .readers(*id)
                .filter_map(|reader| self.histories.get(&reader))
                .flat_map(|history| &history.slices)
                .filter(|slice| slice.segment == *id && slice.stop.is_none());
            if open.count() > 1 {
                find("two histories could append to it");
            }
        }
        for ((segment, history), ()) in self.readers_of.iter() {
            let held = self.histories.get(history);
            if !held.is_some_and(|held| held.slices.iter().any(|slice| slice.segment == *segment)) {
                findings.push(format!("segment {}: history {} does not read from it", segment.0, history.0));
            }
        }
        let owned = self.segments.iter().filter(|(_, segment)| segment.owner.is_some()).count();
        if owned != self.segments_of.len() {
            findings.push(format!("segments: {owned} have owners, {} are listed", self.segments_of.len()));
        }
    }

    fn check_turns(&self, findings: &mut Vec<String>) {
        let mut reached = BTreeSet::new();
        for (id, _) in self.segments.iter() {
            // An automatic checkpoint of a dead owner's turns keeps them until the next deletion.
            let spans = self.alive_spans(*id, true);
            reached.extend(spans.into_iter().flat_map(membrane_core::history::Span::refs));
        }
        for (at, row) in self.turns.iter() {
            let name = format!("turn {}:{}", at.segment.0, at.position);
            let mut find = |what: &str| findings.push(format!("{name}: {what}"));
            if !reached.contains(at) {
                find("no session and no checkpoint reaches it");
            }
            if row.own != row.turn.measures() {
                find("what it adds is not what its content says");
            }
            let segment = self.segments.get(&at.segment);
            if segment.is_none_or(|segment| at.position < 0 || segment.next_position <= at.position) {
                find("its segment does not reach so far");
            }
            let before = self.mark(TurnRef { position: at.position - 1, ..*at });
            if before.is_some_and(|before| before.sums + row.own != row.sums) {
                find("its running totals do not follow from the turn before");
            }
            if before.is_some_and(|before| before.order_at >= row.order_at) {
                find("its place in time is not after the turn before");
            }
        }
        for (at, signals) in self.signals.iter() {
            if !self.turns.contains(at) || signals.is_empty() {
                findings.push(format!("signals on {}:{}: the turn is gone", at.segment.0, at.position));
            }
        }
    }

    /// What belongs to a session and goes with it.
    fn check_companions(&self, findings: &mut Vec<String>) {
        for (id, row) in self.checkpoints.iter() {
            let (session, number) = (&row.checkpoint.session, row.number);
            let is_listed = self.checkpoints_of.get(&(session.clone(), number)) == Some(id);
            if !is_listed || !self.sessions.contains(session) {
                findings.push(format!("checkpoint {id}: its session does not know it"));
            }
        }
        if self.checkpoints_of.len() != self.checkpoints.len() {
            findings.push("checkpoints: some are listed and not there".to_owned());
        }
        for (session, _) in self.crystals.iter().filter(|(session, _)| !self.sessions.contains(session)) {
            findings.push(format!("crystal of session {session}: the session is gone"));
        }
        for (session, row) in self.runs.iter() {
            let is_known = self.session_of_run.get(&row.run.id) == Some(session);
            if !is_known || !self.sessions.contains(session) {
                findings.push(format!("run {}: its session does not know it", row.run.id));
            }
        }
        for (session, _) in self.ended_runs.iter().filter(|(session, _)| !self.sessions.contains(session)) {
            findings.push(format!("ended run of session {session}: the session is gone"));
        }
        for ((run, seq), _) in self.pieces.iter().filter(|((run, _), _)| self.find_run_row(run).is_none()) {
            findings.push(format!("piece {seq} of run {run}: the run is gone"));
        }
        for (id, tombstone) in self.tombstones.iter() {
            if self.members(&tombstone.family).next().is_none() {
                findings.push(format!("tombstone {id}: its family is gone"));
            }
            if self.sessions.contains(id) || !self.graves_of.contains(&(tombstone.family.clone(), id.clone()))
            {
                findings.push(format!("tombstone {id}: the session lives, or its family does not know it"));
            }
        }
        if self.graves_of.len() != self.tombstones.len() || self.session_of_run.len() != self.runs.len() {
            findings.push("indexes: a tombstone or a run is listed and not there".to_owned());
        }
    }
}
