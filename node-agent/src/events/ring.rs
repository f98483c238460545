use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::EventKind;

/// How many events are remembered.
const CAPACITY: usize = 1_000;
/// Longest text in bytes that is remembered: the log has all of it.
const LONGEST_TEXT: usize = 2_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Event {
    /// Its place in the order of events; one that happens again gets a new one. Begins at 1 with each agent.
    pub number: u64,
    /// What sort of event it is.
    pub kind: EventKind,
    /// What it is about, if that is one thing with a name: an interface, a node, a prefix, a file.
    pub object: Option<String>,
    /// What happened, and what follows from it.
    pub text: String,
    /// When it happened last, by the wall clock, which may jump: [`Event::number`] gives the order.
    #[serde(with = "humantime_serde")]
    pub time: SystemTime,
    /// How often it has happened while it was remembered.
    pub times: u64,
}

/// The events that are remembered, the newest last. What happens again takes no more room: it is counted up, and comes
/// to the end.
#[derive(Debug)]
pub struct Events {
    /// When the list was begun, in milliseconds since 1970.
    begun: u64,
    events: VecDeque<Event>,
    last: u64,
    /// How many there were of each kind, those that are forgotten included.
    counts: BTreeMap<EventKind, u64>,
}

impl Default for Events {
    /// An empty list, begun now.
    fn default() -> Self {
        Self { begun: millis(SystemTime::now()), events: VecDeque::new(), last: 0, counts: BTreeMap::new() }
    }
}

impl Events {
    /// Tells this list from that of an agent before or after: when it was begun, in milliseconds since 1970.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun
    }

    /// Records an event, and logs it.
    pub fn record(&mut self, kind: EventKind, text: impl Into<String>) {
        self.add(kind, None, text.into(), SystemTime::now());
    }

    /// Records an event about one thing with a name, and logs it.
    pub fn record_about(&mut self, kind: EventKind, object: impl Into<String>, text: impl Into<String>) {
        self.add(kind, Some(object.into()), text.into(), SystemTime::now());
    }

    /// The remembered events with a higher number.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(move |event| event.number > number)
    }

    /// The highest number so far; 0 before the first event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How many events of each kind there were since the list was begun; of the others there was none.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<EventKind, u64> {
        &self.counts
    }

    fn add(&mut self, kind: EventKind, object: Option<String>, mut text: String, now: SystemTime) {
        let whole = text.clone();
        if let Some(cut) = text.char_indices().map(|(at, _)| at).find(|at| *at > LONGEST_TEXT) {
            text.truncate(cut);
            text.push('…');
        }
        let same = |event: &Event| event.kind == kind && event.object == object && event.text == text;
        // From the end: what flaps has happened a moment ago.
        let before = self.events.iter().rposition(same).and_then(|at| self.events.remove(at));
        let times = before.map_or(1, |before| before.times.saturating_add(1));
        self.last += 1;
        *self.counts.entry(kind).or_default() += 1;
        if self.events.len() == CAPACITY {
            self.events.pop_front();
        }
        log(kind, &whole, times);
        self.events.push_back(Event { number: self.last, kind, object, text, time: to_millis(now), times });
    }
}

/// Logs the first time, then ever less often.
fn log(kind: EventKind, text: &str, times: u64) {
    if !times.is_power_of_two() {
        return;
    }
    let again = if times > 1 { format!(" ({times} times so far)") } else { String::new() };
    if kind.is_alarm() {
        warn!("{kind}: {text}{again}");
    } else {
        info!("{kind}: {text}{again}");
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Nobody needs it finer, and it is shorter to read.
fn to_millis(time: SystemTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis(time))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(events: &Events, since: u64) -> Vec<(u64, String, u64)> {
        events.since(since).map(|event| (event.number, event.text.clone(), event.times)).collect()
    }

    #[test]
    fn events_are_numbered_and_told_from_a_number_on() {
        let mut events = Events::default();
        events.record(EventKind::AgentStarted, "a1");
        events.record_about(EventKind::LinkChanged, "eth0", "eth0 is down");
        assert_eq!(texts(&events, 0), [(1, "a1".to_owned(), 1), (2, "eth0 is down".to_owned(), 1)]);
        assert_eq!(texts(&events, 1), [(2, "eth0 is down".to_owned(), 1)]);
        assert_eq!((texts(&events, 2), events.last()), (vec![], 2));
    }

    #[test]
    fn what_happens_again_is_counted_up_and_comes_to_the_end() {
        let mut events = Events::default();
        for _ in 0..3 {
            events.record(EventKind::ProblemFound, "no way to b1");
            events.record(EventKind::ProblemGone, "no way to b1");
        }
        let text = || "no way to b1".to_owned();
        assert_eq!(texts(&events, 0), [(5, text(), 3), (6, text(), 3)]);
        events.record_about(EventKind::ProblemGone, "b1", "no way to b1");
        assert_eq!(texts(&events, 6), [(7, text(), 1)], "another object is another event");
        let counts = BTreeMap::from([(EventKind::ProblemFound, 3), (EventKind::ProblemGone, 4)]);
        assert_eq!(events.counts(), &counts, "each time");
    }

    #[test]
    fn a_clock_that_jumps_does_not_change_the_order() {
        let mut events = Events::default();
        let late = SystemTime::UNIX_EPOCH + Duration::from_micros(7_000_123);
        events.add(EventKind::AgentStarted, None, "first".to_owned(), late);
        events.add(EventKind::SourceSynced, None, "second".to_owned(), SystemTime::UNIX_EPOCH);
        assert_eq!(texts(&events, 0), [(1, "first".to_owned(), 1), (2, "second".to_owned(), 1)]);
        let json = serde_json::to_value(events.since(0).next().unwrap()).unwrap();
        assert_eq!(json["time"], "1970-01-01T00:00:07Z");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut events = Events::default();
        events.record(EventKind::SourceFailed, "ü".repeat(LONGEST_TEXT));
        let text = &events.since(0).next().unwrap().text;
        assert!(text.len() < LONGEST_TEXT + 8 && text.ends_with("ü…"), "{}", text.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        /// However much happens, no more is remembered than there is room for, the newest is, and numbers only grow.
        #[test]
        fn the_newest_events_are_remembered(happened in prop::collection::vec(0_u32..1_500, 0..3_000)) {
            let mut events = Events::default();
            for text in &happened {
                events.record(EventKind::ProblemFound, text.to_string());
            }
            let told = texts(&events, 0);
            prop_assert!(told.len() <= CAPACITY);
            prop_assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1));
            prop_assert_eq!(told.last().map(|event| event.1.clone()), happened.last().map(u32::to_string));
            prop_assert_eq!(events.last(), happened.len() as u64);
        }
    }
}
