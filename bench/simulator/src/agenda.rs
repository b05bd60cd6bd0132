//! What will happen, and when: the only clock of a run.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use ringfort_core::time::Time;

/// Things to happen, in order of time; of those at one time, in the order in which they were entered.
#[derive(Debug)]
pub struct Agenda<T> {
    entries: BinaryHeap<Entry<T>>,
    entered: u64,
}

#[derive(Debug)]
struct Entry<T> {
    at: Time,
    number: u64,
    what: T,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { entries: BinaryHeap::new(), entered: 0 }
    }
}

impl<T> Agenda<T> {
    /// Enters something.
    pub fn enter(&mut self, at: Time, what: T) {
        self.entered += 1;
        self.entries.push(Entry { at, number: self.entered, what });
    }

    /// When the next thing happens.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.entries.peek().map(|entry| entry.at)
    }

    /// The next thing, if it happens until `until`.
    pub fn next_until(&mut self, until: Time) -> Option<(Time, T)> {
        self.entries.peek().filter(|entry| entry.at <= until)?;
        self.entries.pop().map(|entry| (entry.at, entry.what))
    }
}

impl<T> Ord for Entry<T> {
    /// The earliest is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_happen_in_order() {
        let mut agenda = Agenda::default();
        for (at, what) in [(5, 'c'), (3, 'a'), (3, 'b'), (9, 'd')] {
            agenda.enter(Time(at), what);
        }
        assert_eq!(agenda.next_at(), Some(Time(3)));
        let until_5 = std::iter::from_fn(|| agenda.next_until(Time(5))).map(|(_, what)| what);
        assert_eq!(until_5.collect::<String>(), "abc");
    }
}
