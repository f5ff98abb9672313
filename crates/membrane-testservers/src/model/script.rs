//! Answers written as JSON, for tests in other languages and by hand.

use std::time::Duration;

use serde_json::Value;

use super::answer::{Answer, Body, Step, Tokens};

/// The key that makes a user's message a script.
const KEY: &str = "membrane_test";

impl Answer {
    /// The answer that a message asks for, if it is a script: `{"membrane_test": [STEP, …]}`. A list of lists is an
    /// answer for each time that the model is asked on after tools, from `n_rounds` 0; a plain list is for the first.
    ///
    /// Steps are `{"text": "…"}`, `{"reasoning": "…"}`, `{"signature": "…"}`, `{"redacted": "…"}`,
    /// `{"call": {"id": "…", "name": "…", "arguments": …}}`, `{"wait_ms": 100}`, `"hold"`, `{"raw": "…"}`,
    /// `{"error": {…}}`, `{"finish": {"reason": "…", "prompt_tokens": 1, "completion_tokens": 1}}`, `"close"`, `"cut"`,
    /// and, in place of all others, `{"status": 429, "body": …, "headers": {…}}`. Other steps are left out.
    pub fn of_script(message: &str, n_rounds: usize) -> Option<Self> {
        let script: Value = serde_json::from_str(message).ok()?;
        let steps = script.get(KEY)?.as_array()?;
        let has_rounds = steps.first().is_some_and(Value::is_array);
        let steps = match has_rounds {
            true => steps.get(n_rounds)?.as_array()?,
            false if n_rounds == 0 => steps,
            false => return None,
        };
        if let Some(status) = steps.iter().find_map(status) {
            return Some(status);
        }
        Some(Self::of_steps(steps.iter().filter_map(step).collect()))
    }
}

fn status(step: &Value) -> Option<Answer> {
    let status = u16::try_from(step.get("status")?.as_u64()?).ok()?;
    let body = step.get("body").map(text_of).unwrap_or_default();
    let headers = step.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers = headers.map(|(name, value)| (name.clone(), text_of(value))).collect();
    Some(Answer { status, headers, body: Body::Whole(body), ..Answer::default() })
}

/// A string's content, and of anything else its JSON.
fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn step(step: &Value) -> Option<Step> {
    match step.as_str() {
        Some("hold") => return Some(Step::Hold),
        Some("close") => return Some(Step::Close),
        Some("cut") => return Some(Step::Cut),
        _ => {}
    }
    let (name, value) = step.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "text" => Step::Text(text_of(value)),
        "reasoning" => Step::Reasoning(text_of(value)),
        "signature" => Step::Signature(text_of(value)),
        "redacted" => Step::Redacted(text_of(value)),
        "call" => Step::Call {
            id: value.get("id").map(text_of).unwrap_or_default(),
            name: value.get("name").map(text_of).unwrap_or_default(),
            arguments: vec![value.get("arguments").map_or_else(|| "{}".to_owned(), text_of)],
        },
        "wait_ms" => Step::Wait(Duration::from_millis(value.as_u64()?)),
        "raw" => Step::Raw(text_of(value).into_bytes()),
        "error" => Step::ErrorEvent(value.clone()),
        "finish" => {
            let count = |key| value.get(key).and_then(Value::as_u64);
            let usage = count("prompt_tokens")
                .map(|prompt| Tokens { prompt, completion: count("completion_tokens").unwrap_or_default() });
            Step::Finish { reason: value.get("reason").map(text_of), usage }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_a_script_says_what_is_answered() {
        let script = r#"{"membrane_test": [{"text": "a"}, {"wait_ms": 5}, "hold", {"call": {"name": "look",
            "arguments": {"x": 1}}}, {"finish": {"reason": "r", "prompt_tokens": 2}}, "cut", {"what": 1}]}"#;
        let answer = Answer::of_script(script, 0).expect("it is a script");
        let expected = Answer::default()
            .say("a")
            .wait(Duration::from_millis(5))
            .hold()
            .call("", "look", r#"{"x":1}"#)
            .finish("r", Tokens { prompt: 2, completion: 0 })
            .cut();
        assert_eq!(answer, expected);
        assert_eq!(Answer::of_script(script, 1), None, "it is for the first time alone");
        assert_eq!(Answer::of_script("hello", 0), None);
        assert_eq!(Answer::of_script(r#"{"membrane_tests": []}"#, 0), None);
    }

    #[test]
    fn a_script_of_lists_has_an_answer_for_each_round_and_may_be_a_status() {
        let script = r#"{"membrane_test": [[{"text": "a"}], [{"status": 429, "body": {"x": 1}, "headers": {"retry-after": 2}}]]}"#;
        assert_eq!(Answer::of_script(script, 0), Some(Answer::default().say("a")));
        let second = Answer::status(429, r#"{"x":1}"#).header("retry-after", "2");
        assert_eq!(Answer::of_script(script, 1), Some(second));
        assert_eq!(Answer::of_script(script, 2), None);
    }
}
