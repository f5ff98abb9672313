//! Text for people. Machines read JSON; here columns and words may change.
//!
//! What users and models said may hold terminal control sequences: they are shown, never sent.

use std::fmt::Write;

use membrane::{
    BranchNode, Checkpoint, Item, KeptTurn, Session, SessionDiff, SessionId, SessionPage, TurnStatus,
};

/// The text with every control character but line breaks and tabs spelled out.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && char != '\n' && char != '\t' {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}

/// The text on one line, at most `width` characters.
fn short(text: &str, width: usize) -> String {
    let line: String =
        printable(text).chars().map(|char| if char.is_whitespace() { ' ' } else { char }).collect();
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A text as a shell takes it for one word.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=@+,".contains(char);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", printable(text).replace('\'', "'\\''"))
}

/// How many of something, in words.
pub(crate) fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// A number of bytes in the unit that suits it.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    #[expect(clippy::cast_precision_loss, reason = "it is shown to one digit")]
    let mut value = bytes as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1023.95 && units.len() > 0 {
        value /= 1024.0;
        unit = units.next();
    }
    format!("{value:.1} {}", unit.unwrap_or(&"KiB"))
}

/// A path, with nothing in it that a terminal would obey.
pub(crate) fn path(path: &std::path::Path) -> String {
    printable(&path.display().to_string())
}

/// One line per session.
pub(crate) fn page(page: &SessionPage) -> String {
    let mut text = String::new();
    for session in &page.sessions {
        let title = session.title.as_deref().map(|title| format!("  {}", short(title, 60)));
        let project = session.project_id.as_deref().map(|project| format!("  [{}]", short(project, 24)));
        line(
            &mut text,
            format_args!(
                "{}  {}  {:>11}  {}{}{}",
                printable(session.id.as_str()),
                &session.last_active.to_string()[..19],
                count(session.turn_count(), "turn"),
                short(&session.branch_name, 24),
                project.unwrap_or_default(),
                title.unwrap_or_default(),
            ),
        );
    }
    text
}

/// A session's head.
pub(crate) fn session(session: &Session) -> String {
    let mut text = String::new();
    let flags = [
        (session.pinned, "pinned"),
        (session.archived, "archived"),
        (session.trailing, "trailing"),
        (session.is_merged, "merged"),
    ];
    let flags: String =
        flags.iter().filter(|(set, _)| *set).map(|(_, word)| [", ", *word].concat()).collect();
    line(&mut text, format_args!("{}", printable(session.id.as_str())));
    let turns = count(session.turn_count(), "turn");
    line(&mut text, format_args!("  {turns}, {}{flags}, version {}", session.state, session.version));
    line(&mut text, format_args!("  branch    {}", printable(&session.branch_name)));
    if let Some(title) = &session.title {
        line(&mut text, format_args!("  title     {}", printable(title)));
    }
    if let Some(project) = &session.project_id {
        line(&mut text, format_args!("  project   {}", printable(project)));
    }
    if !session.tags.is_empty() {
        line(&mut text, format_args!("  tags      {}", printable(&session.tags.join(", "))));
    }
    if let Some(parent) = &session.parent_id {
        let point = session.fork_point.map(|point| format!(", forked at {point}")).unwrap_or_default();
        line(&mut text, format_args!("  parent    {}{point}", printable(parent.as_str())));
    }
    if let Some(into) = &session.merged_into {
        line(&mut text, format_args!("  merged    into {}", printable(into.as_str())));
    }
    let evidence = session.evidence();
    line(
        &mut text,
        format_args!(
            "  evidence  {:.2} ({} succeeded, {} failed){}",
            evidence.confidence(),
            evidence.alpha - 1.0,
            evidence.beta - 1.0,
            if evidence.should_stop(session.turn_count()) { ", sure enough to stop" } else { "" },
        ),
    );
    line(&mut text, format_args!("  created   {}", session.created_at));
    line(&mut text, format_args!("  active    {}", session.last_active));
    text
}

