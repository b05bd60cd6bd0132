//! Secrets on their way to another process: memory that has a descriptor and no name.
//!
//! ```text
//!   giver    SecretFile ── descriptor, over a unix socket ──► SecretBytes    taker
//!            wiped when dropped                               a copy in locked pages, wiped when dropped
//! ```
//!
//! The memory is sealed: nobody can change its length, and nobody but the giver can write. It has no seal against all
//! writing (`F_SEAL_WRITE`), since that would keep the giver from wiping it. So the taker makes a copy before it looks.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::ptr::{self, NonNull};

use zeroize::Zeroize;

use crate::pages;

/// What the giver has to have sealed.
const SEALS: libc::c_int = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE;
/// More than any taker copies: a gateway of a million peers has some 2 GiB.
const LEN_MAX: u64 = 1 << 32;

/// Secrets for another process, which gets the descriptor. Wiped when dropped, whoever has the descriptor then.
pub struct SecretFile {
    file: OwnedFd,
    pages: Pages,
}

/// A copy of what another process has given.
pub struct SecretBytes(Pages);

/// Pages of so many bytes, which are mapped, writable and ours.
struct Pages {
    base: NonNull<u8>,
    len: usize,
    is_locked: bool,
    /// The process that wipes them, if others see that: what is shared is so with a process that was forked, too.
    wiped_by: Option<u32>,
}

// SAFETY: pages are owned as a box is.
unsafe impl Send for Pages {}
// SAFETY: as above; `&Pages` gives nothing but `&[u8]`.
unsafe impl Sync for Pages {}

impl SecretFile {
    /// Memory of so many bytes, zeros at first, which `write` fills, and which is sealed then.
    ///
    /// # Errors
    /// The system's: it has no memory, or no descriptor. `InvalidInput` for no bytes at all.
    pub fn new(len: usize, write: impl FnOnce(&mut [u8])) -> io::Result<Self> {
        if len == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let file = File::from(memory_file()?);
        file.set_len(len as u64)?;
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, prot, flags, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at the null address");
        let wiped_by = Some(std::process::id());
        let mut pages = Pages { base, len, is_locked: pages::adopt(base, len), wiped_by };
        write(pages.bytes_mut());
        // SAFETY: fcntl(2) with this command takes a number, and the descriptor is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file: file.into(), pages })
    }

    /// What is in it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.pages.bytes()
    }
}

impl AsFd for SecretFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl SecretBytes {
    /// Copies what is behind a descriptor that another process has given.
    ///
    /// # Errors
    /// The system's; `InvalidData` if it is not sealed as [`SecretFile`] is, empty, or longer than 4 GiB.
    pub fn copy_of(file: &impl AsFd) -> io::Result<Self> {
        let file = file.as_fd();
        // SAFETY: fcntl(2) with this command takes nothing, and the descriptor is open.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        if seals & SEALS != SEALS || seals < 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no sealed memory"));
        }
        let file = File::from(file.try_clone_to_owned()?);
        let len = file.metadata()?.len();
        let len = usize::try_from(len).ok().filter(|_| (1..=LEN_MAX).contains(&len));
        let len = len.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is empty, or longer than 4 GiB"))?;
        let (base, is_locked) = pages::map(len);
        let mut pages = Pages { base, len, is_locked, wiped_by: None };
        file.read_exact_at(pages.bytes_mut(), 0)?;
        Ok(Self(pages))
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Pages {
    fn bytes(&self) -> &[u8] {
        // SAFETY: so many bytes are mapped and initialised. Nobody else writes: they are private, or sealed for others.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only way to them in this process.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.wiped_by.is_none_or(|process| process == std::process::id()) {
            self.bytes_mut().zeroize();
        }
        // SAFETY: these are the pages that were mapped, and nobody uses them any more.
        unsafe { pages::unmap(self.base, self.len, self.is_locked) };
    }
}

impl fmt::Debug for SecretFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretFile({} bytes)", self.pages.len)
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

/// An anonymous file that can be sealed and not executed. Kernels before 6.3 know only the former.
fn memory_file() -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    for flags in [flags | libc::MFD_NOEXEC_SEAL, flags] {
        // SAFETY: the name ends in zero, and memfd_create(2) takes no other pointer.
        let number = unsafe { libc::memfd_create(c"secrets".as_ptr(), flags) };
        if number >= 0 {
            // SAFETY: the descriptor is new, so nobody else owns it.
            return Ok(unsafe { OwnedFd::from_raw_fd(number) });
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINVAL) {
            return Err(error);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EINVAL))
}

#[cfg(test)]
#[cfg(not(miri))]
mod tests {
    use super::*;

    fn file(text: &[u8]) -> SecretFile {
        SecretFile::new(text.len(), |bytes| bytes.copy_from_slice(text)).expect("memory and a descriptor")
    }

    #[test]
    fn what_is_given_is_taken() {
        for text in [&b"a"[..], &[0x5a; 4_096], &[0x5a; 100_000]] {
            let given = file(text);
            assert_eq!(given.bytes(), text);
            assert_eq!(&*SecretBytes::copy_of(&given).expect("sealed"), text);
        }
    }

    #[test]
    fn a_copy_outlives_the_file_which_is_wiped() {
        let given = file(&[0x5a; 5_000]);
        let descriptor = given.as_fd().try_clone_to_owned().expect("a descriptor");
        let taken = SecretBytes::copy_of(&descriptor).expect("sealed");
        drop(given);
        assert!(taken.iter().all(|&byte| byte == 0x5a));
        assert!(SecretBytes::copy_of(&descriptor).expect("still sealed").iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_child_that_lets_go_of_its_copy_wipes_nothing() {
        let given = file(&[0x5a; 5_000]);
        // SAFETY: the child drops a value and ends; it runs nothing else.
        let child = unsafe { libc::fork() };
        if child == 0 {
            drop(given);
            // SAFETY: it ends this process, which has one thread.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: the child is ours, and nobody asks for its status.
        assert_eq!(unsafe { libc::waitpid(child, ptr::null_mut(), 0) }, child);
        assert_eq!(given.bytes(), [0x5a; 5_000]);
    }

    #[test]
    fn nobody_else_writes_it_or_changes_its_length() {
        let given = file(&[7; 100]);
        let other = File::from(given.as_fd().try_clone_to_owned().expect("a descriptor"));
        assert!(other.write_at(&[1], 0).is_err() && other.set_len(10).is_err() && other.set_len(10_000).is_err());
        assert_eq!(given.bytes(), [7; 100]);
    }

    #[test]
    fn what_is_not_sealed_is_not_taken() {
        let memory = memory_file().expect("a descriptor");
        let plain = File::open("/proc/self/exe").expect("the program");
        assert!(SecretFile::new(0, |_| {}).is_err());
        for error in [SecretBytes::copy_of(&memory).err(), SecretBytes::copy_of(&plain).err()] {
            assert_eq!(error.map(|error| error.kind()), Some(io::ErrorKind::InvalidData));
        }
    }

    #[test]
    fn nothing_of_it_is_shown() {
        let given = file(b"secret");
        let taken = SecretBytes::copy_of(&given).expect("sealed");
        assert_eq!(format!("{given:?} {taken:?}"), "SecretFile(6 bytes) SecretBytes(6 bytes)");
    }
}
