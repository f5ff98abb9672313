//! The OpenAPI document is true: each operation is called, rightly and wrongly, and what comes back has a status, a
//! content type and a form that the document knows.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use membrane_http::telemetry::Telemetry;
use membrane_http::{App, HttpSettings, document, router};
use serde_json::{Value, json};

use crate::app::{TestApp, at};
use crate::client::{Answer, Call};
use crate::schema::Document;

fn the_document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| serde_json::to_value(document()).unwrap())
}

/// One method of one path.
#[derive(Debug, Clone, Copy)]
struct Operation {
    method: &'static str,
    path: &'static str,
    says: &'static Value,
}

fn operations() -> Vec<Operation> {
    let paths = the_document()["paths"].as_object().unwrap();
    let methods = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().iter().map(move |(method, says)| Operation { method, path, says })
    });
    methods.collect()
}

impl Operation {
    fn parameters(self, place: &str) -> Vec<&'static Value> {
        let all = self.says["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        all.iter().filter(|parameter| parameter["in"] == place).collect()
    }

    fn call(self, place: &Place, body: Option<&Value>) -> Call {
        let id = if self.is_of_tools() { &place.waiting } else { &place.id };
        let path = self.path.replace("{id}", id).replace("{checkpoint_id}", &place.checkpoint);
        let path = path.replace("{n}", "1").replace("{call_id}", "call_1");
        let query =
            if self.path.ends_with("/diff") { format!("?other={}", place.other) } else { String::new() };
        let path = format!("{path}{query}");
        let method = self.method.to_ascii_uppercase();
        match body {
            Some(body) => Call { method, ..Call::post(path, body) },
            None => Call::new(&method, path, ""),
        }
    }

    /// Whether its answer ends by itself; one that does not is tried in `feed`.
    fn ends(&self) -> bool {
        self.path != "/api/chat/events"
    }

    /// Whether it is about a call of a tool, which is answered once.
    fn is_of_tools(&self) -> bool {
        self.path.contains("{call_id}")
    }

    /// The schema of its body, if it takes one.
    fn body(self) -> Option<&'static Value> {
        let schema = self.says.pointer("/requestBody/content/application~1json/schema")?;
        let alternatives = schema.get("oneOf").and_then(Value::as_array);
        Some(Document(the_document()).resolve(alternatives.map_or(schema, |all| &all[0])))
    }

    /// The answer must be one that the document knows.
    #[track_caller]
    fn check(self, answer: &Answer, why: &str) {
        let what = format!("{} {} {why}: {}", self.method, self.path, answer.status());
        let documented = self.says["responses"].get(answer.status().to_string());
        let documented = documented.unwrap_or_else(|| panic!("{what} is not documented: {}", answer.text()));
        let Some(content) = documented.get("content").and_then(Value::as_object) else {
            answer.empty(answer.status());
            return;
        };
        let kind = answer.header("content-type").unwrap_or_else(|| panic!("{what} has no content type"));
        let kind = kind.split(';').next().unwrap();
        let schema = &content.get(kind).unwrap_or_else(|| panic!("{what} has {kind}"))["schema"];
        let value = match kind {
            "application/json" => serde_json::from_slice(&answer.body).unwrap(),
            _ => Value::from(answer.text()),
        };
        let problems = Document(the_document()).check(schema, &value);
        assert!(problems.is_empty(), "{what}: {problems:#?}");
    }
}

/// Where an operation is tried.
#[derive(Clone)]
struct Place {
    id: String,
    other: String,
    checkpoint: String,
    /// A session that waits for what came of a call.
    waiting: String,
}

impl Place {
    async fn new(app: &TestApp) -> Self {
        let id = app.new_session().await;
        app.say(&id, "hi").await;
        app.extend(&id, 3).await;
        let left = app.post(at(&id, "checkpoint"), json!({"name": "n"})).await.json(201);
        app.post(at(&id, "feedback"), json!({"turn_number": 1, "signal": "negative"})).await.json(200);
        app.post(at(&id, "crystal"), json!({"title": "t", "summary": "s"})).await.json(201);
        let checkpoint = left["id"].as_str().unwrap().to_owned();
        Self { id, other: app.session_of(2).await, checkpoint, waiting: waiting(app).await }
    }

