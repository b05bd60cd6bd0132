//! A worker in miniature, and the far end that it talks to.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use ring_buffers::{Arena, Budget, BufferGroup, Completion, Pool, Ring, RingConfig, SlotClass, View, Wait, Waker};
use ringfort_testbed::scratch;
use udp_uring::{
    EdgeConfig, Endpoint, RECEIVE_BUFFER_LEN, Received, Segmentation, SocketConfig, SocketGroup, Transmit, UdpEdge,
    UdpEvent,
};

pub use ringfort_testbed::scratch::ip;

/// How long anything may take that is bound to happen: a busy machine may not run a thread for seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);
pub const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];

/// Sockets for `workers` workers on a free port.
pub fn sockets(workers: u8) -> SocketGroup {
    SocketGroup::bind(&SocketConfig::new(0, workers)).expect("a port is free")
}

/// What `look` finds, as soon as it finds something. For what is bound to happen, but not at once.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What `bind` gives once the port is free. It is free already, unless children of other tests were forked and
/// have not closed the descriptors that they inherited yet.
#[track_caller]
pub fn when_free<T, E>(mut bind: impl FnMut() -> Result<T, E>) -> T {
    eventually("the port is free", || bind().ok())
}

/// A plain socket on a free port of `ip`, as the far end.
pub fn far_end(ip: &str) -> UdpSocket {
    let ip: IpAddr = ip.parse().expect("literal");
    let socket = UdpSocket::bind((ip, 0)).expect("loopback works");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    socket
}

/// Where the far end is.
pub fn endpoint_to(far: &UdpSocket) -> Endpoint {
    Endpoint::new(far.local_addr().expect("bound"))
}

const EDGE: u8 = 3;

/// What a bench is made of.
#[derive(Clone, Copy)]
pub struct Parts {
    pub slots: u16,
    pub quota: u16,
    pub buffer_len: usize,
    pub operations: u16,
    pub ring: RingConfig,
    pub segmentation: Segmentation,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            slots: 40,
            quota: 16,
            buffer_len: RECEIVE_BUFFER_LEN,
            operations: 256,
            ring: RingConfig::default(),
            segmentation: Segmentation::On,
        }
    }
}

/// Ring, memory and edge of one worker.
pub struct Bench {
    pub ring: Ring,
    pub edge: UdpEdge,
    pub pool: Pool,
    batch: Vec<Completion>,
}

impl Bench {
    pub fn new(sockets: &SocketGroup) -> Self {
        Self::with(sockets, Parts::default())
    }

    pub fn with(sockets: &SocketGroup, parts: Parts) -> Self {
        let budget = Budget::new().line("test", SlotClass::Jumbo, parts.slots);
        let arena = Arena::new(&budget, Waker::new().expect("an eventfd")).expect("memory");
        let mut ring = Ring::new(parts.ring).expect("io_uring");
        ring.register_files(&[None; 2]).expect("a table of files");
        let pool = Pool::new(arena);
        let group = BufferGroup::register(&mut ring, &pool, 7, SlotClass::Jumbo, parts.quota, parts.buffer_len);
        let (operations, segmentation) = (parts.operations, parts.segmentation);
        let config = EdgeConfig { edge: EDGE, place_v4: 0, place_v6: 1, operations, segmentation };
        let mut edge = UdpEdge::new(group.expect("a buffer ring"), config);
        edge.rebind(&mut ring, sockets.pair(0)).expect("sockets are taken");
        Self { ring, edge, pool, batch: Vec::with_capacity(64) }
    }

    /// One turn of the worker; what it made of the completions.
    pub fn turn(&mut self) -> Vec<UdpEvent> {
        self.edge.prepare(&mut self.ring).expect("receives are armed");
        self.ring.turn(Wait::No).expect("the ring turns");
        self.reap()
    }

    /// What has completed without another turn.
    pub fn reap(&mut self) -> Vec<UdpEvent> {
        let mut events = Vec::new();
        loop {
            let Self { ring, batch, .. } = self;
            ring.reap(64, |completion| batch.push(completion));
            if self.batch.is_empty() {
                break;
            }
            for completion in self.batch.drain(..) {
                assert_eq!(completion.edge(), EDGE);
                events.push(self.edge.complete(&mut self.ring, completion));
                assert!(self.pool.accounting().adds_up(), "{:?}", self.pool.accounting());
            }
        }
        events.retain(|e| !matches!(e, UdpEvent::Nothing));
        events
    }

