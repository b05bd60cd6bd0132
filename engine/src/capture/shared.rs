//! What control and a recorder tell each other. Neither waits for the other, except the recorder for the name of a
//! peer, and not for long.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crossbeam_queue::ArrayQueue;
use ring_buffers::{Bell, Waker};
use ringfort_core::ids::PeerId;
use ringfort_path::tap::{Tap, Wake};

/// Between control, the taps and one recorder.
pub struct Shared {
    bell: Bell,
    waker: Waker,
    /// The recorder has to end.
    stop: AtomicBool,
    /// The recorder has ended, and another may begin.
    ended: AtomicBool,
    /// Our own UDP port, which may change.
    port: AtomicU16,
    /// Control's own tap, for the handshake messages that it sends and receives.
    tap: ArrayQueue<Box<Tap>>,
    asked: ArrayQueue<PeerId>,
    told: ArrayQueue<(PeerId, Option<String>)>,
}

impl Shared {
    /// For a recorder that begins.
    ///
    /// # Errors
    /// The system's, `EMFILE` when it has no descriptors left.
    pub fn new() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            bell: Bell::armed(),
            waker: Waker::new()?,
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            port: AtomicU16::new(0),
            tap: ArrayQueue::new(1),
            asked: ArrayQueue::new(1),
            told: ArrayQueue::new(1),
        }))
    }

    /// What a tap calls when it has something new.
    pub(super) fn wake_up(self: &Arc<Self>) -> Wake {
        let shared = self.clone();
        Arc::new(move || shared.ring())
    }

    fn ring(&self) {
        if self.bell.ring() {
            self.waker.wake();
        }
    }

    /// For the recorder to poll; readable when there is something to look at.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }

    /// To be called by the recorder before it looks.
    pub(super) fn heard(&self) {
        self.waker.clear();
        self.bell.arm();
    }

    /// The taps ring from now on. To be called before the last look at what they have.
    pub(super) fn listen(&self) {
        self.bell.arm();
    }

    /// What control does is heard; what the taps have can wait.
    pub(super) fn heard_control(&self) {
        self.waker.clear();
    }

    /// Has the recorder end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub(super) fn note_end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Whether the recorder has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// For control: our own UDP port from now on.
    pub fn set_port(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    pub(super) fn port(&self) -> u16 {
        self.port.load(Ordering::Relaxed)
    }

    pub(super) fn give_tap(&self, tap: Box<Tap>) {
        // There is one, and room for it.
        let _ = self.tap.push(tap);
    }

    /// For control: the tap that it has to use from now on.
    #[must_use]
    pub fn take_tap(&self) -> Option<Box<Tap>> {
        self.tap.pop()
    }

    pub(super) fn ask(&self, peer: PeerId) {
        // A question that control did not get to is given up.
        let _ = self.asked.force_push(peer);
    }

    /// For control: the peer whose name is wanted.
    #[must_use]
    pub fn next_asked(&self) -> Option<PeerId> {
        self.asked.pop()
    }

    /// For control: this is its name. `None`: it is gone.
    pub fn tell(&self, peer: PeerId, name: Option<String>) {
        // An answer that came too late makes room.
        let _ = self.told.force_push((peer, name));
        self.waker.wake();
    }

    pub(super) fn told(&self) -> Option<(PeerId, Option<String>)> {
        self.told.pop()
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("ended", &self.ended).finish_non_exhaustive()
    }
}
