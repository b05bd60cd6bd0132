//! That the kernel does with the reuseport program what the program means.

use std::net::{IpAddr, UdpSocket};

use udp_uring::SocketGroup;

use crate::bench::{LOOPBACKS, eventually, far_end, sockets};

/// The plain sockets of all workers towards `ip`.
fn receivers(group: &SocketGroup, ip: IpAddr) -> Vec<UdpSocket> {
    (0..group.workers())
        .map(|w| {
            let fd = group.pair(w).towards(&(ip, 0).into()).expect("IPv6");
            UdpSocket::from(fd.try_clone_to_owned().expect("a descriptor is free"))
        })
        .collect()
}

/// What each of the sockets gets until it is all there: loopback delivers within the send, unless the kernel has much
/// to do at the moment and leaves that to a thread of its own (ksoftirqd).
fn collect(receivers: &[UdpSocket], is_all: impl Fn(&[Vec<Vec<u8>>]) -> bool) -> Vec<Vec<Vec<u8>>> {
    let mut got = vec![Vec::new(); receivers.len()];
    let mut buffer = [0; 256];
    eventually("everything that was sent arrives", || {
        for (receiver, got) in receivers.iter().zip(&mut got) {
            got.extend(std::iter::from_fn(|| receiver.recv(&mut buffer).ok().map(|n| buffer[..n].to_vec())));
        }
        is_all(&got).then_some(())
    });
    got
}

/// The next `n` datagrams.
fn collect_datagrams(receivers: &[UdpSocket], n: usize) -> Vec<Vec<Vec<u8>>> {
    collect(receivers, |got| got.iter().map(Vec::len).sum::<usize>() >= n)
}

fn datagram(kind: u8, low_byte: u8) -> [u8; 148] {
    let mut bytes = [0xee; 148];
    bytes[0] = kind;
    bytes[if kind == 2 { 8 } else { 4 }] = low_byte;
    bytes
}

#[test]
fn receiver_indices_choose_the_worker() {
    for workers in 1..=4u8 {
        let group = sockets(workers);
        for ip in LOOPBACKS {
            let far = far_end(ip);
            let ip: IpAddr = ip.parse().expect("literal");
            let receivers = receivers(&group, ip);
            for kind in [2, 3, 4] {
                let lows = || (0..=255u8).step_by(5);
                for low in lows() {
                    far.send_to(&datagram(kind, low), (ip, group.port())).expect("loopback works");
                }
                for (worker, got) in (0u8..).zip(collect_datagrams(&receivers, lows().count())) {
                    let expected: Vec<_> = lows().filter(|low| low % workers == worker).collect();
                    let arrived: Vec<_> = got.iter().map(|d| d[if kind == 2 { 8 } else { 4 }]).collect();
                    assert_eq!(arrived, expected, "type {kind} at worker {worker} of {workers} over {ip}");
                }
            }
        }
    }
}

#[test]
fn initiations_and_junk_are_spread_over_all_workers_the_first_included() {
    for ip in LOOPBACKS {
        let group = sockets(3);
        let ip_addr: IpAddr = ip.parse().expect("literal");
        let receivers = receivers(&group, ip_addr);
        for payload in [&datagram(1, 0)[..], &[4; 11], &[4, 0, 0], &[]] {
            // The hash is over addresses and ports: many remotes are needed to meet everybody.
            for _ in 0..64 {
                far_end(ip).send_to(payload, (ip_addr, group.port())).expect("loopback works");
            }
            let counts: Vec<_> = collect_datagrams(&receivers, 64).iter().map(Vec::len).collect();
            assert_eq!(counts.iter().sum::<usize>(), 64);
            assert!(counts.iter().all(|&n| n >= 5), "{counts:?} of a payload of {} bytes", payload.len());
        }
    }
}

#[test]
fn trains_are_steered_by_their_first_datagram() {
    let group = sockets(2);
    let receivers = receivers(&group, LOOPBACKS[0].parse().expect("literal"));
    let far = far_end(LOOPBACKS[0]);
    crate::bench::set_int(&far, libc::SOL_UDP, libc::UDP_SEGMENT, 50);
    let mut train = [0; 200];
    for (i, segment) in train.chunks_mut(50).enumerate() {
        segment[0] = 4;
        segment[4] = 7;
        segment[5] = i as u8;
    }
    far.send_to(&train, ("127.0.0.1", group.port())).expect("loopback works");
    let got = collect(&receivers, |got| got.iter().flatten().map(Vec::len).sum::<usize>() >= train.len());
    assert!(got[0].is_empty());
    assert_eq!(got[1].concat(), train, "worker 1 has all of it, whether merged or not");
}