/// A turn in full.
pub(crate) fn turn(kept: &KeptTurn) -> String {
    let mut text = String::new();
    let turn = &kept.turn;
    let status = match turn.status {
        TurnStatus::Complete => String::new(),
        status => format!("  {status}"),
    };
    let model = turn.model.as_deref().map(|model| format!("  {}", short(model, 40))).unwrap_or_default();
    line(&mut text, format_args!("\n[{}]  {}{model}{status}", kept.number, turn.started_at));
    line(&mut text, format_args!("user: {}", printable(&turn.user.content)));
    for item in &turn.items {
        match item {
            Item::Tool(tool) => line(
                &mut text,
                format_args!(
                    "tool: {} {} -> {}{}",
                    short(&tool.name, 60),
                    short(tool.input.as_str(), 100),
                    if tool.success { "" } else { "failed: " },
                    short(tool.output.as_str(), 100),
                ),
            ),
            Item::Reasoning(thought) => line(&mut text, format_args!("reasoning: {}", printable(thought))),
            Item::Message(said) => line(&mut text, format_args!("assistant: {}", printable(&said.content))),
            Item::Other(other) => line(&mut text, format_args!("item: {}", short(other.as_str(), 100))),
        }
    }
    line(&mut text, format_args!("assistant: {}", printable(&turn.assistant.content)));
    if let Some(error) = &turn.error {
        line(&mut text, format_args!("error: {} ({})", printable(&error.message), printable(&error.code)));
    }
    for signal in &kept.signals {
        let comment = signal.comment.as_deref().map(|comment| format!(": {}", printable(comment)));
        line(&mut text, format_args!("feedback: {}{}", signal.kind, comment.unwrap_or_default()));
    }
    text
}

/// One line per checkpoint.
pub(crate) fn checkpoints(list: &[Checkpoint]) -> String {
    let mut text = String::new();
    for left in list {
        let name = left.name.as_deref().map(|name| format!("  {}", short(name, 60))).unwrap_or_default();
        line(
            &mut text,
            format_args!(
                "{}  {}  {:>11}  {}{name}",
                printable(left.id.as_str()),
                &left.created_at.to_string()[..19],
                count(left.cut.turn_count, "turn"),
                left.kind,
            ),
        );
    }
    text
}

/// What two sessions share and what they do not.
pub(crate) fn diff(found: &SessionDiff) -> String {
    let mut text = String::new();
    line(&mut text, format_args!("{} in common", count(found.common, "turn")));
    let sides = [("<", "left", &found.only_left), (">", "right", &found.only_right)];
    for (mark, side, turns) in sides {
        let number = u64::try_from(turns.len()).unwrap_or(u64::MAX);
        line(&mut text, format_args!("{} only in the {side} one", count(number, "turn")));
        for kept in turns {
            let (user, reply) = (&kept.turn.user.content, &kept.turn.assistant.content);
            line(
                &mut text,
                format_args!("{mark} [{}] {} -> {}", kept.number, short(user, 50), short(reply, 50)),
            );
        }
    }
    let words = if found.content_hash_same { "the same words" } else { "other words" };
    let evidence = if found.evidence_equivalent { "the same evidence" } else { "other evidence" };
    line(&mut text, format_args!("{words}, {evidence}"));
    text
}

