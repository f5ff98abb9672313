//! Reading back.

use std::collections::BTreeSet;
use std::ops::{Bound, Range};

use membrane_core::branches::BranchNode;
use membrane_core::history::{Cut, TurnMark};
use membrane_core::ids::{InstanceId, RunId, SessionId};
use membrane_core::page::{Cursor, PageRequest, SessionFilter, SessionPage};
use membrane_core::run::{Piece, Run, RunPhase};
use membrane_core::session::Session;
use membrane_core::time::Timestamp;
use membrane_core::turn::{KeptTurn, Turn};

use super::state::State;
use crate::stats::GrowthTally;
use crate::{StoreError, StoreGauges, StoreStats};

impl State {
    pub(super) fn find_session(&self, id: &SessionId) -> Result<Option<Session>, StoreError> {
        self.sessions.get(id).map(|record| self.view(record)).transpose()
    }

    /// Turns of a cut; those that are gone are left out.
    pub(super) fn load_turns(&self, cut: Cut, range: Range<u64>) -> Vec<KeptTurn> {
        let Some(history) = self.histories.get(&cut.history) else { return Vec::new() };
        let stop = range.end.min(cut.turn_count);
        let mut flipped = self.count_flips(history, range.start.min(stop));
        let mut turns = Vec::new();
        for number in range.start..stop {
            let Some((at, slice)) = history.locate(number).zip(history.slice_of(number)) else { break };
            let Some(row) = self.turns.get(&at) else { continue };
            flipped += i64::from(self.flips(&at));
            turns.push(KeptTurn {
                at,
                number,
                order_at: row.order_at,
                turn: Turn::clone(&row.turn),
                totals: slice.base + row.sums,
                flipped,
                signals: self.signals.get(&at).cloned().unwrap_or_default(),
            });
        }
        turns
    }

    pub(super) fn list_marks(&self, cut: Cut) -> Vec<TurnMark> {
        let history = self.histories.get(&cut.history).into_iter();
        let spans = history.flat_map(|history| history.spans(cut.turn_count));
        spans
            .flat_map(|span| self.turns.range(super::state::bounds(span)))
            .map(|(at, row)| TurnMark { at: *at, order_at: row.order_at, sums: row.sums, own: row.own })
            .collect()
    }

    /// One page, newest first, and how many there are in all.
    pub(super) fn list_sessions(
        &self,
        filter: &SessionFilter,
        page: &PageRequest,
    ) -> Result<SessionPage, StoreError> {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let offset =
            if page.after.is_some() { 0 } else { usize::try_from(page.offset).unwrap_or(usize::MAX) };
        let before = page
            .after
            .as_ref()
            .map_or(Bound::Unbounded, |cursor| Bound::Excluded((cursor.last_active, cursor.id.clone())));
        let mut found = self
            .activity_of
            .range((Bound::Unbounded, before))
            .rev()
            .filter_map(|((_, id), ())| self.sessions.get(id))
            .filter(|session| matches(filter, session))
            .skip(offset);
        let sessions: Vec<Session> =
            found.by_ref().take(limit).map(|record| self.view(record)).collect::<Result<_, _>>()?;
        let last = sessions.last().filter(|_| found.next().is_some());
        let next = last.map(|last| Cursor { last_active: last.last_active, id: last.id.clone() });
        Ok(SessionPage { sessions, total: self.count_sessions(filter), next })
    }

    pub(super) fn count_sessions(&self, filter: &SessionFilter) -> u64 {
        let count = if *filter == SessionFilter::default() {
            self.sessions.len()
        } else {
            self.sessions.iter().filter(|(_, session)| matches(filter, session)).count()
        };
        as_u64(count)
    }

    /// A family's sessions and tombstones.
    pub(super) fn list_family(&self, family: &SessionId) -> Result<Vec<BranchNode>, StoreError> {
        let mut nodes = Vec::new();
        for id in self.members(family) {
            nodes.extend(self.find_session(id)?.map(|session| BranchNode::Live(Box::new(session))));
        }
        for id in self.graves(family) {
            nodes.extend(self.tombstones.get(id).cloned().map(BranchNode::Deleted));
        }
        Ok(nodes)
    }

