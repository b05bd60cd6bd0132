//! ICMP errors that a gateway writes: about what it has just read, and no more of them than it may.

use ringfort_core::icmp::Allowance;
use ringfort_core::time::Time;

use super::Gateway;
use super::worker::TunRead;
use crate::outside::Outside;
use crate::packets::{Number, ROOM, Shape, check_error, is_longest_error, write_packet};

const TOKEN_NANOS: u64 = 1_000_000_000 / Allowance::PER_SECOND as u64;
const FULL_NANOS: u64 = TOKEN_NANOS * Allowance::BURST as u64;

/// What a worker has read in a turn, and how many errors it may still write.
#[derive(Debug)]
pub(super) struct Errors {
    read: Vec<TunRead>,
    credit_nanos: u64,
    updated: Time,
}

impl Default for Errors {
    fn default() -> Self {
        Self { read: Vec::new(), credit_nanos: FULL_NANOS, updated: Time::ZERO }
    }
}

impl Errors {
    /// Nothing that was read before is turned back any more.
    pub(super) fn begin(&mut self) {
        self.read.clear();
    }

    /// A packet was read.
    pub(super) fn note(&mut self, read: &TunRead) {
        self.read.push(read.clone());
    }

    fn take(&mut self, now: Time) -> bool {
        let earned = now.since(self.updated).as_nanos() as u64;
        let credit = self.credit_nanos.saturating_add(earned).min(FULL_NANOS);
        self.updated = now;
        self.credit_nanos = credit.checked_sub(TOKEN_NANOS).unwrap_or(credit);
        credit >= TOKEN_NANOS
    }
}

impl Gateway {
    /// An ICMP error is right, there may be one, and it is about something that this worker has read in this turn.
    pub(super) fn check_icmp_error(&mut self, w: usize, error: &[u8], out: &Outside) -> Result<(), String> {
        let (index, now) = (self.index, self.now(out.now).mono);
        let error = error.get(ROOM..).unwrap_or_default();
        let quote = check_error(error).map_err(|what| format!("g{index}: {what}"))?;
        let errors = &mut self.workers[w].errors;
        if !errors.take(now) {
            return Err(format!("g{index} worker {w}: more ICMP errors than it may write"));
        }
        let is_of =
            |packet: &[u8]| packet.starts_with(quote) && (packet.len() == quote.len() || is_longest_error(error));
        if errors.read.iter().any(|read| is_about(read, &is_of, out)) {
            return Ok(());
        }
        Err(format!("g{index} worker {w}: an ICMP error about what it has not read: {quote:x?}"))
    }
}

/// Whether a packet that was read is one of those. Of a super-packet only the first is told of.
fn is_about(read: &TunRead, is_of: &dyn Fn(&[u8]) -> bool, out: &Outside) -> bool {
    let flows = out.ledger.flows();
    let number = match *read {
        TunRead::Lone { number, .. } => number,
        TunRead::Super { flow, sequence, count, last } => {
            let len = if count == 1 { last } else { flows[usize::from(flow)].segment };
            Number { flow, shape: Shape::Whole, sequence, len }
        }
        TunRead::Raw(ref bytes) => {
            // Nonsense has checksums that are completed first, or is called a super-packet.
            let is_plain = bytes.first_chunk().is_some_and(|&[flags, gso]| flags == 0 && gso == 0);
            return !is_plain || bytes.get(ROOM..).is_some_and(is_of);
        }
    };
    let mut bytes = vec![0; ROOM + 128 + usize::from(number.len)];
    let len = write_packet(&flows[usize::from(number.flow)], number, false, &mut bytes);
    is_of(&bytes[ROOM..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted_as_the_gateway_counts_them() {
        let (mut errors, mut allowance) = (Errors::default(), Allowance::default());
        for ms in [0, 0, 1, 3, 9, 10, 100, 101, 5_000, 5_001, 5_007, 60_000] {
            let now = Time::from_secs(1_000) + std::time::Duration::from_millis(ms);
            for n in 0..60 {
                assert_eq!(errors.take(now), allowance.take(now), "error {n} at {ms} ms");
            }
        }
    }
}
