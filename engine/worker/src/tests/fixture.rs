//! A worker, its TUN and its sockets, and the peer's end of it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

pub(super) use ringfort_testbed::scratch::{in_namespace, ip};

use super::*;

pub(super) const PEER: PeerId = PeerId { index: 2, generation: 1 };
pub(super) const TO_PEER: [u8; 32] = [1; 32];
pub(super) const FROM_PEER: [u8; 32] = [2; 32];
pub(super) const REMOTE_INDEX: u32 = 0xaabb_ccdd;
/// The peer's index of sessions that it asked for.
pub(super) const ANSWERED: u32 = 0x1122_3344;
/// How long anything may take that is bound to happen: a busy machine may not run a thread for seconds.
pub(super) const WAIT: Duration = Duration::from_secs(30);

pub(super) struct Fixture {
    pub(super) queues: Arc<Queues>,
    pub(super) stats: Vec<Arc<WorkerStats>>,
    pub(super) workers: Vec<WorkerHandle>,
    pub(super) sockets: SocketGroup,
    /// By which queues what flows come.
    pub(super) flows: Option<Flows>,
    /// The peer's end.
    pub(super) outer: UdpSocket,
    /// An application behind the tunnel.
    pub(super) inner: UdpSocket,
    pub(super) counter: u64,
    /// The peer, as all workers share it.
    pub(super) cell: Arc<PeerCell>,
    /// Other peers.
    others: RefCell<HashMap<PeerId, Arc<PeerCell>>>,
    number: Cell<SessionNumber>,
}

pub(super) fn seal_key(key: &[u8; 32]) -> SealKey {
    SealKey::new(Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305, key)
}

pub(super) fn open_key(key: &[u8; 32]) -> OpenKey {
    OpenKey::new(Plan::fixed(Provider::RustCrypto), Suite::ChaCha20Poly1305, key)
}

impl Fixture {
    pub(super) fn new(workers: usize) -> Self {
        Self::with(workers, Offloads::ALL, Duration::ZERO)
    }

    /// Must be called on a thread of its own, which it moves into a new network namespace.
    pub(super) fn with(workers: usize, offloads: Offloads, busy_poll: Duration) -> Self {
        let stats = (0..workers).map(|_| WorkerStats::default()).collect();
        Self::made(stats, offloads, Segmentation::On, busy_poll)
    }

    /// One worker that sends trains in another way.
    pub(super) fn segmenting(segmentation: Segmentation) -> Self {
        Self::made(vec![WorkerStats::default()], Offloads::ALL, segmentation, Duration::ZERO)
    }

    /// The same with one worker for each place to count.
    pub(super) fn counting(stats: Vec<WorkerStats>, offloads: Offloads, busy_poll: Duration) -> Self {
        Self::made(stats, offloads, Segmentation::On, busy_poll)
    }

    fn made(stats: Vec<WorkerStats>, offloads: Offloads, segmentation: Segmentation, busy_poll: Duration) -> Self {
        let workers = stats.len();
        let (mut fixture, configs) = Self::plumbing(stats, workers, offloads, segmentation, busy_poll);
        fixture.workers = configs.into_iter().map(|config| prepare(config).unwrap().begin(true).unwrap().0).collect();
        fixture.configure();
        fixture.eventually(|| fixture.queues.control.oldest_routes_in_use() == 1);
        fixture
    }

    /// All that `workers` workers need, and none of them; the device has `queues` queues.
    pub(super) fn plumbing(
        stats: Vec<WorkerStats>,
        queues: usize,
        offloads: Offloads,
        segmentation: Segmentation,
        busy_poll: Duration,
    ) -> (Self, Vec<WorkerConfig>) {
        let workers = stats.len();
        ip("link set lo up");
        let tun = Tun::create("rf0", queues, offloads).unwrap();
        // No packets of the kernel's own among ours.
        ip("link set rf0 addrgenmode none");
        ip("addr add 10.9.0.1/24 dev rf0");
        ip("link set rf0 up");
        let queues = Arc::new(Queues::new(workers).unwrap());
        let stats: Vec<_> = stats.into_iter().map(Arc::new).collect();
        let capabilities = ring_buffers::probe().unwrap();
        let merge = Merge::ALL;
        let tuning = Tuning { node: Node::SINGLE, capabilities, merge, segmentation, busy_poll };
        let flows = tun.flows().unwrap().map(Flows::new);
        let config = |(index, tun)| WorkerConfig {
            rests: false,
            index,
            core: None,
            tun,
            flows: flows.clone(),
            mtu: 1420,
            tuning,
            queues: queues.clone(),
            stats: stats[index].clone(),
            before_packets: || (),
        };
        let configs = tun.into_queues().into_iter().enumerate().map(config).collect();
        let sockets = SocketGroup::bind(&SocketConfig::new(0, u8::try_from(workers).unwrap())).unwrap();
        let outer = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inner = UdpSocket::bind("10.9.0.1:4000").unwrap();
        outer.set_read_timeout(Some(WAIT)).unwrap();
        inner.set_read_timeout(Some(WAIT)).unwrap();
        let cell = Arc::new(PeerCell::new(PEER, Arc::new(PeerShared::new(workers))));
        let (number, others) = (Cell::default(), RefCell::default());
        let workers = Vec::new();
        let fixture = Self { queues, stats, workers, sockets, flows, outer, inner, counter: 0, cell, others, number };
        // So that a receiving half of a session before that, see `install_receive`, does not begin to send.
        fixture.cell.advance(Arc::new(SendState::end(fixture.next_number())));
        (fixture, configs)
    }