/// The tree, each node under what it was made from.
pub(crate) fn branches(nodes: &[BranchNode], active: &SessionId) -> String {
    let mut text = String::new();
    let known = |id: &SessionId| nodes.iter().any(|node| node.id() == id);
    // An explicit stack: a chain of forks may be deeper than the machine's.
    let mut stack: Vec<(usize, &BranchNode)> = nodes
        .iter()
        .rev()
        .filter(|node| !node.parent_id().is_some_and(known))
        .map(|node| (0, node))
        .collect();
    let mut shown = std::collections::HashSet::new();
    let mut rest = nodes.iter();
    loop {
        let Some((depth, node)) = stack.pop() else {
            // What is left, if anything, are the nodes of a cycle.
            match rest.find(|node| !shown.contains(node.id())) {
                Some(node) => stack.push((0, node)),
                None => return text,
            }
            continue;
        };
        if !shown.insert(node.id().clone()) {
            continue;
        }
        let indent = "  ".repeat(depth);
        match node {
            BranchNode::Live(session) => line(
                &mut text,
                format_args!(
                    "{}{indent}{}  {}  {}{}{}",
                    if session.id == *active { "* " } else { "  " },
                    printable(session.id.as_str()),
                    short(&session.branch_name, 40),
                    count(session.turn_count(), "turn"),
                    session.fork_point.map(|point| format!(", forked at {point}")).unwrap_or_default(),
                    if session.is_merged { ", merged" } else { "" },
                ),
            ),
            BranchNode::Deleted(tombstone) => {
                line(&mut text, format_args!("  {indent}{}  deleted", printable(tombstone.id.as_str())));
            }
        }
        let children = nodes.iter().rev().filter(|child| child.parent_id() == Some(node.id()));
        stack.extend(children.map(|child| (depth + 1, child)));
    }
}

/// Rows whose cells stand below each other. A cell that is much longer than the others moves its own row alone.
pub(crate) fn columns(rows: &[[String; 3]]) -> String {
    const MAX_WIDTH: usize = 40;
    let mut text = String::new();
    let cells: Vec<[String; 3]> =
        rows.iter().map(|row| row.each_ref().map(|cell| short(cell, usize::MAX))).collect();
    let width = |column: usize| {
        let widths = cells.iter().map(|row| row[column].chars().count());
        widths.filter(|width| *width <= MAX_WIDTH).max().unwrap_or(0)
    };
    let (first, second) = (width(0), width(1));
    for [a, b, c] in &cells {
        line(&mut text, format_args!("{a:first$}  {b:second$}  {c}"));
    }
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use membrane::core::ids::SessionId;
    use membrane::{Timestamp, Tombstone};

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(printable("a\u{1b}[31m\0\r\nb\tc"), "a\\u{1b}[31m\\u{0}\\r\nb\tc");
        assert_eq!(short("one\ntwo three", 8), "one two…");
        assert_eq!(short("\u{9b}x", 20), "\\u{9b}x");
    }

    #[test]
    fn bytes_are_shown_in_the_unit_that_suits_them() {
        let shown = [0, 1, 1023, 1024, 1536, 1_048_575, 1_048_576, 5_000_000_000, u64::MAX].map(bytes);
        let expected = [
            "0 bytes",
            "1 byte",
            "1023 bytes",
            "1.0 KiB",
            "1.5 KiB",
            "1.0 MiB",
            "1.0 MiB",
            "4.7 GiB",
            "16777216.0 TiB",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_tree_shows_every_node_once_even_in_a_cycle() {
        let node = |id: &str, parent: Option<&str>| {
            BranchNode::Deleted(Tombstone {
                id: SessionId::from_stored(id),
                family: SessionId::from_stored("r"),
                parent_id: parent.map(SessionId::from_stored),
                fork_point: None,
                deleted_at: Timestamp::from_micros(0),
            })
        };
        let nodes = [
            node("r", None),
            node("a", Some("r")),
            node("b", Some("r")),
            node("a1", Some("a")),
            node("x", Some("y")),
            node("y", Some("x")),
        ];
        let text = branches(&nodes, &SessionId::from_stored("r"));
        let lines: Vec<&str> = text.lines().collect();
        let expected = [
            "  r  deleted",
            "    a  deleted",
            "      a1  deleted",
            "    b  deleted",
            "  x  deleted",
            "    y  deleted",
        ];
        assert_eq!(lines, expected);
    }
}
