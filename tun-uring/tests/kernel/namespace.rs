//! A network namespace for each test.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that is bound to happen: a busy machine may not run a thread for seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `test` on a thread in a new network namespace, which disappears with it. Needs root, and says so.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let outcome = thread::spawn(move || {
        // SAFETY: unshare(2) takes no pointers; only this thread changes its namespace.
        let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(
            result,
            0,
            "cannot make a network namespace ({}): run these tests as root",
            std::io::Error::last_os_error()
        );
        test();
    })
    .join();
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

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

/// Runs ip(8) in the namespace of the calling thread.
pub fn ip(arguments: &str) {
    let output =
        Command::new("ip").args(arguments.split_whitespace()).output().expect("ip(8) of iproute2 is installed");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
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
