//! Which pages a deletion may leave with turns that are gone.

use std::collections::BTreeSet;

use membrane_core::history::{Cut, Span};
use membrane_core::ids::SessionId;
use membrane_store::{Change, Store, StoreError, Write};

use crate::needs::pages_of;
use crate::page::PageKey;

/// The pages of what a change deletes, as far as that can be seen before it is made. What it leaves alive of them is
/// only read once more.
pub(crate) async fn pages_at_risk(
    store: &dyn Store,
    change: &Change,
) -> Result<BTreeSet<PageKey>, StoreError> {
    let mut cuts = Vec::new();
    for write in &change.writes {
        match write {
            Write::DeleteSession { session } => add_session(store, session, &mut cuts).await?,
            Write::DeleteCheckpoint { session, id } => {
                cuts.extend(store.find_checkpoint(session, id).await?.map(|found| found.cut));
            }
            _ => {}
        }
    }
    let mut pages = BTreeSet::new();
    for cut in cuts {
        let Some(history) = store.find_history(cut.history).await? else { continue };
        for span in history.spans(cut.turn_count) {
            // It may have grown until it is deleted.
            pages.extend(pages_of(Span { to: span.to.saturating_add(1), ..span }));
        }
    }
    Ok(pages)
}

async fn add_session(store: &dyn Store, id: &SessionId, cuts: &mut Vec<Cut>) -> Result<(), StoreError> {
    let Some(session) = store.find_session(id).await? else { return Ok(()) };
    cuts.push(session.cut);
    let checkpoints = store.list_checkpoints(id).await?;
    cuts.extend(checkpoints.into_iter().map(|checkpoint| checkpoint.cut));
    Ok(())
}

/// Whether a change deletes turns.
pub(crate) fn deletes(change: &Change) -> bool {
    change
        .writes
        .iter()
        .any(|write| matches!(write, Write::DeleteSession { .. } | Write::DeleteCheckpoint { .. }))
}
