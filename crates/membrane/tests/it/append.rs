//! Appending.

use std::collections::HashSet;

use membrane::{
    ChatError, DomainError, Item, Json, Limits, Linearity, NewTurn, SessionId, ToolUse, TurnStatus,
    WriteOptions,
};

use crate::keep::{Keep, on_every_store, refused};

on_every_store!(
    the_answer_says_where_the_turns_went,
    all_of_a_turn_comes_back,
    appending_nothing_writes_nothing,
    another_version_than_expected_is_a_conflict_and_appends_nothing,
    of_many_turns_one_too_large_appends_none,
    a_message_of_4_mib_is_accepted_and_one_byte_more_refused,
    a_busy_session_takes_no_turns,
    appends_from_everywhere_at_once_are_all_there_in_order,
);

async fn the_answer_says_where_the_turns_went(keep: &Keep) {
    let session = keep.session_of(2).await;
    let one = keep.chat.append(&session.id, NewTurn::new("a", "b"), WriteOptions::default()).await.unwrap();
    assert_eq!((one.turn_number, one.turn_count, one.version), (2, 3, session.version + 1));
    let turns = vec![NewTurn::new("c", "d"), NewTurn::new("e", "f")];
    let two = keep.chat.append_many(&session.id, turns, WriteOptions::default()).await.unwrap();
    assert_eq!((two.turn_number, two.turn_count, two.version), (3, 5, session.version + 2));
    assert!(!two.replayed);
    let kept = keep.kept(&session.id).await;
    let ids: Vec<_> = kept[2..].iter().map(|kept| kept.turn.id.clone()).collect();
    assert_eq!(ids, [one.turn_ids, two.turn_ids].concat());
}

async fn all_of_a_turn_comes_back(keep: &Keep) {
    let json = |text| Json::parse("test", text).unwrap();
    let tool = Item::Tool(ToolUse {
        output: json("1e400"),
        success: false,
        duration_ms: 12.5,
        ..ToolUse::new("c", "read", json(r#"{"path": "a"}"#))
    });
    let turn = NewTurn {
        model: Some("m".into()),
        usage: Some(json(r#"{"in":1}"#)),
        finish_reason: Some("stop".into()),
        ..NewTurn::new("\0 العربية 🙂", "a\u{301}\r\n")
    }
    .status(TurnStatus::Interrupted)
    .items(vec![Item::Reasoning("hm".into()), tool])
    .linearity(Linearity::Required, Linearity::Droppable);
    let id = keep.session_of(0).await.id;
    keep.chat.append(&id, turn.clone(), WriteOptions::default()).await.unwrap();
    let kept = keep.kept(&id).await.remove(0).turn;
    assert_eq!((kept.user, kept.assistant), (turn.user, turn.assistant));
    assert_eq!((kept.status, kept.items), (turn.status, turn.items));
    assert_eq!((kept.model, kept.usage, kept.finish_reason), (turn.model, turn.usage, turn.finish_reason));
}

async fn appending_nothing_writes_nothing(keep: &Keep) {
    let session = keep.session_of(2).await;
    let appended = keep.chat.append_many(&session.id, Vec::new(), WriteOptions::at_version(2)).await.unwrap();
    assert_eq!((appended.turn_number, appended.turn_count, appended.version), (2, 2, session.version));
    assert_eq!(keep.record(&session.id).await, session);
    let stale = keep.chat.append_many(&session.id, Vec::new(), WriteOptions::at_version(9)).await;
    assert!(matches!(refused(stale), ChatError::Conflict { expected: 9, actual: 2, .. }));
}

async fn another_version_than_expected_is_a_conflict_and_appends_nothing(keep: &Keep) {
    let session = keep.session_of(2).await;
    let append = async |version| {
        keep.chat.append(&session.id, NewTurn::new("a", "b"), WriteOptions::at_version(version)).await
    };
    assert_eq!(append(session.version).await.unwrap().version, session.version + 1);
    let error = refused(append(session.version).await);
    let both = matches!(error, ChatError::Conflict { expected, actual, .. }
        if (expected, actual) == (session.version, session.version + 1));
    assert!(both, "{error:?}");
    assert_eq!(keep.words(&session.id).await.len(), 3);
}

async fn of_many_turns_one_too_large_appends_none(keep: &Keep) {
    let small = keep.with_limits(Limits { max_turn_bytes: 10, ..Limits::default() });
    let session = keep.session_of(1).await;
    let turns = vec![NewTurn::new("12345", "12345"), NewTurn::new("12345", "123456")];
    let error = refused(small.append_many(&session.id, turns, WriteOptions::default()).await);
    assert!(matches!(error, ChatError::TooLarge { what: "turn", bytes: 11, max_bytes: 10 }), "{error:?}");
    assert_eq!(keep.record(&session.id).await, session);
}

async fn a_message_of_4_mib_is_accepted_and_one_byte_more_refused(keep: &Keep) {
    let id = keep.session_of(0).await.id;
    let message = "é".repeat(2 * 1024 * 1024);
    let turn = NewTurn::new(message.clone(), message.clone() + "the answer may be longer");
    keep.chat.append(&id, turn.clone(), WriteOptions::default()).await.unwrap();
    let kept = keep.kept(&id).await.remove(0).turn;
    assert!(kept.user == turn.user && kept.assistant == turn.assistant, "4 MiB come back byte for byte");
    let error =
        refused(keep.chat.append(&id, NewTurn::new(message + "x", ""), WriteOptions::default()).await);
    assert!(matches!(error, ChatError::TooLarge { what: "user message", .. }), "{error:?}");
}

async fn a_busy_session_takes_no_turns(keep: &Keep) {
    let id = keep.session_of(1).await.id;
    keep.begin_run(&id).await;
    let one = keep.chat.append(&id, NewTurn::new("a", "b"), WriteOptions::default()).await;
    let none = keep.chat.append_many(&id, Vec::new(), WriteOptions::default()).await;
    for error in [refused(one), refused(none)] {
        assert!(matches!(error, ChatError::Refused(DomainError::WrongState { .. })), "{error:?}");
    }
}

const TASKS: u64 = 16;
const EACH: u64 = 8;

async fn appends_from_everywhere_at_once_are_all_there_in_order(keep: &Keep) {
    let id = keep.session_of(0).await.id;
    let tasks: Vec<_> =
        (0..TASKS).map(|n| tokio::spawn(append_eight(keep.chat.clone(), id.clone(), n))).collect();
    let mut numbers = HashSet::new();
    for task in tasks {
        let mine = task.await.unwrap();
        assert!(mine.is_sorted(), "one task's turns are in its order");
        numbers.extend(mine);
    }
    assert_eq!(numbers, (0..TASKS * EACH).collect(), "each number was given once");
    let kept = keep.kept(&id).await;
    assert!(kept.iter().zip(0..).all(|(kept, number)| kept.number == number));
    assert!(kept.is_sorted_by_key(|kept| kept.order_at));
    assert_eq!(keep.record(&id).await.version, 1 + TASKS * EACH);
}

async fn append_eight(chat: membrane::Chat, id: SessionId, n: u64) -> Vec<u64> {
    let mut numbers = Vec::new();
    for k in 0..EACH {
        let turn = NewTurn::new(format!("{n}.{k}"), "yes");
        numbers.push(chat.append(&id, turn, WriteOptions::default()).await.unwrap().turn_number);
    }
    numbers
}
