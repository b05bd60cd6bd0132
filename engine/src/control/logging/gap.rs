//! Lines while the place takes none: syslog restarts, or the disk is full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use log::Level;

use super::line::Line;
use super::places::Place;

/// Lines that are kept until the place takes them. The oldest go when more come.
const KEPT: usize = 256;
/// When the place is tried again, if nobody says anything: from the first pause to the last, each twice as long. After
/// that only the next line tries, so a system without a log costs nothing.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(64));

/// What the place has not taken, in order.
#[derive(Debug)]
pub(super) struct Gap {
    kept: VecDeque<Line>,
    /// Lines that went because others came.
    lost: u64,
    /// When to try again, and the pause after that.
    retry: Option<Instant>,
    pause: Duration,
}

impl Default for Gap {
    fn default() -> Self {
        Self { kept: VecDeque::new(), lost: 0, retry: None, pause: PAUSES.0 }
    }
}

impl Gap {
    /// Writes a line, after those that wait.
    pub(super) fn write(&mut self, line: Line, place: &mut impl Place) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.lost += 1;
        }
        self.kept.push_back(line);
        self.close(place);
    }

    /// Writes what waits, as far as the place takes it.
    pub(super) fn close(&mut self, place: &mut impl Place) {
        while let Some(line) = self.kept.front() {
            if place.write(line).is_err() {
                // The pauses begin with the gap, not with each line.
                self.retry = self.retry.or_else(|| Some(Instant::now() + self.pause));
                return;
            }
            self.kept.pop_front();
            if self.lost > 0 {
                let text = format!("{} lines were lost before this one, because the log took none", self.lost);
                self.lost = 0;
                self.kept.push_front(Line::now(Level::Warn, text));
            }
        }
        *self = Self { kept: std::mem::take(&mut self.kept), ..Self::default() };
    }

    /// Tries again when it is time to.
    pub(super) fn close_if_due(&mut self, now: Instant, place: &mut impl Place) {
        if self.retry.is_none_or(|due| now < due) {
            return;
        }
        self.pause = 2 * self.pause;
        self.retry = None;
        if self.pause <= PAUSES.1 {
            self.close(place);
        }
    }

    /// When to call [`close_if_due`](Self::close_if_due).
    pub(super) fn due(&self) -> Option<Instant> {
        self.retry
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// A place that can be shut.
    #[derive(Default)]
    struct Door {
        is_shut: bool,
        lines: Vec<String>,
    }

    impl Place for Door {
        fn write(&mut self, line: &Line) -> io::Result<()> {
            if self.is_shut {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.lines.push(line.text.clone());
            Ok(())
        }

        fn rename(&mut self, _: &str) {}
    }

    fn line(number: usize) -> Line {
        Line::now(Level::Info, number.to_string())
    }

    #[test]
    fn lines_of_a_gap_are_there_afterwards_and_in_order() {
        let (mut gap, mut door) = (Gap::default(), Door { is_shut: true, ..Door::default() });
        (0..3).for_each(|number| gap.write(line(number), &mut door));
        assert!(door.lines.is_empty());
        door.is_shut = false;
        gap.close_if_due(Instant::now(), &mut door);
        assert!(door.lines.is_empty(), "not yet");
        gap.close_if_due(gap.due().unwrap(), &mut door);
        assert_eq!(door.lines, ["0", "1", "2"]);
        assert_eq!(gap.due(), None);
        gap.write(line(3), &mut door);
        assert_eq!(door.lines.len(), 4);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let (mut gap, mut door) = (Gap::default(), Door { is_shut: true, ..Door::default() });
        (0..KEPT + 10).for_each(|number| gap.write(line(number), &mut door));
        door.is_shut = false;
        gap.write(line(KEPT + 10), &mut door);
        assert_eq!(
            door.lines[..2],
            ["11".to_owned(), "11 lines were lost before this one, because the log took none".to_owned()]
        );
        assert_eq!(door.lines.len(), KEPT + 1);
        assert_eq!(door.lines.last(), Some(&(KEPT + 10).to_string()));
    }

    #[test]
    fn a_place_that_never_comes_back_is_left_alone() {
        let (mut gap, mut door) = (Gap::default(), Door { is_shut: true, ..Door::default() });
        gap.write(line(0), &mut door);
        let mut tries = 0;
        while let Some(due) = gap.due() {
            gap.close_if_due(due, &mut door);
            tries += 1;
            assert!(tries < 20, "it is tried for ever");
        }
        door.is_shut = false;
        gap.write(line(1), &mut door);
        assert_eq!(door.lines, ["0", "1"]);
    }
}
