//! The kernel's own TCP against cutting and merging: whatever it sends into the TUN comes back with its addresses
//! swapped, cut into segments and merged again, so a connection to a neighbour ends at a local listener.
//!
//! ```text
//!   client 10.7.0.1:a ──► 10.7.0.2:b   TUN   10.7.0.2:a ──► 10.7.0.1:b  server
//! ```

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ring_buffers::{SlotClass, View};
use tun_uring::{Coalescer, Merge, Offloads, Received, SEGMENTS_MAX, Segments, TunEvent, VNET_HDR_LEN, virtio};

use crate::namespace::{in_namespace, ip};
use crate::packets::{payload, port, receive, socket, udp_to};
use crate::rig::{Rig, Setup};

const BULK: usize = 24 << 20;

/// Swaps source and destination; no checksum changes, since sums do not mind the order.
fn swap_addresses(packet: &mut [u8]) {
    let (at, len) = if packet[0] >> 4 == 4 { (12, 4) } else { (8, 16) };
    let (source, destination) = packet[at..at + 2 * len].split_at_mut(len);
    source.swap_with_slice(destination);
}

/// Counts of what passed.
#[derive(Debug, Default)]
struct Passed {
    cut: usize,
    merged: usize,
    lost: usize,
    failed: usize,
}

struct Reflector {
    rig: Rig,
    coalescer: Coalescer,
    ready: Vec<Vec<View>>,
    passed: Passed,
}

impl Reflector {
    fn new(setup: Setup) -> Self {
        let coalescer = Coalescer::new(Merge::ALL);
        Self { rig: Rig::new(setup), coalescer, ready: Vec::new(), passed: Passed::default() }
    }

    fn push(&mut self, mut packet: View) {
        swap_addresses(&mut packet[VNET_HDR_LEN..]);
        let ready = &mut self.ready;
        self.coalescer.push(packet, &mut |pieces: &mut Vec<View>| ready.push(std::mem::take(pieces)));
    }

    fn reflect(&mut self, mut read: View) {
        match virtio::parse(&read).expect("the kernel's own header") {
            Received::Packet(partial) => {
                if let Some(partial) = partial {
                    partial.complete(&mut read[VNET_HDR_LEN..]).expect("it fits");
                }
                self.push(read);
            }
            Received::Super(geometry) => {
                self.passed.cut += 1;
                for segment in Segments::new(&read[VNET_HDR_LEN..], geometry).expect("its own geometry") {
                    let Some(mut view) = self.rig.pool.claim(SlotClass::Packet) else {
                        self.passed.lost += 1;
                        continue;
                    };
                    view.truncate(VNET_HDR_LEN + segment.len());
                    let (headers, rest) = view[VNET_HDR_LEN..].split_at_mut(segment.header_len());
                    segment.write_headers(headers);
                    rest.copy_from_slice(segment.payload());
                    self.push(view);
                }
            }
        }
    }

    /// Handles all that is there now.
    fn turn(&mut self) {
        while let Some(event) = self.rig.event_within(Duration::ZERO) {
            match event {
                TunEvent::Read(view) => self.reflect(view),
                TunEvent::Wrote { .. } => {}
                TunEvent::WriteFailed(failed) => {
                    self.passed.failed += 1;
                    eprintln!("{failed:?}");
                }
                other => panic!("{other:?}"),
            }
        }
        let ready = &mut self.ready;
        self.coalescer.flush(&mut |pieces: &mut Vec<View>| ready.push(std::mem::take(pieces)));
        for mut pieces in std::mem::take(&mut self.ready) {
            self.passed.merged += usize::from(pieces.len() > 1);
            assert!(pieces.len() <= SEGMENTS_MAX);
            while let Err(why) = self.rig.edge.write_gathered(&mut self.rig.ring, &mut pieces, 0) {
                assert!(matches!(why, tun_uring::WriteRefusal::Full), "{why}");
                self.rig.turn();
            }
        }
    }

    fn run_until(&mut self, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        while !done() {
            assert!(Instant::now() < end, "no end in sight: {:?}", self.passed);
            self.turn();
        }
    }
}

