//! What was thrown away of one peer's packets, and why: counted by workers, read by control.
//!
//! Only a drop costs anything. A peer that never lost a packet has an empty cell here, a peer that did has 288
//! bytes more at most. They are allocated with its first drop, and never grow.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;

use crate::drops::DropReason;
use crate::time::Time;

/// Reasons that say something about one peer. All others are counted for the worker alone.
pub const PEER_REASONS: [DropReason; 16] = [
    DropReason::BadTag,
    DropReason::Replay,
    DropReason::ExpiredSession,
    DropReason::BadLength,
    DropReason::SourceNotAllowed,
    DropReason::NotIp,
    DropReason::MalformedIp,
    DropReason::CongestionNotCapable,
    DropReason::NoEndpoint,
    DropReason::LoopedEndpoint,
    DropReason::NoSession,
    DropReason::StagedOverflow,
    DropReason::Oversized,
    DropReason::SendFailed,
    DropReason::NoSlot,
    DropReason::Down,
];

/// After so long without a drop for a reason, the next one is told again.
pub const QUIET: Duration = Duration::from_secs(60);
/// How often the inner source address of what is refused is written down.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

/// One peer's drops. Any worker counts, any number at once.
#[derive(Debug, Default)]
pub struct PeerDrops(OnceLock<Box<Table>>);

#[derive(Debug, Default)]
struct Table {
    counts: [AtomicU64; PEER_REASONS.len()],
    /// When each reason was last given; 0 is never.
    last: [AtomicU64; PEER_REASONS.len()],
    /// When `source` was written.
    sampled: AtomicU64,
    source: ArcSwapOption<IpAddr>,
    send_error: AtomicI32,
    /// Of which reasons control has not heard, as it had no room to: a bit for each.
    untold: AtomicU32,
}

const _: () = assert!(PEER_REASONS.len() <= u32::BITS as usize);

/// Why datagrams did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The system refuses them. Its number for why.
    System(i32),
    /// As many sends are under way as the gateway has room for.
    Full,
    /// The kernel took a part of a train, and did not say what is wrong with the rest.
    Partial,
}

impl SendError {
    /// As one number: the system's are above 0.
    const fn code(self) -> i32 {
        match self {
            Self::System(errno) => errno,
            Self::Full => -1,
            Self::Partial => -2,
        }
    }

    const fn of_code(code: i32) -> Option<Self> {
        match code {
            0 => None,
            -1 => Some(Self::Full),
            -2 => Some(Self::Partial),
            errno => Some(Self::System(errno)),
        }
    }
}

/// How many packets one reason cost a peer, and when last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerDrop {
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub count: u64,
    /// The last of them.
    pub last: Time,
}

impl PeerDrops {
    /// Counts `n` packets. True: control should hear of it, because it is the first drop for this reason in a while,
    /// and only the operator can mend it.
    #[cold]
    #[must_use = "control should hear of it"]
    pub fn note(&self, reason: DropReason, n: u64, now: Time) -> bool {
        let Some(place) = place(reason) else { return false };
        let table = self.0.get_or_init(Box::default);
        table.counts[place].fetch_add(n, Relaxed);
        let before = table.last[place].swap(now.0.max(1), Relaxed);
        let operators =
            matches!(reason, DropReason::SourceNotAllowed | DropReason::NoEndpoint | DropReason::SendFailed);
        operators
            && (before == 0
                || now.since(Time(before)) >= QUIET
                || table.untold.fetch_and(!(1 << place), Relaxed) & 1 << place != 0)
    }

    /// Control has no room to hear of it: it hears of the next drop for this reason.
    pub fn untold(&self, reason: DropReason) {
        if let (Some(place), Some(table)) = (place(reason), self.0.get()) {
            table.untold.fetch_or(1 << place, Relaxed);
        }
    }

    /// As [`PeerDrops::note`], for a packet whose inner source address the peer may not use.
    #[cold]
    #[must_use = "control should hear of it"]
    pub fn note_source(&self, source: IpAddr, now: Time) -> bool {
        let tell = self.note(DropReason::SourceNotAllowed, 1, now);
        let Some(table) = self.0.get() else { return tell };
        let sampled = table.sampled.load(Relaxed);
        // A peer that sends from ever other addresses does not make us allocate for each.
        if sampled == 0 || now.since(Time(sampled)) >= SAMPLE_INTERVAL {
            table.sampled.store(now.0.max(1), Relaxed);
            table.source.store(Some(Arc::new(source)));
        }
        tell
    }

