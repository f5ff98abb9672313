//! What old files knew beyond the rest.

use std::sync::Arc;

use membrane_core::history::History;
use membrane_core::ids::SessionId;

use super::apply::Tx;
use super::state::{State, listed};
use crate::change::Past;
use crate::{OldRow, StoreError};

impl Tx<'_> {
    /// Writes what an old file knew of a session.
    pub(super) fn set_past(&mut self, id: &SessionId, past: Past) -> Result<(), StoreError> {
        let record = self.write_record(id)?;
        past.patch.apply(record);
        record.is_merged = past.is_merged;
        record.merged_into = past.merged_into;
        let before = std::mem::replace(&mut record.last_active, past.last_active);
        let cut = record.cut;
        self.state.activity_of.remove(&(before, id.clone()));
        self.state.activity_of.put((past.last_active, id.clone()), ());
        if let Some(history) = self.state.histories.edit(&cut.history) {
            *history = Arc::new(History { slices: history.slices.clone(), legacy: past.legacy });
        }
        Ok(())
    }

    /// Keeps something word for word.
    pub(super) fn keep_old_row(&mut self, row: OldRow) {
        let number = self.state.next_number();
        if let Some(session) = &row.session {
            self.state.old_rows_of.put((SessionId::from_stored(session), number), ());
        }
        self.state.old_rows.put(number, row);
    }

    /// Removes what was kept of a session.
    pub(super) fn remove_old_rows(&mut self, id: &SessionId) {
        let numbers: Vec<i64> = listed(&self.state.old_rows_of, id, i64::MIN).copied().collect();
        for number in numbers {
            self.state.old_rows.remove(&number);
            self.state.old_rows_of.remove(&(id.clone(), number));
        }
    }
}

impl State {
    /// What was kept of a session, or of none that is there.
    pub(super) fn list_old_rows(&self, session: Option<&SessionId>, offset: u64, limit: u32) -> Vec<OldRow> {
        let is_asked_for = |row: &OldRow| match (session, row.session.as_deref()) {
            (Some(session), named) => named == Some(session.as_str()),
            (None, Some(named)) => !self.sessions.contains(&SessionId::from_stored(named)),
            (None, None) => true,
        };
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(usize::MAX);
        let rows = self.old_rows.iter().map(|(_, row)| row).filter(|row| is_asked_for(row));
        rows.skip(skip).take(take).cloned().collect()
    }
}
