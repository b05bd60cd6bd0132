//! A recorder without a gateway: the test has the taps, and plays control and the client.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pcap_parser::pcapng::{Block, EnhancedPacketBlock, InterfaceDescriptionBlock, parse_block_le};
use ringfort_core::drops::DropReason;
use ringfort_core::gate::Proof;
use ringfort_core::ids::{Endpoint, LocalAddr};
use ringfort_core::time::Time;
use ringfort_path::tap::Tap;
use ringfort_path::{HandshakeMessage, Order};
use ringfort_worker::queues::{Mail, Queues};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const PEER: PeerId = PeerId { index: 3, generation: 1 };

fn everything() -> Request {
    Request {
        peers: Vec::new(),
        plain: true,
        cipher: true,
        inbound: true,
        outbound: true,
        drops_only: false,
        snap_len: 0,
        one_in: 1,
        count: 0,
        bytes: 0,
        time_ms: 0,
        queue: 1 << 18,
    }
}

/// A capture under way.
struct Rig {
    client: UnixStream,
    queues: Arc<Queues>,
    shared: Arc<Shared>,
    recorder: Option<JoinHandle<()>>,
    /// Of the two workers, and control's.
    taps: Vec<Tap>,
}

impl Rig {
    fn start(request: &Request) -> Self {
        let (client, stream) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let (queues, shared) = (Arc::new(Queues::new(2).unwrap()), Shared::new().unwrap());
        shared.set_port(51_820);
        let subject = Subject {
            interface: "wg7".to_owned(),
            filter: request.filter(Box::default()),
            client: "a test".to_owned(),
        };
        let recorder = Recorder::new(request.clone(), subject, stream, queues.clone(), shared.clone());
        let recorder = Some(thread::spawn(move || recorder.run()));
        let mut rig = Self { client, queues, shared, recorder, taps: Vec::new() };
        for worker in 0..2 {
            let Mail::Order(Order::Tap(Some(tap))) = rig.wait_for(|rig| rig.queues.workers[worker].next_mail()) else {
                panic!("a tap first")
            };
            rig.taps.push(*tap);
        }
        if request.cipher {
            let tap = rig.wait_for(|rig| rig.shared.take_tap());
            rig.taps.push(*tap);
        }
        rig
    }