    pub(super) fn list_pieces(&self, run: &RunId, from: u64) -> Vec<Piece> {
        self.pieces
            .range((run.clone(), from)..=(run.clone(), u64::MAX))
            .map(|(key, body)| Piece { seq: key.1, body: body.clone() })
            .collect()
    }

    /// Running runs whose lease has expired or whose owner is one of `owners`, oldest first.
    pub(super) fn list_stale_runs(
        &self,
        lease_clock: Timestamp,
        owners: &[InstanceId],
        limit: u32,
    ) -> Vec<Run> {
        let rows = self.runs.iter().map(|(_, row)| row);
        let mut stale: Vec<&Run> = rows
            .filter(|row| row.run.phase == RunPhase::Running)
            .filter(|row| row.has_expired(lease_clock) || owners.contains(&row.run.lease.owner))
            .map(|row| &row.run)
            .collect();
        stale.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
        stale.into_iter().take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect()
    }

    /// The runs of an instance that somebody asked to stop.
    pub(super) fn list_stop_requests(&self, owner: &InstanceId) -> Vec<RunId> {
        let rows = self.runs.iter().map(|(_, row)| row);
        let asked = rows.filter(|row| {
            row.is_to_stop && row.run.phase == RunPhase::Running && row.run.lease.owner == *owner
        });
        asked.map(|row| row.run.id.clone()).collect()
    }

    /// The instances that hold leases.
    pub(super) fn list_lease_owners(&self) -> Vec<InstanceId> {
        let running = self.runs.iter().filter(|(_, row)| row.run.phase == RunPhase::Running);
        let owners: BTreeSet<InstanceId> = running.map(|(_, row)| row.run.lease.owner.clone()).collect();
        owners.into_iter().collect()
    }

    pub(super) fn stats(&self) -> StoreStats {
        let mut growth = GrowthTally::default();
        for (_, session) in self.sessions.iter() {
            growth.add_session(session.created_at);
        }
        for (_, row) in self.turns.iter() {
            growth.add_turn(row.turn.started_at);
        }
        let shown = self.sessions.iter().flat_map(|(_, session)| {
            let history = self.histories.get(&session.cut.history).into_iter();
            let spans = history.flat_map(|history| history.spans(session.cut.turn_count));
            spans.flat_map(|span| self.turns.range(super::state::bounds(span)))
        });
        StoreStats {
            sessions: as_u64(self.sessions.len()),
            turns_shown: self.sessions.iter().map(|(_, session)| session.cut.turn_count).sum(),
            turns_stored: as_u64(self.turns.len()),
            histories: as_u64(self.histories.len()),
            slices: self.histories.iter().map(|(_, history)| as_u64(history.slices.len())).sum(),
            text_bytes_shown: shown.map(|(_, row)| text_bytes(&row.turn)).sum(),
            text_bytes_stored: self.turns.iter().map(|(_, row)| text_bytes(&row.turn)).sum(),
            checkpoints: as_u64(self.checkpoints.len()),
            crystals: as_u64(self.crystals.len()),
            runs: as_u64(self.runs.len()),
            bytes: 0,
            log_bytes: 0,
            free_bytes: 0,
            growth: growth.finish(),
        }
    }

    /// Nothing ever waits: a commit is done when it is called.
    pub(super) fn gauges(&self) -> StoreGauges {
        StoreGauges {
            sessions: as_u64(self.sessions.len()),
            turns: as_u64(self.turns.len()),
            ..StoreGauges::default()
        }
    }
}

fn matches(filter: &SessionFilter, session: &Session) -> bool {
    filter.project_id.as_ref().is_none_or(|project| session.project_id.as_ref() == Some(project))
        && filter.branch_name.as_ref().is_none_or(|name| session.branch_name == *name)
}

fn text_bytes(turn: &Turn) -> u64 {
    as_u64(turn.user.content.len() + turn.assistant.content.len())
}

fn as_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
