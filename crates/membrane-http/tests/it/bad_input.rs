//! What clients send that is wrong, odd or too large: refused with the reason, kept byte for byte if it is not.

use serde_json::{Value, json};

use crate::app::{TestApp, at, send};
use crate::client::{Answer, Call, Connection};

/// A call that takes a JSON body, a good body, and what of it is checked: the field, a wrong value, pydantic's word.
type Wrong = (&'static str, Value, Vec<(&'static str, Value, &'static str)>);

fn wrong_values() -> Vec<Wrong> {
    let text = |name: &'static str| [(name, json!(1), "string_type"), (name, json!(["a"]), "string_type")];
    let null = |name: &'static str| (name, json!(null), "string_type");
    let session = [&text("project_id")[..], &text("branch_name"), &[null("branch_name")]].concat();
    vec![
        ("session", json!({}), session.clone()),
        ("sessions", json!({}), session),
        ("{id}/send", json!({"message": "hi"}), [&text("message")[..], &[null("message")]].concat()),
        (
            "{id}/fork",
            json!({"branch_name": "b"}),
            [
                &text("branch_name")[..],
                &[
                    null("branch_name"),
                    ("fork_point", json!("x"), "int_parsing"),
                    ("fork_point", json!(1.5), "int_from_float"),
                    ("fork_point", json!([]), "int_type"),
                    ("fork_point", json!({}), "int_type"),
                ],
            ]
            .concat(),
        ),
        (
            "{id}/rewind",
            json!({"turns": 1}),
            vec![
                ("turns", json!(null), "int_type"),
                ("turns", json!("one"), "int_parsing"),
                ("turns", json!(0.5), "int_from_float"),
                ("turns", json!(false), "greater_than_equal"),
                ("turns", json!("99999999999999999999"), "int_parsing_size"),
            ],
        ),
        (
            "{id}/merge",
            json!({"other_id": "x"}),
            [
                &text("other_id")[..],
                &[
                    null("other_id"),
                    ("strategy", json!(1), "literal_error"),
                    ("strategy", json!("Sequential"), "literal_error"),
                    ("turns", json!({}), "list_type"),
                    ("turns", json!([1]), "model_attributes_type"),
                ],
            ]
            .concat(),
        ),
        ("{id}/checkpoint", json!({}), text("name").to_vec()),
        (
            "{id}/restore",
            json!({"checkpoint_id": "c"}),
            [&text("checkpoint_id")[..], &[null("checkpoint_id")]].concat(),
        ),
        (
            "{id}/feedback",
            json!({"turn_number": 0, "signal": "positive"}),
            [
                &text("comment")[..],
                &[
                    ("turn_number", json!(null), "int_type"),
                    ("turn_number", json!(0.1), "int_from_float"),
                    ("signal", json!(null), "literal_error"),
                    ("signal", json!("good"), "literal_error"),
                ],
            ]
            .concat(),
        ),
        (
            "{id}/crystal",
            json!({"title": "t", "summary": "s"}),
            [
                &text("title")[..],
                &text("summary"),
                &[
                    null("title"),
                    null("summary"),
                    ("key_decisions", json!("a"), "list_type"),
                    ("key_decisions", json!(null), "list_type"),
                    ("artifacts", json!({}), "list_type"),
                ],
            ]
            .concat(),
        ),
    ]
}

fn path_of(path: &str, id: &str) -> String {
    format!("/api/chat/{}", path.replace("{id}", id))
}

#[track_caller]
fn kinds(answer: &Answer) -> Vec<Value> {
    answer.wrong_fields().iter().map(|wrong| json!([wrong["type"], wrong["loc"]])).collect()
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_told_before_anything_is_looked_up() {
    let app = TestApp::start().await;
    for (path, good, wrong) in wrong_values() {
        let path = path_of(path, "nil");
        for (name, value, kind) in wrong {
            let mut body = good.clone();
            body[name] = value.clone();
            let mut loc = json!(["body", name]);
            if kind == "model_attributes_type" {
                loc.as_array_mut().unwrap().push(json!(0));
            }
            assert_eq!(
                kinds(&app.post(path.clone(), body).await),
                [json!([kind, loc])],
                "{path} {name} {value}"
            );
        }
        for name in good.as_object().unwrap().keys() {
            let answer = app.post(path.clone(), json!({})).await;
            assert!(kinds(&answer).contains(&json!(["missing", ["body", name]])), "{path} {name}");
        }
    }
    assert_eq!(app.get("/api/chat/sessions").await.json(200)["total"], 0);
    app.stop().await;
}

#[tokio::test]
async fn a_body_of_the_wrong_form_is_told_on_every_call() {
    let app = TestApp::start().await;
    for (path, good, _) in wrong_values() {
        let path = path_of(path, "nil");
        let call = |body: &[u8]| Call::new("POST", path.clone(), body);
        let text = call(good.to_string().as_bytes()).header("Content-Type", "text/plain");
        let not_an_object = [json!(["model_attributes_type", ["body"]])];
        assert_eq!(kinds(&app.call(text).await), not_an_object, "{path}");
        let may_be_left_out = path.ends_with("checkpoint");
        for body in ["[]", "1", "\"x\"", "null", "true"] {
            if may_be_left_out && body == "null" {
                continue;
            }
            assert_eq!(kinds(&app.call(call(body.as_bytes())).await), not_an_object, "{path} {body}");
        }
        for body in [&b"{"[..], b"{\"a\":1,}", b"{'a':1}", b"{\"a\":\"\\ud800\"}", b"x"] {
            let wrong = app.call(call(body)).await.wrong_fields();
            assert_eq!((wrong.len(), &wrong[0]["type"]), (1, &json!("json_invalid")), "{path} {body:?}");
        }
        let not_text = app.call(call(b"{\"message\":\"\xff\"}")).await;
        not_text.refused(400, "invalid_argument", "There was an error parsing the body");
        if !may_be_left_out {
            assert_eq!(kinds(&app.call(call(b"")).await), [json!(["missing", ["body"]])], "{path}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn what_nobody_knows_is_ignored_and_a_type_need_not_be_declared() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let body = r#"{"message": "first", "unknown": {"deep": [1, 2.50, null]}, "message": "hi"}"#;
    let answer = app.call(Call::new("POST", at(&id, "send?unknown=1&unknown=2"), body)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    for kind in ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"] {
        let call = Call::new("POST", at(&id, "send"), r#"{"message":"hi"}"#).header("Content-Type", kind);
        assert_eq!(app.call(call).await.status(), 200);
    }
    assert_eq!(app.words(&id).await, ["hi"; 4]);
    app.stop().await;
}

#[tokio::test]
async fn any_text_comes_back_byte_for_byte() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let texts = [
        "\u{0}",
        "a\u{0}b",
        "🙂👩‍👩‍👧‍👦",
        "שלום مرحبا",
        "\u{202e}abc\u{202c}",
        "e\u{301} é",
        "\u{feff}x",
        "\u{fffd}\u{ffff}",
        "\r\n\r\n",
        "data: x\n\nevent: y\n\n",
        "\\u0000 \" \\",
        "\u{7f}\u{80}\u{2028}\u{2029}",
        " \t ",
        "",
    ];
    for text in texts {
        let done = app.say(&id, text).await;
        assert_eq!(done["turn"]["user_message"]["content"], text);
        let answer = done["turn"]["assistant_response"]["content"].as_str().unwrap();
        assert!(answer.starts_with(&format!("Echo: {text}\n")), "{answer:?}");
    }
    assert_eq!(app.words(&id).await, texts);
    // As another client would write it.
    let escaped = r#"{"message":"\u0000\ud83d\ude42\/\u05e9"}"#;
    app.call(Call::new("POST", at(&id, "send"), escaped)).await;
    assert_eq!(app.words(&id).await.last().unwrap(), "\u{0}🙂/ש");
    app.stop().await;
}

#[tokio::test]
async fn deep_nesting_is_refused_and_not_followed() {
    let app = TestApp::start().await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for body in [format!("{{\"message\":\"hi\",\"unknown\":{nested}}}"), nested] {
            let wrong = app.call(Call::new("POST", at("nil", "send"), body)).await.wrong_fields();
            assert_eq!((wrong.len(), &wrong[0]["type"]), (1, &json!("json_invalid")));
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn the_longest_message_is_taken_and_one_byte_more_is_not() {
    let app = TestApp::start().await;
    let id = app.new_session().await;
    let longest = "x".repeat(4 * 1024 * 1024);
    let body = json!({"message": longest});
    let done = app.open(Call::post(at(&id, "send?stream=delta"), &body)).await.last().await;
    assert_eq!(done["turn"]["user_message"]["content"].as_str().unwrap().len(), longest.len());
    let detail = "the user message has 4194305 bytes; at most 4194304 are allowed, make it shorter";
    app.call(send(&id, &format!("{longest}x"))).await.refused(413, "too_large", detail);
    assert_eq!(app.session(&format!("{id}?turns=none")).await["turn_count"], 1);
    app.stop().await;
}

#[tokio::test]
async fn names_over_their_limit_are_refused_by_name() {
    let app = TestApp::start().await;
    let id = app.session_of(1).await;
    let long = "x".repeat(64 * 1024 + 1);
    for (path, body, what) in [
        ("session", json!({"branch_name": long}), "branch name"),
        ("session", json!({"project_id": long}), "project id"),
        ("{id}/fork", json!({"branch_name": long}), "branch name"),
        ("{id}/checkpoint", json!({"name": long}), "checkpoint name"),
        ("{id}/feedback", json!({"turn_number": 0, "signal": "positive", "comment": long}), "comment"),
        ("{id}/crystal", json!({"title": long, "summary": ""}), "title"),
    ] {
        let detail = format!("the {what} has 65537 bytes; at most 65536 are allowed, make it shorter");
        app.post(path_of(path, &id), body).await.refused(413, "too_large", &detail);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let app = TestApp::with(|setup| setup.http.max_body_bytes = 100).await;
    let id = app.new_session().await;
    let fits = format!("{{\"message\":\"{}\"}}", "x".repeat(86));
    assert_eq!(fits.len(), 100);
    assert_eq!(app.call(Call::new("POST", at(&id, "send"), fits.clone())).await.status(), 200);
    let detail = "the body has 101 bytes; at most 100 are allowed, make it shorter";
    for path in ["session", "sessions", "{id}/send", "{id}/fork", "{id}/cancel", "{id}/checkpoint"] {
        let call = Call::new("POST", path_of(path, &id), format!("{fits} "));
        app.call(call).await.refused(413, "too_large", detail);
    }
    let mut connection = Connection::open(app.addr).await;
    let head =
        format!("POST {} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n", at(&id, "send"));
    connection.write(head.as_bytes()).await;
    for _ in 0..3 {
        connection.write(format!("32\r\n{}\r\n", "x".repeat(50)).as_bytes()).await;
    }
    connection.write(b"0\r\n\r\n").await;
    let answer = connection.answer("POST").await.expect("an answer");
    answer.refused(413, "too_large", "the body has 150 bytes; at most 100 are allowed, make it shorter");
    // All of it was read: the connection is good for the next call.
    assert_eq!(connection.call(&send(&id, "hi")).await.status(), 200);
    drop(connection);
    assert_eq!(app.session(&id).await["turn_count"], 2);
    app.stop().await;
}
