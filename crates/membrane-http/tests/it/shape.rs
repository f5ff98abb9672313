//! JSON as it must be, whole: what a session, a turn and evidence look like, with ids that nobody can know and
//! times replaced by words.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// The value with times, and the ids of turns, checkpoints and evidence, replaced by what they are.
pub(crate) fn normal(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(word_for(&text).map_or(text, str::to_owned)),
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, normal(value))).collect::<Map<_, _>>().into()
        }
        other => other,
    }
}

fn word_for(text: &str) -> Option<&'static str> {
    let is_hex = |digits: &str| digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_id = |prefix: &str, n_digits: usize| {
        text.strip_prefix(prefix).is_some_and(|digits| digits.len() == n_digits && is_hex(digits))
    };
    if is_id("turn-", 32) {
        Some("<turn>")
    } else if is_id("ckpt-", 32) {
        Some("<checkpoint>")
    } else if is_id("chat-evd-", 12) {
        Some("<evidence>")
    } else {
        is_time(text).then_some("<time>")
    }
}

/// RFC 3339 in UTC with microseconds.
pub(crate) fn is_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00.000000Z";
    text.len() == form.len()
        && text.bytes().zip(form.bytes()).all(|(byte, form)| match form {
            b'0' => byte.is_ascii_digit(),
            form => byte == form,
        })
}

/// The time in a field, which has six digits after the second and so is ordered as text.
#[track_caller]
pub(crate) fn time(value: &Value) -> &str {
    let text = value.as_str().expect("a time");
    assert!(is_time(text), "{text}");
    text
}

/// An empty session.
pub(crate) fn new_session(id: &str) -> Value {
    json!({
        "id": id, "project_id": null, "title": null, "tags": [], "pinned": false, "archived": false,
        "trailing": false, "metadata": {}, "branch_name": "main", "parent_id": null, "fork_point": null,
        "is_merged": false, "merged_into": null, "version": 1, "turn_count": 0, "context_size": 0,
        "state": "idle", "pending": null, "created_at": "<time>", "last_active": "<time>",
        "evidence": evidence(0, 0), "turns_truncated": false, "turns": [],
    })
}

/// The evidence after so many plain successes, of which so many were turned by a signal.
pub(crate) fn evidence(succeeded: u32, turned: u32) -> Value {
    let (alpha, beta) = (1 + succeeded - turned, 1 + turned);
    json!({
        "id": "<evidence>", "prior_alpha": alpha, "prior_beta": beta,
        "confidence": f64::from(alpha) / f64::from(alpha + beta),
        // Four plain successes are the fewest that are enough.
        "should_stop": turned == 0 && succeeded >= 4,
        "tools_succeeded": succeeded, "tools_failed": 0, "ashc_equivalence": null,
        "created_at": "<time>", "updated_at": "<time>", "metadata": {},
    })
}

/// A plain turn with this number, all before it having succeeded.
pub(crate) fn plain_turn(number: u32, user: &str, answer: &str) -> Value {
    let mean = |successes: u32| f64::from(successes + 1) / f64::from(successes + 2);
    json!({
        "id": "<turn>", "turn_number": number, "status": "complete",
        "user_message": message("user", user), "assistant_response": message("assistant", answer),
        "tools_used": [], "portal_emissions": [],
        "evidence_delta": {"tools_executed": 0, "tools_succeeded": 0,
            "confidence_change": mean(number + 1) - mean(number)},
        "confidence": mean(number + 1), "signals": [], "model": null, "usage": null,
        "finish_reason": null, "reasoning": null, "error": null,
        "started_at": "<time>", "completed_at": "<time>",
    })
}

pub(crate) fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content, "mentions": [], "linearity_tag": "preserved"})
}

/// Asserts that two values are the same, numbers to the last digits, and tells only where they are not.
#[track_caller]
pub(crate) fn assert_same(actual: &Value, expected: &Value) {
    let mut differences = Vec::new();
    compare("", actual, expected, &mut differences);
    assert!(differences.is_empty(), "not as expected:\n{}", differences.join("\n"));
}

fn compare(place: &str, actual: &Value, expected: &Value, differences: &mut Vec<String>) {
    match (actual, expected) {
        (Value::Object(left), Value::Object(right)) => {
            let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
            for name in names {
                match (left.get(name), right.get(name)) {
                    (Some(left), Some(right)) => {
                        compare(&format!("{place}.{name}"), left, right, differences);
                    }
                    (left, _) => differences.push(format!(
                        "{place}.{name} {}",
                        if left.is_some() { "should not be there" } else { "is missing" }
                    )),
                }
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                compare(&format!("{place}[{index}]"), left, right, differences);
            }
        }
        // The reader of these tests may miss the last digit of a fraction; whole numbers must be written as such.
        (Value::Number(left), Value::Number(right)) if left.is_f64() && right.is_f64() => {
            let distance = (left.as_f64().unwrap() - right.as_f64().unwrap()).abs();
            if distance > 1e-14 {
                differences.push(format!("{place} is {left} and should be {right}"));
            }
        }
        (left, right) if left == right => {}
        (left, right) => differences.push(format!("{place} is {left} and should be {right}")),
    }
}

/// Two objects, the second one's fields first in rank.
pub(crate) fn with(mut base: Value, changes: Value) -> Value {
    let fields = base.as_object_mut().unwrap();
    let Value::Object(changes) = changes else { panic!("{changes} is no object") };
    for (name, value) in changes {
        assert!(fields.contains_key(&name), "{name} is no field of it");
        fields.insert(name, value);
    }
    base
}

/// An object without some of its fields.
pub(crate) fn without(mut base: Value, names: &[&str]) -> Value {
    for name in names {
        base.as_object_mut().unwrap().shift_remove(*name).expect("it had this field");
    }
    base
}
