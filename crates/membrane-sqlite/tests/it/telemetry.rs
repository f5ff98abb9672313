//! What a store measures, told to a recorder that keeps everything.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use membrane_sqlite::telemetry::{self, LOAD_DURATION_SECONDS, SAVE_DURATION_SECONDS, WRITER_BATCH_SIZE};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::keep::Keep;

#[derive(Debug, Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

/// Histograms by name, and how often each was looked up; descriptions.
#[derive(Debug, Default)]
struct Everything {
    histograms: Mutex<BTreeMap<String, (usize, Arc<Values>)>>,
    described: Mutex<Vec<String>>,
}

impl Everything {
    fn values(&self, name: &str) -> Vec<f64> {
        self.histograms
            .lock()
            .unwrap()
            .get(name)
            .map_or(Vec::new(), |(_, values)| values.0.lock().unwrap().clone())
    }
}

impl Recorder for Everything {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described.lock().unwrap().push(name.as_str().to_owned());
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut histograms = self.histograms.lock().unwrap();
        let (n_lookups, values) = histograms.entry(key.name().to_owned()).or_default();
        *n_lookups += 1;
        Histogram::from_arc(Arc::clone(values))
    }
}

#[tokio::test]
async fn a_store_tells_the_recorder_that_was_there_when_it_was_opened() {
    let keep = Keep::new();
    let recorder = Everything::default();
    // For this thread alone; what the store's own threads measure must come here all the same.
    let f = {
        let _installed = metrics::set_default_local_recorder(&recorder);
        telemetry::describe();
        keep.open().await
    };
    let id = f.session(2).await;
    for text in ["a", "b", "c"] {
        f.say(&id, text).await;
    }
    f.refused_write(membrane_store::conformance::fixture::create_root(&id)).await;
    let cut = f.thread(&id).await.session.cut;
    f.store.load_turns(cut, 0..2).await.unwrap();
    f.store.find_session(&id).await.unwrap();
    assert_eq!(recorder.values(SAVE_DURATION_SECONDS).len(), 6, "refused ones take time too");
    assert_eq!(recorder.values(WRITER_BATCH_SIZE), [1.0; 5], "what was taken back is no commit");
    assert_eq!(recorder.values(LOAD_DURATION_SECONDS).len(), 2);
    let durations = [SAVE_DURATION_SECONDS, LOAD_DURATION_SECONDS].map(|name| recorder.values(name)).concat();
    assert!(durations.iter().all(|seconds| (0.0..60.0).contains(seconds)), "{durations:?}");
    let lookups: Vec<_> = recorder.histograms.lock().unwrap().values().map(|(lookups, _)| *lookups).collect();
    assert_eq!(lookups, [1, 1, 1], "once, not at each use");
    let mut described = recorder.described.lock().unwrap().clone();
    described.sort();
    assert_eq!(described, [LOAD_DURATION_SECONDS, SAVE_DURATION_SECONDS, WRITER_BATCH_SIZE]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_counts_the_changes_that_shared_a_commit() {
    let keep = Keep::new();
    let recorder = Everything::default();
    // Not held across a wait: the test may go on on another thread.
    let opening = metrics::with_local_recorder(&recorder, || {
        let mut opening = Box::pin(keep.open());
        assert!(poll_once(&mut opening).is_pending(), "it waits for the writer's thread");
        opening
    });
    let f = Arc::new(opening.await);
    let id = f.create().await;
    let plain = keep.plain();
    plain.execute_batch("BEGIN IMMEDIATE").unwrap();
    let append = || {
        let (f, id) = (Arc::clone(&f), id.clone());
        async move { f.append(&id, 1).await }
    };
    let queued = || async { f.store.gauges().await.unwrap().queued };
    let mut first = Box::pin(append());
    assert!(poll_once(&mut first).is_pending());
    f.until("the writer has taken the first", || async { queued().await == 0 }).await;
    let mut waiting = vec![tokio::spawn(first)];
    waiting.extend((0..39).map(|_| tokio::spawn(append())));
    f.until("the others wait", || async { queued().await == 39 }).await;
    plain.execute_batch("COMMIT").unwrap();
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(recorder.values(WRITER_BATCH_SIZE), [1.0, 1.0, 39.0]);
}

fn poll_once<F: Future>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
