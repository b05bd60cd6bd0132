//! The order of a flow: whole datagrams and such as are fragmented inside the tunnel, in turns.

use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Family, Implementation, Tunnel, ping};

use crate::harness::traffic::{OPENING, PATIENCE};
use crate::harness::{peer, us_measured};

/// Payload lengths that take turns; the second is more than the tunnel's MTU.
const SIZES: [usize; 2] = [200, 1_800];
/// Flows of each family, so with several queues some of them use another queue than their fragments would by their
/// addresses.
const FLOWS: usize = 5;
const DATAGRAMS: u32 = 200;
/// Datagrams that are under way at once: as many as all queues and buffers on the way can hold.
const BURST: u32 = 40;
const RECEIVE_BUFFER_BYTES: usize = 8 << 20;

/// Sends the datagrams of one flow, and returns how many arrive behind a later one.
fn late_arrivals(sender: &UdpSocket, receiver: &UdpSocket) -> usize {
    let (mut late, mut newest) = (0, None);
    let mut buffer = [0; 2_000];
    for burst in (0..DATAGRAMS).step_by(BURST as usize) {
        for number in burst..burst + BURST {
            let mut datagram = vec![0x5a; SIZES[number as usize % SIZES.len()]];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            sender.send(&datagram).unwrap();
        }
        for received in 0..BURST {
            let len = receiver.recv(&mut buffer).unwrap_or_else(|error| panic!("after {received} of {BURST}: {error}"));
            let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
            assert_eq!(len, SIZES[number as usize % SIZES.len()]);
            late += usize::from(newest > Some(number));
            newest = newest.max(Some(number));
        }
    }
    late
}

/// From side `from` of a tunnel between us, side 0, and wireguard-go, which keeps the order by itself.
fn order_is_kept(workers: u8, from: usize) {
    let ours = us_measured().with_options(&format!("--workers {workers}"));
    let tunnel = Tunnel::connected([&ours, &peer(Implementation::WireguardGo)], &Peering::default()).unwrap();
    tunnel.wait_until_open(0, OPENING).unwrap();
    let late = [Family::V4, Family::V6].map(|inner| {
        ping::until_answered(tunnel.namespace(0), tunnel.sides[1].inner(inner), OPENING).unwrap();
        let bind = |side: usize| {
            let address = SocketAddr::new(tunnel.sides[side].inner(inner), 0);
            tunnel.namespace(side).enter(|| UdpSocket::bind(address)).unwrap()
        };
        let flows = (0..FLOWS).map(|_| {
            let (sender, receiver) = (bind(from), bind(1 - from));
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            receiver.set_read_timeout(Some(PATIENCE)).unwrap();
            setsockopt(&receiver, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).unwrap();
            late_arrivals(&sender, &receiver)
        });
        flows.sum::<usize>()
    });
    assert_eq!(late, [0, 0], "datagrams over IPv4 and IPv6 that arrived behind a later one of their flow");
}

#[test]
fn what_goes_out_keeps_its_order_with_one_worker() {
    order_is_kept(1, 0);
}

#[test]
fn what_goes_out_keeps_its_order_with_two_workers() {
    order_is_kept(2, 0);
}

#[test]
fn what_goes_out_keeps_its_order_with_four_workers() {
    order_is_kept(4, 0);
}

#[test]
fn what_comes_in_keeps_its_order_with_one_worker() {
    order_is_kept(1, 1);
}

#[test]
fn what_comes_in_keeps_its_order_with_two_workers() {
    order_is_kept(2, 1);
}

#[test]
fn what_comes_in_keeps_its_order_with_four_workers() {
    order_is_kept(4, 1);
}
