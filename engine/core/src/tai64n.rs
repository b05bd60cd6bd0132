//! TAI64N timestamps (<https://cr.yp.to/libtai/tai64.html>), with which initiations prove that they are new
//! (WireGuard paper, section 5.1).

use std::fmt;
use std::time::Duration;

use crate::constants::INITIATIONS_PER_SECOND;

/// Length of a timestamp on the wire in bytes.
pub const TAI64N_LEN: usize = 12;

/// The label of the Unix epoch: 2^62, and the 10 s by which TAI was ahead of UTC in 1970.
const UNIX_EPOCH_LABEL: u64 = (1 << 62) + 10;
const NANOS_PER_SECOND: u32 = 1_000_000_000;
/// The precision that leaves this machine: the largest power of two below the least interval of accepted initiations.
/// A finer clock would tell an observer more than the protocol needs.
const PRECISION_NANOS: u32 = 1 << (NANOS_PER_SECOND / INITIATIONS_PER_SECOND).ilog2();

/// A timestamp as it is on the wire: eight bytes of seconds, four of nanoseconds, both big-endian, hence ordered as the
/// bytes are. A peer may send any twelve bytes; they are compared, never interpreted.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tai64N([u8; TAI64N_LEN]);

impl Tai64N {
    /// Earlier than every timestamp that a clock gives.
    pub const ZERO: Self = Self([0; TAI64N_LEN]);

    /// The timestamp of a Unix time, rounded down to about 17 ms so that it tells little about our clock.
    pub fn from_unix(seconds: u64, nanos: u32) -> Self {
        let nanos = nanos.min(NANOS_PER_SECOND - 1);
        Self::from_parts(UNIX_EPOCH_LABEL.saturating_add(seconds), nanos - nanos % PRECISION_NANOS)
    }

    /// A timestamp from the wire.
    pub const fn from_bytes(bytes: [u8; TAI64N_LEN]) -> Self {
        Self(bytes)
    }

    /// The timestamp for the wire.
    pub const fn as_bytes(&self) -> &[u8; TAI64N_LEN] {
        &self.0
    }

    /// How much earlier this timestamp is than another; zero if it is not. A peer may have made either of any bytes.
    #[must_use]
    pub fn behind(&self, later: Self) -> Duration {
        let [later, earlier] = [later, *self].map(|timestamp| {
            let (seconds, nanos) = timestamp.parts();
            Duration::new(seconds, nanos.min(NANOS_PER_SECOND - 1))
        });
        later.saturating_sub(earlier)
    }

    /// The next timestamp that a peer takes for later than this one.
    ///
    /// An initiator whose wall clock went back uses the later of the clock and the successor of what it sent last.
    #[must_use]
    pub fn successor(&self) -> Self {
        let (seconds, nanos) = self.parts();
        let nanos = nanos.saturating_add(PRECISION_NANOS);
        if nanos < NANOS_PER_SECOND {
            return Self::from_parts(seconds, nanos);
        }
        seconds.checked_add(1).map_or(Self([0xff; TAI64N_LEN]), |seconds| Self::from_parts(seconds, 0))
    }

    fn from_parts(seconds: u64, nanos: u32) -> Self {
        let mut bytes = [0; TAI64N_LEN];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanos.to_be_bytes());
        Self(bytes)
    }

    fn parts(&self) -> (u64, u32) {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3] = self.0;
        (u64::from_be_bytes([s0, s1, s2, s3, s4, s5, s6, s7]), u32::from_be_bytes([n0, n1, n2, n3]))
    }
}

impl fmt::Debug for Tai64N {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = self.parts();
        write!(f, "@{seconds:016x}{nanos:08x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_of_the_specification() {
        // cr.yp.to/libtai/tai64.html: 1992-06-02 08:07:09 TAI is 4000 0000 2a2b 2c2d; TAI was 27 s ahead of UTC then,
        // of which this clock, like every WireGuard, knows only the first ten.
        let unix = 0x2a2b_2c2d - 10;
        assert_eq!(Tai64N::from_unix(unix, 0).as_bytes(), &[0x40, 0, 0, 0, 0x2a, 0x2b, 0x2c, 0x2d, 0, 0, 0, 0]);
        assert_eq!(format!("{:?}", Tai64N::from_unix(unix, 0)), "@400000002a2b2c2d00000000");
    }

    #[test]
    fn precision_is_whitened() {
        assert_eq!(PRECISION_NANOS, 1 << 24);
        assert_eq!(Tai64N::from_unix(7, 1), Tai64N::from_unix(7, PRECISION_NANOS - 1));
        assert!(Tai64N::from_unix(7, PRECISION_NANOS) > Tai64N::from_unix(7, PRECISION_NANOS - 1));
        assert_eq!(Tai64N::from_unix(7, u32::MAX), Tai64N::from_unix(7, NANOS_PER_SECOND - 1));
    }

    #[test]
    fn order_is_seconds_then_nanoseconds() {
        let ordered = [
            Tai64N::ZERO,
            Tai64N::from_unix(0, 0),
            Tai64N::from_unix(0, 999_999_999),
            Tai64N::from_unix(1, 0),
            Tai64N::from_unix(255, 0),
            Tai64N::from_unix(256, 0),
            Tai64N::from_unix(u64::MAX, 0),
            Tai64N::from_bytes([0xff; TAI64N_LEN]),
        ];
        assert!(ordered.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn behind_is_a_distance_whatever_the_bytes_are() {
        let (early, late) = (Tai64N::from_unix(100, 0), Tai64N::from_unix(86_500, 500_000_000));
        assert_eq!(early.behind(late).as_secs(), 86_400);
        assert_eq!(late.behind(early), Duration::ZERO);
        let _ = Tai64N::ZERO.behind(Tai64N::from_bytes([0xff; TAI64N_LEN]));
    }

    #[test]
    fn successor_is_later_until_the_end_of_time() {
        for start in [Tai64N::ZERO, Tai64N::from_unix(1, 0), Tai64N::from_unix(1, 999_999_999)] {
            assert!(start.successor() > start);
        }
        assert_eq!(Tai64N::from_unix(1, 999_999_999).successor(), Tai64N::from_unix(2, 0));
        let end = Tai64N::from_bytes([0xff; TAI64N_LEN]);
        assert_eq!(end.successor(), end);
    }
}