    /// As [`PeerDrops::note`], for datagrams that did not leave.
    #[cold]
    #[must_use = "control should hear of it"]
    pub fn note_send_error(&self, error: SendError, n: u64, now: Time) -> bool {
        let tell = self.note(DropReason::SendFailed, n, now);
        if let Some(table) = self.0.get() {
            table.send_error.store(error.code(), Relaxed);
        }
        tell
    }

    /// What was dropped for one reason.
    pub fn get(&self, reason: DropReason) -> Option<PeerDrop> {
        let (table, place) = (self.0.get()?, place(reason)?);
        let count = table.counts[place].load(Relaxed);
        (count > 0).then(|| PeerDrop { reason, count, last: Time(table.last[place].load(Relaxed)) })
    }

    /// Everything that was dropped, by reason.
    pub fn iter(&self) -> impl Iterator<Item = PeerDrop> + '_ {
        PEER_REASONS.into_iter().filter_map(|reason| self.get(reason))
    }

    /// The inner source address of a packet that was refused lately.
    pub fn source(&self) -> Option<IpAddr> {
        self.0.get()?.source.load().as_deref().copied()
    }

    /// Why a datagram last did not leave.
    pub fn send_error(&self) -> Option<SendError> {
        SendError::of_code(self.0.get()?.send_error.load(Relaxed))
    }
}

/// A reason's place in [`PEER_REASONS`].
fn place(reason: DropReason) -> Option<usize> {
    PEER_REASONS.iter().position(|&listed| listed == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: fn(u64) -> Time = Time::from_secs;

    #[test]
    fn a_peer_without_drops_has_no_table() {
        let drops = PeerDrops::default();
        assert!(drops.0.get().is_none());
        assert!(size_of::<PeerDrops>() <= 16 && size_of::<Table>() <= 288, "{}", size_of::<Table>());
        assert_eq!((drops.iter().count(), drops.source(), drops.send_error()), (0, None, None));
        assert!(!drops.note(DropReason::Runt, 1, T(1)), "nobody's");
        assert!(drops.0.get().is_none());
    }

    #[test]
    fn counts_are_kept_by_reason() {
        let drops = PeerDrops::default();
        let _ = drops.note(DropReason::BadTag, 3, T(1));
        let _ = drops.note(DropReason::BadTag, 1, T(2));
        let _ = drops.note_send_error(SendError::System(1), 2, T(3));
        let seen: Vec<_> = drops.iter().map(|drop| (drop.reason, drop.count, drop.last)).collect();
        assert_eq!(seen, [(DropReason::BadTag, 4, T(2)), (DropReason::SendFailed, 2, T(3))]);
        for error in [SendError::System(1), SendError::Full, SendError::Partial] {
            let _ = drops.note_send_error(error, 1, T(3));
            assert_eq!(drops.send_error(), Some(error));
        }
    }

    #[test]
    fn control_hears_of_the_first_after_a_quiet_time() {
        let drops = PeerDrops::default();
        assert!(drops.note(DropReason::NoEndpoint, 1, T(10)));
        assert!((11..60).all(|second| !drops.note(DropReason::NoEndpoint, 1, T(second))));
        assert!(!drops.note(DropReason::NoEndpoint, 1, T(118)), "59 s after the one before");
        assert!(drops.note(DropReason::NoEndpoint, 1, T(178)));
        assert!(!drops.note(DropReason::BadTag, 1, T(500)), "anybody may cause these");
    }

    #[test]
    fn sources_are_sampled() {
        let drops = PeerDrops::default();
        let addr = |last| IpAddr::from([10, 0, 0, last]);
        assert!(drops.note_source(addr(1), T(1)));
        let _ = drops.note_source(addr(2), T(1));
        assert_eq!(drops.source(), Some(addr(1)));
        let _ = drops.note_source(addr(3), T(2));
        assert_eq!(drops.source(), Some(addr(3)));
        assert_eq!(drops.get(DropReason::SourceNotAllowed).map(|drop| drop.count), Some(3));
    }
}
