//! How many packets make a train, and whether a keepalive is its last segment.
//!
//! A ragged train never ends in a segment as long as the others (`udp_uring::Segmentation::Ragged`
//! says why). Where it would, an authenticated keepalive of the same session follows the packets. The peer takes it for
//! what it is: it is delivered to nobody, and nobody answers it.

use ringfort_aead::{Geometry, GeometryError, SEGMENTS_MAX};
use ringfort_core::wire::DATA_LEN_MIN;

use crate::TRAIN_BYTES_MAX;

/// Whether packets that are one train, all but the last being `stride` bytes on the wire, need a keepalive behind them.
const fn needs_tail(stride: usize, last: usize, packets: usize, ragged: bool) -> bool {
    ragged && packets > 1 && last == stride
}

/// Of `packets` that could be one train if it did not have to be ragged, how many are one. `last` is the length of the
/// last of them; all others are `stride` bytes on the wire.
pub(super) fn packets_of(packets: usize, stride: usize, last: usize, ragged: bool) -> usize {
    if !needs_tail(stride, last, packets, ragged) {
        return packets;
    }
    if stride <= DATA_LEN_MIN {
        // Keepalives: nothing is shorter.
        return 1;
    }
    let with_tail = (TRAIN_BYTES_MAX - DATA_LEN_MIN) / stride;
    packets.min(with_tail).clamp(1, SEGMENTS_MAX - 1)
}

/// The lengths of the train that `packets` make, of [`packets_of`]: one segment more if a keepalive is its last.
///
/// # Errors
/// Lengths that no train can have.
pub(super) fn geometry(packets: usize, stride: usize, last: usize, ragged: bool) -> Result<Geometry, GeometryError> {
    if needs_tail(stride, last, packets, ragged) {
        Geometry::new(stride, DATA_LEN_MIN, packets + 1)
    } else {
        Geometry::new(stride, last, packets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Packets that can be one train: how many, their length, and that of the last.
    fn candidates() -> impl Strategy<Value = (usize, usize, usize)> {
        let stride = prop_oneof![Just(DATA_LEN_MIN), DATA_LEN_MIN..200, 200..9_000usize, 9_000..=TRAIN_BYTES_MAX];
        (stride, 1..=SEGMENTS_MAX).prop_flat_map(|(stride, packets)| {
            let packets = packets.min(TRAIN_BYTES_MAX / stride);
            let last = prop_oneof![Just(stride), DATA_LEN_MIN..=stride];
            (Just(packets), Just(stride), last)
        })
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "sums of lengths, without memory")]
        fn a_ragged_train_never_has_an_equal_tail((most, stride, last) in candidates()) {
            let packets = packets_of(most, stride, last, true);
            prop_assert!((1..=most).contains(&packets));
            // Where fewer are taken, the last of them is one of the others.
            let last = if packets < most { stride } else { last };
            let geometry = geometry(packets, stride, last, true).expect("within all limits");
            prop_assert!(geometry.count() <= SEGMENTS_MAX && geometry.total_len() <= TRAIN_BYTES_MAX);
            let tail = geometry.segment_len(geometry.count() - 1);
            prop_assert!(geometry.count() == 1 || tail < stride, "{geometry:?}");
            let keepalive = geometry.count() > packets;
            prop_assert_eq!(keepalive, packets > 1 && last == stride, "only where it is needed");
            prop_assert!(packets + 1 >= most || stride == DATA_LEN_MIN, "one makes room");
        }

        #[test]
        #[cfg_attr(miri, ignore = "sums of lengths, without memory")]
        fn other_trains_are_as_they_are((most, stride, last) in candidates()) {
            prop_assert_eq!(packets_of(most, stride, last, false), most);
            let geometry = geometry(most, stride, last, false).expect("within all limits");
            prop_assert_eq!((geometry.count(), geometry.total_len()), (most, (most - 1) * stride + last));
        }
    }

    #[test]
    fn at_the_limits_a_train_carries_one_packet_fewer() {
        assert_eq!(packets_of(64, 1_000, 1_000, true), 63);
        assert_eq!(packets_of(64, 1_000, 999, true), 64, "no keepalive, no place for it");
        assert_eq!(packets_of(45, 1_452, 1_452, true), 45, "45 × 1,452 + 32 fit");
        assert_eq!(packets_of(2, 32_753, 32_753, true), 1, "but not these two and 32");
        assert_eq!(packets_of(5, DATA_LEN_MIN, DATA_LEN_MIN, true), 1, "keepalives leave by themselves");
        assert_eq!(packets_of(1, 1_452, 1_452, true), 1);
    }
}
