//! Tools as stored text: what was used, and who allowed it.

use membrane_core::error::ValueError;
use membrane_core::time::Timestamp;
use membrane_core::tool::{Consent, ConsentKind, ToolEffect, ToolUse};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{json, raw};

/// A use of a tool.
#[derive(Serialize, Deserialize)]
pub(super) struct ToolText {
    #[serde(default)]
    call_id: String,
    name: String,
    input: Box<RawValue>,
    output: Box<RawValue>,
    success: bool,
    #[serde(default)]
    duration_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    effect: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    consent: Option<ConsentText>,
}

/// Who allowed it.
#[derive(Serialize, Deserialize)]
pub(super) struct ConsentText {
    kind: String,
    by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    at: String,
}

pub(super) fn tool_text(tool: &ToolUse) -> Result<ToolText, ValueError> {
    if !tool.duration_ms.is_finite() {
        return Err(ValueError::NotJson { what: "duration_ms", problem: tool.duration_ms.to_string() });
    }
    Ok(ToolText {
        call_id: tool.call_id.clone(),
        name: tool.name.clone(),
        input: raw(&tool.input)?,
        output: raw(&tool.output)?,
        success: tool.success,
        duration_ms: tool.duration_ms,
        effect: tool.effect.map(|effect| effect.as_str().to_owned()),
        error: tool.error.clone(),
        consent: tool.consent.as_ref().map(consent_text),
    })
}

pub(super) fn consent_text(consent: &Consent) -> ConsentText {
    ConsentText {
        kind: consent.kind.as_str().to_owned(),
        by: consent.by.clone(),
        reason: consent.reason.clone(),
        at: consent.at.to_string(),
    }
}

pub(super) fn consent(text: ConsentText) -> Result<Consent, ValueError> {
    Ok(Consent {
        kind: ConsentKind::parse(&text.kind)?,
        by: text.by,
        reason: text.reason,
        at: Timestamp::parse(&text.at)?,
    })
}

pub(super) fn tool(text: ToolText) -> Result<ToolUse, ValueError> {
    Ok(ToolUse {
        call_id: text.call_id,
        name: text.name,
        input: json(&text.input)?,
        output: json(&text.output)?,
        success: text.success,
        duration_ms: text.duration_ms,
        effect: text.effect.as_deref().map(ToolEffect::parse).transpose()?,
        error: text.error,
        consent: text.consent.map(consent).transpose()?,
    })
}
