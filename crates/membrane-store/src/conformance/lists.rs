//! Lists of sessions: order, filters, pages.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;

use membrane_core::ids::SessionId;
use membrane_core::page::{Cursor, PageRequest, SessionFilter, SessionPage};
use membrane_core::session::{NewSession, SessionPatch};
use membrane_core::time::Timestamp;

use super::fixture::Fixture;
use crate::change::Origin;
use crate::{Store, Write};

fn ids(page: &SessionPage) -> Vec<String> {
    page.sessions.iter().map(|session| session.id.to_string()).collect()
}

async fn list(f: &Fixture, filter: &SessionFilter, page: &PageRequest) -> SessionPage {
    f.store.list_sessions(filter, page).await.unwrap()
}

/// Creates a session that was last active at `micros`.
async fn create(f: &Fixture, id: &str, micros: i64, project: Option<&str>, branch: &str) {
    let session = NewSession {
        project_id: project.map(str::to_owned),
        branch_name: branch.to_owned(),
        ..NewSession::root(SessionId::from_stored(id))
    };
    let origin = Origin::Empty { legacy: Vec::new() };
    let created_at = Some(Timestamp::from_micros(micros));
    f.write(Write::CreateSession { session, origin, created_at }).await;
}

pub async fn the_newest_comes_first_and_ties_go_by_id_byte_by_byte(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for id in ["b", "B", "a", "ä", "a\0", "a b", "Z", "é", "e\u{301}", "10", "9"] {
        create(&f, id, 5, None, "main").await;
    }
    create(&f, "older", 4, None, "main").await;
    create(&f, "before 1970", -4, None, "main").await;
    create(&f, "newer", 6, None, "main").await;
    let page = list(&f, &SessionFilter::default(), &PageRequest::first(100)).await;
    let mut ties = vec!["b", "B", "a", "ä", "a\0", "a b", "Z", "é", "e\u{301}", "10", "9"];
    ties.sort_unstable_by(|a, b| b.as_bytes().cmp(a.as_bytes()));
    let expected: Vec<&str> = ["newer"].into_iter().chain(ties).chain(["older", "before 1970"]).collect();
    assert_eq!(ids(&page), expected);
    assert_eq!((page.total, page.next), (14, None));
    for session in page.sessions {
        assert_eq!(session, f.get(&session.id).await, "a list shows whole sessions");
    }
}

pub async fn filters_hold_for_the_page_the_total_and_the_count(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let projects = [None, Some("p"), Some("P"), Some("")];
    let branches = ["main", "side", "Main", ""];
    for number in 0..64_usize {
        let (project, branch) = (projects[number % 4], branches[number / 4 % 4]);
        let micros = i64::try_from(number * 37 % 64).unwrap();
        create(&f, &format!("s{number}"), micros, project, branch).await;
    }
    let project_filters = [None, Some("p"), Some("P"), Some(""), Some("none")];
    let branch_filters = [None, Some("main"), Some("side"), Some(""), Some("none")];
    for project_id in project_filters {
        for branch_name in branch_filters {
            let filter = SessionFilter {
                project_id: project_id.map(str::to_owned),
                branch_name: branch_name.map(str::to_owned),
            };
            let share = |given: Option<&str>| match given {
                None => 1,
                Some("none") => 0,
                Some(_) => 4,
            };
            let expected = 64_u64.checked_div(share(project_id) * share(branch_name)).unwrap_or(0);
            let page = list(&f, &filter, &PageRequest::first(3)).await;
            assert_eq!(page.total, expected, "{filter:?}");
            assert_eq!(f.store.count_sessions(&filter).await.unwrap(), expected, "{filter:?}");
            let all = list(&f, &filter, &PageRequest::first(100)).await;
            assert_eq!(u64::try_from(all.sessions.len()), Ok(expected));
            assert!(all.sessions.iter().all(|session| {
                project_id.is_none_or(|project| session.project_id.as_deref() == Some(project))
                    && branch_name.is_none_or(|branch| session.branch_name == branch)
            }));
            assert!(all.sessions.is_sorted_by(|a, b| a.last_active >= b.last_active));
            assert_eq!(page.sessions, all.sessions[..all.sessions.len().min(3)]);
        }
    }
}

