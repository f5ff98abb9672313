//! A table whose changes can be taken back, so that a change which fails half-way leaves nothing.
//!
//! What the rows mean is not here.

use std::collections::BTreeMap;
use std::ops::RangeBounds;

/// Rows in the order of their keys, and what they were before the change under way.
#[derive(Debug)]
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, V>,
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), undo: Vec::new() }
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key)
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.rows.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.iter()
    }

    pub(super) fn range(&self, range: impl RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.rows.range(range)
    }

    /// Inserts or replaces a row.
    pub(super) fn put(&mut self, key: K, value: V) {
        let before = self.rows.insert(key.clone(), value);
        self.undo.push((key, before));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let before = self.rows.remove(key)?;
        self.undo.push((key.clone(), Some(before.clone())));
        Some(before)
    }

    /// A row to change in place.
    pub(super) fn edit(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        self.undo.push((key.clone(), Some(row.clone())));
        Some(row)
    }

    /// Keeps what was changed.
    pub(super) fn keep(&mut self) {
        self.undo.clear();
    }

    /// Takes back what was changed since the last [`Table::keep`].
    pub(super) fn take_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_back_restores_every_row_however_often_it_was_changed() {
        let mut table = Table::default();
        table.put(1, "one");
        table.put(2, "two");
        table.keep();
        let before = table.rows.clone();
        table.put(1, "uno");
        *table.edit(&1).unwrap() = "eins";
        table.remove(&1);
        table.put(1, "un");
        table.remove(&2);
        table.put(3, "three");
        table.remove(&3);
        assert_eq!(table.remove(&4), None);
        table.take_back();
        assert_eq!(table.rows, before);
    }

    #[test]
    fn what_was_kept_is_not_taken_back() {
        let mut table = Table::default();
        table.put(1, "one");
        table.keep();
        table.take_back();
        assert_eq!(table.get(&1), Some(&"one"));
    }
}
