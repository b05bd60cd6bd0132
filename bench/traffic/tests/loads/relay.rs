//! A device under test whose every fault is planned: two TUN interfaces, one in each namespace, and a thread that
//! carries packets from the one to the other.
//!
//! ```text
//!   namespace a: [lab0] 10.9.0.1/24 ──► thread ──► [lab0] 10.9.0.2/24 :namespace b
//! ```

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, poll};
use ringfort_testbed::Namespace;
use tun_uring::{Offloads, Tun};

/// Of both interfaces, in bytes.
pub const MTU: u32 = 1_420;
const NAME: &str = "lab0";
/// What stands in front of each packet (`struct virtio_net_hdr`, at the length that the device was made with).
const HEADER_LEN: usize = tun_uring::VNET_HDR_LEN;

/// What becomes of a packet.
pub enum Fate {
    Pass,
    Lose,
    Repeat,
    /// Waits until this many others have passed.
    Delay(usize),
    /// Its last byte is changed, and its checksum taken away.
    Damage,
}

/// What a relay did.
#[derive(Debug, Default)]
pub struct Carried {
    /// The packets that it passed on, in that order, by the numbers that the generator gave them. A sender that is late
    /// leaves some out.
    pub order: Vec<u32>,
    /// How many still waited in the end for others to pass.
    pub held: u64,
}

pub struct Relay {
    pub ends: [Namespace; 2],
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Carried>>,
}

impl Relay {
    /// `fate` is asked for each packet of 64 bytes that comes from the first namespace, with its number among them. The
    /// others pass.
    pub fn new(fate: impl FnMut(u64) -> Fate + Send + 'static) -> Self {
        Self::of_packets(64, fate)
    }

    /// As [`Relay::new`], for packets of another size.
    pub fn of_packets(size: usize, fate: impl FnMut(u64) -> Fate + Send + 'static) -> Self {
        let ends = [Namespace::new().unwrap(), Namespace::new().unwrap()];
        let queues: Vec<File> = ends.iter().map(device).collect();
        for (index, end) in ends.iter().enumerate() {
            end.ip(&format!("link set {NAME} addrgenmode none")).unwrap();
            end.add_address(NAME, address(index), 24).unwrap();
            end.ip(&format!("link set {NAME} up mtu {MTU} txqueuelen 10000")).unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || carry(queues, &stopped, size, fate));
        Self { ends, stop, thread: Some(thread) }
    }

    /// Ends it.
    pub fn finish(mut self) -> Carried {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("taken only here, and by the drop after it").join().expect("the relay does not panic")
    }

    pub fn addressed(&self) -> [(&Namespace, IpAddr); 2] {
        [(&self.ends[0], address(0)), (&self.ends[1], address(1))]
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let carried = self.thread.take().map(JoinHandle::join);
        assert!(carried.is_none_or(|carried| carried.is_ok()) || std::thread::panicking(), "the relay panicked");
    }
}

fn address(end: usize) -> IpAddr {
    Ipv4Addr::new(10, 9, 0, end as u8 + 1).into()
}

fn device(namespace: &Namespace) -> File {
    let tun = namespace.enter(|| Tun::create(NAME, 1, Offloads::NONE)).expect("root can make a TUN interface");
    File::from(tun.into_queues().remove(0))
}

fn carry(mut queues: Vec<File>, stop: &AtomicBool, size: usize, mut fate: impl FnMut(u64) -> Fate) -> Carried {
    let mut packet = vec![0; 2_048];
    let mut delayed: Vec<(usize, Vec<u8>)> = Vec::new();
    let (mut number, mut order) = (0, Vec::new());
    while !stop.load(Ordering::Acquire) {
        let mut ready = [0, 1].map(|index| PollFd::new(queues[index].as_fd(), PollFlags::POLLIN));
        poll(&mut ready, 10_u16).expect("both are open");
        while let Ok(len) = queues[1].read(&mut packet) {
            write(&mut queues[0], &packet[..len]);
        }
        while let Ok(len) = queues[0].read(&mut packet) {
            let whole = &mut packet[..len];
            if len != HEADER_LEN + size {
                write(&mut queues[1], whole);
                continue;
            }
            let mut pass = |packet: &[u8]| {
                order.push(number_in(packet));
                write(&mut queues[1], packet);
            };
            match fate(number) {
                Fate::Lose => {}
                Fate::Delay(others) => delayed.push((others, whole.to_vec())),
                Fate::Damage => {
                    damage(whole);
                    pass(whole);
                }
                Fate::Pass => pass(whole),
                Fate::Repeat => {
                    pass(whole);
                    pass(whole);
                }
            }
            number += 1;
            release(&mut delayed, pass);
        }
    }
    Carried { order, held: delayed.len() as u64 }
}

/// A packet that has just been delayed counts itself, hence one more.
fn release(delayed: &mut Vec<(usize, Vec<u8>)>, mut pass: impl FnMut(&[u8])) {
    delayed.retain_mut(|(others, packet)| {
        let wait = *others > 0;
        *others = others.saturating_sub(1);
        if !wait {
            pass(packet);
        }
        wait
    });
}

/// The number that the generator gave a packet (`Stamp`), after the headers of IPv4 and UDP and the time it was due.
fn number_in(packet: &[u8]) -> u32 {
    let number = packet[HEADER_LEN + 28 + 8..].first_chunk().expect("a packet of a load has a stamp");
    u32::from_le_bytes(*number)
}

fn damage(whole: &mut [u8]) {
    *whole.last_mut().expect("it has 64 bytes") ^= 0x40;
    // Over IPv4, a UDP checksum of zero is none (RFC 768).
    whole[HEADER_LEN + 20 + 6..][..2].fill(0);
}

fn write(queue: &mut File, packet: &[u8]) {
    queue.write_all(packet).expect("an interface that is up takes packets");
}
