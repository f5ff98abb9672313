//! A checkpoint's turns in full, as kgents' working context has them.

use std::fmt::Write as _;

use membrane_core::checkpoint::{Checkpoint, CheckpointKind};
use membrane_core::error::ValueError;
use membrane_core::turn::KeptTurn;
use membrane_store::codec::{self, TurnText};
use membrane_store::kgents::extras::{self, CheckpointExtras};
use sha2::{Digest, Sha256};

use super::rows::{Walk, turn_extras};
use super::times::LocalTimes;

/// The longest text. A value of an SQLite file has at most 1,000,000,000 bytes, and so has its whole row.
pub(super) const MAX_BYTES: usize = 990_000_000;

/// What kgents' contexts are made with: the window in tokens, and when it would begin and end to compress.
const WINDOW: i64 = 200_000;
const LIMITS: &str = "\"context_window\":200000,\"compress_at\":0.8,\"resume_at\":0.7";

/// A context that grows turn by turn.
#[derive(Debug)]
pub(super) struct Context {
    text: String,
    n_turns: u64,
    walk: Walk,
}

impl Context {
    pub(super) fn of(checkpoint: &Checkpoint, walk: Walk) -> Self {
        let digest = Sha256::digest(checkpoint.id.as_str().as_bytes());
        let mut text = "{\"id\":\"ctx-".to_owned();
        for byte in digest.iter().take(6) {
            // Writing to a text never fails.
            let _ = write!(text, "{byte:02x}");
        }
        text.push_str("\",\"turns\":[");
        Self { text, n_turns: 0, walk }
    }

    /// Whether it is longer than a file may hold.
    pub(super) fn is_huge(&self) -> bool {
        self.text.len() > MAX_BYTES
    }

    /// How many turns it has.
    pub(super) fn n_turns(&self) -> u64 {
        self.n_turns
    }

    /// What its turns add up to.
    pub(super) fn walk(&self) -> &Walk {
        &self.walk
    }

    /// Adds a turn.
    pub(super) fn push(&mut self, kept: &KeptTurn, times: &mut LocalTimes) -> Result<(), ValueError> {
        self.walk.step(kept);
        let turn = &kept.turn;
        let TurnText { tools_json, extra_json } = codec::encode_turn(turn)?;
        let mut extras = turn_extras(kept, extra_json);
        extras.tools_json = tools_json;
        let is_other = turn.assistant.linearity != turn.user.linearity;
        extras.assistant_linearity = is_other.then_some(turn.assistant.linearity);
        let tools = turn.tools().map(|tool| quote(&tool.name)).collect::<Result<Vec<_>, _>>()?;
        if self.n_turns > 0 {
            self.text.push(',');
        }
        // Writing to a text never fails.
        let _ = write!(
            self.text,
            "{{\"id\":{},\"turn_number\":{},\"user_message\":{},\"assistant_response\":{},\
             \"linearity_tag\":\"{}\",\"in_context\":true,\"trailing\":false,\"derived_from\":[],\
             \"started_at\":\"{}\",\"completed_at\":\"{}\",\"tools_used\":[{}],\"metadata\":{}}}",
            quote(turn.id.as_str())?,
            self.n_turns,
            quote(&turn.user.content)?,
            quote(&turn.assistant.content)?,
            turn.user.linearity,
            times.text(turn.started_at),
            times.text(turn.completed_at),
            tools.join(","),
            extras::insert("{}", &extras.encode()?),
        );
        self.n_turns += 1;
        Ok(())
    }

    /// The whole of it, with what V1 has no column for in a checkpoint.
    pub(super) fn finish(self, name: Option<String>, kind: CheckpointKind) -> Result<String, ValueError> {
        let tokens = self.walk.totals().tokens;
        let mut text = self.text;
        let extras = CheckpointExtras { name, kind }.encode()?;
        // Writing to a text never fails.
        let _ = write!(
            text,
            "],{LIMITS},\"is_compressing\":false,\"last_compression\":null,\"token_count\":{tokens},\
             \"context_usage\":{},\"metadata\":{{}},\"{}\":{extras}}}",
            share(tokens),
            extras::KEY
        );
        Ok(text)
    }
}

#[expect(clippy::cast_precision_loss, reason = "tokens stay far below 2^52")]
fn share(tokens: i64) -> f64 {
    tokens as f64 / WINDOW as f64
}

fn quote(text: &str) -> Result<String, ValueError> {
    serde_json::to_string(text)
        .map_err(|error| ValueError::NotJson { what: "text", problem: error.to_string() })
}
