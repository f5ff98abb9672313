//! What a model called, as it is kept: each call with a name of its own within the turn, and with what its tool does to the
//! world, by what the session said of it when the model was asked.

use std::collections::HashSet;

use membrane_core::run::PieceBody;
use membrane_core::tool::ToolCall;

use super::listen::Called;
use super::live::LiveRun;
use crate::chat::Chat;

/// The pieces of these calls.
pub(super) fn pieces(chat: &Chat, live: &LiveRun, called: &[Called]) -> Vec<PieceBody> {
    let pieces = live.pieces_from(0);
    let mut taken: HashSet<String> = pieces
        .iter()
        .filter_map(|piece| match &piece.body {
            PieceBody::Call(call) => Some(call.call_id.clone()),
            _ => None,
        })
        .collect();
    let called_at = chat.now();
    let calls = called.iter().map(|Called { call_id, name, input, effect }| {
        let call_id = unused(call_id, &taken);
        taken.insert(call_id.clone());
        let (name, input) = (name.clone(), input.clone());
        PieceBody::Call(ToolCall { effect: *effect, call_id, name, input, called_at })
    });
    calls.collect()
}

/// The provider's name for a call, if no other call of the turn has it; some providers give none, or the same one again.
fn unused(call_id: &str, taken: &HashSet<String>) -> String {
    if !call_id.is_empty() && !taken.contains(call_id) {
        return call_id.to_owned();
    }
    let base = if call_id.is_empty() { "call" } else { call_id };
    let mut number = taken.len() + 1;
    loop {
        let name = format!("{base}_{number}");
        if !taken.contains(&name) {
            return name;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_its_name_unless_another_has_it() {
        let taken = HashSet::from(["a".to_owned(), "a_2".to_owned(), "call_3".to_owned()]);
        assert_eq!(unused("b", &taken), "b");
        assert_eq!(unused("a", &taken), "a_4");
        assert_eq!(unused("", &taken), "call_4");
        assert_eq!(unused("", &HashSet::new()), "call_1");
    }
}
