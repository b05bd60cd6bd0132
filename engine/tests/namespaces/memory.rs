//! `--memory`: what packets and the buffers of sockets take together.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockType, SockaddrLike as _, SockaddrStorage, getsockname, getsockopt, sockopt};
use ringfort_testbed::daemon::Daemon;
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Namespace, Tunnel, janitor, uapi};

use crate::harness::traffic::{OPENING, PATIENCE, exchange};
use crate::harness::us;
use crate::metrics::scrape;

/// What a buffer may have over what it is set to: a last train that finds it not full.
const OVERSHOOT: u64 = 128 << 10;

/// Copies of the UDP sockets that a process has open, each once.
fn udp_sockets(pid: i32) -> Vec<OwnedFd> {
    // SAFETY: the call takes two integers.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let process = owned(Errno::result(process).expect("the process is there"));
    let (mut sockets, mut seen) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        // Others come and go meanwhile, as the log's.
        let Ok(place) = fs::read_link(entry.path()) else { continue };
        if place.to_string_lossy().starts_with("socket:") && !seen.contains(&place) {
            let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
            // SAFETY: the call takes three integers.
            let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), number, 0) };
            let Ok(copy) = Errno::result(copy).map(owned) else { continue };
            seen.push(place);
            if is_udp(&copy) {
                sockets.push(copy);
            }
        }
    }
    sockets
}

fn owned(fd: libc::c_long) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor")) }
}

fn is_udp(socket: &OwnedFd) -> bool {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd()).unwrap();
    let is_ip = matches!(address.family(), Some(AddressFamily::Inet | AddressFamily::Inet6));
    is_ip && getsockopt(&socket.as_fd(), sockopt::SockType).unwrap() == SockType::Datagram
}

/// What the kernel may book for the sockets of a process, and the memory that it has pinned for its rings.
fn taken(pid: i32) -> (u64, u64) {
    let sockets = udp_sockets(pid);
    let buffers = sockets.iter().map(|socket| {
        // As the kernel counts: twice what was asked for.
        let receive = getsockopt(socket, sockopt::RcvBuf).unwrap();
        let send = getsockopt(socket, sockopt::SndBuf).unwrap();
        (receive + send) as u64 + 2 * OVERSHOOT
    });
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let pinned = status.lines().find_map(|line| line.strip_prefix("VmPin:")).unwrap();
    let pinned_kib: u64 = pinned.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    (buffers.sum(), pinned_kib << 10)
}

/// What a start is refused with, and the least that it says would do.
fn least(namespace: &Namespace, options: &str) -> u64 {
    let program = us().with_options(options);
    let mut daemon = Daemon::spawn(&program, namespace, &janitor::unique_name()).unwrap();
    assert_eq!(daemon.wait(PATIENCE).unwrap().code(), Some(2), "{}", daemon.log());
    let log = daemon.log();
    let (_, rest) = log.split_once("Allow ").unwrap_or_else(|| panic!("no remedy in {log}"));
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// With the least that is accepted, and with some room: all that the process has taken is within the bound, and packets
/// pass. Two megabytes of TCP are more than the smallest buffers hold.
#[test]
fn the_bound_holds_and_packets_pass() {
    let least = least(&Namespace::new().unwrap(), "--workers 1 --memory 1M");
    let bounds = [(1, least), (2, 24 << 20)];
    let programs = bounds.map(|(workers, bound)| us().with_options(&format!("--workers {workers} --memory {bound}")));
    let mut tunnel = Tunnel::connected([&programs[0], &programs[1]], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    tunnel.wait_until_open(1, OPENING).unwrap();
    exchange(&tunnel, Family::V4, 1_000, 2 << 20);
    for (side, (workers, bound)) in tunnel.sides.iter_mut().zip(bounds) {
        let stats = uapi::stats(&side.interface).unwrap();
        let (sockets, pinned) = taken(side.daemon().pid());
        let packets = stats["memory_packets"];
        assert_eq!((stats["workers"], stats["memory_bound"]), (workers, bound));
        assert_eq!(sockets, stats["memory_sockets"], "what was promised is what is there");
        assert!(pinned >= packets && packets >= workers * (6 << 20), "packets are in pinned memory: {pinned}");
        assert!(packets + sockets <= bound, "{packets} for packets and {sockets} for sockets, of {bound}");
        let log = side.daemon().log();
        assert!(log.contains("that --memory allows"), "{log}");
    }
}

/// The file says it as well, fewer workers are started where nobody names a number, and all of it is shown.
#[test]
fn a_small_bound_of_a_file_and_who_shows_it() {
    let file = janitor::directory().join(format!("{}.conf", janitor::unique_name()));
    let (namespace, interface) = (Namespace::new().unwrap(), janitor::unique_name());
    let options = format!("--config {}", file.display());
    fs::write(&file, "[Interface]\nMemory = 2M\n").unwrap();
    let bound = least(&namespace, &options);
    fs::write(&file, format!("[Interface]\nMemory = {bound}\n")).unwrap();
    let daemon = Daemon::start(&us().with_options(&options), &namespace, &interface).unwrap();
    let stats = uapi::stats(&interface).unwrap();
    assert_eq!((stats["workers"], stats["memory_bound"]), (1, bound), "one worker is all that fits");
    let metrics = scrape(&interface, "*/*");
    for line in [
        format!("ringfort_memory_bytes{{interface=\"{interface}\",for=\"packets\"}} {}", stats["memory_packets"]),
        format!("ringfort_memory_bytes{{interface=\"{interface}\",for=\"sockets\"}} {}", stats["memory_sockets"]),
        format!("ringfort_memory_bound_bytes{{interface=\"{interface}\"}} {bound}"),
    ] {
        assert!(metrics.contains(&line), "no {line} in {metrics}");
    }
    let report = namespace.command(us().path).args(["doctor", &interface]).output().unwrap();
    let report = String::from_utf8(report.stdout).unwrap();
    let found = report.lines().find(|line| line.contains("memory.bound")).unwrap_or_else(|| panic!("{report}"));
    assert!(found.contains("may take 6.1 MiB for packets") && found.contains("of 7.9 MiB in all"), "{found}");
    assert!(daemon.stop().unwrap().success());
    fs::remove_file(&file).unwrap();
}