    /// What control does at the start.
    pub(super) fn configure(&self) {
        for (i, inbox) in self.queues.workers.iter().enumerate() {
            inbox.push_mail(Mail::Sockets(Some(self.sockets.pair(i).try_clone().unwrap())));
        }
        self.add_peers(&[(PEER, "10.9.0.2/32", self.peer_address())]);
    }

    /// What control does when peers are added. The routes of those that are not named here go.
    pub(super) fn add_peers(&self, peers: &[(PeerId, &str, SocketAddr)]) {
        let mut routes = AllowedIps::new();
        for &(peer, prefix, endpoint) in peers {
            let (address, len) = prefix.split_once('/').unwrap();
            routes.insert(Prefix::new(address.parse().unwrap(), len.parse().unwrap()).unwrap(), peer);
            let cell = self.cell_of(peer);
            cell.shared().endpoint.set(Endpoint::new(endpoint));
            self.queues.workers.iter().for_each(|inbox| inbox.push_order(Order::AddPeer(cell.clone())));
        }
        let routes = || Order::Routes { routes: routes.clone(), version: 1 };
        self.queues.workers.iter().for_each(|inbox| inbox.push_order(routes()));
    }

    pub(super) fn peer_address(&self) -> SocketAddr {
        self.outer.local_addr().unwrap()
    }

    /// What control does when a session begins that we asked for, as far as sending is concerned.
    pub(super) fn install_send(&self, local_index: u32, confirm: bool) {
        let session = SendSession::new(seal_key(&TO_PEER), local_index, REMOTE_INDEX, boot_time(), true);
        self.install(PEER, session, confirm);
    }

    /// A session to send under, with any peer. All have the same key here, and write to the same receiver index.
    pub(super) fn install(&self, peer: PeerId, session: SendSession<SealKey>, confirm: bool) {
        let owner = self.queues.owner(session.local_index());
        let state = Arc::new(SendState::session(self.next_number(), session));
        assert!(self.cell_of(peer).advance(state));
        for (worker, inbox) in self.queues.workers.iter().enumerate() {
            let confirms = confirm && worker == owner;
            inbox.push_order(if confirms { Order::SendKeepalive { peer } } else { Order::SendStaged { peer } });
        }
    }

    fn cell_of(&self, peer: PeerId) -> Arc<PeerCell> {
        if peer == PEER {
            return self.cell.clone();
        }
        let shared = || Arc::new(PeerShared::new(self.queues.workers.len()));
        self.others.borrow_mut().entry(peer).or_insert_with(|| Arc::new(PeerCell::new(peer, shared()))).clone()
    }

    pub(super) fn send_under(&self, session: SendSession<SealKey>) {
        assert!(self.cell.advance(Arc::new(SendState::session(self.next_number(), session))));
    }

    pub(super) fn next_number(&self) -> SessionNumber {
        self.number.set(self.number.get().next());
        self.number.get()
    }

    /// A receiving half. Confirmed, it is one of a session that does not send any more; if not, its first message lets
    /// us send under [`ANSWERED`].
    pub(super) fn install_receive(&self, local_index: u32, confirmed: bool) {
        let number = if confirmed { SessionNumber::default() } else { self.next_number() };
        let receive = ReceiveSession::new(open_key(&FROM_PEER), local_index, boot_time(), confirmed);
        let send = SendSession::new(seal_key(&TO_PEER), local_index, ANSWERED, boot_time(), confirmed);
        let (receiver, _) = Receiver::new(self.cell.clone(), number, receive, send);
        self.queues.workers[self.queues.owner(local_index)].push_session(SessionOrder::Begin(Box::new(receiver)));
    }

    /// The next data message at the peer: its counter and its opened packet, padding included.
    pub(super) fn receive(&self) -> (u64, Vec<u8>) {
        let (receiver, counter, packet) = self.receive_any();
        assert_eq!(receiver, REMOTE_INDEX);
        (counter, packet)
    }

    /// The same with the index that it carries.
    pub(super) fn receive_any(&self) -> (u32, u64, Vec<u8>) {
        let mut buffer = [0; 2048];
        let len = receive_from(&self.outer, &mut buffer);
        let header = parse_data_header(&buffer[..len]).unwrap();
        let mut text = buffer[DATA_HEADER_LEN..len].to_vec();
        open_key(&TO_PEER).open(header.counter, &mut text).expect("sealed for the peer");
        text.truncate(text.len() - 16);
        (header.receiver, header.counter, text)
    }