    fn wait_for<T>(&self, what: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(got) = what(self) {
                return got;
            }
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// A datagram of so many bytes, all `byte`, at a time after boot.
    fn see(&mut self, tap: usize, at_ms: u64, peer: Option<PeerId>, byte: u8, len: usize) {
        let source = Some(LocalAddr { addr: "192.0.2.1".parse().unwrap(), ifindex: 0 });
        let endpoint = Endpoint { remote: "198.51.100.9:7".parse().unwrap(), source };
        self.taps[tap].handshake_sent(Time::from_millis(at_ms), peer, endpoint, 0x88, &vec![byte; len], Ok(()));
    }

    /// What workers do when they are told to.
    fn give_taps_back(&mut self) {
        self.wait_for(|rig| rig.queues.workers[1].next_mail());
        self.taps.clear();
    }

    /// Reads to the end, and plays control and the workers meanwhile.
    fn read(mut self) -> Vec<u8> {
        let (shared, queues) = (self.shared.clone(), self.queues.clone());
        let mut taps = std::mem::take(&mut self.taps);
        let control = thread::spawn(move || {
            while !shared.has_ended() {
                if let Some(peer) = shared.next_asked() {
                    shared.tell(peer, (peer == PEER).then(|| "peer(abcd…wxyz) \"office\"".to_owned()));
                }
                if queues.workers[1].next_mail().is_some() {
                    taps.clear();
                }
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut file = Vec::new();
        self.client.read_to_end(&mut file).unwrap();
        self.recorder.take().unwrap().join().unwrap();
        control.join().unwrap();
        let answer = b"capture=1\nerrno=0\n\n";
        assert!(file.starts_with(answer));
        file.split_off(answer.len())
    }
}

/// A packet as another program reads it.
#[derive(Debug, PartialEq, Eq)]
struct Packet {
    interface: u32,
    nanos: u64,
    len: u32,
    bytes: Vec<u8>,
    flags: Vec<u8>,
    lost: Option<Vec<u8>>,
    comment: String,
}

/// The interfaces by name, the packets, and the sums of both interfaces.
fn parse(file: &[u8]) -> (Vec<String>, Vec<Packet>, Vec<Statistics>) {
    let (mut names, mut packets, mut sums) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = file;
    while !rest.is_empty() {
        let (behind, block) = parse_block_le(rest).unwrap();
        let bytes = &rest[..rest.len() - behind.len()];
        rest = behind;
        match block {
            Block::SectionHeader(section) => assert!(!section.options.is_empty()),
            Block::InterfaceDescription(interface) => names.push(name_of(&interface)),
            Block::EnhancedPacket(packet) => packets.push(packet_of(&packet)),
            Block::InterfaceStatistics(statistics) => {
                assert_eq!(statistics.if_id as usize, sums.len());
                sums.push(read_statistics(&bytes[8..bytes.len() - 4]).unwrap());
            }
            other => panic!("{other:?}"),
        }
    }
    (names, packets, sums)
}

fn name_of(interface: &InterfaceDescriptionBlock<'_>) -> String {
    assert_eq!((interface.linktype.0, interface.if_tsresol), (101, 9));
    let name = interface.options.iter().find(|option| option.code.0 == 2).unwrap();
    String::from_utf8(name.value.to_vec()).unwrap().trim_end_matches('\0').to_owned()
}

fn packet_of(packet: &EnhancedPacketBlock<'_>) -> Packet {
    let option = |code: u16| packet.options.iter().find(|option| option.code.0 == code).map(|o| o.value.to_vec());
    let comment = String::from_utf8(option(1).unwrap()).unwrap().trim_end_matches('\0').to_owned();
    Packet {
        interface: packet.if_id,
        nanos: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
        len: packet.origlen,
        bytes: packet.data[..packet.caplen as usize].to_vec(),
        flags: option(2).unwrap(),
        lost: option(4),
        comment,
    }
}

#[test]
fn what_became_of_a_handshake_message_is_in_its_comment() {
    let mut rig = Rig::start(&everything());
    let remote = Endpoint { remote: "198.51.100.9:7".parse().unwrap(), source: None };
    let message = HandshakeMessage::new(remote, &[1; 148], Proof::Key).unwrap();
    let message = HandshakeMessage { ecn: 2, ..message };
    let control = rig.taps.last_mut().unwrap();
    control.handshake_received(Time::from_millis(1), Some(PEER), &message, Ok(()), |_| false);
    control.handshake_received(Time::from_millis(2), None, &message, Err(DropReason::UnknownPeer), |_| false);
    rig.client.shutdown(Shutdown::Write).unwrap();
    let (_, packets, _) = parse(&rig.read());
    let comments: Vec<_> = packets.iter().map(|packet| packet.comment.as_str()).collect();
    let expected = ["peer(abcd…wxyz) \"office\", control, accepted", "no peer known, control, dropped: unknown_peer"];
    assert_eq!(comments, expected);
    assert!(packets.iter().all(|packet| packet.bytes[1] == 2 && packet.len == 28 + 148), "ECN is kept");
}

#[test]
fn another_program_reads_what_was_written_in_the_order_of_time() {
    let mut rig = Rig::start(&everything());
    rig.see(1, 5_000, Some(PEER), 1, 148);
    rig.see(0, 4_000, None, 2, 33);
    rig.see(2, 6_000, Some(PeerId { index: 9, generation: 0 }), 3, 0);
    rig.client.shutdown(Shutdown::Write).unwrap();
    let (names, packets, sums) = parse(&rig.read());
    assert_eq!(names, ["wg7 (plaintext)", "wg7 (ciphertext)"]);
    let comments: Vec<_> = packets.iter().map(|packet| packet.comment.as_str()).collect();
    let mut sorted = comments.clone();
    sorted.sort_unstable();
    let expected = ["a peer that is gone, control", "no peer known, worker 0", "peer(abcd…wxyz) \"office\", worker 1"];
    assert_eq!(sorted, expected, "of whatever order");
    let office = packets.iter().find(|packet| packet.comment.contains("office")).unwrap();
    assert_eq!((office.interface, office.len, office.bytes.len()), (1, 28 + 148, 28 + 148));
    assert_eq!(office.bytes[12..20], [192, 0, 2, 1, 198, 51, 100, 9]);
    assert_eq!((office.bytes[1], &office.bytes[20..24]), (0x88, &[0xca, 0x6c, 0, 7][..]));
    assert_eq!((&office.bytes[28..], office.flags[0]), (&[1; 148][..], 2));
    let other = packets.iter().find(|packet| packet.comment.contains("no peer")).unwrap();
    assert_eq!(office.nanos - other.nanos, 1_000_000_000);
    assert_eq!(sums[0], Statistics::default());
    assert_eq!(sums[1], Statistics { seen: 3, lost: 0, sampled: 3, written: 3 });
}

#[test]
fn a_capture_ends_with_its_count_its_size_or_its_time() {
    let mut rig = Rig::start(&Request { count: 2, ..everything() });
    (0..5).for_each(|n| rig.see(0, n, None, 0, 100));
    let (_, packets, sums) = parse(&rig.read());
    assert_eq!((packets.len(), sums[1].written), (2, 2));

    let size = |bytes| {
        let mut rig = Rig::start(&Request { bytes, ..everything() });
        (0..50).for_each(|n| rig.see(0, n, None, 0, 100));
        let file = rig.read();
        let (_, packets, sums) = parse(&file);
        assert_eq!(sums[1].written, packets.len() as u64);
        (file.len() as u64, packets.len())
    };
    let (exact, count) = size(3_000);
    assert!((2..50).contains(&count) && exact <= 3_000, "{count} in {exact}");
    assert_eq!(size(exact), (exact, count), "no byte more is needed, sums included");
    let (less, fewer) = size(exact - 1);
    assert_eq!(fewer, count - 1, "{less}");

    let mut rig = Rig::start(&Request { time_ms: 300, snap_len: 60, ..everything() });
    rig.see(0, 1, None, 7, 100);
    let (_, packets, sums) = parse(&rig.read());
    let lens: Vec<_> = packets.iter().map(|packet| (packet.len, packet.bytes.len())).collect();
    assert_eq!((lens, sums.len()), (vec![(128, 60)], 2));
}

#[test]
fn a_reader_that_stops_keeps_nobody_waiting_and_what_is_lost_is_counted() {
    let mut rig = Rig::start(&everything());
    let total = 4_000;
    // Far more than the connection, the recorder and the queues hold.
    for n in 0..total {
        rig.see(0, n, None, 0, 60_000);
        if n.is_multiple_of(100) {
            thread::sleep(Duration::from_millis(1));
        }
    }
    rig.client.shutdown(Shutdown::Write).unwrap();
    let (_, packets, sums) = parse(&rig.read());
    assert!(sums[1].lost > 0 && !packets.is_empty(), "{sums:?}");
    assert_eq!((sums[1].seen, sums[1].lost + sums[1].written), (total, total));
    let noted: u64 = packets.iter().filter_map(|packet| packet.lost.as_ref()).map(|lost| u64::from(lost[0])).sum();
    assert!(noted > 0 || packets.len() as u64 + sums[1].lost == total, "a gap is before a packet, or at the end");
}

#[test]
fn a_client_that_is_gone_ends_it_without_traffic_too() {
    let mut rig = Rig::start(&everything());
    let (client, _) = UnixStream::pair().unwrap();
    drop(std::mem::replace(&mut rig.client, client));
    rig.give_taps_back();
    rig.wait_for(|rig| rig.shared.has_ended().then_some(()));
}

#[test]
fn a_gateway_that_ends_leaves_a_whole_file() {
    let mut rig = Rig::start(&everything());
    rig.see(1, 1, None, 0, 148);
    rig.shared.stop();
    let (_, packets, sums) = parse(&rig.read());
    assert_eq!((packets.len(), sums.len()), (1, 2));
}

#[test]
fn a_stopped_reader_does_not_outlast_the_time() {
    let mut rig = Rig::start(&Request { time_ms: 200, ..everything() });
    (0..100).for_each(|n| rig.see(0, n, None, 0, 60_000));
    // The client reads nothing, and still the workers get rid of their taps.
    rig.give_taps_back();
    let _ = rig.client.write(b"x");
}

#[test]
fn a_request_survives_its_way() {
    let request = Request { peers: vec!["ab".repeat(32)], one_in: 7, ..everything() };
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    assert!(serde_json::from_str::<Request>("{}").is_err());
    let filter = Request { inbound: false, snap_len: 5, one_in: 0, ..request }.filter(Box::default());
    assert_eq!((filter.direction, filter.snap_len, filter.one_in), (Some(Direction::Out), 5, 1));
}
