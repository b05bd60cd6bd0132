//! The worker, what comes to it, and a ledger of what came and what left.

use std::collections::HashSet;
use std::fs::File;

use ring_buffers::fake::FakeKernel;
use ring_buffers::{Capabilities, Pool, Ring, RingConfig, View};
use ringfort_core::node::Node;
use ringfort_core::wire::DATA_LEN_MIN;
use tun_uring::{Received, VNET_HDR_LEN, virtio};

use super::edges::{PLACE_TUN, PLACE_V4};
use super::messages::{cmsg, message, packet_to, stride_of};
use super::turn::Worker;
use super::*;

/// A peer that has a session now and then.
const STRANGER: PeerId = PeerId { index: 3, generation: 0 };
/// The peers' addresses in the tunnel.
const PEERS: [[u8; 4]; 2] = [[10, 9, 0, 2], [10, 9, 0, 3]];
/// Turns after which a kernel that behaves has done all that was asked of it.
pub(super) const TURNS_MAX: usize = 2_000;

pub(super) struct Rig {
    pub(super) worker: Worker,
    pub(super) kernel: FakeKernel,
    pub(super) pool: Pool,
    pub(super) queues: Arc<Queues>,
    sockets: SocketGroup,
    cells: [Arc<PeerCell>; 2],
    number: SessionNumber,
    /// The last index given to a session.
    index: u32,
    /// The session under which the peer sends, and its next counter.
    receiving: (u32, u64),
    /// The session before that.
    former: u32,
    /// The worker was given sockets last.
    up: bool,
    /// It was told to read nothing.
    pub(super) rests: bool,
    /// Datagrams that were made for it, keepalives that it was told to send, and packets that came to the TUN.
    came: u64,
    /// Datagrams and packets that left.
    left: u64,
    /// What left for the peers: index and counter.
    seen: HashSet<(u32, u64)>,
    state: u64,
}

impl Rig {
    pub(super) fn new(script: Script) -> Self {
        let seed = script.seed;
        let config = RingConfig { submissions: 4 << (seed % 4), completions: 16 << (seed % 3), ..operations::RING };
        let (ring, kernel) = Ring::on_fake(config, script);
        let queues = Arc::new(Queues::new(1).unwrap());
        let capabilities = Capabilities { read_multishot: true, writev_fixed: seed.is_multiple_of(2) };
        let segmentation = if seed % 5 == 4 { Segmentation::Ragged } else { Segmentation::On };
        let merge = Merge::ALL;
        let config = WorkerConfig {
            rests: false,
            index: 0,
            core: None,
            tun: File::options().read(true).write(true).open("/dev/null").unwrap().into(),
            flows: None,
            mtu: 1420,
            tuning: Tuning { node: Node::SINGLE, capabilities, merge, segmentation, busy_poll: Duration::ZERO },
            queues: queues.clone(),
            stats: Arc::default(),
            before_packets: || (),
        };
        let mut worker = Worker::on(ring, config).unwrap();
        if seed.is_multiple_of(3) {
            assert!(worker.lock_memory().unwrap());
        }
        let cell = |peer| Arc::new(PeerCell::new(peer, Arc::new(PeerShared::new(1))));
        let mut rig = Self {
            pool: worker.path.pool().clone(),
            worker,
            kernel,
            queues,
            sockets: SocketGroup::bind(&SocketConfig::new(0, 1)).unwrap(),
            cells: [PEER, STRANGER].map(cell),
            number: SessionNumber::default(),
            index: 0,
            receiving: (0, 0),
            former: 0,
            up: false,
            rests: false,
            came: 0,
            left: 0,
            seen: HashSet::new(),
            state: seed,
        };
        rig.configure();
        rig
    }

    fn configure(&mut self) {
        let mut routes = AllowedIps::new();
        for (cell, address) in self.cells.iter().zip(PEERS) {
            routes.insert(Prefix::new(address.into(), 32).unwrap(), cell.id());
            cell.shared().endpoint.set(Endpoint::new("192.0.2.1:9".parse().unwrap()));
            self.inbox().push_order(Order::AddPeer(cell.clone()));
        }
        self.inbox().push_order(Order::Routes { routes, version: 1 });
        self.bind();
        self.new_session(0);
        self.new_receiver();
    }

