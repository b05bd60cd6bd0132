//! What a datagram carries: sixteen bytes that say which one it is, and a pattern after them.
//!
//! ```text
//!    0              8          12         16
//!   │ due, ns      │ number   │ tag      │ pattern ……
//! ```
//!
//! All in little-endian order. `due` is the intended time of sending on `CLOCK_MONOTONIC`, `number` the packet's place
//! in the schedule of its lane. `tag` names the run, the direction and the lane, so a straggler of one run is not
//! counted in the next.

/// Bytes of the stamp.
pub(crate) const STAMP_LEN: usize = 16;

/// Which packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// When it was due, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) due_ns: u64,
    /// Its place in the schedule.
    pub(crate) number: u32,
    /// Its run, direction and lane.
    pub(crate) tag: u32,
}

impl Stamp {
    /// Writes it to the beginning of a payload.
    ///
    /// # Panics
    /// If the payload is shorter than [`STAMP_LEN`]; no size of a load that has passed its check is.
    pub(crate) fn write(self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.due_ns.to_le_bytes());
        payload[8..12].copy_from_slice(&self.number.to_le_bytes());
        payload[12..STAMP_LEN].copy_from_slice(&self.tag.to_le_bytes());
    }

    /// Reads it from the beginning of a payload; `None` if that is too short.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (due, rest) = payload.split_first_chunk::<8>()?;
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let (tag, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            due_ns: u64::from_le_bytes(*due),
            number: u32::from_le_bytes(*number),
            tag: u32::from_le_bytes(*tag),
        })
    }
}

/// Fills what comes after stamps: no two places within 251 bytes of each other are alike for long.
pub(crate) fn fill_pattern(bytes: &mut [u8]) {
    for (position, byte) in bytes.iter_mut().enumerate() {
        *byte = (position % 251) as u8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(due_ns: u64, number: u32, tag: u32, rest in 0_usize..50) {
            let stamp = Stamp { due_ns, number, tag };
            let mut payload = vec![0; STAMP_LEN + rest];
            stamp.write(&mut payload);
            prop_assert_eq!(Stamp::read(&payload), Some(stamp));
        }

        #[test]
        fn short_payloads_have_none(payload in prop::collection::vec(any::<u8>(), 0..STAMP_LEN)) {
            prop_assert_eq!(Stamp::read(&payload), None);
        }
    }
}
