//! The tree of a family of forks, deleted ancestors included.

use std::collections::{BTreeMap, HashSet, VecDeque};

use crate::ids::SessionId;
use crate::session::Session;
use crate::time::Timestamp;

/// What is remembered of a deleted session while others of its family live: its place, no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// What it was called.
    pub id: SessionId,
    /// Its family's root.
    pub family: SessionId,
    /// What it was made from.
    pub parent_id: Option<SessionId>,
    /// How many of the parent's turns it took along.
    pub fork_point: Option<u64>,
    /// When it was deleted.
    pub deleted_at: Timestamp,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub enum BranchNode {
    /// A session that is there.
    Live(Box<Session>),
    /// One that is not.
    Deleted(Tombstone),
}

impl BranchNode {
    /// What it is or was called.
    pub fn id(&self) -> &SessionId {
        match self {
            Self::Live(session) => &session.id,
            Self::Deleted(tombstone) => &tombstone.id,
        }
    }

    /// What it was made from.
    pub fn parent_id(&self) -> Option<&SessionId> {
        match self {
            Self::Live(session) => session.parent_id.as_ref(),
            Self::Deleted(tombstone) => tombstone.parent_id.as_ref(),
        }
    }

    fn age(&self) -> (Timestamp, &SessionId) {
        match self {
            Self::Live(session) => (session.created_at, &session.id),
            Self::Deleted(tombstone) => (tombstone.deleted_at, &tombstone.id),
        }
    }
}

/// Orders a family breadth-first from its root, siblings by age. Nodes whose parent is not there, and
/// those of a cycle (an old file may hold one), follow as further roots, so that none is ever missing.
pub fn breadth_first(nodes: Vec<BranchNode>) -> Vec<BranchNode> {
    let mut nodes = nodes;
    nodes.sort_by(|a, b| a.age().cmp(&b.age()));
    let known: HashSet<SessionId> = nodes.iter().map(|node| node.id().clone()).collect();
    let mut children: BTreeMap<SessionId, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        match node.parent_id() {
            Some(parent) if known.contains(parent) => children.entry(parent.clone()).or_default().push(index),
            _ => roots.push(index),
        }
    }
    let mut order = Vec::with_capacity(nodes.len());
    let mut seen = vec![false; nodes.len()];
    for start in roots.into_iter().chain(0..nodes.len()) {
        let mut queue = VecDeque::from([start]);
        while let Some(index) = queue.pop_front() {
            if !std::mem::replace(&mut seen[index], true) {
                order.push(index);
                queue.extend(children.get(nodes[index].id()).into_iter().flatten());
            }
        }
    }
    let mut slots: Vec<Option<BranchNode>> = nodes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|index| slots[index].take()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, parent: Option<&str>, at: i64) -> BranchNode {
        BranchNode::Deleted(Tombstone {
            id: SessionId::from_stored(id),
            family: SessionId::from_stored("r"),
            parent_id: parent.map(SessionId::from_stored),
            fork_point: None,
            deleted_at: Timestamp::from_micros(at),
        })
    }

    fn order(nodes: Vec<BranchNode>) -> Vec<String> {
        breadth_first(nodes).iter().map(|node| node.id().to_string()).collect()
    }

    #[test]
    fn the_root_comes_first_then_level_by_level() {
        let nodes = vec![
            node("c", Some("a"), 3),
            node("b", Some("r"), 2),
            node("a", Some("r"), 1),
            node("r", None, 9),
        ];
        assert_eq!(order(nodes), ["r", "a", "b", "c"]);
    }

    #[test]
    fn a_cycle_and_a_missing_parent_hide_nobody() {
        let nodes = vec![node("x", Some("y"), 1), node("y", Some("x"), 2), node("z", Some("gone"), 3)];
        assert_eq!(order(nodes), ["z", "x", "y"]);
    }
}