/// Sends [`BULK`] bytes from `local` to its reflection, and asserts that each arrives, in order.
fn bulk(local: SocketAddr, reflection: SocketAddr) -> thread::JoinHandle<()> {
    let listener = TcpListener::bind(local).expect("bind");
    let to = SocketAddr::new(reflection.ip(), listener.local_addr().expect("address").port());
    let pattern = payload(3, 1 << 20);
    let expected = pattern.clone();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut chunk = vec![0; expected.len()];
        for i in 0..BULK / chunk.len() {
            stream.read_exact(&mut chunk).expect("data");
            assert!(chunk == expected, "chunk {i} is damaged");
        }
        assert_eq!(stream.read(&mut chunk).expect("the end"), 0);
    });
    thread::spawn(move || {
        let mut stream = TcpStream::connect(to).expect("connect");
        for _ in 0..BULK / pattern.len() {
            stream.write_all(&pattern).expect("send");
        }
        drop(stream);
        server.join().expect("the server saw every byte");
    })
}

fn connections(setup: Setup, v6: bool, count: usize) -> Passed {
    let mut reflector = Reflector::new(setup);
    // Small enough for packet slots.
    ip("link set rf0 mtu 1420");
    let (local, reflection) = if v6 {
        std::fs::write("/proc/sys/net/ipv6/conf/rf0/disable_ipv6", "0").expect("sysctl");
        ip("address add fd07::1/64 dev rf0 nodad");
        ("[fd07::1]:0", "[fd07::2]:0")
    } else {
        ("10.7.0.1:0", "10.7.0.2:0")
    };
    let parse = |address: &str| address.parse().expect("an address");
    let clients: Vec<_> = (0..count).map(|_| bulk(parse(local), parse(reflection))).collect();
    reflector.run_until(|| clients.iter().all(thread::JoinHandle::is_finished));
    clients.into_iter().for_each(|client| client.join().expect("the client sent every byte"));
    reflector.turn();
    let Reflector { rig, coalescer, passed, .. } = reflector;
    drop(coalescer);
    rig.finish();
    passed
}

#[test]
fn tcp_over_ipv4_survives_cutting_and_merging() {
    for setup in Setup::mechanisms() {
        in_namespace(move || {
            let passed = connections(Setup { offloads: Offloads::ALL, ..setup }, false, 1);
            assert!(passed.cut > 100 && passed.merged > 100 && passed.failed == 0, "{passed:?}");
        });
    }
}

#[test]
fn tcp_over_ipv6_survives_cutting_and_merging() {
    in_namespace(|| {
        let setup = Setup { offloads: Offloads::ALL, ..Setup::mechanisms()[0] };
        let passed = connections(setup, true, 1);
        assert!(passed.cut > 100 && passed.merged > 100 && passed.failed == 0, "{passed:?}");
    });
}

#[test]
fn several_connections_at_once() {
    in_namespace(|| {
        let setup = Setup { offloads: Offloads::ALL, ..Setup::mechanisms()[0] };
        let passed = connections(setup, false, 5);
        assert!(passed.cut > 100 && passed.merged > 100 && passed.failed == 0, "{passed:?}");
    });
}

#[test]
fn without_offloads_runs_are_merged_all_the_same() {
    in_namespace(|| {
        let passed = connections(Setup::mechanisms()[0], false, 1);
        assert!(passed.cut == 0 && passed.merged > 100 && passed.failed == 0, "{passed:?}");
    });
}

#[test]
fn datagrams_of_a_run_arrive_one_by_one() {
    in_namespace(|| {
        let mut reflector = Reflector::new(Setup::mechanisms()[0]);
        let socket = socket();
        let sent: Vec<_> = (0..50).map(|i| payload(i, if i == 49 { 77 } else { 500 })).collect();
        for datagram in &sent {
            let mut view = reflector.rig.slot(&udp_to(port(&socket), datagram));
            // The identification is constant, and so DF must be set; it was not summed.
            view[VNET_HDR_LEN + 6] = 0x40;
            let sum = tun_uring::checksum::Sum::of(&view[VNET_HDR_LEN..][..10]);
            let sum = sum.plus(tun_uring::checksum::Sum::of(&view[VNET_HDR_LEN..][12..20]));
            view[VNET_HDR_LEN..][10..12].copy_from_slice(&sum.checksum());
            swap_addresses(&mut view[VNET_HDR_LEN..]);
            reflector.push(view);
        }
        reflector.turn();
        reflector.rig.turn();
        assert_eq!((reflector.passed.merged, reflector.rig.edge.counters().writes), (1, 1));
        for datagram in &sent {
            assert!(receive(&socket) == *datagram);
        }
        reflector.rig.finish();
    });
}
