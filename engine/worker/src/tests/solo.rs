//! A worker without a thread of its own: the test turns it, and decides what happens between two turns.

use std::ops::{Deref, DerefMut};

use super::turn::Worker;
use super::*;

pub(super) struct Solo {
    pub(super) worker: Worker,
    /// Another descriptor of the worker's queue.
    pub(super) queue: OwnedFd,
    fixture: Fixture,
}

impl Solo {
    /// The only worker.
    pub(super) fn new() -> Self {
        Self::among(1)
    }

    /// The first of some, of which the others never run. The device has one queue, and the peer knows one socket.
    pub(super) fn among(workers: usize) -> Self {
        Self::counting((0..workers).map(|_| WorkerStats::default()).collect())
    }

    /// One worker for each of `stats`, of which only the first runs.
    pub(super) fn counting(stats: Vec<WorkerStats>) -> Self {
        // It polls, so a turn with nothing to do ends.
        let busy_poll = Duration::MAX;
        let (mut fixture, mut configs) = Fixture::plumbing(stats, 1, Offloads::ALL, Segmentation::On, busy_poll);
        fixture.sockets = SocketGroup::bind(&SocketConfig::new(0, 1)).unwrap();
        let config = configs.remove(0);
        let queue = config.tun.try_clone().unwrap();
        let worker = Worker::new(config).unwrap();
        let inbox = &fixture.queues.workers[0];
        inbox.push_mail(Mail::Sockets(Some(fixture.sockets.pair(0).try_clone().unwrap())));
        fixture.add_peers(&[(PEER, "10.9.0.2/32", fixture.peer_address())]);
        let mut solo = Self { worker, queue, fixture };
        solo.settle();
        solo
    }

    pub(super) fn turn(&mut self) {
        self.worker.turn().unwrap();
    }

    /// Turns until `condition` holds.
    pub(super) fn turn_until(&mut self, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + WAIT;
        while !condition(self) {
            assert!(Instant::now() < deadline, "not in time; {:?}", self.stats[0]);
            self.turn();
        }
    }

    /// Turns until all mail is read, and what it led to has left.
    pub(super) fn settle(&mut self) {
        self.turn();
        self.turn_until(|solo| !solo.worker.inbox_waiting);
        self.turn();
    }

    /// Sends datagrams to the worker that come to it as one train; all but the last are of the first one's length.
    pub(super) fn send_train(&self, messages: &[Vec<u8>]) {
        let stride = i32::try_from(messages[0].len()).unwrap();
        nix::sys::socket::setsockopt(&self.outer, nix::sys::socket::sockopt::UdpGsoSegment, &stride).unwrap();
        self.send_raw(&messages.concat());
        nix::sys::socket::setsockopt(&self.outer, nix::sys::socket::sockopt::UdpGsoSegment, &0).unwrap();
    }

    /// Turns until nothing holds a slot but what waits for a key: none was lost.
    pub(super) fn finish(mut self) {
        self.turn_until(|solo| {
            let slots = solo.worker.path.pool().accounting();
            assert!(slots.adds_up(), "{slots:?}");
            slots.held == solo.worker.path.staged()
        });
    }
}

impl Deref for Solo {
    type Target = Fixture;

    fn deref(&self) -> &Fixture {
        &self.fixture
    }
}

impl DerefMut for Solo {
    fn deref_mut(&mut self) -> &mut Fixture {
        &mut self.fixture
    }
}
