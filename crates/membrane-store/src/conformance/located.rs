//! A thread in two parts: what may change and what never does, held against the thread as a whole.
#![expect(missing_docs, reason = "a case's name is the sentence that it checks")]

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use membrane_core::history::{Cut, Span, TurnRef};
use membrane_core::ids::{HistoryId, SegmentId, SessionId};
use membrane_core::turn::{KeptTurn, SignalKind};

use super::fixture::Fixture;
use crate::located::{LocatedTurns, PAGE_LEN, page_of};
use crate::{Store, Thread, Write};

/// More than three pages.
const MANY: u64 = 200;

impl Fixture {
    /// Puts together what a store says in two parts.
    pub async fn assembled(&self, located: LocatedTurns) -> Vec<KeptTurn> {
        let spans: Vec<Span> = located.stretches.iter().map(|stretch| stretch.span).collect();
        let stored = self.store.load_spans(&spans).await.unwrap();
        let stored: BTreeMap<TurnRef, _> = stored.iter().map(|stored| (stored.at, stored)).collect();
        let (len, is_empty) = (located.len(), located.is_empty());
        let turns = located.assemble(|at| stored.get(&at).copied()).expect("all turns must be there");
        assert_eq!((u64::try_from(turns.len()).unwrap(), turns.is_empty()), (len, is_empty));
        turns
    }

    /// The thread as its two parts make it.
    pub async fn thread_in_parts(&self, id: &SessionId, range: Range<u64>) -> Option<Thread> {
        let located = self.store.locate_thread(id, range).await.unwrap()?;
        Some(Thread { session: located.session, turns: self.assembled(located.turns).await })
    }
}

/// Whole, and in every range that begins or ends near the end of a page or of a slice.
async fn agree(f: &Fixture, id: &SessionId) {
    let cut = f.get(id).await.cut;
    let history = f.history(id).await;
    let mut places = vec![0, 1, cut.turn_count, cut.turn_count + 1, u64::MAX];
    let page = PAGE_LEN.unsigned_abs();
    places.extend(history.slices.iter().map(|slice| slice.start));
    places.extend((page..cut.turn_count).step_by(PAGE_LEN.try_into().unwrap()).flat_map(|at| [at - 1, at]));
    places.sort_unstable();
    places.dedup();
    for (number, from) in places.iter().enumerate() {
        // All ranges of a few places, some of many.
        for to in places.iter().skip(number).step_by(places.len() / 12 + 1) {
            let range = *from..*to;
            let whole = f.store.load_thread(id, range.clone()).await.unwrap();
            assert_eq!(f.thread_in_parts(id, range.clone()).await, whole, "turns {range:?}");
            let located = f.store.locate_turns(cut, range.clone()).await.unwrap();
            let turns = f.store.load_turns(cut, range.clone()).await.unwrap();
            assert_eq!(f.assembled(located).await, turns, "turns {range:?} of the cut");
        }
    }
}

pub async fn the_two_parts_of_a_thread_make_the_thread(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(MANY).await;
    agree(&f, &parent).await;
    let fork = f.fork(&parent, 70).await;
    f.append(&fork, 80).await;
    for number in [3, 69, 70, 120] {
        f.signal(&fork, number, SignalKind::Negative).await;
    }
    f.signal(&fork, 69, SignalKind::Positive).await;
    agree(&f, &fork).await;
    f.rewind(&parent, 100).await;
    f.append(&parent, 5).await;
    let merge = f.merge(&parent, &fork).await;
    f.append(&merge, 2).await;
    agree(&f, &merge).await;
    let empty = f.create().await;
    agree(&f, &empty).await;
}

