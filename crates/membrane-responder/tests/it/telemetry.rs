//! What is measured of models.

use futures_util::StreamExt as _;
use membrane_responder::Responder as _;
use membrane_responder::provider::{Provider, ProviderKind, ProviderOptions, telemetry};
use membrane_testservers::model::Answer;

use super::{answer, ask, options, start};

#[test]
fn answers_are_counted_by_outcome_and_the_first_piece_is_timed() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(measured()));
    let text = recorder.handle().render();
    for line in [
        r#"membrane_model_requests_total{provider="openai",outcome="ok"} 2"#,
        r#"membrane_model_requests_total{provider="openai",outcome="rejected"} 1"#,
        r#"membrane_model_requests_total{provider="openai",outcome="cancelled"} 1"#,
        r#"membrane_model_requests_total{provider="gemini",outcome="not_configured"} 1"#,
        r#"membrane_model_retries_total{provider="openai"} 1"#,
        r#"membrane_model_first_piece_seconds_count{provider="openai"} 3"#,
        "# HELP membrane_model_retries_total Requests to a model",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

async fn measured() {
    telemetry::describe();
    let server = start();
    let options = ProviderOptions { max_retries: 1, ..options(&server, ProviderKind::OpenAi) };
    server.then(Answer::status(503, "{}"));
    assert!(answer(options.clone(), ask("x")).await.has_ended);
    assert!(answer(options.clone(), ask("x")).await.has_ended);
    server.then(Answer::status(400, "{}"));
    assert!(answer(options.clone(), ask("x")).await.error.is_some());
    let mut prompt = ask("x");
    let name = Some("gemini-2.5-pro".to_owned());
    prompt.model = Some(membrane_responder::ModelChoice { provider: Some("gemini".to_owned()), name });
    assert!(answer(options.clone(), prompt).await.error.is_some());
    server.then(Answer::default().say("a").hold());
    let mut reply = Provider::new(options).unwrap().respond(ask("x"));
    assert!(reply.next().await.is_some_and(|part| part.is_ok()));
}
