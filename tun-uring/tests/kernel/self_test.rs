//! The self-test on this kernel, which the other tests have found to be a good one.

use tun_uring::self_test::Extent;
use tun_uring::{Merge, Offloads, Tun, self_test};

use crate::namespace::{drop_capabilities, eventually, in_namespace};

fn devices() -> String {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").expect("/proc is mounted");
    devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect()
}

/// Takes the capability to make namespaces from the calling thread.
fn drop_sys_admin() {
    const CAP_SYS_ADMIN: u32 = 21;
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut sets = [0u32; 6];
    // SAFETY: capget(2) reads the two numbers of the header, and writes two times three numbers.
    let result = unsafe { libc::syscall(libc::SYS_capget, header.as_ptr(), sets.as_mut_ptr()) };
    assert_eq!(result, 0);
    for set in &mut sets[..3] {
        *set &= !(1 << CAP_SYS_ADMIN);
    }
    // SAFETY: capset(2) reads the two numbers of the header, and two times three numbers.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) };
    assert_eq!(result, 0);
}

#[test]
fn everything_makes_the_round_trip() {
    in_namespace(|| {
        let given = Tun::create("rf0", 1, Offloads::ALL).expect("create").offloads();
        let before = devices();
        for _ in 0..5 {
            let result = self_test(Offloads::ALL);
            assert_eq!(result.failures, []);
            assert_eq!(result.extent, Extent::RoundTrip { ipv6: true });
            assert_eq!(result.offloads, given);
            // Which of the two ways is the kernel's own affair.
            assert_eq!(result.merge.tunnels.is_some(), given.tunnels);
            assert_eq!(Merge { tunnels: None, ..result.merge }, Merge::PLAIN);
            assert_eq!(devices(), before);
        }
    });
}

#[test]
fn not_more_than_is_wanted() {
    in_namespace(|| {
        let result = self_test(Offloads::NONE);
        assert_eq!(result.failures, []);
        assert_eq!(result.offloads, Offloads::NONE);
    });
}

#[test]
fn without_a_namespace_the_kernel_is_asked_about_headers() {
    in_namespace(|| {
        // The names that it would take first.
        let taken = Tun::create("self-test0", 1, Offloads::NONE).expect("create");
        let before = devices();
        drop_sys_admin();
        let result = self_test(Offloads::ALL);
        assert!(matches!(&result.extent, Extent::HeadersOnly(why) if why.contains("CAP_SYS_ADMIN")), "{result:?}");
        assert_eq!(result.failures, []);
        assert_eq!(result.merge.tunnels.is_some(), result.offloads.tunnels);
        assert_eq!(Merge { tunnels: None, ..result.merge }, Merge::PLAIN);
        assert!(result.offloads.checksum && result.offloads.tcp, "{result:?}");
        // At once, unless children of other tests still hold copies of its queue until they execute ip(8).
        eventually("its device is gone", || devices() == before);
        drop(taken);
    });
}

#[test]
fn where_nothing_can_be_tested_it_says_why() {
    in_namespace(|| {
        drop_capabilities();
        let result = self_test(Offloads::ALL);
        assert!(matches!(&result.extent, Extent::Nothing(why) if why.contains("CAP_NET_ADMIN")), "{result:?}");
        let offloads = Offloads { tunnels: false, ..Offloads::ALL };
        assert_eq!((result.offloads, result.merge), (offloads, Merge::PLAIN));
    });
}
