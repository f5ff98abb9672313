//! An event stream as it arrives: one frame after another, exactly as it was sent.

use serde_json::Value;

use crate::client::{Connection, Head, Rest};

/// One frame, with the empty line that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame(pub(crate) String);

impl Frame {
    /// A frame of kgents' form: one line of data and nothing else.
    #[track_caller]
    pub(crate) fn plain(&self) -> Value {
        let json = self.0.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
        let json = json.unwrap_or_else(|| panic!("not one line of data: {:?}", self.0));
        assert!(!json.contains(['\n', '\r']), "{json}");
        serde_json::from_str(json).unwrap()
    }

    /// A numbered frame: its id, which its data repeats, and its data.
    #[track_caller]
    pub(crate) fn numbered(&self) -> (u64, Value) {
        let (id, data) = self.0.split_once('\n').unwrap();
        let id: u64 = id.strip_prefix("id: ").expect("an id comes first").parse().unwrap();
        let data = Self(data.to_owned()).plain();
        assert_eq!(data["seq"], id);
        (id, data)
    }

    pub(crate) fn is_comment(&self) -> bool {
        self.0.starts_with(':')
    }
}

/// A stream that is being read. Dropping it cuts the connection.
#[derive(Debug)]
pub(crate) struct Events {
    pub(crate) head: Head,
    connection: Connection,
    rest: Rest,
    text: Vec<u8>,
}

impl Events {
    pub(crate) fn new(head: Head, connection: Connection, rest: Rest) -> Self {
        Self { head, connection, rest, text: Vec::new() }
    }

    /// The next frame as soon as it is whole; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        let mut searched = 0;
        loop {
            let found = self.text[searched..].windows(2).position(|window| window == b"\n\n");
            if let Some(at) = found {
                let frame = self.text.drain(..searched + at + 2).collect();
                return Some(Frame(String::from_utf8(frame).unwrap()));
            }
            searched = self.text.len().saturating_sub(1);
            let Some(part) = self.connection.part(&mut self.rest).await else {
                assert!(self.text.is_empty(), "the stream ends within a frame");
                return None;
            };
            self.text.extend_from_slice(&part);
        }
    }

    /// All that is left, to the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// The data of the next frame, which must be a plain one.
    pub(crate) async fn plain(&mut self) -> Value {
        self.next().await.expect("another frame").plain()
    }

    /// The id and the data of the next numbered frame; comments are skipped.
    pub(crate) async fn numbered(&mut self) -> (u64, Value) {
        loop {
            let frame = self.next().await.expect("another frame");
            if !frame.is_comment() {
                return frame.numbered();
            }
        }
    }

    /// The data of the last frame.
    pub(crate) async fn last(&mut self) -> Value {
        let frames = self.rest().await;
        let last = frames.last().expect("a frame that ends the stream");
        let data = last.0.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        serde_json::from_str(data).unwrap()
    }
}
