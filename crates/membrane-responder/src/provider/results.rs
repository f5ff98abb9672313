//! What came of a tool, in words for the model.

use membrane_core::tool::{Consent, ToolUse};
use serde_json::Value;

/// The output; after a failure, before it, that it failed and why.
pub(super) fn text_of(tool: &ToolUse) -> String {
    let output = match serde_json::from_str(tool.output.as_str()) {
        Ok(Value::String(text)) => text,
        Ok(Value::Null) if !tool.success => String::new(),
        _ => tool.output.as_str().to_owned(),
    };
    if tool.success {
        return output;
    }
    let failure = match &tool.consent {
        Some(consent) if !consent.is_given() => denial(consent),
        _ => format!("Error: {}", tool.error.as_deref().unwrap_or("the tool failed")),
    };
    if output.is_empty() { failure } else { format!("{failure}\n{output}") }
}

fn denial(consent: &Consent) -> String {
    match &consent.reason {
        Some(reason) => format!("The user denied the use of this tool: {reason}"),
        None => "The user denied the use of this tool.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use membrane_core::json::Json;
    use membrane_core::time::Timestamp;
    use membrane_core::tool::ConsentKind;

    use super::*;

    fn used(output: &str) -> ToolUse {
        let output = Json::parse("output", output).unwrap();
        ToolUse { output, ..ToolUse::new("c", "look", Json::empty_object()) }
    }

    #[test]
    fn a_model_is_told_the_output_and_what_went_wrong() {
        assert_eq!(text_of(&used(r#""plain \"text\"""#)), "plain \"text\"");
        assert_eq!(text_of(&used(r#"{"a": 1.50}"#)), r#"{"a": 1.50}"#);
        assert_eq!(text_of(&used("null")), "null");
        let failed = |output, error: Option<&str>| {
            text_of(&ToolUse { success: false, error: error.map(str::to_owned), ..used(output) })
        };
        assert_eq!(failed("null", Some("no such file")), "Error: no such file");
        assert_eq!(failed("null", None), "Error: the tool failed");
        assert_eq!(failed(r#"{"code":2}"#, Some("exit")), "Error: exit\n{\"code\":2}");
    }

    #[test]
    fn a_model_is_told_that_the_user_said_no() {
        let denied = |reason: Option<&str>| {
            let consent = Consent {
                kind: ConsentKind::Denied,
                by: "ada".into(),
                reason: reason.map(str::to_owned),
                at: Timestamp::from_micros(0),
            };
            text_of(&ToolUse { success: false, consent: Some(consent), ..used("null") })
        };
        assert_eq!(denied(Some("too risky")), "The user denied the use of this tool: too risky");
        assert_eq!(denied(None), "The user denied the use of this tool.");
    }
}
