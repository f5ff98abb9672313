//! Making up a V1 file, session by session.
//!
//! Not here: texts and values ([`super::super::texts`]).

use std::collections::BTreeSet;

use super::super::cell::Cell;
use super::super::foreign;
use super::super::layout::Layout;
use super::super::table::Table;
use super::super::texts::{Source, Temper};
use super::super::times::{self, Zone};
use super::{CHECKPOINT_COLUMNS, CRYSTAL_COLUMNS, OldFile, SESSION_COLUMNS, TURN_COLUMNS};

/// A turn as a session holds it; forks copy it.
#[derive(Debug, Clone)]
struct Told {
    user: Cell,
    reply: Cell,
    /// Everything from `user_linearity` on.
    rest: Vec<Cell>,
    started: String,
}

/// A session while its file is being made up.
struct Draft {
    id: Cell,
    turns: Vec<Told>,
    row: usize,
}

/// Makes up one file.
pub(super) struct Author {
    source: Source,
    layout: Layout,
    sessions: Table,
    turns: Table,
    crystals: Table,
    checkpoints: Table,
    drafts: Vec<Draft>,
    ids: BTreeSet<String>,
}

impl Author {
    pub(super) fn new(source: Source, layout: Layout) -> Self {
        let table = |name: &str, columns: &[&str]| {
            let mut table = Table::new(name, columns);
            if let Some((extra, _)) = layout.extra_column.filter(|(_, place)| *place == name) {
                table.columns.push(extra.to_owned());
            }
            table
        };
        Self {
            sessions: table("chat_sessions", &SESSION_COLUMNS),
            turns: table("chat_turns", &TURN_COLUMNS),
            crystals: table("chat_crystals", &CRYSTAL_COLUMNS),
            checkpoints: table("chat_checkpoints", &CHECKPOINT_COLUMNS),
            source,
            layout,
            drafts: Vec::new(),
            ids: BTreeSet::new(),
        }
    }

    pub(super) fn write(mut self, zone: Zone) -> OldFile {
        let n_sessions = 1 + self.source.choices.below(16);
        for number in 0..n_sessions {
            self.add_session(number);
        }
        if self.source.temper != Temper::Calm {
            self.tie_parents_in_knots();
            self.add_orphans();
        }
        let mut tables = vec![self.sessions, self.turns];
        if self.layout.has_crystals {
            tables.push(self.crystals);
        }
        if self.layout.has_checkpoints {
            tables.push(self.checkpoints);
        }
        let foreign = foreign::choose(&mut self.source, &tables);
        for table in &mut tables {
            if !self.layout.is_without_rowid(&table.name) {
                continue;
            }
            for row in &mut table.rows {
                row.rowid = None;
            }
            table.rows.sort_by(|a, b| match (a.cells.first(), b.cells.first()) {
                (Some(a), Some(b)) => a.compare(b),
                _ => std::cmp::Ordering::Equal,
            });
        }
        OldFile { layout: self.layout, temper: self.source.temper, zone, tables, foreign }
    }

    /// A new id in the table `table`, whose key it is.
    fn id(&mut self, prefix: &str, table: &str) -> Cell {
        loop {
            let id = self.source.id(prefix);
            if id.is_null() && self.layout.is_without_rowid(table) {
                continue;
            }
            // NULLs are all different to SQLite, and there is nothing that a turn could refer to.
            if self.ids.insert(format!("{prefix} {id:?}")) {
                return id;
            }
        }
    }

