//! Following what happens to sessions. Which change makes which event is the store's contract
//! ([`membrane_store::events`]).

use std::collections::VecDeque;
use std::time::Duration;

use membrane_core::event::{Event, EventSeq};
use membrane_store::events::{EVENT_LIFETIME, EventPage, MAX_EVENTS};
use membrane_store::{Change, Write};

use crate::chat::Chat;
use crate::error::ChatError;

/// How many events are read at once.
const PAGE: u32 = 256;

/// What a follower is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// Something about a session has changed.
    Event(Event),
    /// Events were missed that are no longer there. Whatever is known of sessions has to be read anew; what comes
    /// after this place follows.
    Reset(EventSeq),
}

/// Follows events from a place on. It has no buffer that fills while nobody reads: a slow follower costs nobody
/// anything, and one that is too slow is told to start over.
#[derive(Debug)]
pub struct EventFollower {
    chat: Chat,
    place: EventSeq,
    page: VecDeque<Event>,
}

impl Chat {
    /// Follows what happens to sessions, whoever does it: after `place`, the number of the last event that was seen,
    /// or from now on. Whatever is read after this call and changes later has its event.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`].
    pub async fn follow_events(&self, place: Option<EventSeq>) -> Result<EventFollower, ChatError> {
        let place = match place {
            Some(place) => place,
            None => self.newest_event().await?,
        };
        Ok(EventFollower { chat: self.clone(), place, page: VecDeque::new() })
    }

    /// The number of the newest event.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`].
    pub async fn newest_event(&self) -> Result<EventSeq, ChatError> {
        Ok(self.store().event_bounds().await?.newest)
    }

    /// Forgets events that have had their time, a bit at a time, so that nobody waits long behind it.
    pub(crate) async fn forget_events(&self) -> Result<(), ChatError> {
        let mut oldest = self.store().event_bounds().await?.oldest;
        loop {
            let now = self.now();
            let forget = Write::ForgetEvents { before: now.minus(EVENT_LIFETIME), keep: MAX_EVENTS };
            self.store().commit(Change::at(now).write(forget)).await?;
            let left = self.store().event_bounds().await?.oldest;
            if left == oldest {
                return Ok(());
            }
            oldest = left;
        }
    }
}

impl EventFollower {
    /// After which event it is.
    pub fn place(&self) -> EventSeq {
        self.place
    }

    /// How long ago an event's change was made, by this process's clock; nothing if it was made by one that is ahead.
    pub fn age_of(&self, event: &Event) -> Duration {
        let micros = self.chat.now().as_micros().saturating_sub(event.at.as_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// The next event, as soon as there is one; `None` once the handle takes no more messages ([`Chat::drain`]): who
    /// follows then goes on elsewhere, from the same place.
    ///
    /// # Errors
    /// [`ChatError::Unavailable`] and [`ChatError::Closed`]; the place stays, and the call can be made again.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Result<Option<Told>, ChatError> {
        loop {
            if let Some(event) = self.page.pop_front() {
                self.place = event.seq;
                return Ok(Some(Told::Event(event)));
            }
            match self.chat.store().list_events(self.place, PAGE).await? {
                EventPage::Reset(newest) => {
                    self.place = newest;
                    return Ok(Some(Told::Reset(newest)));
                }
                EventPage::Events(events) if events.is_empty() => {
                    tokio::select! {
                        biased;
                        () = self.chat.runs().closed() => return Ok(None),
                        woken = self.chat.store().wait_for_events(self.place) => woken?,
                    }
                }
                EventPage::Events(events) => self.page = events.into(),
            }
        }
    }
}
