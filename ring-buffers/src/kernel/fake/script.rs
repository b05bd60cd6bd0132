//! What a fake kernel does wrong, and how often.

/// How a fake kernel misbehaves. Rates are of a thousand; the seed decides when.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Two rings with the same script and the same calls do the same.
    pub seed: u64,
    /// An operation is carried out some enters later than it could be.
    pub late: u16,
    /// An operation is carried out before others that were submitted earlier.
    pub reordered: u16,
    /// A write or a send takes only a part.
    pub short: u16,
    /// A write or a send fails, with one of [`Script::errnos`].
    pub failed: u16,
    /// The errors of writes and sends.
    pub errnos: &'static [i32],
    /// A multishot operation ends though it could go on, with one of [`Script::ends`].
    pub ended: u16,
    /// The errors with which multishot operations end; 0 is none.
    pub ends: &'static [i32],
    /// An enter is refused, with one of [`Script::enter_errnos`], and does nothing.
    pub refused: u16,
    /// The errors of `io_uring_enter` that pass.
    pub enter_errnos: &'static [i32],
    /// An enter takes only a part of the submission queue.
    pub partial: u16,
}

impl Script {
    /// A kernel that does nothing wrong.
    #[must_use]
    pub const fn calm(seed: u64) -> Self {
        Self {
            seed,
            late: 0,
            reordered: 0,
            short: 0,
            failed: 0,
            errnos: &[libc::EIO],
            ended: 0,
            ends: &[0],
            refused: 0,
            enter_errnos: &[libc::EINTR],
            partial: 0,
        }
    }

    /// A kernel that does all that a kernel may do, more often than any does.
    #[must_use]
    pub const fn wild(seed: u64) -> Self {
        Self {
            seed,
            late: 300,
            reordered: 300,
            short: 30,
            failed: 150,
            errnos: &[
                libc::EAGAIN,
                libc::ENOBUFS,
                libc::EMSGSIZE,
                libc::EINVAL,
                libc::EIO,
                libc::ENOMEM,
                libc::ECANCELED,
                libc::ENETUNREACH,
                libc::EPERM,
            ],
            ended: 100,
            ends: &[0, libc::ENOBUFS, libc::EAGAIN, libc::ENOMEM, libc::EINTR, libc::ECANCELED],
            refused: 100,
            enter_errnos: &[libc::EINTR, libc::EAGAIN, libc::EBUSY],
            partial: 200,
        }
    }
}

/// Chances, by splitmix64.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Below `end`, which is at least 1.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// True `rate` times of a thousand.
    pub(super) fn roll(&mut self, rate: u16) -> bool {
        self.below(1000) < rate.into()
    }

    pub(super) fn pick(&mut self, of: &[i32]) -> i32 {
        of[self.below(of.len())]
    }
}
