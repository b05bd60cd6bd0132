//! What tests need in a network namespace of their own.

use std::thread;
use std::time::{Duration, Instant};

pub use ringfort_testbed::scratch::{in_namespace, ip};

/// How long anything may take that is bound to happen: a busy machine may not run a thread for seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Takes all capabilities from the calling thread, and leaves it root otherwise: what it may open is what root's files
/// allow, whatever their mode is for others on this machine.
pub fn drop_capabilities() {
    /// `struct __user_cap_header_struct` of `linux/capability.h`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    /// `_LINUX_CAPABILITY_VERSION_3`: two sets of three words.
    const VERSION: u32 = 0x2008_0522;
    let (header, none) = (Header { version: VERSION, pid: 0 }, [0_u32; 6]);
    // SAFETY: the kernel reads one header and, as its version says, six words, all of which are live here. The raw
    // system call changes this thread alone.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Keeps the kernel from sending packets of its own accord (router solicitations, multicast reports).
pub fn disable_ipv6(interface: &str) {
    std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").expect("sysctl");
}

/// Waits until `condition` holds. For what is bound to happen, but not at once.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
