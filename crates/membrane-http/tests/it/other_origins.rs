//! Pages of other origins: shut out unless they are named.

use membrane_http::Origins;

use crate::app::{TestApp, at, send};
use crate::client::Call;

const PAGE: &str = "http://localhost:3000";

fn preflight(id: &str, origin: &str) -> Call {
    Call::new("OPTIONS", at(id, "send"), "")
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "POST")
        .header("Access-Control-Request-Headers", "content-type,idempotency-key")
}

#[tokio::test]
async fn pages_of_other_origins_are_allowed_nothing_by_default() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let answer = app.call(preflight(&id, PAGE)).await;
    answer.refused(405, "method_not_allowed", "Method Not Allowed");
    for answer in [answer, app.call(Call::get("/api/chat/sessions").header("Origin", PAGE)).await] {
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_page_that_is_named_may_send_and_read_answers_and_refusals() {
    for (origins, allowed) in [(Origins::Any, "*"), (Origins::parse(PAGE).unwrap(), PAGE)] {
        let app = TestApp::with(|setup| setup.http.origins = origins).await;
        let id = app.new_session().await;
        let answer = app.call(preflight(&id, PAGE)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(allowed));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
        let headers = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        assert!(headers.contains("content-type") && headers.contains("idempotency-key"), "{headers}");
        let mut events = app.open(send(&id, "hi").header("Origin", PAGE)).await;
        assert_eq!(events.head.header("access-control-allow-origin"), Some(allowed));
        events.last().await;
        let refused = app.call(Call::get("/api/chat/session/nil").header("Origin", PAGE)).await;
        assert_eq!((refused.status(), refused.header("access-control-allow-origin")), (404, Some(allowed)));
        app.stop().await;
    }
}

#[tokio::test]
async fn a_page_that_is_not_named_is_not_told_that_it_may() {
    let origins = Origins::parse("https://a.example,https://b.example").unwrap();
    let app = TestApp::with(|setup| setup.http.origins = origins).await;
    let id = app.new_session().await;
    let answer = app.call(preflight(&id, PAGE)).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = app.call(preflight(&id, "https://b.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://b.example"));
    app.stop().await;
}
