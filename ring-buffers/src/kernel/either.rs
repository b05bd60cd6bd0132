//! The kernel, or a fake of it. Compiled for tests only.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use super::fake::FakeKernel;
use super::{Cqe, Real, Request};
use crate::{RingConfig, RingError};

#[allow(clippy::large_enum_variant, reason = "a ring has one, and it does not move")]
pub(crate) enum Kernel {
    Real(Real),
    Fake(FakeKernel),
}

macro_rules! of {
    ($either:expr, $kernel:ident => $call:expr) => {
        match $either {
            Kernel::Real($kernel) => $call,
            Kernel::Fake($kernel) => $call,
        }
    };
}

impl Kernel {
    pub(crate) fn new(config: RingConfig) -> Result<Self, RingError> {
        Real::new(config).map(Self::Real)
    }

    /// # Safety
    /// As for [`Real::push`].
    pub(crate) unsafe fn push(&mut self, request: &Request, user_data: u64) -> bool {
        // SAFETY: the caller answers for the request.
        of!(self, kernel => unsafe { kernel.push(request, user_data) })
    }

    pub(crate) fn queued(&mut self) -> usize {
        of!(self, kernel => kernel.queued())
    }

    pub(crate) fn enter(&mut self, want: u32, flags: u32) -> Result<(), i32> {
        of!(self, kernel => kernel.enter(want, flags))
    }

    pub(crate) fn enter_for(&mut self, want: usize, time: Duration) -> Result<(), i32> {
        of!(self, kernel => kernel.enter_for(want, time))
    }

    pub(crate) fn has_completed(&mut self) -> bool {
        of!(self, kernel => kernel.has_completed())
    }

    pub(crate) fn drain(&mut self, max: usize, each: impl FnMut(Cqe)) -> usize {
        of!(self, kernel => kernel.drain(max, each))
    }

    pub(crate) fn cancel_any(&mut self) {
        of!(self, kernel => kernel.cancel_any());
    }

    /// # Safety
    /// As for [`Real::register_buffer`].
    pub(crate) unsafe fn register_buffer(&mut self, buffer: libc::iovec) -> io::Result<()> {
        // SAFETY: the caller answers for the memory.
        of!(self, kernel => unsafe { kernel.register_buffer(buffer) })
    }

    pub(crate) fn register_files(&mut self, files: &[RawFd]) -> io::Result<()> {
        of!(self, kernel => kernel.register_files(files))
    }

    pub(crate) fn update_file(&mut self, place: u32, file: RawFd) -> io::Result<()> {
        of!(self, kernel => kernel.update_file(place, file))
    }

    /// # Safety
    /// As for [`Real::register_group`].
    pub(crate) unsafe fn register_group(&mut self, entries: *mut u8, count: u16, id: u16) -> io::Result<()> {
        // SAFETY: the caller answers for the entries.
        of!(self, kernel => unsafe { kernel.register_group(entries, count, id) })
    }

    pub(crate) fn unregister_group(&mut self, id: u16) -> io::Result<()> {
        of!(self, kernel => kernel.unregister_group(id))
    }
}
