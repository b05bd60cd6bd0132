//! The file as it is read when a gateway is promoted: another one may have written it since.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;
use std::vec;

use ringfort_core::device::{Device, Remembered};
use ringfort_core::time::Time;
use ringfort_worker::queues::Queues;

use super::writer::{Reading, Writer};
use super::{Loaded, PEERS_PER_TURN};

/// How long a promotion waits for a disk that hangs. The file of 100,000 peers takes a fifth of that.
const PATIENCE: Duration = Duration::from_millis(500);

/// A file that is being read, and then taken over.
#[derive(Debug)]
pub struct Pending {
    read: Receiver<(Vec<Remembered>, Option<Loaded>)>,
    deadline: Time,
    /// What has been read, and is not taken over yet.
    rows: Option<(vec::IntoIter<Remembered>, Option<Loaded>)>,
}

/// How far it is.
#[derive(Debug)]
pub enum Step {
    /// The file is not read yet.
    Waits,
    /// There is more to take over.
    More,
    /// All of it is taken over; `None` if there is no file.
    Done(Option<Loaded>),
    /// The disk hangs.
    TooSlow,
}

impl Pending {
    pub(super) fn begin(writer: &Writer, known: u64, queues: &Arc<Queues>, now: Time) -> Option<Self> {
        let (answer, read) = sync_channel(1);
        let begun = writer.read(Reading { known, answer, queues: queues.clone() });
        begun.then_some(Self { read, deadline: now + PATIENCE, rows: None })
    }

    /// Takes over a bounded part of what the file says, as soon as it is read.
    pub fn step(&mut self, now: Time, device: &mut Device) -> Step {
        if self.rows.is_none() {
            match self.read.try_recv() {
                Ok((rows, loaded)) => self.rows = Some((rows.into_iter(), loaded)),
                Err(TryRecvError::Empty) if now < self.deadline => return Step::Waits,
                Err(_) => return Step::TooSlow,
            }
        }
        let Some((rows, loaded)) = &mut self.rows else { return Step::Waits };
        device.relocate(now, rows.by_ref().take(PEERS_PER_TURN));
        if rows.len() > 0 { Step::More } else { Step::Done(loaded.take()) }
    }

    /// When to call [`Pending::step`], whether the file is read by then or not.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.rows.is_none().then_some(self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    use ringfort_core::crypto::PublicKey;
    use ringfort_core::ids::{Endpoint, PeerId};
    use ringfort_worker::clock;

    use super::super::{Keeper, text};
    use super::*;

    const NOW: Time = Time::from_secs(1_000);
    const BOUND: Duration = Duration::from_secs(20);
    const KEY: PublicKey = PublicKey::new([5; 32]);

    struct Rig {
        directory: PathBuf,
        keeper: Keeper,
        queues: Arc<Queues>,
        device: Device,
        peer: PeerId,
    }

    impl Rig {
        /// A passive gateway with a peer, demoted just now.
        fn new(name: &str) -> Self {
            let directory = std::env::temp_dir().join(format!("ringfort-promotion-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir(&directory).unwrap();
            let writer = Writer::start(directory.join("wg0.endpoints")).unwrap();
            let keeper = Keeper { writer: Some(writer), known: clock::unix_secs(), ..Keeper::none() };
            let mut device = Device::new(1);
            device.set_passive(NOW, true);
            let peer = device.add_peer(KEY).unwrap();
            Self { directory, keeper, queues: Arc::new(Queues::new(1).unwrap()), device, peer }
        }

        fn file(&self) -> PathBuf {
            self.directory.join("wg0.endpoints")
        }

        /// Promotes it as control does, and returns what is said of the file.
        fn promote(&mut self) -> Option<Loaded> {
            let mut pending = self.keeper.read(&self.queues, NOW).unwrap();
            let deadline = Instant::now() + BOUND;
            loop {
                match pending.step(NOW, &mut self.device) {
                    Step::Done(loaded) => return loaded,
                    Step::Waits => assert!(Instant::now() < deadline, "the file is not read"),
                    Step::More => {}
                    Step::TooSlow => panic!("time stands still here"),
                }
                std::thread::yield_now();
            }
        }

        fn endpoint(&self) -> Option<Endpoint> {
            self.device.status(self.peer).and_then(|status| status.endpoint())
        }
    }

    impl Drop for Rig {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    fn row(port: u16) -> Remembered {
        let endpoint = Endpoint::new(([192, 0, 2, 1], port).into());
        Remembered { key: KEY, endpoint, configured: None, gone_since: None }
    }

    fn place(file: &Path, port: u16, written: u64) {
        fs::write(file, text::render(&[row(port)], written, "another-machine")).unwrap();
    }

    #[test]
    fn what_the_other_gateway_has_written_since_is_taken_over() {
        let mut rig = Rig::new("newer");
        place(&rig.file(), 7, rig.keeper.known);
        let loaded = rig.promote().unwrap();
        assert!(!loaded.is_bad(), "{loaded}");
        assert_eq!(rig.endpoint(), Some(row(7).endpoint));
        // Each promotion reads it anew.
        place(&rig.file(), 8, rig.keeper.known);
        rig.promote();
        assert_eq!(rig.endpoint(), Some(row(8).endpoint));
    }

    #[test]
    fn what_is_older_torn_or_foreign_is_refused_with_a_word() {
        let mut rig = Rig::new("refused");
        assert!(rig.promote().is_none(), "there is none");
        let known = rig.keeper.known;
        place(&rig.file(), 7, known - 30);
        let whole = text::render(&[row(7)], known, "another-machine");
        let older = rig.promote().unwrap().to_string();
        assert!(older.contains("it is 30 s older than what this gateway knows itself"), "{older}");
        for (contents, word) in [(&whole[..whole.len() / 2], "damaged"), ("[Interface]\n", "not a file of endpoints")] {
            fs::write(rig.file(), contents).unwrap();
            let said = rig.promote().unwrap();
            assert!(said.is_bad() && said.to_string().contains(word), "{said}");
        }
        assert_eq!(rig.endpoint(), None);
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for() {
        let mut rig = Rig::new("slow");
        let (answer, read) = sync_channel(1);
        let mut pending = Pending { read, deadline: NOW + PATIENCE, rows: None };
        assert!(matches!(pending.step(NOW, &mut rig.device), Step::Waits));
        assert_eq!(pending.next_deadline(), Some(NOW + PATIENCE));
        assert!(matches!(pending.step(NOW + PATIENCE, &mut rig.device), Step::TooSlow));
        drop(answer);
    }
}
