//! The kernel.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::register::{Probe, Restriction};
use io_uring::{IoUring, opcode, squeue, types};

use super::{Cqe, Request};
use crate::{Ring, RingConfig, RingError};

/// A file position that says "where the file is", for every kind of file: streams have none.
const NO_OFFSET: u64 = u64::MAX;

/// The operations that [`entry`] makes, and no others: a ring carries them out without any filter of system calls being
/// asked, so what it must not do it is not able to. Some kernels lack the last two.
const OPERATIONS: [u8; 12] = [
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Writev::CODE,
    opcode::WriteFixed::CODE,
    opcode::RecvMulti::CODE,
    opcode::RecvMsgMulti::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::ReadMulti::CODE,
    opcode::WritevFixed::CODE,
];

/// Of `enum io_uring_register_op` (`include/uapi/linux/io_uring.h`), what this file asks for: `REGISTER_BUFFERS`,
/// `REGISTER_FILES`, `REGISTER_FILES_UPDATE`, `REGISTER_PBUF_RING`, `UNREGISTER_PBUF_RING`, `REGISTER_SYNC_CANCEL`.
const REGISTRATIONS: [u8; 6] = [0, 2, 6, 22, 23, 24];

pub(crate) struct Real(IoUring);

impl Real {
    /// A ring that can do what this crate makes use of, for ever.
    pub(crate) fn new(config: RingConfig) -> Result<Self, RingError> {
        let ring = Self::disabled(config)?;
        let mut probe = Probe::new();
        let submitter = ring.0.submitter();
        submitter.register_probe(&mut probe).map_err(|e| RingError::setup("probing for operations", e))?;
        let operations = OPERATIONS.into_iter().filter(|&code| probe.is_supported(code)).map(Restriction::sqe_op);
        let registrations = REGISTRATIONS.into_iter().map(Restriction::register_op);
        let flags = squeue::Flags::FIXED_FILE | squeue::Flags::BUFFER_SELECT;
        let flags = [Restriction::sqe_flags_allowed(flags.bits())];
        let mut restrictions: Vec<_> = operations.chain(registrations).chain(flags).collect();
        let restricted = submitter.register_restrictions(&mut restrictions);
        restricted.map_err(|e| RingError::setup("restricting the ring", e))?;
        // The thread that does this is the one that submits (`IORING_SETUP_SINGLE_ISSUER`).
        submitter.register_enable_rings().map_err(|e| RingError::setup("enabling the ring", e))?;
        Ok(ring)
    }

