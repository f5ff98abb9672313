//! Turns: appending, numbering, loading, marks, running totals.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::sync::Arc;
use std::time::Duration;

use membrane_core::history::{Cut, TurnRef};
use membrane_core::ids::SegmentId;
use membrane_core::time::Timestamp;
use membrane_core::turn::{Item, Linearity, Message, Totals, Turn, TurnError, TurnStatus};

use super::fixture::{Fixture, append, json};
use crate::Store;

/// A turn with everything that a turn can hold.
fn full_turn(f: &Fixture) -> Turn {
    let mut turn = f.tool_turn("everything", true);
    let Some(Item::Tool(mut failed)) = turn.items.first().cloned() else { panic!("a tool turn has a tool") };
    failed.success = false;
    failed.duration_ms = 0.1 + 0.2;
    failed.input = json("[1e400, -0, 123456789012345678901234567890]");
    turn.items.extend([
        Item::Reasoning("hm\0".into()),
        Item::Tool(failed),
        Item::Message(Message {
            mentions: Some(json(r#"[{"a": 1}]"#)),
            linearity: Linearity::Droppable,
            ..Message::new("let me see")
        }),
        Item::Other(json(r#"{"type":"future",  "z":[1, 2]}"#)),
    ]);
    turn.user.mentions = Some(json("[]"));
    turn.user.linearity = Linearity::Required;
    turn.assistant.linearity = Linearity::Droppable;
    turn.assistant.mentions = Some(json("[null]"));
    turn.model = Some("model".into());
    turn.usage = Some(json(r#"{"in": 10, "out": 2e1}"#));
    turn.finish_reason = Some("stop".into());
    turn.error = Some(TurnError { code: "code".into(), message: "message".into() });
    turn.portal_emissions = Some(json("[{}]"));
    turn.completed_at = turn.started_at.plus(Duration::from_micros(1));
    turn
}

pub async fn a_turn_comes_back_with_all_that_it_holds(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let mut bare = f.turn("");
    bare.assistant = Message::new("");
    let mut failed = f.tool_turn("tool", false);
    failed.items.reverse();
    let turns = vec![f.turn("plain"), full_turn(&f), bare, failed, f.tool_turn("only tools", true)];
    let receipt = f.commit(f.change().write(append(&id, turns.clone()))).await;
    assert_eq!(receipt.stamp(&id).unwrap().cut.turn_count, 5);
    let kept = f.kept(&id).await;
    assert_eq!(kept.iter().map(|kept| kept.number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(kept.into_iter().map(|kept| kept.turn).collect::<Vec<_>>(), turns);
}

pub async fn each_turn_carries_the_totals_after_it(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let mut interrupted = f.tool_turn("cut off", false);
    interrupted.status = TurnStatus::Interrupted;
    let mut failed = f.turn("```a``` failed");
    failed.status = TurnStatus::Failed;
    let turns =
        vec![f.turn("plain 日本"), f.tool_turn("t", true), interrupted, failed, f.tool_turn("u", false)];
    for turn in turns.clone() {
        f.write(append(&id, vec![turn])).await;
    }
    let mut totals = Totals::ZERO;
    let thread = f.thread(&id).await;
    for (kept, turn) in thread.turns.iter().zip(&turns) {
        totals = totals + turn.measures();
        assert_eq!((kept.totals, kept.flipped), (totals, 0), "after turn {}", kept.number);
    }
    assert_eq!(thread.session.totals, totals);
    assert_eq!((totals.succeeded, totals.failed, totals.tool_calls, totals.code_blocks), (2, 1, 3, 2));
}

pub async fn appending_in_place_keeps_the_history(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let first = f.get(&id).await.cut;
    for turn_count in 1..=4 {
        let receipt = f.append(&id, 1).await;
        let stamp = receipt.stamp(&id).unwrap();
        assert_eq!(stamp.cut, Cut { turn_count, ..first });
        assert_eq!(stamp.version, turn_count + 1);
    }
    let kept = f.kept(&id).await;
    let positions: Vec<_> = kept.iter().map(|kept| kept.at.position).collect();
    assert_eq!(positions, [0, 1, 2, 3]);
    assert!(kept.iter().all(|other| other.at.segment == kept[0].at.segment));
    assert_eq!((f.stats().await.histories, f.stats().await.slices), (1, 1));
}

pub async fn ranges_are_cut_to_what_is_there(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(4).await;
    let id = f.fork(&parent, 3).await;
    f.append(&id, 4).await;
    let all = f.thread(&id).await;
    let cut = all.session.cut;
    assert_eq!(all.turns.len(), 7);
    #[expect(clippy::reversed_empty_ranges, reason = "a caller may ask for it")]
    let ranges =
        [0..0, 0..1, 2..4, 3..7, 6..7, 6..100, 7..8, 100..200, 0..u64::MAX, 5..2, u64::MAX..u64::MAX];
    for range in ranges {
        let expected: Vec<_> =
            all.turns.iter().filter(|kept| range.contains(&kept.number)).cloned().collect();
        let thread = f.store.load_thread(&id, range.clone()).await.unwrap().unwrap();
        assert_eq!(thread.session, all.session);
        assert_eq!(thread.turns, expected, "turns {range:?} of the session");
        assert_eq!(
            f.store.load_turns(cut, range.clone()).await.unwrap(),
            expected,
            "turns {range:?} of its cut"
        );
    }
    for turn_count in 0..=7 {
        let seen = f.store.load_turns(Cut { turn_count, ..cut }, 0..u64::MAX).await.unwrap();
        assert_eq!(u64::try_from(seen.len()), Ok(turn_count), "a cut sees no more than its count");
    }
}

pub async fn the_order_of_time_is_the_order_of_turns_whatever_the_clock_did(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    for micros in [100, 50, 50, 300, -7, 301] {
        let mut turn = f.turn("x");
        turn.started_at = Timestamp::from_micros(micros);
        turn.completed_at = turn.started_at;
        f.write(append(&id, vec![turn])).await;
    }
    let kept = f.kept(&id).await;
    let order: Vec<_> = kept.iter().map(|kept| kept.order_at.as_micros()).collect();
    assert_eq!(order, [100, 101, 102, 300, 301, 302]);
    assert_eq!(kept[4].turn.started_at.as_micros(), -7, "what the turn says of itself stays");
}

/// The first turn of a segment has no turn before it in its segment, and yet one in its session.
pub async fn a_segment_may_begin_while_the_clock_has_gone_back(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(2).await;
    let fork = f.fork(&id, 2).await;
    let newest = f.kept(&id).await[1].order_at;
    let mut turn = f.turn("an hour before");
    turn.started_at = Timestamp::from_micros(newest.as_micros() - 3_600_000_000);
    turn.completed_at = turn.started_at;
    f.write(append(&fork, vec![turn.clone(), turn])).await;
    let kept = f.kept(&fork).await;
    assert_ne!(kept[1].at.segment, kept[2].at.segment, "the fork has a segment of its own");
    let order: Vec<_> = kept.iter().skip(2).map(|kept| kept.order_at.as_micros()).collect();
    assert_eq!(order, [newest.as_micros() + 1, newest.as_micros() + 2]);
    assert_eq!(f.store.check().await.unwrap(), Vec::<String>::new());
}

pub async fn marks_tell_place_and_running_totals(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(3).await;
    let id = f.fork(&parent, 2).await;
    let more = vec![f.tool_turn("a", true), f.tool_turn("b", false)];
    f.write(append(&id, more)).await;
    let thread = f.thread(&id).await;
    let marks = f.store.list_marks(thread.session.cut).await.unwrap();
    let history = f.history(&id).await;
    assert_eq!(marks.len(), thread.turns.len());
    for (mark, kept) in marks.iter().zip(&thread.turns) {
        assert_eq!((mark.at, mark.order_at, mark.own), (kept.at, kept.order_at, kept.turn.measures()));
        assert_eq!(history.totals_after(kept.number, mark.sums), Some(kept.totals));
    }
    let gone = TurnRef { segment: SegmentId(999_999), position: 0 };
    let beyond = TurnRef { position: 99, ..marks[0].at };
    let asked = [marks[3].at, gone, marks[0].at, beyond, marks[2].at];
    let mut found = f.store.find_marks(&asked).await.unwrap();
    found.sort_by_key(|mark| mark.at);
    assert_eq!(found, [marks[0], marks[2], marks[3]]);
    assert_eq!(f.store.list_marks(Cut { turn_count: 1, ..thread.session.cut }).await.unwrap(), marks[..1]);
    assert_eq!(f.store.list_marks(Cut { turn_count: 0, ..thread.session.cut }).await.unwrap(), []);
}

pub async fn many_turns_in_one_change_keep_their_order(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.create().await;
    let said: Vec<_> = (0..300).map(|number| format!("{}", number * 7 % 300)).collect();
    let turns: Vec<_> = said.iter().map(|text| f.turn(text)).collect();
    let (left, right) = turns.split_at(137);
    f.commit(f.change().write(append(&id, left.to_vec())).write(append(&id, right.to_vec()))).await;
    assert_eq!(f.said(&id).await, said);
}