    /// A datagram at the application.
    pub(super) fn receive_inner(&self, buffer: &mut [u8]) -> usize {
        receive_from(&self.inner, buffer)
    }

    pub(super) fn send_sealed(&mut self, local_index: u32, packet: &[u8]) -> Vec<u8> {
        let message = self.seal(local_index, packet);
        self.send_raw(&message);
        message
    }

    pub(super) fn seal(&mut self, local_index: u32, packet: &[u8]) -> Vec<u8> {
        let padded = packet.len().next_multiple_of(16);
        let mut message = vec![0; 32 + padded];
        let (header, rest) = message.split_first_chunk_mut().unwrap();
        write_data_header(header, local_index, self.counter);
        seal_key(&FROM_PEER).seal_from(self.counter, packet, rest).unwrap();
        self.counter += 1;
        message
    }

    pub(super) fn send_raw(&self, message: &[u8]) {
        self.outer.send_to(message, ("127.0.0.1", self.sockets.port())).unwrap();
    }

    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.stats.iter().map(|s| s.dropped(reason)).sum()
    }

    pub(super) fn eventually(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + WAIT;
        while !condition() {
            assert!(Instant::now() < deadline, "not in time; {:?}", self.stats);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub(super) fn next_event(&self) -> PeerEvent {
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(event) = self.queues.control.next_event() {
                return event;
            }
            assert!(Instant::now() < deadline, "no event in time; {:?}", self.stats);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until all workers sleep, having dealt with all that came before. Then nothing but what comes makes them
    /// turn.
    pub(super) fn until_asleep(&self) {
        let threads: Vec<_> = (0..self.workers.len()).map(thread_of).collect();
        self.eventually(|| threads.iter().all(|thread| is_asleep(thread)));
    }

    /// Ends the workers and checks that no slot was lost while they ran.
    pub(super) fn finish(self) {
        self.eventually(|| {
            // Each mail is a turn, which publishes the gauges and takes home what other workers have released.
            self.queues.workers.iter().for_each(|inbox| inbox.push_order(Order::Mtu(1420)));
            self.stats.iter().all(|stats| {
                let figure = |name| stats.figures().iter().find(|(n, _)| *n == name).unwrap().1;
                let sum = figure("slots_free") + figure("slots_kernel") + figure("slots_held");
                sum == figure("slots_total") && figure("slots_held") == 0
            })
        });
        self.queues.workers.iter().for_each(|inbox| inbox.push_mail(Mail::Stop));
        self.workers.into_iter().for_each(WorkerHandle::join);
        assert!(self.queues.control.next_failure().is_none());
    }
}

/// A system call that is made again if it was interrupted: a ring that this thread has probed with and closed may do
/// that once.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The next datagram.
pub(super) fn receive_from(socket: &UdpSocket, buffer: &mut [u8]) -> usize {
    uninterrupted(|| socket.recv(buffer)).expect("a datagram in time")
}

/// The thread of a worker in this thread's network namespace, as a directory of procfs.
fn thread_of(worker: usize) -> PathBuf {
    let namespace = |thread: &Path| std::fs::read_link(thread.join("ns/net")).ok();
    let is_it = |thread: &PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim_end() == format!("ringfort-w{worker}"))
            && namespace(thread) == namespace(Path::new("/proc/thread-self"))
    };
    let threads = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    threads.map(|thread| thread.unwrap().path()).find(is_it).expect("the worker runs")
}

/// Whether a thread waits for something. A worker does so nowhere but in its ring, and not while there is work:
/// whatever wakes it makes it runnable at once, however long it takes until it runs.
fn is_asleep(thread: &Path) -> bool {
    let stat = std::fs::read_to_string(thread.join("stat")).expect("the worker runs");
    // The state comes after the name, which is in parentheses.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
}

/// An IPv4 UDP packet to the inner socket, without the optional checksum.
pub(super) fn inner_packet(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let total = u16::try_from(28 + payload.len()).unwrap();
    let mut p = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    p.extend(source);
    p.extend([10, 9, 0, 1]);
    p.extend([0x10, 0x00, 0x0f, 0xa0]);
    p.extend((total - 20).to_be_bytes());
    p.extend([0, 0]);
    p.extend(payload);
    p[2..4].copy_from_slice(&total.to_be_bytes());
    let sum = p[..20].chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p
}

/// The same with the UDP checksum, which what is merged must have.
pub(super) fn with_checksum(mut packet: Vec<u8>) -> Vec<u8> {
    let udp_len = packet.len() - 20;
    let mut covered = packet[12..20].to_vec();
    covered.extend([0, 17]);
    covered.extend(u16::try_from(udp_len).unwrap().to_be_bytes());
    covered.extend(&packet[20..]);
    let word = |w: &[u8]| u32::from(u16::from_be_bytes([w[0], w.get(1).copied().unwrap_or(0)]));
    let mut sum = covered.chunks(2).map(word).sum::<u32>();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[26..28].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
    packet
}