    /// A ring that cannot be entered yet, and may be asked anything.
    pub(crate) fn disabled(config: RingConfig) -> Result<Self, RingError> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_submit_all()
            // A child would move the heads of the queues under its parent.
            .dontfork()
            .setup_cqsize(config.completions)
            .build(config.submissions)
            .map_err(|e| match e.raw_os_error() {
                Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => RingError::Disabled(e),
                Some(libc::EINVAL) => RingError::Missing("IORING_SETUP_DEFER_TASKRUN".into()),
                _ => RingError::setup("io_uring_setup", e),
            })?;
        if !ring.params().is_feature_nodrop() {
            return Err(RingError::Missing("IORING_FEAT_NODROP".into()));
        }
        Ok(Self(ring))
    }

    pub(crate) fn io_uring(&self) -> &IoUring {
        &self.0
    }

    /// Queues a submission. False: the queue is full.
    ///
    /// # Safety
    /// Every address in `request` must stay valid, and nobody may touch what the kernel writes. Both end when the
    /// operation's final completion is drained, or when the kernel has let go of the ring.
    #[inline]
    pub(crate) unsafe fn push(&mut self, request: &Request, user_data: u64) -> bool {
        let entry = entry(request).user_data(user_data);
        let mut queue = self.0.submission();
        // SAFETY: the caller answers for the addresses in the entry.
        unsafe { queue.push(&entry) }.is_ok()
    }

    /// Submissions that the kernel has not taken.
    #[inline]
    pub(crate) fn queued(&mut self) -> usize {
        self.0.submission().len()
    }

    /// `io_uring_enter(2)`; fails with an `errno`.
    pub(crate) fn enter(&mut self, want: u32, flags: u32) -> Result<(), i32> {
        let queued = u32::try_from(self.queued()).expect("the submission queue has at most 32,768 entries");
        // SAFETY: no argument pointer is passed; the entries were vouched for when they were pushed.
        let entered = unsafe { self.0.submitter().enter::<libc::sigset_t>(queued, want, flags, None) };
        entered.map(drop).map_err(errno)
    }

    /// Enters until so many completions wait, or the time is over (`ETIME`).
    pub(crate) fn enter_for(&mut self, want: usize, time: Duration) -> Result<(), i32> {
        let time = types::Timespec::from(time);
        let args = types::SubmitArgs::new().timespec(&time);
        self.0.submitter().submit_with_args(want, &args).map(drop).map_err(errno)
    }

    #[inline]
    pub(crate) fn has_completed(&mut self) -> bool {
        !self.0.completion().is_empty()
    }

    /// Gives up to `max` completions to `each`, and returns how many these were.
    #[inline]
    pub(crate) fn drain(&mut self, max: usize, mut each: impl FnMut(Cqe)) -> usize {
        let mut drained = 0;
        for cqe in self.0.completion().take(max) {
            drained += 1;
            each(Cqe { user_data: cqe.user_data(), result: cqe.result(), flags: cqe.flags() });
        }
        drained
    }

    /// Tells the kernel to cancel all that it has. It may not have let go of anything when this returns.
    pub(crate) fn cancel_any(&mut self) {
        let at_once = types::Timespec::new();
        // Whatever it answers, the completions tell what has ended.
        let _ = self.0.submitter().register_sync_cancel(Some(at_once), types::CancelBuilder::any());
    }

    /// # Safety
    /// The memory must stay mapped while the kernel has the ring.
    pub(crate) unsafe fn register_buffer(&mut self, buffer: libc::iovec) -> io::Result<()> {
        // SAFETY: the caller answers for the memory.
        unsafe { self.0.submitter().register_buffers(&[buffer]) }
    }

    pub(crate) fn register_files(&mut self, files: &[RawFd]) -> io::Result<()> {
        self.0.submitter().register_files(files)
    }

    pub(crate) fn update_file(&mut self, place: u32, file: RawFd) -> io::Result<()> {
        self.0.submitter().register_files_update(place, &[file]).map(drop)
    }

    /// # Safety
    /// `entries` must be the page-aligned address of `count` entries, which stay mapped while the group is registered.
    pub(crate) unsafe fn register_group(&mut self, entries: *mut u8, count: u16, id: u16) -> io::Result<()> {
        // SAFETY: the caller answers for the entries.
        unsafe { self.0.submitter().register_buf_ring_with_flags(entries as u64, count, id, 0) }
    }

    pub(crate) fn unregister_group(&mut self, id: u16) -> io::Result<()> {
        self.0.submitter().unregister_buf_ring(id)
    }
}

