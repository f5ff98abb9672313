//! A page: what is kept of 64 positions of a segment, some of them or all.
//!
//! All turns of a page were in one keep at one time: it holds no turn that came later than one that it should hold in its
//! place. That is what makes one witness enough for all before it.

use std::mem::size_of;
use std::sync::Arc;

use membrane_core::ids::SegmentId;
use membrane_core::turn::{Item, Turn};
use membrane_store::StoredTurn;
use membrane_store::located::{PAGE_LEN, Witness, page_of};

/// Which page: its segment, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PageKey {
    pub(crate) segment: SegmentId,
    pub(crate) number: i64,
}

impl PageKey {
    /// The page of a turn.
    pub(crate) fn of(segment: SegmentId, position: i64) -> Self {
        Self { segment, number: page_of(position) }
    }
}

/// The bit of a position in its page's mask.
pub(crate) fn bit(position: i64) -> u64 {
    1 << position.rem_euclid(PAGE_LEN)
}

/// The turns that are kept of a page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Page {
    /// By position; all of one page.
    turns: Vec<Arc<StoredTurn>>,
    mask: u64,
    bytes: usize,
}

/// What a witness says of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The turns up to the witness are the keep's.
    Proven,
    /// It is of another keep, or of another time.
    Refuted,
    /// The witness is not among its turns.
    Open,
}

impl Page {
    /// A page of these turns, which must be of one page and come from one place.
    pub(crate) fn new(turns: impl IntoIterator<Item = Arc<StoredTurn>>) -> Self {
        let mut page = Self { turns: turns.into_iter().collect(), ..Self::default() };
        page.turns.sort_by_key(|stored| stored.at.position);
        page.turns.dedup_by_key(|stored| stored.at.position);
        page.mask = page.turns.iter().fold(0, |mask, stored| mask | bit(stored.at.position));
        page.bytes = page.turns.iter().map(|stored| bytes_of(stored)).sum();
        page
    }

    pub(crate) fn turns(&self) -> &[Arc<StoredTurn>] {
        &self.turns
    }

    pub(crate) fn mask(&self) -> u64 {
        self.mask
    }

    /// About how much memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, position: i64) -> Option<&Arc<StoredTurn>> {
        let bit = bit(position);
        let place = usize::try_from((self.mask & (bit - 1)).count_ones()).ok()?;
        self.turns.get(place).filter(|stored| stored.at.position == position)
    }

    /// The last turn before a position.
    pub(crate) fn last_before(&self, position: i64) -> Option<&Arc<StoredTurn>> {
        let after = self.turns.partition_point(|stored| stored.at.position < position);
        self.turns.get(after.checked_sub(1)?)
    }

    pub(crate) fn judge(&self, witness: &Witness) -> Verdict {
        match self.get(witness.position) {
            Some(stored) if stored.is(witness) => Verdict::Proven,
            Some(_) => Verdict::Refuted,
            None => Verdict::Open,
        }
    }

    /// Its turns up to a position.
    pub(crate) fn up_to(&self, position: i64) -> Self {
        Self::new(self.turns.iter().filter(|stored| stored.at.position <= position).cloned())
    }

    /// With more turns of the same keep; its own stay.
    pub(crate) fn with(&self, more: &[Arc<StoredTurn>]) -> Self {
        Self::new(self.turns.iter().chain(more).cloned())
    }
}

/// About how much memory a turn takes.
fn bytes_of(stored: &StoredTurn) -> usize {
    let Turn { id, user, assistant, items, usage, error, portal_emissions, .. } = &stored.turn;
    let json = |json: &Option<membrane_core::json::Json>| json.as_ref().map_or(0, |json| json.as_str().len());
    let message = |message: &membrane_core::turn::Message| message.content.len() + json(&message.mentions);
    let of_item = |item: &Item| match item {
        Item::Tool(tool) => {
            let words = tool.call_id.len() + tool.name.len();
            size_of::<Item>() + words + tool.input.as_str().len() + tool.output.as_str().len()
        }
        Item::Reasoning(text) => size_of::<Item>() + text.len(),
        Item::Message(said) => size_of::<Item>() + message(said),
        Item::Other(other) => size_of::<Item>() + other.as_str().len(),
    };
    size_of::<StoredTurn>()
        + 4 * size_of::<usize>()
        + id.as_str().len()
        + message(user)
        + message(assistant)
        + items.iter().map(of_item).sum::<usize>()
        + json(usage)
        + json(portal_emissions)
        + error.as_ref().map_or(0, |error| error.code.len() + error.message.len())
}

#[cfg(test)]
pub(crate) mod tests {
    use membrane_core::history::TurnRef;
    use membrane_core::ids::TurnId;
    use membrane_core::time::Timestamp;
    use membrane_core::turn::Totals;

    use super::*;

    /// A turn of segment 7.
    pub(crate) fn stored(position: i64, id: &str) -> Arc<StoredTurn> {
        let at = Timestamp::from_micros(position);
        Arc::new(StoredTurn {
            at: TurnRef { segment: SegmentId(7), position },
            order_at: at,
            sums: Totals { tokens: position, ..Totals::ZERO },
            turn: Turn::plain(TurnId::from_stored(id), "ask", "answer", at),
        })
    }

    fn witness(position: i64, id: &str) -> Witness {
        Witness { position, id: TurnId::from_stored(id), order_at: Timestamp::from_micros(position) }
    }

    #[test]
    fn a_page_finds_its_turns_and_no_others() {
        let page = Page::new([stored(70, "c"), stored(64, "a"), stored(127, "d"), stored(64, "a")]);
        assert_eq!(page.turns().len(), 3);
        assert_eq!(page.mask(), 1 | 1 << 6 | 1 << 63);
        assert_eq!(page.get(70).map(|stored| stored.turn.id.as_str()), Some("c"));
        assert_eq!((page.get(71), page.get(6)), (None, None));
        let before = |position| page.last_before(position).map(|stored| stored.at.position);
        assert_eq!([before(64), before(65), before(127)], [None, Some(64), Some(70)]);
        assert_eq!(page.up_to(70).turns().len(), 2);
        assert!(page.bytes() > 3 * size_of::<StoredTurn>());
    }

    #[test]
    fn a_witness_must_be_there_under_its_own_id_and_place() {
        let page = Page::new([stored(0, "a"), stored(5, "b")]);
        assert_eq!(page.judge(&witness(5, "b")), Verdict::Proven);
        assert_eq!(page.judge(&witness(5, "c")), Verdict::Refuted);
        let later = Witness { order_at: Timestamp::from_micros(6), ..witness(5, "b") };
        assert_eq!(page.judge(&later), Verdict::Refuted);
        assert_eq!(page.judge(&witness(4, "b")), Verdict::Open);
    }
}
