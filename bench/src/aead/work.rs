//! What a provider does in its turn.

use std::time::{Duration, Instant};

use ringfort_aead::{Geometry, HEADER_LEN, KEY_LEN, OpenKey, Plan, Provider, SealKey, Suite, TAG_LEN};

/// Packets that are worked on between two looks at the clock, at least: enough for its resolution, and with full
/// packets still within a second-level cache.
const PACKETS_PER_PASS: usize = 176;

/// A train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of plaintext of each packet.
    pub len: usize,
    /// Packets.
    pub count: usize,
}

impl Shape {
    /// `1420x44`.
    pub fn name(self) -> String {
        format!("{}x{}", self.len, self.count)
    }
}

/// A provider with trains to seal and to open.
pub struct Bench {
    seal: SealKey,
    open: OpenKey,
    geometry: Geometry,
    counters: Vec<u64>,
    trains: Vec<u8>,
}

impl Bench {
    /// Trains of `shape`, as many as a pass needs.
    pub fn new(provider: Provider, suite: Suite, shape: Shape) -> Self {
        let stride = HEADER_LEN + shape.len + TAG_LEN;
        let geometry = Geometry::new(stride, stride, shape.count).expect("the measured trains are possible");
        // The key protects nothing, so its nonces may repeat.
        let (key, plan) = ([0x5a; KEY_LEN], Plan::fixed(provider));
        let trains = PACKETS_PER_PASS.div_ceil(shape.count);
        Self {
            seal: SealKey::new(plan, suite, &key),
            open: OpenKey::new(plan, suite, &key),
            geometry,
            counters: (0..shape.count as u64).collect(),
            trains: vec![0xa5; geometry.total_len() * trains],
        }
    }

    /// Seals and opens for at least `time` each; gives nanoseconds per packet of both.
    pub fn turn(&mut self, time: Duration) -> [f64; 2] {
        let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
        let mut packets = 0;
        while packets == 0 || sealing.min(opening) < time {
            sealing += self.seal_all();
            opening += self.open_all();
            packets += self.trains.len() / self.geometry.total_len() * self.geometry.count();
        }
        [sealing, opening].map(|spent| spent.as_nanos() as f64 / packets as f64)
    }

    fn seal_all(&mut self) -> Duration {
        let begun = Instant::now();
        for train in self.trains.chunks_mut(self.geometry.total_len()) {
            self.seal.seal_train(0, train, self.geometry).expect("the buffer was made for it");
        }
        begun.elapsed()
    }

    fn open_all(&mut self) -> Duration {
        let begun = Instant::now();
        for train in self.trains.chunks_mut(self.geometry.total_len()) {
            let verdicts = self.open.open_train(&self.counters, train, self.geometry);
            assert!(verdicts.expect("the buffer was made for it").all_passed(), "what was just sealed opens");
        }
        begun.elapsed()
    }
}