#[inline]
fn entry(request: &Request) -> squeue::Entry {
    match *request {
        Request::ReadMulti { place, group } => {
            opcode::ReadMulti::new(types::Fixed(place), 0, group).offset(NO_OFFSET).build()
        }
        Request::RecvMulti { place, group } => opcode::RecvMulti::new(types::Fixed(place), group).build(),
        Request::RecvMsgMulti { place, message, group } => {
            opcode::RecvMsgMulti::new(types::Fixed(place), message, group).build()
        }
        Request::PollMulti { place } => {
            opcode::PollAdd::new(types::Fixed(place), libc::POLLIN as u32).multi(true).build()
        }
        Request::Write { place, bytes, len, fixed: true } => {
            opcode::WriteFixed::new(types::Fixed(place), bytes, len, Ring::ARENA_BUFFER).offset(NO_OFFSET).build()
        }
        Request::Write { place, bytes, len, fixed: false } => {
            opcode::Write::new(types::Fixed(place), bytes, len).offset(NO_OFFSET).build()
        }
        Request::Writev { place, pieces, count, fixed: true } => {
            opcode::WritevFixed::new(types::Fixed(place), pieces, count, Ring::ARENA_BUFFER).offset(NO_OFFSET).build()
        }
        Request::Writev { place, pieces, count, fixed: false } => {
            opcode::Writev::new(types::Fixed(place), pieces, count).offset(NO_OFFSET).build()
        }
        Request::SendMsg { place, message } => opcode::SendMsg::new(types::Fixed(place), message).build(),
        Request::Send { place, bytes, len, flags, name, name_len } => {
            let send = opcode::Send::new(types::Fixed(place), bytes, len).flags(flags);
            send.dest_addr(name.cast()).dest_addr_len(name_len.into()).build()
        }
        Request::ReadCounter { file, counter } => opcode::Read::new(types::Fd(file), counter.cast(), 8).build(),
        Request::Cancel { user_data } => opcode::AsyncCancel::new(user_data).build(),
    }
}

fn errno(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: RingConfig = RingConfig { submissions: 4, completions: 8, operations: 0 };

    /// What an entry comes to, by its result.
    fn result_of(entry: &squeue::Entry) -> i32 {
        let mut ring = Real::new(CONFIG).unwrap();
        // SAFETY: the entries of these tests have no addresses, or null.
        unsafe { ring.0.submission().push(entry) }.unwrap();
        ring.enter(1, 1).unwrap();
        let mut results = Vec::new();
        ring.drain(8, |cqe| results.push(cqe.result));
        assert_eq!(results.len(), 1);
        results[0]
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no io_uring")]
    fn a_ring_does_what_we_do_and_nothing_else() {
        let nowhere = types::Fd(-1);
        assert_eq!(result_of(&opcode::Write::new(nowhere, std::ptr::null(), 0).build()), -libc::EBADF);
        let null = std::ptr::null();
        for (name, forbidden) in [
            ("nop", opcode::Nop::new().build()),
            ("openat", opcode::OpenAt::new(nowhere, null).build()),
            ("unlinkat", opcode::UnlinkAt::new(nowhere, null).build()),
            ("socket", opcode::Socket::new(libc::AF_PACKET, libc::SOCK_RAW, 0).build()),
            ("connect", opcode::Connect::new(nowhere, std::ptr::null(), 0).build()),
            ("accept", opcode::Accept::new(nowhere, std::ptr::null_mut(), std::ptr::null_mut()).build()),
            ("close", opcode::Close::new(nowhere).build()),
            ("splice", opcode::Splice::new(nowhere, 0, nowhere, 0, 0).build()),
            ("command", opcode::UringCmd16::new(nowhere, 0).build()),
            ("timeout", opcode::Timeout::new(std::ptr::null()).build()),
        ] {
            assert_eq!(result_of(&forbidden), -libc::EACCES, "{name}");
        }
        let linked = opcode::Write::new(nowhere, std::ptr::null(), 0).build().flags(squeue::Flags::IO_LINK);
        assert_eq!(result_of(&linked), -libc::EACCES);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no io_uring")]
    fn a_ring_takes_no_registration_that_we_do_not_make() {
        let ring = Real::new(CONFIG).unwrap();
        let submitter = ring.0.submitter();
        let refused = [
            submitter.register_eventfd(0).unwrap_err(),
            submitter.register_probe(&mut Probe::new()).unwrap_err(),
            submitter.register_personality().map(drop).unwrap_err(),
            submitter.unregister_files().unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.raw_os_error(), Some(libc::EACCES), "{error}");
        }
        // Restrictions are there once and for all.
        assert!(submitter.register_restrictions(&mut [Restriction::sqe_op(opcode::Nop::CODE)]).is_err());
    }
}