    fn add_session(&mut self, number: usize) {
        let id = self.id("session", "chat_sessions");
        let start =
            u64::try_from(number).unwrap_or(0) * 5_000_000 + self.source.choices.next_number() % 4_000_000;
        let mut turns = Vec::new();
        let (mut parent, mut fork_point, mut branch) = (Cell::Null, Cell::Null, Cell::text("main"));
        let mut merged_from = None;
        match self.source.choices.below(4) {
            0 if !self.drafts.is_empty() => {
                let at = self.source.choices.below(self.drafts.len());
                if let Some(from) = self.drafts.get(at) {
                    let n_taken = self.source.choices.below(from.turns.len() + 1);
                    turns.extend(from.turns.iter().take(n_taken).cloned());
                    parent = from.id.clone();
                    fork_point = Cell::Int(i64::try_from(n_taken).unwrap_or(0));
                    branch = Cell::text(format!("branch-{number}"));
                }
            }
            1 if self.drafts.len() >= 2 && self.source.choices.one_in(2) => {
                let (a, b) = (
                    self.source.choices.below(self.drafts.len()),
                    self.source.choices.below(self.drafts.len()),
                );
                for at in [a, b] {
                    if let Some(from) = self.drafts.get(at) {
                        turns.extend(from.turns.iter().cloned());
                        parent = from.id.clone();
                        let row = from.row;
                        self.mark_merged(row, &id);
                    }
                }
                merged_from = Some(a.max(b));
            }
            _ => {}
        }
        let mut n_own = self.source.choices.below(14);
        if self.source.choices.one_in(30) {
            n_own = 300;
        }
        for n in 0..n_own {
            let told = self.tell(start, u64::try_from(n).unwrap_or(0));
            turns.push(told);
        }
        if parent.is_null() && self.source.is_odd() {
            parent = Cell::text("session-that-is-gone");
            fork_point = Cell::Int(3);
        }
        let row = self.sessions.rows.len();
        let at = times::naive(start, 0, 0);
        let written = self.session_row(&id, parent, fork_point, branch, &turns, &at, merged_from);
        self.sessions.push(written);
        self.write_turns(&id, &turns);
        self.write_checkpoints(&id, &turns, start);
        self.write_crystal(&id, turns.len(), &at);
        self.drafts.push(Draft { id, turns, row });
    }

