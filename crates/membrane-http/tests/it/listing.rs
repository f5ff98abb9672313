//! Lists of sessions: their envelope, filters, pages and bounds.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::shape::{assert_same, new_session, normal, time, without};

/// A new session with these names.
async fn named(app: &TestApp, project_id: &str, branch_name: &str) -> String {
    let names = json!({"project_id": project_id, "branch_name": branch_name});
    let created = app.post("/api/chat/session?turns=none", names).await.json(201);
    created["id"].as_str().unwrap().to_owned()
}

async fn list(app: &TestApp, query: &str) -> Value {
    app.get(format!("/api/chat/sessions?{query}")).await.json(200)
}

fn ids(page: &Value) -> Vec<String> {
    let sessions = page["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_empty_list_and_a_list_of_one_are_shown_whole() {
    let app = TestApp::start().await;
    let envelope = |sessions: Vec<Value>, total: u32| json!({"sessions": sessions, "total": total, "limit": 50, "offset": 0, "next_cursor": null});
    assert_eq!(app.get("/api/chat/sessions").await.json(200), envelope(vec![], 0));
    let id = app.new_session().await;
    let item = without(new_session(&id), &["turns", "turns_truncated"]);
    assert_same(&normal(list(&app, "").await), &envelope(vec![item], 1));
    app.stop().await;
}

#[tokio::test]
async fn the_most_recently_active_come_first() {
    let app = TestApp::start().await;
    let mut all = Vec::new();
    for _ in 0..4 {
        all.push(app.new_session().await);
    }
    app.say(&all[1], "hi").await;
    let page = list(&app, "").await;
    assert_eq!(ids(&page), [&all[1], &all[3], &all[2], &all[0]].map(Clone::clone));
    let times: Vec<_> =
        page["sessions"].as_array().unwrap().iter().map(|session| time(&session["last_active"])).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "{times:?}");
    app.stop().await;
}

#[tokio::test]
async fn filters_hold_together_and_the_total_honours_them() {
    let app = TestApp::start().await;
    for (project_id, branch_name) in [("p", "main"), ("p", "x"), ("p", "x"), ("q", "x"), ("p q&", "ü")] {
        named(&app, project_id, branch_name).await;
    }
    app.new_session().await;
    for (query, total) in [
        ("", 6),
        ("project_id=p", 3),
        ("branch_name=x", 3),
        ("project_id=p&branch_name=x", 2),
        ("project_id=p+q%26&branch_name=%C3%BC", 1),
        ("project_id=none", 0),
        // Nothing given is no filter.
        ("project_id=", 6),
        ("project_id=&branch_name=x", 3),
        ("branch_name=", 6),
        ("unknown=1", 6),
    ] {
        for limit in ["", "&limit=2"] {
            let page = list(&app, &format!("{query}{limit}")).await;
            assert_eq!(page["total"], total, "{query}");
            let expected = if limit.is_empty() { total } else { total.min(2) };
            assert_eq!(ids(&page).len(), expected, "{query}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn cursors_neither_skip_nor_repeat_while_sessions_are_added() {
    let app = TestApp::start().await;
    let mut before = BTreeSet::new();
    for number in 0..23 {
        before.insert(named(&app, if number % 2 == 0 { "even" } else { "odd" }, "main").await);
    }
    for (filter, n_expected) in [("", 23), ("&project_id=even", 12)] {
        let mut seen = Vec::new();
        let mut query = format!("limit=5{filter}");
        loop {
            let page = list(&app, &query).await;
            seen.extend(ids(&page));
            named(&app, "even", "new").await;
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            assert_eq!(ids(&page).len(), 5);
            query = format!("limit=5{filter}&cursor={cursor}");
        }
        let unique: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(unique.len(), seen.len(), "a session came twice");
        let old: Vec<_> = seen.iter().filter(|id| before.contains(*id)).collect();
        assert_eq!(old.len(), n_expected);
    }
    app.stop().await;
}

#[tokio::test]
async fn offsets_page_as_well_and_a_cursor_wins_over_them() {
    let app = TestApp::start().await;
    for _ in 0..5 {
        app.new_session().await;
    }
    let all = ids(&list(&app, "").await);
    for offset in 0..7 {
        let page = list(&app, &format!("limit=2&offset={offset}")).await;
        let expected = all.iter().skip(offset).take(2).cloned().collect::<Vec<_>>();
        assert_eq!(ids(&page), expected);
        assert_eq!((&page["total"], &page["limit"], &page["offset"]), (&json!(5), &json!(2), &json!(offset)));
        assert_eq!(page["next_cursor"].is_string(), offset + 2 < 5, "{page}");
    }
    let first = list(&app, "limit=2").await;
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = list(&app, &format!("limit=2&offset=4&cursor={cursor}")).await;
    assert_eq!(ids(&second), all[2..4]);
    assert_eq!(ids(&list(&app, "limit=100&offset=9223372036854775807").await), Vec::<String>::new());
    app.stop().await;
}

#[tokio::test]
async fn what_is_out_of_bounds_is_told_as_by_pydantic() {
    let app = TestApp::start().await;
    let problem = |kind: &str, field: &str, input: &str, msg: &str, ctx: Value| {
        let mut problem = json!({"type": kind, "loc": ["query", field], "msg": msg, "input": input});
        if !ctx.is_null() {
            problem["ctx"] = ctx;
        }
        problem
    };
    let least = "Input should be greater than or equal to";
    let text = "Input should be a valid integer, unable to parse string as an integer";
    for (query, expected) in [
        ("limit=0", problem("greater_than_equal", "limit", "0", &format!("{least} 1"), json!({"ge": 1}))),
        ("limit=-1", problem("greater_than_equal", "limit", "-1", &format!("{least} 1"), json!({"ge": 1}))),
        (
            "limit=101",
            problem(
                "less_than_equal",
                "limit",
                "101",
                "Input should be less than or equal to 100",
                json!({"le": 100}),
            ),
        ),
        ("offset=-1", problem("greater_than_equal", "offset", "-1", &format!("{least} 0"), json!({"ge": 0}))),
        ("limit=ten", problem("int_parsing", "limit", "ten", text, json!(null))),
        ("limit=", problem("int_parsing", "limit", "", text, json!(null))),
    ] {
        let wrong = app.get(format!("/api/chat/sessions?{query}")).await.wrong_fields();
        assert_eq!(Value::from(wrong), json!([expected]), "{query}");
    }
    let both = app.get("/api/chat/sessions?limit=0&offset=x").await.wrong_fields();
    assert_eq!(both.len(), 2);
    for limit in ["1", "100", "5.0", "%205"] {
        list(&app, &format!("limit={limit}")).await;
    }
    let odd = app.get("/api/chat/sessions?cursor=odd").await;
    let detail = "\"odd\" is not a cursor; use one of: the next_cursor of an earlier page";
    odd.refused(400, "invalid_argument", detail);
    app.stop().await;
}
