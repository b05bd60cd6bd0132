//! When the file is written, and that nobody waits for it.

use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;

use super::*;

const START: Time = Time::from_secs(1_000);
const PATIENCE: Duration = Duration::from_secs(20);

/// A keeper whose disk writes when it is told to.
struct Rig {
    keeper: Keeper,
    device: Device,
    /// How many peers each write had, when it begins.
    begun: Receiver<usize>,
    results: Sender<io::Result<()>>,
    peers: u32,
}

impl Rig {
    fn new() -> Self {
        let (begin, begun) = channel();
        let (results, result) = channel();
        let write = move |_: &Path, text: &str| {
            let _ = begin.send(text.parse().unwrap());
            result.recv().unwrap_or(Ok(()))
        };
        let render = |rows: &[Remembered], _| rows.len().to_string();
        let writer = Writer::start_with(PathBuf::from("/nonexistent/a file"), render, write).unwrap();
        let keeper = Keeper { writer: Some(writer), ..Keeper::none() };
        Self { keeper, device: Device::new(1), begun, results, peers: 0 }
    }

    /// Peers that the operator has put somewhere, and that were somewhere else.
    fn add_peers(&mut self, count: u32) {
        for n in self.peers..self.peers + count {
            let mut key = [1; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            let key = PublicKey::new(key);
            let endpoint = ringfort_core::ids::Endpoint::new(([192, 0, 2, 1], 7).into());
            self.device.remember([Remembered { key, endpoint, configured: None, gone_since: None }]);
            let peer = self.device.add_peer(key).unwrap();
            self.device.place_peer(START, peer, None);
        }
        self.peers += count;
    }

    /// Steps until there is nothing more to do at once, and says how many it took.
    fn step(&mut self, after: Duration) -> usize {
        let mut steps = 1;
        while self.keeper.step(START + after, &mut self.device) {
            steps += 1;
        }
        steps
    }

    fn begun(&self) -> usize {
        self.begun.recv_timeout(PATIENCE).expect("a write begins")
    }

    fn succeed(&self) {
        self.results.send(Ok(())).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while self.keeper.writer.as_ref().is_some_and(Writer::is_busy) {
            assert!(Instant::now() < deadline, "the write ends");
            std::thread::yield_now();
        }
    }
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_change_is_written_at_once_and_the_next_a_second_later() {
    let mut rig = Rig::new();
    assert_eq!((rig.step(millis(0)), rig.keeper.next_deadline()), (1, None));
    rig.add_peers(1);
    rig.step(millis(5));
    assert_eq!(rig.begun(), 1);
    rig.succeed();
    assert_eq!(rig.keeper.next_deadline(), None, "nobody is woken for nothing");
    rig.add_peers(1);
    rig.step(millis(6));
    assert_eq!(rig.keeper.next_deadline(), Some(START + millis(1_005)));
    rig.step(millis(1_004));
    assert!(rig.begun.try_recv().is_err());
    rig.step(millis(1_005));
    assert_eq!(rig.begun(), 2);
    rig.succeed();
}

#[test]
fn a_disk_that_hangs_keeps_nobody_waiting_and_nothing_piles_up() {
    let mut rig = Rig::new();
    rig.add_peers(1);
    rig.step(millis(0));
    assert_eq!(rig.begun(), 1);
    for seconds in 1..100 {
        rig.add_peers(1);
        assert_eq!(rig.step(Duration::from_secs(seconds)), 1, "no list is made that nobody takes");
        assert!(rig.keeper.next_deadline().is_some_and(|due| due > START + Duration::from_secs(seconds)));
    }
    assert!(rig.begun.try_recv().is_err());
    rig.succeed();
    rig.step(Duration::from_secs(100));
    assert_eq!(rig.begun(), 100, "what counts is how it is in the end");
    // The end of the process waits for a moment only.
    let Rig { keeper, mut device, results, .. } = rig;
    device.remove_all_peers();
    let began = Instant::now();
    keeper.finish(&mut device);
    assert!(began.elapsed() >= LAST_WRITE && began.elapsed() < LAST_WRITE + PATIENCE);
    drop(results);
}

/// The file goes with the name of the interface, and what is written later goes there.
#[test]
fn the_file_follows_the_name() {
    let directory = std::env::temp_dir().join(format!("ringfort-endpoints-name-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let place = |name: &str| directory.join(name);
    let writer = Writer::start(place("wg0.endpoints")).unwrap();
    let endpoint = ringfort_core::ids::Endpoint::new(([192, 0, 2, 1], 7).into());
    let row = |n| Remembered { key: PublicKey::new([n; 32]), endpoint, configured: None, gone_since: None };
    let write = |rows| {
        let (done, is_done) = std::sync::mpsc::sync_channel(1);
        assert!(writer.offer(Job { rows, made: 1, anew: false, done: Some(done) }));
        is_done.recv_timeout(PATIENCE).unwrap();
    };
    write(vec![row(1)]);
    let before = std::fs::read(place("wg0.endpoints")).unwrap();
    assert!(writer.move_to(place("wg1.endpoints")) && !writer.move_to(place("wg1.endpoints")));
    write(vec![row(1)]);
    assert_eq!(std::fs::read(place("wg1.endpoints")).unwrap(), before, "it says the same");
    assert!(!place("wg0.endpoints").exists());
    // Nothing is there to be moved: it is made.
    std::fs::remove_file(place("wg1.endpoints")).unwrap();
    assert!(writer.move_to(place("wg2.endpoints")));
    write(vec![row(1)]);
    assert!(place("wg2.endpoints").exists());
    std::fs::remove_dir_all(&directory).unwrap();
}

fn files(directory: &Path) -> Vec<String> {
    let files = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Those of other files are somebody else's.
#[test]
fn the_first_list_removes_what_others_have_left() {
    let directory = std::env::temp_dir().join(format!("ringfort-endpoints-left-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let others = [".wg0.endpoints.new", ".wg0.endpoints.x1.new", ".wg1.endpoints.7.new", "wg0.endpoints.7.new"];
    for name in [&others[..], &[".wg0.endpoints.1.new", ".wg0.endpoints.4194304.new"]].concat() {
        std::fs::write(directory.join(name), "half").unwrap();
    }
    let writer = Writer::start(directory.join("wg0.endpoints")).unwrap();
    let write = || {
        let (done, is_done) = std::sync::mpsc::sync_channel(1);
        assert!(writer.offer(Job { rows: Vec::new(), made: 1, anew: true, done: Some(done) }));
        is_done.recv_timeout(PATIENCE).unwrap();
    };
    write();
    assert_eq!(files(&directory), [&others[..3], &["wg0.endpoints"], &others[3..]].concat());
    // A process that goes on in our place may be there later.
    std::fs::write(directory.join(".wg0.endpoints.1.new"), "half").unwrap();
    write();
    assert!(files(&directory).contains(&".wg0.endpoints.1.new".to_owned()));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn many_peers_are_read_in_pages_and_written_less_often() {
    const PEERS: u32 = 25_000;
    let mut rig = Rig::new();
    rig.add_peers(PEERS);
    let steps = rig.step(millis(0));
    assert!(steps >= PEERS as usize / PEERS_PER_TURN, "{steps} turns");
    assert_eq!(rig.begun(), PEERS as usize);
    rig.succeed();
    rig.add_peers(1);
    rig.step(millis(1_001));
    assert_eq!(rig.keeper.next_deadline(), Some(START + PAUSE_PER_PEER * PEERS));
}

#[test]
fn the_last_list_is_written_before_the_end() {
    let mut rig = Rig::new();
    rig.add_peers(3);
    rig.step(millis(0));
    rig.begun();
    rig.succeed();
    rig.add_peers(4);
    rig.results.send(Ok(())).unwrap();
    rig.keeper.finish(&mut rig.device);
    assert_eq!(rig.begun.try_recv(), Ok(7));
}

/// Nothing is new, but what was new a moment ago has not reached the disk.
#[test]
fn a_list_on_its_way_to_the_disk_is_waited_for() {
    let mut rig = Rig::new();
    rig.add_peers(3);
    rig.step(millis(0));
    rig.begun();
    let Rig { keeper, mut device, results, .. } = rig;
    let began = Instant::now();
    keeper.finish(&mut device);
    assert!(began.elapsed() >= LAST_WRITE, "the disk was not waited for");
    drop(results);
}

#[test]
fn what_could_not_be_written_is_tried_again_with_the_next_list() {
    let mut rig = Rig::new();
    rig.add_peers(1);
    rig.step(millis(0));
    rig.begun();
    rig.results.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    // A list that says the same as the one that failed.
    let endpoint = ringfort_core::ids::Endpoint::new(([192, 0, 2, 1], 7).into());
    let rows = vec![Remembered { key: PublicKey::new([1; 32]), endpoint, configured: None, gone_since: None }];
    rig.results.send(Ok(())).unwrap();
    let last = Job { rows, made: 1, anew: false, done: None };
    rig.keeper.writer.take().unwrap().write_last(last, Instant::now() + PATIENCE);
    assert_eq!(rig.begun.try_recv(), Ok(1));
}

/// The file of a passive gateway is the one of whoever serves.
#[test]
fn who_stands_by_writes_only_what_it_knew_before() {
    let mut rig = Rig::new();
    rig.keeper.follow_role(true, START);
    rig.add_peers(2);
    rig.step(millis(0));
    assert_eq!(rig.begun(), 2, "what it knew when it was demoted");
    rig.succeed();
    rig.add_peers(1);
    rig.step(Duration::from_secs(100));
    assert_eq!((rig.keeper.next_deadline(), rig.begun.try_recv().is_err()), (None, true));
    // What it has written is not there any more, so the same is written again.
    rig.keeper.follow_role(false, START + Duration::from_secs(200));
    rig.step(Duration::from_secs(200));
    assert_eq!(rig.begun(), 3);
    rig.succeed();
    rig.keeper.follow_role(true, START + Duration::from_secs(300));
    rig.step(Duration::from_secs(300));
    assert_eq!(rig.begun(), 3, "it says the same, of a later time");
    rig.succeed();
    rig.add_peers(1);
    let Rig { keeper, mut device, begun, results, .. } = rig;
    keeper.finish(&mut device);
    assert!(begun.try_recv().is_err(), "not at its end, either");
    drop(results);
}

#[test]
fn who_begins_passive_writes_nothing() {
    let mut rig = Rig::new();
    rig.keeper.begin_passive();
    rig.add_peers(2);
    rig.step(millis(0));
    assert_eq!((rig.keeper.next_deadline(), rig.begun.try_recv().is_err()), (None, true));
}