pub async fn each_page_of_a_whole_stretch_has_its_last_turn_as_witness(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(MANY).await;
    let kept = f.kept(&id).await;
    for range in [0..MANY, 0..64, 10..64, 63..65, 100..130, 199..200] {
        let located = f.store.locate_thread(&id, range.clone()).await.unwrap().unwrap().turns;
        let [stretch] = located.stretches.as_slice() else { panic!("{:?}", located.stretches) };
        assert!(stretch.is_whole);
        let last_of_pages: BTreeMap<i64, &KeptTurn> = kept
            .iter()
            .filter(|kept| range.contains(&kept.number))
            .map(|kept| (page_of(kept.at.position), kept))
            .collect();
        let expected: Vec<_> =
            last_of_pages.values().map(|kept| (kept.at.position, &kept.turn.id, kept.order_at)).collect();
        let found: Vec<_> = stretch
            .witnesses
            .iter()
            .map(|witness| (witness.position, &witness.id, witness.order_at))
            .collect();
        assert_eq!(found, expected, "turns {range:?}");
    }
}

pub async fn a_turn_that_is_gone_has_no_place_and_is_not_loaded(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let parent = f.session(90).await;
    let fork = f.fork(&parent, 80).await;
    f.append(&fork, 3).await;
    // An automatic checkpoint remembers what the owner's deletion removes.
    let left = f.rewind(&fork, 20).await;
    let cut = f.checkpoint(&fork, &left).await.cut;
    let before = f.store.locate_turns(cut, 0..u64::MAX).await.unwrap();
    assert_eq!(before.len(), 83);
    assert!(before.stretches.iter().all(|stretch| stretch.is_whole));
    f.delete(&parent).await;
    let located = f.store.locate_turns(cut, 0..u64::MAX).await.unwrap();
    assert_eq!(located.len(), 23);
    let gap = located.stretches.first().unwrap();
    let positions: Vec<i64> = gap.witnesses.iter().map(|witness| witness.position).collect();
    assert_eq!((gap.is_whole, positions), (false, (0..20).collect()));
    assert_eq!(f.assembled(located).await, f.store.load_turns(cut, 0..u64::MAX).await.unwrap());
    let spans: Vec<Span> = before.stretches.iter().map(|stretch| stretch.span).collect();
    assert_eq!(f.store.load_spans(&spans).await.unwrap().len(), 23);
    agree(&f, &fork).await;
    f.write(Write::DeleteCheckpoint { session: fork.clone(), id: left }).await;
    f.delete(&fork).await;
    assert_eq!(f.store.locate_thread(&fork, 0..9).await.unwrap(), None);
    assert_eq!(f.store.locate_turns(cut, 0..9).await.unwrap(), LocatedTurns::default());
    assert_eq!(f.store.load_spans(&spans).await.unwrap(), []);
}

pub async fn what_is_said_of_a_turn_shows_at_the_next_look(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let id = f.session(3).await;
    let quiet = f.store.locate_thread(&id, 0..3).await.unwrap().unwrap().turns;
    assert_eq!((quiet.signals.len(), quiet.flipped.len(), quiet.flips_before), (0, 0, 0));
    f.signal(&id, 0, SignalKind::Negative).await;
    f.signal(&id, 2, SignalKind::Correction).await;
    let at = |number: usize| quiet.stretches[0].span.refs().nth(number).unwrap();
    let told = f.store.locate_thread(&id, 1..3).await.unwrap().unwrap().turns;
    assert_eq!(told.signals.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [at(2)]);
    assert_eq!((told.flipped, told.flips_before), (vec![at(2)], 1));
    agree(&f, &id).await;
}

pub async fn looking_for_what_was_never_there_finds_nothing(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let nobody = SessionId::from_stored("nobody");
    assert_eq!(f.store.locate_thread(&nobody, 0..9).await.unwrap(), None);
    let nowhere = Cut { history: HistoryId(999_999), turn_count: 9 };
    assert!(f.store.locate_turns(nowhere, 0..9).await.unwrap().is_empty());
    assert_eq!(f.store.load_spans(&[]).await.unwrap(), []);
    let span = Span { segment: SegmentId(999_999), from: 0, to: 9 };
    assert_eq!(f.store.load_spans(&[span, span]).await.unwrap(), []);
}

pub async fn a_keep_goes_by_one_name(store: Arc<dyn Store>) {
    let f = Fixture::new(store);
    let name = f.store.keep_name().await.unwrap();
    assert!(!name.is_empty());
    f.session(3).await;
    assert_eq!(f.store.keep_name().await.unwrap(), name);
}
