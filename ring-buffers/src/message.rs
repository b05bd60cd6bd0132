//! Messages: what stands beside the bytes of an operation, at an address that the kernel may keep.

use std::ptr::{self, NonNull};

/// Bytes of an address: either of `sockaddr_in` and `sockaddr_in6` fits.
pub const NAME_LEN_MAX: usize = 32;
/// Bytes of control messages: source address, traffic class and segment length fit.
pub const CONTROL_LEN_MAX: usize = 96;

/// One for each operation, so launching one allocates nothing. All of it is plain data, valid at any time.
///
/// The lengths in a `msghdr` are `size_t` to the kernel and to glibc. musl declares some of them shorter, with padding
/// behind that must be zero: hence `as _`, and a header that begins as zeros.
#[repr(C)]
pub(crate) struct Message {
    header: libc::msghdr,
    bytes: libc::iovec,
    /// Aligned like the `cmsghdr` that it begins with.
    control: Aligned,
    name: [u8; NAME_LEN_MAX],
    /// Where a doorbell's counter is read to. Nobody reads it.
    counter: u64,
}

#[repr(C, align(8))]
struct Aligned([u8; CONTROL_LEN_MAX]);

const _: () = assert!(align_of::<libc::cmsghdr>() <= align_of::<Aligned>(), "control messages are aligned");

/// Address and control messages of a message to send.
#[derive(Debug)]
pub struct Envelope<'a> {
    /// Room for the address, [`NAME_LEN_MAX`] bytes.
    pub name: &'a mut [u8; NAME_LEN_MAX],
    /// How many of them the address has; none for a connected socket.
    pub name_len: usize,
    /// Room for control messages, [`CONTROL_LEN_MAX`] bytes, aligned as they have to be.
    pub control: &'a mut [u8; CONTROL_LEN_MAX],
    /// How many of them are there.
    pub control_len: usize,
}

impl Message {
    fn empty() -> Self {
        let bytes = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        // SAFETY: all-zero bytes are a valid msghdr: null pointers and lengths of zero.
        let header = unsafe { std::mem::zeroed() };
        Self { header, bytes, control: Aligned([0; CONTROL_LEN_MAX]), name: [0; NAME_LEN_MAX], counter: 0 }
    }

    /// Has `fill` write the address and the control messages.
    #[inline]
    pub(crate) fn address(&mut self, fill: impl FnOnce(&mut Envelope<'_>)) {
        let control = &mut self.control.0;
        let mut envelope = Envelope { name: &mut self.name, name_len: 0, control, control_len: 0 };
        fill(&mut envelope);
        let (name_len, control_len) = (envelope.name_len.min(NAME_LEN_MAX), envelope.control_len.min(CONTROL_LEN_MAX));
        self.header.msg_namelen = name_len as libc::socklen_t;
        self.header.msg_controllen = control_len as _;
    }

    /// Describes a message of `len` bytes that was [addressed](Message::address), and returns where the description is.
    /// All addresses are taken here: whoever borrows the message again must not use older ones.
    #[inline]
    pub(crate) fn describe(&mut self, bytes: *mut u8, len: usize) -> *const libc::msghdr {
        self.bytes = libc::iovec { iov_base: bytes.cast(), iov_len: len };
        let header = &mut self.header;
        header.msg_name = if header.msg_namelen == 0 { ptr::null_mut() } else { self.name.as_mut_ptr().cast() };
        header.msg_iov = &raw mut self.bytes;
        header.msg_iovlen = 1;
        let control = &mut self.control.0;
        header.msg_control = if header.msg_controllen == 0 { ptr::null_mut() } else { control.as_mut_ptr().cast() };
        &raw const self.header
    }

    /// Describes room for received messages: only the lengths count, the kernel takes buffers from a group.
    pub(crate) fn describe_room(&mut self, name_len: usize, control_len: usize) -> *const libc::msghdr {
        *self = Self::empty();
        self.header.msg_namelen = name_len as libc::socklen_t;
        self.header.msg_controllen = control_len as _;
        &raw const self.header
    }

    /// Keeps a copy of an address, and returns where it is; null for none.
    pub(crate) fn keep_name(&mut self, name: &[u8]) -> (*const u8, u16) {
        let len = name.len().min(NAME_LEN_MAX);
        self.name[..len].copy_from_slice(&name[..len]);
        (if len == 0 { ptr::null() } else { self.name.as_ptr() }, len as u16)
    }

    pub(crate) fn counter(&mut self) -> *mut u64 {
        &raw mut self.counter
    }
}

/// A fixed number of messages. They are reached by address only, one at a time: the kernel may look at the others.
pub(crate) struct Messages {
    base: NonNull<Message>,
    count: usize,
}

impl Messages {
    pub(crate) fn new(count: u16) -> Self {
        // Zeroed by the system when a page is first used: most messages never are, as writes need none and the slab
        // gives out the lowest numbers first.
        let all = Box::<[Message]>::new_zeroed_slice(count.into());
        // SAFETY: all-zero bytes are a valid message, see `empty`.
        let all: Box<[Message]> = unsafe { all.assume_init() };
        let base = NonNull::new(Box::into_raw(all).cast()).expect("a box is never null");
        Self { base, count: count.into() }
    }

    /// The message of an operation that is being launched.
    ///
    /// # Panics
    /// If there are fewer.
    pub(crate) fn get(&mut self, index: u16) -> &mut Message {
        assert!(usize::from(index) < self.count, "each operation has a message");
        // SAFETY: the index is within the allocation.
        let mut message = unsafe { self.base.add(index.into()) };
        // SAFETY: it was initialised, and is borrowed as long as `self` is. The operation is not launched yet, so the
        // kernel does not look at its message.
        unsafe { message.as_mut() }
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        let all = ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.count);
        // SAFETY: pointer and count are those of the box that `new` took apart.
        drop(unsafe { Box::from_raw(all) });
    }
}
