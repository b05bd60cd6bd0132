//! What went into a data path is what came out, what it dropped by name, and what waits in it: after each turn,
//! exactly.

use super::Gateway;
use super::worker::{Stage, Worker};

/// What passed a data path, as its shell sees it. Keepalives are not counted: they come from nowhere, and go nowhere.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Books {
    /// Packets and datagrams that went in.
    pub(super) fed: u64,
    /// What came out for the socket, for control and for other workers.
    pub(super) out: u64,
    /// What came out of it for the TUN device, less what was refused and comes again.
    pub(super) written: u64,
    /// Drops that the shell has reported.
    pub(super) reported: u64,
    /// Keepalives of this turn that may be among its drops: those that came with something else.
    pub(super) keepalives: u64,
    /// How many drops were too many after the last turn, because of keepalives.
    excess: u64,
}

/// What is on one side of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    drops: u64,
    staged: usize,
}

impl Worker {
    /// Before a step.
    pub(super) fn mark(&self) -> Mark {
        Mark { drops: self.path.counters().drops.total(), staged: self.path.staged() }
    }

    /// A step was about so many keepalives, and nothing else if it is `alone`. What it has dropped are then keepalives,
    /// unless packets that waited have left.
    ///
    /// # Errors
    /// More was dropped than there was.
    pub(super) fn book_keepalives(&mut self, count: usize, alone: bool, before: Mark) -> Result<(), String> {
        let after = self.mark();
        let dropped = after.drops - before.drops;
        if !alone || after.staged != before.staged {
            self.books.keepalives += count as u64;
            return Ok(());
        }
        self.books.reported += dropped;
        let is_possible = dropped <= count as u64;
        is_possible.then_some(()).ok_or_else(|| format!("of {count} keepalives {dropped} were dropped"))
    }

    /// Whether the books add up. To be called between two turns.
    ///
    /// # Errors
    /// By how much they do not.
    pub(super) fn check_books(&mut self) -> Result<(), String> {
        let counters = self.path.counters();
        let (delivered, icmp, drops) = (counters.tun_write_packets, counters.icmp_sent, counters.drops.total());
        let staged = self.path.staged() as u64;
        let Books { fed, out, written, reported, keepalives, excess } = self.books;
        if written != delivered + icmp {
            return Err(format!(
                "{delivered} packets and {icmp} ICMP errors are delivered, and {written} were written"
            ));
        }
        let dropped = drops as i64 - reported as i64 - excess as i64;
        let missing = fed as i64 - out as i64 - delivered as i64 - staged as i64;
        if !(missing..=missing + keepalives as i64).contains(&dropped) {
            return Err(format!(
                "{fed} packets went in, {out} and {delivered} came out, {staged} wait: {missing} are missing, and \
                 {dropped} were dropped under some name"
            ));
        }
        self.books.excess += (dropped - missing) as u64;
        self.books.keepalives = 0;
        Ok(())
    }
}

impl Gateway {
    /// Whether the books of all workers add up that are between two turns.
    ///
    /// # Errors
    /// Whose do not.
    pub(super) fn check_books(&mut self) -> Result<(), String> {
        let index = self.index;
        for (n, worker) in self.workers.iter_mut().enumerate().filter(|(_, worker)| worker.stage == Stage::Begin) {
            worker.check_books().map_err(|what| format!("g{index} worker {n}: {what}"))?;
        }
        Ok(())
    }
}