    pub(super) fn inbox(&self) -> &WorkerInbox {
        &self.queues.workers[0]
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) % end
    }

    /// A number of 1 to `most`.
    fn some(&mut self, most: u64) -> usize {
        usize::try_from(1 + self.below(most)).unwrap()
    }

    pub(super) fn bind(&mut self) {
        self.up = true;
        self.inbox().push_mail(Mail::Sockets(Some(self.sockets.pair(0).try_clone().unwrap())));
    }

    /// A session to send under, with the peer or the stranger.
    fn new_session(&mut self, peer: usize) {
        self.number = self.number.next();
        self.index += 1;
        let session = SendSession::new(seal_key(&TO_PEER), self.index, self.index, boot_time(), true);
        assert!(self.cells[peer].advance(Arc::new(SendState::session(self.number, session))));
        self.inbox().push_order(Order::SendStaged { peer: self.cells[peer].id() });
    }

    fn end_stranger(&mut self) {
        self.number = self.number.next();
        assert!(self.cells[1].advance(Arc::new(SendState::end(self.number))));
    }

    /// A session to receive under; the last but one ends.
    fn new_receiver(&mut self) {
        self.index += 1;
        self.inbox().push_session(SessionOrder::End { local_index: self.former });
        (self.former, self.receiving) = (self.receiving.0, (self.index, 0));
        let receive = ReceiveSession::new(open_key(&FROM_PEER), self.index, boot_time(), true);
        let send = SendSession::new(seal_key(&TO_PEER), self.index, ANSWERED, boot_time(), true);
        let (receiver, _) = Receiver::new(self.cells[0].clone(), SessionNumber::default(), receive, send);
        self.inbox().push_session(SessionOrder::Begin(Box::new(receiver)));
    }

    pub(super) fn step(&mut self) {
        match self.below(28) {
            0..=2 => (0..self.some(8)).for_each(|_| self.packet_comes()),
            3 | 4 => self.super_packet_comes(),
            5..=8 => self.train_comes(),
            9 => {
                let train = self.train();
                let (parcel, stride) = (View::heap(train.concat()).send_away().unwrap(), train[0].len());
                let endpoint = Endpoint::new("192.0.2.8:8".parse().unwrap());
                let handoff = ringfort_path::Handoff { parcel, datagrams: train.len(), stride, endpoint, ecn: 0 };
                assert!(self.inbox().push_handoff(handoff).is_none());
            }
            10 => {
                let count = self.some(20) as u64;
                self.came += count;
                (0..count).for_each(|_| self.inbox().push_order(Order::SendKeepalive { peer: PEER }));
            }
            11 => self.control_says(),
            // Nothing more comes for a while: a worker that does not sleep now has work, or is stuck.
            12 => self.until_asleep(),
            _ => self.turn(),
        }
    }

    fn control_says(&mut self) {
        match self.below(12) {
            0 | 1 => self.bind(),
            2 => {
                self.up = false;
                self.inbox().push_mail(Mail::Sockets(None));
                (0..self.some(9)).for_each(|_| self.turn());
                self.bind();
            }
            3 => self.new_session(0),
            4 => self.new_session(0),
            5 => self.new_receiver(),
            6 => self.new_session(1),
            7 => self.end_stranger(),
            8 => self.inbox().push_order(Order::DropStaged { peer: STRANGER }),
            9 => self.inbox().push_order(Order::LinkDown),
            _ => self.inbox().push_order(Order::Mtu(1420)),
        }
    }

    /// A lone packet for the TUN, most often to the peer.
    pub(super) fn packet_comes(&mut self) {
        let peer = PEERS[usize::from(self.below(6) == 0)];
        let payload = vec![0x5a; self.some(1_300)];
        let packet = packet_to(peer, &payload);
        self.came += 1;
        self.kernel.deliver(PLACE_TUN, message([vec![0; VNET_HDR_LEN], packet].concat()));
    }

    /// A UDP super-packet for the TUN.
    fn super_packet_comes(&mut self) {
        let peer = PEERS[usize::from(self.below(8) == 0)];
        let (segment, segments) = (100 + self.some(900), self.some(60));
        self.came += segments as u64;
        let packet = packet_to(peer, &vec![0x5a; segment * (segments - 1) + segment / 2]);
        // NEEDS_CSUM, GSO_UDP_L4, 28 bytes of headers, segments, checksum at 20 + 6.
        let mut header = vec![0; VNET_HDR_LEN];
        let [low, high] = u16::try_from(segment).unwrap().to_le_bytes();
        header[..10].copy_from_slice(&[1, 5, 28, 0, low, high, 20, 0, 6, 0]);
        self.kernel.deliver(PLACE_TUN, message([header, packet].concat()));
    }

    /// Datagrams of the peer, all but the last of one length.
    fn train(&mut self) -> Vec<Vec<u8>> {
        let (len, count) = (self.some(1_000), self.some(20));
        self.came += count as u64;
        let payload = vec![0x5a; len];
        let packet = with_checksum(inner_packet(PEERS[0], &payload));
        (0..count).map(|_| self.seal(&packet)).collect()
    }

    fn seal(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut message = vec![0; DATA_LEN_MIN + packet.len().next_multiple_of(16)];
        let (header, rest) = message.split_first_chunk_mut().unwrap();
        let (index, counter) = &mut self.receiving;
        write_data_header(header, *index, *counter);
        seal_key(&FROM_PEER).seal_from(*counter, packet, rest).unwrap();
        *counter += 1;
        message
    }

    pub(super) fn train_comes(&mut self) {
        let train = self.train();
        let mut control = cmsg(libc::SOL_UDP, libc::UDP_GRO, &i32::try_from(train[0].len()).unwrap().to_ne_bytes());
        if self.below(2) == 0 {
            // `in_pktinfo`: the interface, our address, and the header's.
            control.extend(cmsg(libc::IPPROTO_IP, libc::IP_PKTINFO, &[[0; 4], [192, 0, 2, 9], [0; 4]].concat()));
        }
        let name = [&(libc::AF_INET as u16).to_ne_bytes()[..], &[0, 7, 192, 0, 2, 7], &[0; 8]].concat();
        self.kernel.deliver(PLACE_V4, Message { name, control, bytes: train.concat() });
    }

    pub(super) fn turn(&mut self) {
        let slept = self.kernel.done().slept;
        // Orders about sessions wait until there is something else.
        let waiting = self.inbox().lengths();
        let mail = waiting.mail + waiting.handoffs > 0;
        let unread = self.kernel.unread(PLACE_TUN) > 0 || !mail && self.up && self.kernel.unread(PLACE_V4) > 0;
        let unread = unread && !self.rests;
        self.worker.turn().expect("all errors of this kernel pass");
        assert!(self.kernel.done().slept == slept || !mail && !unread, "it sleeps, and there is work");
        let slots = self.pool.accounting();
        assert!(slots.adds_up(), "{slots:?}");
        assert_eq!(self.worker.ring.counters().unexpected, 0);
        for (place, message) in self.kernel.take_written() {
            if place == PLACE_TUN {
                self.packets_left(&message.bytes);
            } else {
                self.train_left(&message);
            }
        }
        while self.queues.control.next_event().is_some() {}
    }

    /// The kernel has taken a write to the TUN, or a part of it.
    fn packets_left(&mut self, bytes: &[u8]) {
        self.left += match virtio::parse(bytes) {
            Ok(Received::Super(geometry)) => geometry.segments() as u64,
            _ => 1,
        };
        assert!(bytes.iter().skip(VNET_HDR_LEN + 28).all(|&byte| byte == 0x5a));
    }

    /// The kernel has taken a train, or a part of it.
    fn train_left(&mut self, message: &Message) {
        let stride = stride_of(&message.control).unwrap_or(message.bytes.len());
        for datagram in message.bytes.chunks(stride) {
            self.left += 1;
            // One that was cut does not open.
            let Ok(header) = parse_data_header(datagram) else { continue };
            assert!(self.seen.insert((header.receiver, header.counter)), "a counter is used once");
            let mut text = datagram[DATA_HEADER_LEN..].to_vec();
            if open_key(&TO_PEER).open(header.counter, &mut text).is_ok() && text.len() > 16 {
                let len = usize::from(u16::from_be_bytes([text[2], text[3]]));
                assert!(text[28..len].iter().all(|&byte| byte == 0x5a));
            }
        }
    }

    /// All that came has gone somewhere.
    fn assert_nothing_is_lost(&self) {
        let counters = self.worker.path.counters();
        let dropped: u64 = counters.drops.iter().map(|(_, n)| n).sum();
        let waits = self.worker.path.staged() as u64;
        let gone = self.left + dropped + waits;
        assert_eq!(self.came + counters.keepalive_tails, gone, "{} left, {waits} wait, {counters:?}", self.left);
    }

    /// The kernel behaves from now on: all that was asked of it is done, and the worker forwards as before.
    pub(super) fn recover(&mut self, exact: bool) {
        self.kernel.follow(Script::calm(0));
        self.bind();
        self.new_session(0);
        self.new_receiver();
        self.until_idle();
        if exact {
            self.assert_nothing_is_lost();
        }
        let left = self.left;
        self.kernel.deliver(PLACE_TUN, message([vec![0; VNET_HDR_LEN], packet_to(PEERS[0], &[0x5a; 100])].concat()));
        self.train_comes();
        let came = self.came;
        self.until_idle();
        assert!(self.left > left + 1, "{} after {left}, {came} came", self.left);
    }

    /// What the kernel keeps for the worker: packets of the TUN, and trains.
    pub(super) fn unread(&self) -> (usize, usize) {
        (self.kernel.unread(PLACE_TUN), self.kernel.unread(PLACE_V4))
    }

    pub(super) fn until_idle(&mut self) {
        self.until_asleep();
        let (slots, worker) = (self.pool.accounting(), &self.worker);
        assert_eq!(slots.held, worker.path.staged(), "{slots:?}");
        let free = (worker.udp.sends_in_flight(), worker.tun.writes_free(), worker.tun.gathers_free());
        assert_eq!(free, (0, operations::TUN_OPERATIONS.into(), operations::TUN_GATHERS.into()));
        assert_eq!((self.kernel.unread(PLACE_TUN), self.kernel.unread(PLACE_V4)), (0, 0));
    }

    fn until_asleep(&mut self) {
        let slept = self.kernel.done().slept;
        let sleeps = (0..TURNS_MAX).any(|_| {
            self.turn();
            self.kernel.done().slept > slept
        });
        assert!(sleeps, "{:?}", self.kernel);
    }

    /// It ends, and all slots have come home.
    pub(super) fn leave(mut self) {
        self.inbox().push_mail(Mail::Stop);
        let stops = (0..TURNS_MAX).any(|_| {
            self.turn();
            self.worker.stopping
        });
        assert!(stops, "it reads its mail");
        self.worker.leave();
        let slots = self.pool.accounting();
        assert_eq!((slots.free, self.kernel.in_flight()), (slots.total, 0), "{slots:?}");
    }
}
