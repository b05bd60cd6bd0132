//! A TUN in a namespace, driven by an edge on a ring: what a worker does, without its work.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ring_buffers::{Arena, Budget, Capabilities, LineId, Pool, Ring, RingConfig, SlotClass, View, Waker};
use tun_uring::{EdgeConfig, Offloads, Tun, TunEdge, TunEvent};

use crate::namespace::{PATIENCE, disable_ipv6, ip};

const EDGE: u8 = 7;

/// How an edge is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub offloads: Offloads,
    pub read_slots: u16,
    pub jumbo_slots: u16,
    pub writes: u16,
    pub capabilities: Capabilities,
}

impl Setup {
    /// What the kernel has, and then each of it taken away: every mechanism is tested on every kernel that has it.
    pub fn mechanisms() -> Vec<Self> {
        let all = ring_buffers::probe().expect("io_uring");
        let base = Self { offloads: Offloads::NONE, read_slots: 16, jumbo_slots: 48, writes: 64, capabilities: all };
        let mut setups = vec![base];
        if all.read_multishot {
            setups.push(Self { capabilities: Capabilities { read_multishot: false, ..all }, ..base });
        }
        if all.writev_fixed {
            setups.push(Self { capabilities: Capabilities { writev_fixed: false, ..all }, ..base });
        }
        setups
    }
}

pub struct Rig {
    pub edge: TunEdge,
    pub pool: Pool,
    pub ring: Ring,
    events: std::collections::VecDeque<TunEvent>,
}

impl Rig {
    /// Interface `rf0` with the address 10.7.0.1/24, up.
    pub fn new(setup: Setup) -> Self {
        let tun = Tun::create("rf0", 1, setup.offloads).expect("create");
        tun.link().set_mtu(65_535).expect("set");
        disable_ipv6("rf0");
        ip("address add 10.7.0.1/24 dev rf0");
        ip("link set lo up");
        ip("link set rf0 up");
        Self::on(tun.into_queues().remove(0), setup)
    }

    fn on(queue: OwnedFd, setup: Setup) -> Self {
        let budget = Budget::new().line("reads and work", SlotClass::Jumbo, setup.jumbo_slots).line(
            "packets",
            SlotClass::Packet,
            512,
        );
        let arena = Arena::new(&budget, Waker::new().expect("eventfd")).expect("arena");
        let mut ring = Ring::new(RingConfig::default()).expect("ring");
        ring.register_arena(&arena).expect("register");
        ring.register_files(&[None; 4]).expect("files");
        let pool = Pool::new(arena);
        let config = EdgeConfig {
            edge: EDGE,
            place: 2,
            group: 5,
            read_slots: setup.read_slots,
            line: LineId(0),
            writes: setup.writes,
            gathers: 8,
            capabilities: setup.capabilities,
        };
        let edge = TunEdge::new(&mut ring, &pool, queue, config).expect("edge");
        let mut rig = Self { edge, pool, ring, events: Default::default() };
        rig.turn();
        rig
    }

    /// One turn, without sleeping; the slots add up after each.
    pub fn turn(&mut self) {
        self.edge.prepare(&mut self.ring, 0).expect("prepare");
        self.ring.turn(ring_buffers::Wait::No).expect("turn");
        let Self { ring, edge, events, .. } = self;
        ring.reap(256, |completion| {
            assert_eq!(completion.edge(), EDGE);
            events.push_back(edge.complete(completion));
        });
        while let Some(event) = self.edge.poll_read() {
            self.events.push_back(event);
        }
        self.events.retain(|event| !matches!(event, TunEvent::Nothing));
        assert!(self.pool.accounting().adds_up(), "{:?}", self.pool.accounting());
    }

    /// The next event, waiting for it.
    #[track_caller]
    pub fn event(&mut self) -> TunEvent {
        self.event_within(PATIENCE).expect("an event in time")
    }

    /// The next event, if it comes within `limit`. However long this thread was not run, there is a turn after that
    /// time.
    pub fn event_within(&mut self, limit: Duration) -> Option<TunEvent> {
        let end = Instant::now() + limit;
        let mut is_late = false;
        while self.events.is_empty() && !is_late {
            is_late = Instant::now() >= end;
            self.turn();
        }
        self.events.pop_front()
    }

    /// The next packet that was read.
    #[track_caller]
    pub fn read(&mut self) -> View {
        match self.event() {
            TunEvent::Read(view) => view,
            other => panic!("not a read: {other:?}"),
        }
    }

    /// A packet slot with `bytes` in it.
    pub fn slot(&self, bytes: &[u8]) -> View {
        let class = if bytes.len() > ring_buffers::PACKET_SIZE { SlotClass::Jumbo } else { SlotClass::Packet };
        let mut view = self.pool.claim(class).expect("a free slot");
        view.truncate(bytes.len());
        view.copy_from_slice(bytes);
        view
    }

    /// Ends everything; every slot must be free afterwards.
    pub fn finish(mut self) {
        self.edge.close(&mut self.ring).expect("close");
        let end = Instant::now() + PATIENCE;
        while !self.edge.is_idle() {
            assert!(Instant::now() < end, "operations still in flight");
            self.turn();
        }
        self.events.clear();
        self.edge.finish(&mut self.ring).expect("finish");
        let accounting = self.pool.accounting();
        assert_eq!((accounting.free, accounting.kernel, accounting.held), (accounting.total, 0, 0));
    }
}