    /// A good body with all there may be in it.
    fn good_body(&self, path: &str) -> Value {
        let pick = json!({"session_id": self.id, "turn_number": 1});
        match path.rsplit('/').next().unwrap() {
            "session" | "sessions" => {
                json!({"project_id": "p", "branch_name": "b", "title": "t", "tags": ["a"], "metadata": {"a": 1}})
            }
            "{id}" => json!({"project_id": "p", "title": "t", "tags": ["a"], "metadata": {"a": 1},
                "pinned": true, "archived": false}),
            "edit" => json!({"message": "else", "branch_name": "b"}),
            "regenerate" => json!({"branch_name": "b"}),
            "{call_id}" => json!({"output": {"a": 1.50}, "success": false, "error": "e", "duration_ms": 1.5,
                "by": "ada"}),
            "approve" | "deny" => json!({"reason": "r", "by": "ada"}),
            "send" => json!({"message": "hi"}),
            "fork" => json!({"branch_name": "b", "fork_point": 2}),
            "rewind" => json!({"turns": 1}),
            "merge" => json!({"other_id": self.other, "strategy": "interleave", "turns": [pick]}),
            "checkpoint" => json!({"name": "n"}),
            "restore" => json!({"checkpoint_id": self.checkpoint}),
            "feedback" => json!({"turn_number": 0, "signal": "correction", "comment": "c"}),
            "crystal" => json!({"title": "t", "summary": "s", "key_decisions": ["a"], "artifacts": ["b"]}),
            _ => panic!("no body is known for {path}"),
        }
    }
}

/// A session that waits for what came of `call_1`.
async fn waiting(app: &TestApp) -> String {
    let id = app.new_session().await;
    let speaker = app.next_answer();
    let mut events = app.ask(&id, "do it").await;
    speaker.call("call_1", "look", "{}");
    drop(speaker);
    events.last().await;
    id
}

