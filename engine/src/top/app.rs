//! What is shown, and what keys change of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::asking::Answer;
use super::picture::{DropRate, PeerRow, Picture};
use crate::metrics::Overview;

/// How long a reason is shown after its last drop, in seconds.
const DROPS_SHOWN_S: f64 = 60.0;
/// The shortest and the longest interval that keys can choose.
const INTERVALS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(60)];
/// Peers that a page scrolls.
const PAGE: usize = 10;

/// By what peers are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Bits both ways, now.
    Traffic,
    /// Bits from the peer.
    In,
    /// Bits to the peer.
    Out,
    /// Bytes since the daemon began.
    Total,
    /// The longest without a handshake first; those that never had one before all.
    Handshake,
    /// Drops.
    Drops,
    /// Name or key.
    Name,
}

impl Sort {
    const ALL: [Self; 7] = [Self::Traffic, Self::In, Self::Out, Self::Total, Self::Handshake, Self::Drops, Self::Name];

    /// As the screen says it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traffic => "traffic",
            Self::In => "in",
            Self::Out => "out",
            Self::Total => "total",
            Self::Handshake => "handshake",
            Self::Drops => "drops",
            Self::Name => "name",
        }
    }

    fn next(self) -> Self {
        let position = Self::ALL.iter().position(|&sort| sort == self).unwrap_or(0);
        Self::ALL[(position + 1) % Self::ALL.len()]
    }

    fn compare(self, a: &PeerRow, b: &PeerRow) -> Ordering {
        let bits = |row: &PeerRow| row.bits.unwrap_or_default();
        let by = |value: fn([f64; 2]) -> f64| value(bits(b)).total_cmp(&value(bits(a)));
        let total = |row: &PeerRow| row.bytes[0] + row.bytes[1];
        let first = match self {
            Self::Traffic => by(|[rx, tx]| rx + tx).then(total(b).cmp(&total(a))),
            Self::In => by(|[rx, _]| rx),
            Self::Out => by(|[_, tx]| tx),
            Self::Total => total(b).cmp(&total(a)),
            Self::Handshake => {
                let age = |row: &PeerRow| row.handshake_s.unwrap_or(f64::INFINITY);
                age(b).total_cmp(&age(a))
            }
            Self::Drops => b.drops.cmp(&a.drops),
            Self::Name => Ordering::Equal,
        };
        first.then_with(|| a.name.cmp(&b.name))
    }
}

/// A reason for drops that was lately seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What was seen last.
    pub drop: DropRate,
    /// How long ago, in seconds.
    pub ago_s: f64,
}

/// The state of the screen.
#[derive(Debug)]
pub struct App {
    name: String,
    interval: Duration,
    before: Option<Overview>,
    picture: Picture,
    drops: BTreeMap<String, (DropRate, f64)>,
    error: Option<String>,
    sort: Sort,
    scroll: usize,
    paused: bool,
    help: bool,
    done: bool,
}

impl App {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(name: &str, interval: Duration) -> Self {
        Self {
            name: name.to_owned(),
            interval,
            before: None,
            picture: Picture::default(),
            drops: BTreeMap::new(),
            error: None,
            sort: Sort::Traffic,
            scroll: 0,
            paused: false,
            help: false,
            done: false,
        }
    }

    /// The gateway has answered, or not.
    pub fn answered(&mut self, answer: Answer) {
        let now = match answer {
            Ok(now) => now,
            Err(error) => {
                self.error = Some(error.to_string());
                return;
            }
        };
        self.error = None;
        self.picture = Picture::new(self.before.as_ref(), &now);
        for (reason, drop) in &self.picture.drops {
            self.drops.insert(reason.clone(), (*drop, now.time_s));
        }
        self.drops.retain(|_, (_, at)| now.time_s - *at <= DROPS_SHOWN_S);
        self.before = Some(now);
        self.order();
    }

    /// Somebody has pressed a key.
    pub fn press(&mut self, key: KeyEvent) {
        let last = self.picture.rows.len().saturating_sub(1);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => self.done = true,
            KeyCode::Esc if self.help => self.help = false,
            KeyCode::Char('q') | KeyCode::Esc => self.done = true,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.help = !self.help,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.scroll = 0;
                self.order();
            }
            KeyCode::Char('+') => self.interval = (self.interval * 2).min(INTERVALS[1]),
            KeyCode::Char('-') => self.interval = (self.interval / 2).max(INTERVALS[0]),
            KeyCode::Down | KeyCode::Char('j') => self.scroll = (self.scroll + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown => self.scroll = (self.scroll + PAGE).min(last),
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = last,
            _ => {}
        }
    }

    fn order(&mut self) {
        let sort = self.sort;
        self.picture.rows.sort_by(|a, b| sort.compare(a, b));
        self.scroll = self.scroll.min(self.picture.rows.len().saturating_sub(1));
    }

    /// The interface.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often to ask.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// What the gateway does. Its peers are in the chosen order.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.picture
    }

    /// Reasons for drops that were seen lately, the latest first.
    #[must_use]
    pub fn drops(&self) -> Vec<(&str, Seen)> {
        let now = self.before.as_ref().map_or(0.0, |before| before.time_s);
        let mut drops: Vec<(&str, Seen)> = Vec::new();
        for (reason, &(drop, at)) in &self.drops {
            drops.push((reason, Seen { drop, ago_s: now - at }));
        }
        drops.sort_by(|(_, a), (_, b)| a.ago_s.total_cmp(&b.ago_s).then(b.drop.rate.total_cmp(&a.drop.rate)));
        drops
    }

    /// Why there is no answer, if there is none.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The order of the peers.
    #[must_use]
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// How many peers are above the first that is shown.
    #[must_use]
    pub fn scroll(&self) -> usize {
        self.scroll
    }

    /// Nothing is asked.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The keys are explained.
    #[must_use]
    pub fn shows_help(&self) -> bool {
        self.help
    }

    /// Somebody has seen enough.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.done
    }
}
