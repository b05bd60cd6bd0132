//! What it takes to load the programs: capabilities, and memory of a socket. Needs root.

use super::tests::{MARKERS, strict_of};
use super::*;

/// `net.core.optmem_max` is 20 KB before Linux 6.7, and counts what the verifier makes of a program.
#[test]
fn the_whole_program_fits_what_a_socket_may_take_on_linux_6_1() {
    let bytes = |extent| bytes_in_kernel(&strict_of(1, extent).programs[0]);
    let (whole, smaller) = (bytes(Extent::Whole), bytes(Extent::Form));
    assert!(smaller < whole && whole <= 16 << 10, "{whole} and {smaller} bytes");
}

/// Whole pages.
fn bytes_in_kernel(program: &OwnedFd) -> usize {
    let path = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
    let info = std::fs::read_to_string(path).expect("there is one for each descriptor");
    let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:")).expect("programs have it");
    bytes.trim().parse().expect("a number")
}

/// What a thread may do that has these capabilities and no other ones.
fn with_capabilities<T: Send>(capabilities: &[u32], act: impl FnOnce() -> T + Send) -> T {
    #[repr(C)]
    struct Header {
        version: u32,
        thread: i32,
    }
    let set = capabilities.iter().fold(0, |set: u64, capability| set | 1 << capability);
    let [low, high] = [set as u32, (set >> 32) as u32];
    // Effective, permitted, inheritable; twice.
    let sets = [low, low, 0, high, high, 0];
    std::thread::scope(|scope| {
        let act = move || {
            let header = Header { version: 0x2008_0522, thread: 0 };
            // SAFETY: header and sets are those of the third version of capabilities, and outlive the call.
            let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr()) };
            assert_eq!(result, 0, "a thread may give up capabilities");
            act()
        };
        scope.spawn(act).join().expect("it does not panic")
    })
}

#[test]
fn the_whole_one_takes_two_capabilities_and_the_smaller_one_takes_one() {
    const PERFMON: u32 = 38;
    const BPF: u32 = 39;
    let load = |capabilities: &[u32], extent| {
        with_capabilities(capabilities, || {
            JunkFilter::new(2, &MARKERS, TopByte::default(), extent).map(drop).map_err(|e| e.kind())
        })
    };
    assert_eq!(load(&[BPF], Extent::Form), Ok(()));
    assert_eq!(load(&[BPF, PERFMON], Extent::Whole), Ok(()));
    assert_eq!(load(&[BPF], Extent::Whole), Err(io::ErrorKind::PermissionDenied));
}
