//! How the segments of a train lie in their buffer.

use crate::{HEADER_LEN, TAG_LEN};

/// Most segments in one train: the kernel coalesces no more into one GRO datagram (`UDP_GRO_CNT_MAX`), and a verdict
/// has as many bits.
pub const SEGMENTS_MAX: usize = 64;
/// Shortest segment, in bytes on the wire: a keepalive, header and tag around nothing.
pub const SEGMENT_LEN_MIN: usize = HEADER_LEN + TAG_LEN;
/// Longest segment, in bytes on the wire: the length field of UDP cannot say more.
pub const SEGMENT_LEN_MAX: usize = u16::MAX as usize;

/// The lengths of a train's segments: all `stride` bytes on the wire but the last, which may be shorter.
///
/// A value of this type satisfies `1 ≤ count ≤ 64` and `32 ≤ last ≤ stride ≤ 65535`; whether a buffer is long enough
/// for it is checked where the two meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    stride: u16,
    last: u16,
    count: u8,
}

/// Lengths that no train can have. From [`Geometry::new`] this is a bug of the caller; from [`Geometry::of_received`]
/// it is what the network sent, and the caller drops the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// No segment, or more than [`SEGMENTS_MAX`].
    #[error("a train of {count} segments; 1 to {SEGMENTS_MAX} are possible")]
    Count {
        /// Segments asked for.
        count: usize,
    },
    /// A stride outside [`SEGMENT_LEN_MIN`]`..=`[`SEGMENT_LEN_MAX`].
    #[error("a stride of {stride} bytes; {SEGMENT_LEN_MIN} to {SEGMENT_LEN_MAX} are possible")]
    Stride {
        /// Bytes asked for.
        stride: usize,
    },
    /// A last segment shorter than [`SEGMENT_LEN_MIN`] or longer than the stride.
    #[error("a last segment of {last} bytes; {SEGMENT_LEN_MIN} to the stride of {stride} are possible")]
    Last {
        /// Bytes asked for.
        last: usize,
        /// Bytes of the other segments.
        stride: usize,
    },
}

impl Geometry {
    /// `count` segments of `stride` bytes on the wire (header and tag included), the last one of `last` bytes.
    pub fn new(stride: usize, last: usize, count: usize) -> Result<Self, GeometryError> {
        if count == 0 || count > SEGMENTS_MAX {
            return Err(GeometryError::Count { count });
        }
        if !(SEGMENT_LEN_MIN..=SEGMENT_LEN_MAX).contains(&stride) {
            return Err(GeometryError::Stride { stride });
        }
        if !(SEGMENT_LEN_MIN..=stride).contains(&last) {
            return Err(GeometryError::Last { last, stride });
        }
        // Lossless: the ranges were checked just above.
        Ok(Self { stride: stride as u16, last: last as u16, count: count as u8 })
    }

    /// A train of one segment of `len` bytes on the wire.
    pub fn single(len: usize) -> Result<Self, GeometryError> {
        Self::new(len, len, 1)
    }

    /// The train in a received datagram of `len` bytes that the kernel coalesced at `stride` (its GRO segment size).
    pub fn of_received(len: usize, stride: usize) -> Result<Self, GeometryError> {
        if stride < SEGMENT_LEN_MIN {
            return Err(GeometryError::Stride { stride });
        }
        if len <= stride {
            return Self::single(len);
        }
        let count = len.div_ceil(stride);
        Self::new(stride, len - (count - 1) * stride, count)
    }

    /// Bytes from the start of one segment to the start of the next.
    pub fn stride(self) -> usize {
        self.stride.into()
    }

    /// Bytes of the last segment.
    pub fn last(self) -> usize {
        self.last.into()
    }

    /// Number of segments.
    pub fn count(self) -> usize {
        self.count.into()
    }

    /// Bytes of the whole train.
    pub fn total_len(self) -> usize {
        self.stride() * (self.count() - 1) + self.last()
    }

    /// Bytes of segment `segment` on the wire.
    pub fn segment_len(self, segment: usize) -> usize {
        if segment + 1 == self.count() { self.last() } else { self.stride() }
    }

    /// Bytes of plaintext, padding included, in segment `segment`.
    pub fn plaintext_len(self, segment: usize) -> usize {
        self.segment_len(segment) - HEADER_LEN - TAG_LEN
    }
}