    fn mark_merged(&mut self, row: usize, into: &Cell) {
        let place = |name: &str| SESSION_COLUMNS.iter().position(|column| *column == name).unwrap_or(0);
        if let Some(row) = self.sessions.rows.get_mut(row)
            && !into.is_null()
        {
            for (column, value) in [("is_merged", Cell::Int(1)), ("merged_into", into.clone())] {
                if let Some(cell) = row.cells.get_mut(place(column)) {
                    *cell = value;
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of one row")]
    fn session_row(
        &mut self,
        id: &Cell,
        parent: Cell,
        fork_point: Cell,
        branch: Cell,
        turns: &[Told],
        at: &str,
        merged_from: Option<usize>,
    ) -> Vec<Cell> {
        let last = turns.last().map_or(at, |turn| turn.started.as_str()).to_owned();
        let count = i64::try_from(turns.len()).unwrap_or(0);
        let project = match self.source.choices.below(3) {
            0 => Cell::Null,
            1 => Cell::text("project-é"),
            _ => Cell::text("p1"),
        };
        let metadata = match merged_from {
            Some(from) => Cell::text(format!("{{\"merged_from\": [\"{from}\", \"x\"]}}")),
            None => self.source.metadata(),
        };
        let branch = if self.source.is_odd() { self.source.word(&["", "main"]) } else { branch };
        let mut cells = vec![
            id.clone(),
            project,
            parent,
            self.number(fork_point),
            branch,
            self.source.word(&["idle", "idle", "idle", "processing"]),
            self.number(Cell::Int(count)),
            Cell::Int(count * 20),
            self.source.evidence(turns.len(), at),
            metadata,
            Cell::Int(0),
            Cell::Null,
            self.time(at),
            self.time(&last),
        ];
        self.add_extra("chat_sessions", &mut cells);
        cells
    }

    /// A number, or now and then another one or something else.
    fn number(&mut self, number: Cell) -> Cell {
        if !self.source.is_odd() {
            return number;
        }
        match self.source.choices.below(6) {
            0 => Cell::text("seven"),
            1 => Cell::Real(1.5),
            2 => Cell::Int(-1),
            3 => Cell::Int(i64::MAX),
            4 => Cell::Blob(vec![7]),
            _ => Cell::Int(5000),
        }
    }

    fn time(&mut self, at: &str) -> Cell {
        if !self.source.is_odd() {
            return Cell::text(at);
        }
        if self.source.choices.one_in(6) {
            self.source.wrong_type()
        } else {
            times::odd(&mut self.source.choices, at)
        }
    }

    fn tell(&mut self, start: u64, n: u64) -> Told {
        let micros =
            if self.source.choices.one_in(3) { 0 } else { self.source.choices.next_number() % 1_000_000 };
        let started = times::naive(start, n, micros);
        let completed = times::naive(start, n, micros / 2 + 1);
        let tags = ["preserved", "preserved", "required", "droppable"];
        let delta = match self.source.choices.below(6) {
            0 => Cell::text(
                "{\"tools_executed\": 1, \"tools_succeeded\": 1, \"confidence_change\": 0.16666666666666663}",
            ),
            1 if self.source.is_odd() => self.source.json(&["[]", "{\"x\": 1}"]),
            _ => Cell::Null,
        };
        let confidence = match self.source.choices.below(4) {
            0 => Cell::Real(0.75),
            1 if self.source.is_odd() => Cell::text("high"),
            _ => Cell::Null,
        };
        Told {
            user: self.source.message(),
            reply: self.source.message(),
            rest: vec![
                self.source.word(&tags),
                self.source.word(&tags),
                self.source.tools(),
                delta,
                confidence,
                self.time(&started),
                self.time(&completed),
            ],
            started,
        }
    }

    fn write_turns(&mut self, id: &Cell, turns: &[Told]) {
        if id.is_null() && !self.source.is_loose {
            return;
        }
        let mut used = BTreeSet::new();
        let mut next = 0;
        for told in turns {
            if self.source.is_odd() {
                next += i64::try_from(self.source.choices.below(5)).unwrap_or(0);
            }
            let mut number = self.number(Cell::Int(next));
            if self.source.choices.one_in(2) && !self.layout.has_unique_turns && self.source.is_odd() {
                number = Cell::Int(next - 1);
            }
            if self.layout.has_unique_turns && used.contains(&format!("{number:?}")) {
                while used.contains(&format!("{:?}", Cell::Int(next))) {
                    next += 1;
                }
                number = Cell::Int(next);
            }
            used.insert(format!("{number:?}"));
            next += 1;
            let copies = if !self.layout.has_unique_turns && self.source.is_odd() { 2 } else { 1 };
            for _ in 0..copies {
                self.push_turn(id, number.clone(), told);
            }
        }
    }

    fn push_turn(&mut self, session: &Cell, number: Cell, told: &Told) {
        let key = i64::try_from(self.turns.rows.len()).unwrap_or(0) + 1;
        let mut cells = vec![Cell::Int(key), session.clone(), number, told.user.clone(), told.reply.clone()];
        cells.extend(told.rest.iter().cloned());
        self.add_extra("chat_turns", &mut cells);
        self.turns.push(cells);
    }

    fn write_checkpoints(&mut self, session: &Cell, turns: &[Told], start: u64) {
        if session.is_null() && !self.source.is_loose {
            return;
        }
        for n in 0..self.source.choices.below(4) {
            let n_seen = self.source.choices.below(turns.len() + 1);
            let mut seen: Vec<Told> = turns.iter().take(n_seen).cloned().collect();
            // What was rewound away lives on in the checkpoint alone.
            for _ in 0..self.source.choices.below(3) {
                let told = self.tell(start + 900_000, u64::try_from(n + seen.len()).unwrap_or(0));
                seen.push(told);
            }
            let at = times::naive(start + 1_000_000, u64::try_from(n).unwrap_or(0), 5);
            let context = if self.source.is_odd() {
                self.source.json(&["{}", "{\"turns\": []}", "{\"turns\": {}}", "{\"turns\": [{}]}", "[]"])
            } else {
                Cell::text(context(&seen))
            };
            let count = Cell::Int(i64::try_from(seen.len()).unwrap_or(0));
            let mut cells = vec![
                self.id("ckpt", "chat_checkpoints"),
                session.clone(),
                self.number(count),
                context,
                self.source.evidence(seen.len(), &at),
                self.time(&at),
            ];
            self.add_extra("chat_checkpoints", &mut cells);
            self.checkpoints.push(cells);
        }
    }

    fn write_crystal(&mut self, session: &Cell, n_turns: usize, at: &str) {
        if !self.source.choices.one_in(3)
            || (session.is_null() && self.layout.is_without_rowid("chat_crystals"))
        {
            return;
        }
        let mut cells = vec![
            session.clone(),
            self.source.message(),
            self.source.message(),
            self.source.strings(),
            self.source.strings(),
            if self.source.choices.one_in(3) { Cell::Null } else { self.source.evidence(n_turns, at) },
            self.number(Cell::Int(i64::try_from(n_turns).unwrap_or(0))),
            self.time(at),
        ];
        self.add_extra("chat_crystals", &mut cells);
        self.crystals.push(cells);
    }

    fn add_extra(&mut self, table: &str, cells: &mut Vec<Cell>) {
        if self.layout.extra_column.is_some_and(|(_, place)| place == table) {
            cells.push(if self.source.choices.one_in(2) {
                Cell::Null
            } else {
                Cell::text("a note of our own")
            });
        }
    }

    /// Parents that are the session itself, and two that are each other's.
    fn tie_parents_in_knots(&mut self) {
        let n = self.sessions.rows.len();
        let ids: Vec<_> = self.drafts.iter().map(|draft| draft.id.clone()).collect();
        let (a, b) = (self.source.choices.below(n), self.source.choices.below(n));
        if !self.source.choices.one_in(3) {
            return;
        }
        for (row, parent) in [(a, b), (b, a)] {
            let parent = ids.get(parent).cloned().unwrap_or(Cell::Null);
            if let Some(cell) = self.sessions.rows.get_mut(row).and_then(|row| row.cells.get_mut(2)) {
                *cell = parent;
            }
        }
    }

    /// Rows of sessions that are not there.
    fn add_orphans(&mut self) {
        for n in 0..self.source.choices.below(4) {
            let gone = Cell::text(format!("session-gone-{n}"));
            let told = self.tell(77, 0);
            self.push_turn(&gone, Cell::Int(0), &told);
            if self.source.choices.one_in(2) {
                self.write_checkpoints(&gone, &[told], 77);
            }
            self.write_crystal(&gone, 1, "2025-06-15T12:00:00");
        }
    }
}

/// A working context as kgents writes it into a checkpoint, with the turns in full.
fn context(turns: &[Told]) -> String {
    let turns: Vec<_> = turns
        .iter()
        .enumerate()
        .map(|(number, told)| {
            let text = |cell: &Cell| cell.shown().map_or_else(|| "?".to_owned(), |(text, _)| text);
            serde_json::json!({
                "id": format!("turn-{number:012x}"), "turn_number": number, "user_message": text(&told.user),
                "assistant_response": text(&told.reply), "linearity_tag": "preserved", "in_context": true,
                "trailing": false, "derived_from": [], "started_at": told.started, "completed_at": told.started,
                "tools_used": [], "metadata": {},
            })
        })
        .collect();
    serde_json::json!({
        "id": "ctx-0123456789ab", "turns": turns, "context_window": 200_000, "compress_at": 0.8, "resume_at": 0.7,
        "is_compressing": false, "last_compression": null, "token_count": 7, "context_usage": 0.01, "metadata": {},
    })
    .to_string()
}
