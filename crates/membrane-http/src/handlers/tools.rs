//! What clients say to a model's calls of tools.

use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use membrane::{Json, Sent, ToolAnswer, ToolDecision};

use super::schema::{Decided, NewToolDecision, NewToolResult, WriteRefusals};
use crate::answer;
use crate::app::App;
use crate::error::ApiError;
use crate::request::{EmptyBody, Incoming, KeyCovers, PathCall};
use crate::stream::Form;

/// Hand in what came of a tool that the model called; the turn goes on when all of its calls have their results.
///
/// The stream is as that of `send`, and goes on where that one ended. It ends at once with `awaiting_tool` while other calls
/// are open. A tool whose effect is `destructive` is to be approved before.
#[utoipa::path(
    post, path = "/api/chat/{id}/tools/{call_id}", tag = "tools", request_body = NewToolResult,
    params(
        ("id" = String, Path, description = "the session"),
        ("call_id" = String, Path, description = "the call"),
        ("stream" = Option<String>, Query, description = "`delta` for numbered events; `cumulative` by default"),
        ("Idempotency-Key" = Option<String>, Header,
            description = "makes the call happen once: again, it listens to the same answer"),
    ),
    responses((status = 200, description = "The answer on its way", body = String, content_type = "text/event-stream"), WriteRefusals)
)]
pub(crate) async fn answer_tool(
    State(app): State<App>,
    PathCall(id, call_id): PathCall,
    RawQuery(query): RawQuery,
    request: Incoming,
) -> Result<Response, ApiError> {
    let mut fields = request.fields(EmptyBody::Refused)?;
    let output = fields.optional_json("output");
    let success = fields.boolean_or("success", true);
    let error = fields.optional_string("error");
    let duration_ms = fields.optional_number("duration_ms");
    let by = fields.optional_string("by");
    fields.finish()?;
    let form = Form::asked(query.as_deref())?;
    let key = request.client_key(KeyCovers::Body)?;
    drop(request);
    let permit = app.open_stream()?;
    let output = output.unwrap_or_else(Json::null);
    let handed_in = ToolAnswer { output, success, error, duration_ms, by, key };
    let Sent { reader, .. } = app.chat.answer_tool(&id, &call_id, handed_in).await?;
    Ok(form.respond(&app, reader, permit))
}

/// Say yes to a tool's use. Its result is handed in as ever.
#[utoipa::path(
    post, path = "/api/chat/{id}/tools/{call_id}/approve", tag = "tools", request_body = Option<NewToolDecision>,
    params(
        ("id" = String, Path, description = "the session"),
        ("call_id" = String, Path, description = "the call"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 200, description = "It is approved", body = Decided), WriteRefusals)
)]
pub(crate) async fn approve(
    State(app): State<App>,
    PathCall(id, call_id): PathCall,
    request: Incoming,
) -> Result<Response, ApiError> {
    let decision = decision(&request)?;
    app.chat.approve_tool(&id, &call_id, decision).await?;
    Ok(answer::json(StatusCode::OK, &Decided { call_id, approved: true }))
}

/// Say no to a tool's use: the model is told so, and the turn goes on if no other call is open. Listen to it with `GET
/// /api/chat/{id}/stream`.
#[utoipa::path(
    post, path = "/api/chat/{id}/tools/{call_id}/deny", tag = "tools", request_body = Option<NewToolDecision>,
    params(
        ("id" = String, Path, description = "the session"),
        ("call_id" = String, Path, description = "the call"),
        ("Idempotency-Key" = Option<String>, Header, description = "makes the call happen once"),
    ),
    responses((status = 200, description = "It is denied", body = Decided), WriteRefusals)
)]
pub(crate) async fn deny(
    State(app): State<App>,
    PathCall(id, call_id): PathCall,
    request: Incoming,
) -> Result<Response, ApiError> {
    let decision = decision(&request)?;
    app.chat.deny_tool(&id, &call_id, decision).await?;
    Ok(answer::json(StatusCode::OK, &Decided { call_id, approved: false }))
}

fn decision(request: &Incoming) -> Result<ToolDecision, ApiError> {
    let mut fields = request.fields(EmptyBody::Allowed)?;
    let reason = fields.optional_string("reason");
    let by = fields.optional_string("by");
    fields.finish()?;
    let key = request.client_key(KeyCovers::Body)?;
    Ok(ToolDecision { reason, by, key })
}
