//! Turns of a cut, page by page: at most 1,000, and no more text than fits into memory at any time.

use membrane_core::history::Cut;
use membrane_core::turn::{Item, KeptTurn, Turn};
use membrane_store::{Store, StoreError};

/// The most turns of a page.
const MAX_TURNS: u64 = 1000;

/// What a page may weigh, in code points of messages and bytes of all else; one turn alone may weigh more.
const MAX_WEIGHT: i64 = 8 << 20;

/// The first page, before it is known how heavy the turns are.
const FIRST_TURNS: u64 = 32;

/// A place in a cut.
#[derive(Debug)]
pub(super) struct Pages {
    cut: Cut,
    next: u64,
    n_turns: u64,
    chars: i64,
    total_chars: Option<i64>,
}

impl Pages {
    /// The beginning of a cut, of whose turns it may be known how many code points they have.
    pub(super) fn of(cut: Cut, total_chars: Option<i64>) -> Self {
        Self { cut, next: 0, n_turns: FIRST_TURNS, chars: 0, total_chars }
    }

    /// How many turns have come without a gap.
    pub(super) fn n_seen(&self) -> u64 {
        self.next
    }

    /// The next page; empty at the end, and where the next turn is gone.
    pub(super) async fn next(&mut self, store: &dyn Store) -> Result<Vec<KeptTurn>, StoreError> {
        let left = self.cut.turn_count.saturating_sub(self.next);
        if left == 0 {
            return Ok(Vec::new());
        }
        let n_turns = self.fitting(store, self.n_turns.min(left)).await?;
        let mut page = store.load_turns(self.cut, self.next..self.next + n_turns).await?;
        let whole = page.iter().zip(self.next..).take_while(|(kept, number)| kept.number == *number).count();
        page.truncate(whole);
        self.go_on_after(&page);
        Ok(page)
    }

    /// As many of the next `n_turns` as may be loaded at once. Running totals tell what stands before a turn, so
    /// that none but that one must be loaded to know.
    async fn fitting(&self, store: &dyn Store, n_turns: u64) -> Result<u64, StoreError> {
        let mut n_turns = n_turns;
        let is_light = self.total_chars.is_some_and(|total| total - self.chars <= MAX_WEIGHT);
        while n_turns > 1 && !is_light {
            let last = self.next + n_turns - 1;
            let probe = store.load_turns(self.cut, last..last + 1).await?;
            match probe.first() {
                Some(kept) if kept.totals.chars - self.chars <= MAX_WEIGHT => break,
                _ => n_turns /= 2,
            }
        }
        Ok(n_turns)
    }

    fn go_on_after(&mut self, page: &[KeptTurn]) {
        let Some(last) = page.last() else { return };
        self.next = last.number + 1;
        self.chars = last.totals.chars;
        let weight = page.iter().map(|kept| weight(&kept.turn)).fold(0_i64, i64::saturating_add);
        if weight > MAX_WEIGHT {
            self.n_turns = (self.n_turns / 4).max(1);
        } else if weight < MAX_WEIGHT / 4 {
            self.n_turns = (self.n_turns * 4).min(MAX_TURNS);
        }
    }
}

/// What a turn takes up, roughly, in bytes.
fn weight(turn: &Turn) -> i64 {
    let items = turn.items.iter().map(|item| match item {
        Item::Tool(tool) => tool.input.as_str().len() + tool.output.as_str().len(),
        Item::Reasoning(text) => text.len(),
        Item::Message(message) => message.content.len(),
        Item::Other(value) => value.as_str().len(),
    });
    let bytes = items.sum::<usize>() + turn.user.content.len() + turn.assistant.content.len();
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