async fn good_calls_succeed_as_documented(in_memory: bool) {
    let app = TestApp::with(|setup| setup.in_memory = in_memory).await;
    let ends = |operation: &Operation| operation.ends() && !operation.path.ends_with("/cancel");
    for operation in operations().into_iter().filter(ends) {
        let place = Place::new(&app).await;
        let mut bodies = vec![None];
        if let Some(schema) = operation.body() {
            let whole = place.good_body(operation.path);
            let required = schema["required"].as_array().cloned().unwrap_or_default();
            let mut least = whole.clone();
            least.as_object_mut().unwrap().retain(|name, _| required.contains(&json!(name)));
            for body in [&whole, &least] {
                assert_eq!(Document(the_document()).check(schema, body), Vec::<String>::new());
            }
            bodies = vec![Some(whole), Some(least)];
            if operation.says.pointer("/requestBody/required") != Some(&json!(true)) {
                bodies.extend([None, Some(json!(null))]);
            }
        }
        for body in bodies {
            let waiting = waiting(&app).await;
            let place = Place { waiting, ..place.clone() };
            let answer = app.call(operation.call(&place, body.as_ref())).await;
            operation.check(&answer, "with a good body");
            assert!(answer.status() < 300, "{operation:?}: {}", answer.text());
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn good_calls_succeed_as_documented_on_sqlite() {
    good_calls_succeed_as_documented(false).await;
}

#[tokio::test]
async fn good_calls_succeed_as_documented_in_memory() {
    good_calls_succeed_as_documented(true).await;
}

#[tokio::test]
async fn a_turn_under_way_changes_no_form() {
    let app = TestApp::start().await;
    let place = Place::new(&app).await;
    for operation in
        operations().into_iter().filter(|operation| operation.ends() && operation.method != "delete")
    {
        let is_stream = operation.path.ends_with("/stream");
        let is_cancel = operation.path.ends_with("/cancel");
        let speaker = app.next_answer();
        let mut events = app.ask(&place.id, "wait").await;
        speaker.say("half");
        events.plain().await;
        // A stream comes to its end with the turn.
        let speaker = (!is_stream).then_some(speaker);
        let body = operation.body().map(|_| place.good_body(operation.path));
        let answer = app.call(operation.call(&place, body.as_ref())).await;
        operation.check(&answer, "while a turn is under way");
        assert!(!is_cancel || answer.status() == 202);
        drop(speaker);
        events.last().await;
    }
    app.stop().await;
}

/// Values of every kind, one of which is wrong wherever it stands.
fn odd_values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(-1),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("🙂\u{0}"),
        json!([]),
        json!([null]),
        json!(["x"]),
        json!([{}]),
        json!({}),
    ]
}

#[tokio::test]
async fn bad_bodies_are_refused_as_documented_and_what_the_document_allows_is_not_of_the_wrong_form() {
    let app = TestApp::start().await;
    let place = Place::new(&app).await;
    for operation in operations() {
        let Some(schema) = operation.body() else { continue };
        let good = place.good_body(operation.path);
        let names: Vec<_> = schema["properties"].as_object().unwrap().keys().collect();
        for name in names {
            for value in odd_values() {
                let mut body = good.clone();
                body[name] = value.clone();
                let problems = Document(the_document()).check(schema, &body);
                let answer = app.call(operation.call(&place, Some(&body))).await;
                let why = format!("with {name} = {value}");
                operation.check(&answer, &why);
                let is_wrong = answer.status() == 422;
                assert!(!(is_wrong && problems.is_empty()), "{} {why}: {}", operation.path, answer.text());
            }
            let mut body = good.clone();
            body.as_object_mut().unwrap().shift_remove(name);
            let is_required = schema["required"].as_array().is_some_and(|all| all.contains(&json!(name)));
            let answer = app.call(operation.call(&place, Some(&body))).await;
            operation.check(&answer, "with a field missing");
            assert_eq!(answer.status() == 422, is_required, "{} without {name}", operation.path);
        }
        let text = |body: &[u8]| Call { body: body.to_vec(), ..operation.call(&place, Some(&good)) };
        for (call, status) in [
            (text(b"{"), 422),
            (text(b"[]"), 422),
            (text(b"\xff"), 400),
            (Call { headers: Vec::new(), ..text(b"{}") }.header("Content-Type", "text/plain"), 422),
        ] {
            let answer = app.call(call).await;
            operation.check(&answer, "with a body that is none");
            assert_eq!(answer.status(), status);
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn bad_parameters_are_refused_as_documented() {
    let app = TestApp::start().await;
    let odd = ["", "0", "1", "-1", "x", "99999999999999999999", "%FF", "%00", "1.5", "none", "delta", "501"];
    for operation in operations().into_iter().filter(Operation::ends) {
        let place = Place::new(&app).await;
        let body = operation.body().map(|_| place.good_body(operation.path));
        let good = operation.call(&place, body.as_ref());
        for parameter in operation.parameters("query") {
            let name = parameter["name"].as_str().unwrap();
            let path = good.path.split('?').next().unwrap();
            for value in odd {
                let answer = app.call(Call { path: format!("{path}?{name}={value}"), ..good.clone() }).await;
                operation.check(&answer, &format!("with {name}={value}"));
            }
            let answer = app.call(Call { path: path.to_owned(), ..good.clone() }).await;
            operation.check(&answer, "without a query");
            assert_eq!(answer.status() == 422, parameter["required"] == true, "{}", operation.path);
        }
        for parameter in operation.parameters("header") {
            let name = parameter["name"].as_str().unwrap();
            for value in ["", "x", "0", "18446744073709551615", &"x".repeat(256)] {
                let answer = app.call(good.clone().header(name, value)).await;
                operation.check(&answer, &format!("with {name}: {value}"));
            }
        }
        for parameter in operation.parameters("path") {
            let name = format!("{{{}}}", parameter["name"].as_str().unwrap());
            for value in ["nil", "%FF", "%00", ".."] {
                let path = operation.path.replace(&name, value).replace("{id}", &place.id);
                let path = path.replace("{checkpoint_id}", &place.checkpoint).replace("{n}", "1");
                let path = path.replace("{call_id}", "call_1");
                let query =
                    good.path.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default();
                let answer = app.call(Call { path: path + &query, ..good.clone() }).await;
                operation.check(&answer, &format!("with {name} = {value}"));
                // A number that is none is refused as pydantic does; a call of a session that waits for none is, too.
                let expected = match name.as_str() {
                    "{n}" => 422,
                    "{call_id}" => 409,
                    _ => 404,
                };
                let is_text = value != "%FF" || name != "{call_id}";
                let expected = if is_text { expected } else { 404 };
                assert_eq!(answer.status(), expected, "{} with {value}", operation.path);
            }
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn every_route_is_documented_and_everything_documented_is_a_route() {
    let app = TestApp::start().await;
    // The router shows its paths only to who debugs it.
    let inside = App::new(app.chat.clone(), HttpSettings::default(), Telemetry::default());
    let shown = format!("{:?}", router(inside));
    let paths: BTreeSet<_> =
        shown.split('"').filter(|text| text.starts_with('/') && !text.contains(' ')).collect();
    assert!(paths.contains("/api/chat/session/{id}"), "{paths:?}");
    let documented: BTreeSet<_> = operations().iter().map(|operation| operation.path).collect();
    let page = ["/docs", "/docs/", "/docs/{*rest}", "/openapi.json"];
    let undocumented: Vec<_> = paths
        .difference(&documented)
        .filter(|path| !page.contains(path) && !path.contains("fallback") && **path != "/")
        .collect();
    assert_eq!(undocumented, Vec::<&&str>::new());

    // Sessions that are called like fixed paths can be deleted like all others.
    let others =
        [("DELETE", "/api/chat/session"), ("DELETE", "/api/chat/sessions"), ("DELETE", "/api/chat/events")];
    for path in &documented {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let is_documented = operations()
                .iter()
                .any(|operation| operation.path == *path && operation.method.eq_ignore_ascii_case(method));
            if (method, *path) == ("GET", "/api/chat/events") {
                continue;
            }
            let call = Call::new(method, path.replace(['{', '}'], ""), "");
            let is_route = app.call(call).await.status() != 405;
            let expected = is_documented || others.contains(&(method, path));
            assert_eq!(is_route, expected, "{method} {path}");
        }
    }
    app.stop().await;
}

#[test]
fn each_call_of_the_guide_is_documented_by_both_of_its_names() {
    let known: BTreeSet<_> =
        operations().iter().map(|operation| format!("{} {}", operation.method, operation.path)).collect();
    let chat = [
        "post session",
        "get session/{id}",
        "post sessions",
        "get sessions/{id}",
        "get sessions",
        "get sessions/{id}/branches",
        "get events",
        "delete {id}",
        "post {id}/send",
        "get {id}/stream",
        "post {id}/cancel",
        "post {id}/fork",
        "post {id}/rewind",
        "post {id}/merge",
        "get {id}/diff",
        "get {id}/turns",
        "get {id}/evidence",
        "post {id}/feedback",
        "post {id}/crystal",
        "get {id}/crystal",
        "post {id}/checkpoint",
        "get {id}/checkpoints",
        "delete {id}/checkpoints/{checkpoint_id}",
        "post {id}/restore",
        "patch {id}",
        "post {id}/turns/{n}/edit",
        "post {id}/turns/{n}/regenerate",
        "get {id}/turns/{n}/alternatives",
        "post {id}/tools/{call_id}",
        "post {id}/tools/{call_id}/approve",
        "post {id}/tools/{call_id}/deny",
    ];
    let chat = chat.map(|call| call.replacen(' ', " /api/chat/", 1));
    let missing: Vec<_> = chat.iter().filter(|call| !known.contains(*call)).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let ids: BTreeSet<_> =
        operations().iter().map(|operation| operation.says["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), operations().len(), "each operation has a name of its own");
    // Nothing is referred to that is not there.
    let text = the_document().to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = json!({"$ref": reference.split('"').next().unwrap()});
        let found = Document(the_document());
        assert!(found.0.pointer(&reference["$ref"].as_str().unwrap()[1..]).is_some(), "{reference}");
    }
}