    /// Turns until `done` says so of all events so far, or patience ends.
    pub fn turn_until(&mut self, mut done: impl FnMut(&[UdpEvent]) -> bool) -> Vec<UdpEvent> {
        let start = Instant::now();
        let mut events = Vec::new();
        while !done(&events) {
            assert!(start.elapsed() < PATIENCE, "still waiting with {events:?}, {:?}", self.edge);
            events.extend(self.turn());
            thread::yield_now();
        }
        events
    }

    /// A view with `bytes` in it, in a slot of the pool.
    pub fn view(&self, bytes: &[u8]) -> View {
        let mut view = self.pool.claim(SlotClass::Jumbo).expect("a slot is free");
        view.truncate(bytes.len());
        view.copy_from_slice(bytes);
        view
    }

    /// Queues `bytes` as a train.
    pub fn send(&mut self, bytes: &[u8], stride: usize, endpoint: Endpoint, ecn: u8) {
        let transmit = Transmit { view: self.view(bytes), stride, endpoint, ecn, context: 42 };
        self.edge.send(&mut self.ring, transmit).expect("the train is taken");
    }

    /// Sends `bytes` as a train, and returns what became of it.
    pub fn send_and_settle(&mut self, bytes: &[u8], stride: usize, endpoint: Endpoint, ecn: u8) -> Vec<UdpEvent> {
        self.send(bytes, stride, endpoint, ecn);
        let mut events = Vec::new();
        let start = Instant::now();
        while self.edge.sends_in_flight() > 0 {
            assert!(start.elapsed() < PATIENCE, "the send does not end");
            events.extend(self.turn());
        }
        events
    }

    /// Receives until `bytes` bytes have come.
    pub fn receive(&mut self, bytes: usize) -> Vec<Received> {
        let got = |events: &[UdpEvent]| {
            events.iter().map(|e| if let UdpEvent::Received(r) = e { r.view.len() } else { 0 }).sum::<usize>()
        };
        let events = self.turn_until(|events| got(events) >= bytes);
        events.into_iter().filter_map(|e| if let UdpEvent::Received(r) = e { Some(r) } else { None }).collect()
    }

    /// Every slot is free or provided to the kernel for receiving; none is lost or with the program.
    pub fn assert_all_home(&self) {
        let a = self.pool.accounting();
        assert!(a.adds_up() && a.held == 0, "{a:?}");
    }
}

/// The datagrams that a train of `bytes` consists of.
pub fn datagrams(bytes: &[u8], stride: usize) -> Vec<Vec<u8>> {
    bytes.chunks(stride).map(<[u8]>::to_vec).collect()
}

/// `n` datagrams that a plain socket receives.
pub fn receive_plain(far: &UdpSocket, n: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65_536];
    let mut one = || {
        let (len, from) = far.recv_from(&mut buffer).expect("the datagram arrives");
        (buffer[..len].to_vec(), from)
    };
    (0..n).map(|_| one()).collect()
}

/// Bytes in which every position differs from its neighbours.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Sets an integer option, which the crate has no use for, to provoke the kernel.
pub fn set_int(socket: &impl AsFd, level: i32, name: i32, value: i32) {
    let len = size_of::<i32>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value is an int that outlives the call.
    let result = unsafe { libc::setsockopt(fd, level, name, (&raw const value).cast(), len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Reads an integer option.
pub fn get_int(socket: &impl AsFd, level: i32, name: i32) -> i32 {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the value is an int with its true length, and both outlive the call.
    let result = unsafe { libc::getsockopt(fd, level, name, (&raw mut value).cast(), &raw mut len) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    value
}

/// Runs `body` on a thread that ends with it, and with all that was done to it.
pub fn in_thread_of_its_own(body: impl FnOnce() + Send + 'static) {
    if let Err(panic) = thread::spawn(body).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes a system call fail with `errno` on this thread, by a seccomp filter, until the thread ends.
pub fn refuse_system_call(number: libc::c_long, errno: i32) {
    let stmt = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut filter = [
        // The call's number is the first word of `struct seccomp_data`.
        stmt(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter { code: jump as u16, jt: 0, jf: 1, k: number as u32 },
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned()),
        stmt(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: the program and its instructions outlive the call, which copies them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// Runs `body` in a network namespace of its own, set up by the `ip` commands.
pub fn in_namespace(commands: &[&str], body: impl FnOnce() + Send) {
    scratch::in_namespace(|| {
        for command in commands {
            ip(command);
            if let Some(added) = command.strip_prefix("addr add ") {
                let address = added.split('/').next().expect("split gives one at least");
                if let Ok(address) = address.parse() {
                    scratch::await_address(address);
                }
            }
        }
        body();
    });
}
