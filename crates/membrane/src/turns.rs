//! The turns of a session in memory, with a memory of its own: how many of the first ones are certain
//! to be as they were loaded. So saving a session with one more turn reads nothing back.

use std::ops::Deref;

use membrane_core::turn::Turn;

/// Turns in order; reads like a slice.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    list: Vec<Turn>,
    /// The first this many are as they were at the last load or save.
    untouched: usize,
    /// Whether a turn came or may have come from the caller, so that its id may be one that is in use.
    has_foreign: bool,
}

impl Turns {
    /// Adds a turn at the end.
    pub fn push(&mut self, turn: Turn) {
        self.has_foreign = true;
        self.list.push(turn);
    }

    /// Keeps the first `len` turns.
    pub fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
        self.untouched = self.untouched.min(len);
    }

    /// A turn to be changed; what follows it counts as changed too until it is compared.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut Turn> {
        self.untouched = self.untouched.min(number);
        self.has_foreign = true;
        self.list.get_mut(number)
    }

    /// All turns, to be changed in any way.
    pub fn as_mut_vec(&mut self) -> &mut Vec<Turn> {
        self.untouched = 0;
        self.has_foreign = true;
        &mut self.list
    }

    /// The turns alone.
    pub fn into_vec(self) -> Vec<Turn> {
        self.list
    }

    pub(crate) fn loaded(list: Vec<Turn>) -> Self {
        Self { untouched: list.len(), list, has_foreign: false }
    }

    pub(crate) fn untouched(&self) -> usize {
        self.untouched
    }

    pub(crate) fn has_foreign(&self) -> bool {
        self.has_foreign
    }

    /// Adds a turn whose id was just made.
    pub(crate) fn push_new(&mut self, turn: Turn) {
        self.list.push(turn);
    }

    /// All turns are stored as they are now.
    pub(crate) fn mark_saved(&mut self) {
        self.untouched = self.list.len();
        self.has_foreign = false;
    }
}

impl Deref for Turns {
    type Target = [Turn];

    fn deref(&self) -> &[Turn] {
        &self.list
    }
}

impl PartialEq for Turns {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Extend<Turn> for Turns {
    fn extend<I: IntoIterator<Item = Turn>>(&mut self, turns: I) {
        self.has_foreign = true;
        self.list.extend(turns);
    }
}

impl IntoIterator for Turns {
    type Item = Turn;
    type IntoIter = std::vec::IntoIter<Turn>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

impl<'a> IntoIterator for &'a Turns {
    type Item = &'a Turn;
    type IntoIter = std::slice::Iter<'a, Turn>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane_core::ids::TurnId;
    use membrane_core::time::Timestamp;

    fn turns(count: usize) -> Turns {
        let turn =
            |n| Turn::plain(TurnId::from_stored(&format!("t{n}")), "u", "a", Timestamp::from_micros(0));
        Turns::loaded((0..count).map(turn).collect())
    }

    #[test]
    fn adding_touches_nothing_and_changing_touches_all_that_follows() {
        let mut list = turns(5);
        let last = list[4].clone();
        list.push(last);
        assert_eq!((list.len(), list.untouched()), (6, 5));
        list.get_mut(3).unwrap().user.content = "other".into();
        assert_eq!(list.untouched(), 3);
        list.truncate(2);
        assert_eq!((list.len(), list.untouched()), (2, 2));
        list.as_mut_vec().remove(0);
        assert_eq!(list.untouched(), 0);
        list.mark_saved();
        assert_eq!(list.untouched(), 1);
    }
}