pub async fn a_filter_follows_what_a_session_is_called_now(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    create(&f, "a", 1, Some("old"), "main").await;
    create(&f, "b", 2, Some("old"), "main").await;
    let in_project = |project: &str| SessionFilter { project_id: Some(project.into()), branch_name: None };
    let patch = SessionPatch {
        project_id: Some(Some("new".into())),
        branch_name: Some("side".into()),
        ..SessionPatch::default()
    };
    f.write(Write::PatchSession { session: SessionId::from_stored("a"), patch }).await;
    let first = PageRequest::first(10);
    assert_eq!(ids(&list(&f, &in_project("old"), &first).await), ["b"]);
    assert_eq!(ids(&list(&f, &in_project("new"), &first).await), ["a"]);
    let side = SessionFilter { project_id: None, branch_name: Some("side".into()) };
    assert_eq!(ids(&list(&f, &side, &first).await), ["a"]);
    f.delete(&SessionId::from_stored("a")).await;
    assert_eq!(f.store.count_sessions(&side).await.unwrap(), 0);
    assert_eq!(f.store.count_sessions(&SessionFilter::default()).await.unwrap(), 1);
}

pub async fn pages_by_cursor_and_by_offset_show_each_session_once(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for number in 0..23 {
        // Many ties, so that the cursor's second half counts.
        create(
            &f,
            &format!("s{number:02}"),
            number / 5,
            Some(["p", "q"][usize::try_from(number % 2).unwrap()]),
            "main",
        )
        .await;
    }
    for filter in
        [SessionFilter::default(), SessionFilter { project_id: Some("p".into()), branch_name: None }]
    {
        let all = ids(&list(&f, &filter, &PageRequest::first(100)).await);
        for limit in [1, 2, 3, 5, 22, 23, 24] {
            let (mut by_cursor, mut by_offset) = (Vec::new(), Vec::new());
            let mut request = PageRequest::first(limit);
            loop {
                let page = list(&f, &filter, &request).await;
                assert_eq!(u64::try_from(all.len()), Ok(page.total));
                by_cursor.extend(ids(&page));
                request.after = page.next;
                if request.after.is_none() {
                    break;
                }
                assert_eq!(page.sessions.len(), usize::try_from(limit).unwrap(), "only the last is shorter");
            }
            while by_offset.len() < all.len() {
                let offset = u64::try_from(by_offset.len()).unwrap();
                let page = list(&f, &filter, &PageRequest { offset, ..PageRequest::first(limit) }).await;
                assert!(!page.sessions.is_empty());
                by_offset.extend(ids(&page));
            }
            assert_eq!((&by_cursor, &by_offset), (&all, &all), "pages of {limit}");
        }
    }
}

pub async fn odd_pages_are_empty_not_wrong(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for number in 0..3 {
        create(&f, &format!("s{number}"), number, None, "main").await;
    }
    let filter = SessionFilter::default();
    let none = list(&f, &filter, &PageRequest::first(0)).await;
    assert_eq!((none.sessions.len(), none.total, none.next), (0, 3, None));
    for offset in [3, 4, u64::MAX] {
        let beyond = list(&f, &filter, &PageRequest { offset, ..PageRequest::first(2) }).await;
        assert_eq!((beyond.sessions.len(), beyond.total, beyond.next), (0, 3, None));
    }
    let all = list(&f, &filter, &PageRequest::first(u32::MAX)).await;
    assert_eq!((ids(&all), all.next), (vec!["s2".into(), "s1".into(), "s0".into()], None));
    let last = Cursor { last_active: Timestamp::from_micros(0), id: SessionId::from_stored("s0") };
    let after = list(&f, &filter, &PageRequest { after: Some(last), ..PageRequest::first(2) }).await;
    assert_eq!((after.sessions.len(), after.total, after.next), (0, 3, None));
}

pub async fn a_cursor_wins_over_an_offset_and_outlives_its_session(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    for number in 0..6 {
        create(&f, &format!("s{number}"), number, None, "main").await;
    }
    let filter = SessionFilter::default();
    let first = list(&f, &filter, &PageRequest::first(2)).await;
    let next = PageRequest { after: first.next, offset: 3, limit: 2 };
    assert_eq!(ids(&list(&f, &filter, &next).await), ["s3", "s2"]);
    f.delete(&SessionId::from_stored("s4")).await;
    assert_eq!(ids(&list(&f, &filter, &next).await), ["s3", "s2"], "a place stays a place");
    create(&f, "newest", 100, None, "main").await;
    assert_eq!(ids(&list(&f, &filter, &next).await), ["s3", "s2"], "what is added before it moves nothing");
}

pub async fn a_session_that_goes_on_comes_first(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let (a, b) = (f.session(1).await, f.session(1).await);
    let filter = SessionFilter::default();
    assert_eq!(ids(&list(&f, &filter, &PageRequest::first(1)).await), [b.as_str()]);
    f.say(&a, "on").await;
    let page = list(&f, &filter, &PageRequest::first(9)).await;
    assert_eq!(ids(&page), [a.as_str(), b.as_str()]);
}
