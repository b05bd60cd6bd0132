//! The thread that writes log lines.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use log::Level;

use super::gap::Gap;
use super::{Line, Message, Place, Shared};
use crate::sandbox::{self, Role};

/// How long lines of a kind are counted before the number is told.
const HELD_FOR: Duration = Duration::from_secs(5);

/// What runs on the thread.
pub(super) struct Writer<P> {
    place: P,
    /// What the place has not taken yet.
    gap: Gap,
    shared: Arc<Shared>,
    /// Lines that wait for the number of those that followed, by the time when they are due.
    held: Vec<Held>,
}

struct Held {
    due: Instant,
    kind: usize,
    line: Line,
}

impl<P: Place> Writer<P> {
    pub(super) fn new(place: P, shared: Arc<Shared>) -> Self {
        Self { place, gap: Gap::default(), shared, held: Vec::new() }
    }

    /// Until nobody can say anything any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        sandbox::enter(Role::Files);
        while let Some(message) = self.next(messages) {
            match message {
                Some(Message::Line(line)) => self.write(line),
                // Each kind is held once at the most, and all for as long.
                Some(Message::Held { kind, line }) => {
                    self.held.push(Held { due: Instant::now() + HELD_FOR, kind, line });
                }
                Some(Message::Flush(done)) => {
                    self.tell_held(None);
                    self.tell_lost();
                    self.gap.close(&mut self.place);
                    let _ = done.send(());
                }
                Some(Message::Look) | None => {}
            }
            if let Some(name) = self.shared.renamed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                self.place.rename(&name);
            }
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            self.tell_held(Some(Instant::now()));
            self.tell_lost();
            self.gap.close_if_due(Instant::now(), &mut self.place);
        }
    }

    /// `None` at the end, `Some(None)` when something is due.
    fn next(&self, messages: &Receiver<Message>) -> Option<Option<Message>> {
        let due = self.held.first().map(|held| held.due).into_iter().chain(self.gap.due()).min();
        let Some(due) = due else { return messages.recv().ok().map(Some) };
        match messages.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(Some(message)),
            Err(RecvTimeoutError::Timeout) => Some(None),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn write(&mut self, line: Line) {
        self.gap.write(line, &mut self.place);
    }

    fn reopen(&mut self) {
        if let Err(error) = self.place.reopen() {
            self.write(Line::now(
                Level::Error,
                format!("the log goes on where it is, and was not opened anew: {error}"),
            ));
        }
    }

    /// Writes the held lines that are due at `now`, or all of them.
    fn tell_held(&mut self, now: Option<Instant>) {
        let count = self.held.iter().take_while(|held| now.is_none_or(|now| held.due <= now)).count();
        for Held { kind, mut line, .. } in self.held.drain(..count).collect::<Vec<_>>() {
            let others = self.shared.limits.take_left_out(kind).saturating_sub(1);
            if others > 0 {
                write!(line.text, " ({others} more like this were left out)").expect("a string takes everything");
            }
            self.write(line);
        }
    }

    fn tell_lost(&mut self) {
        let lost = self.shared.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} lines were lost, because the log was not read fast enough");
            self.write(Line::now(Level::Warn, text));
        }
    }
}
