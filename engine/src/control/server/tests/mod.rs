mod long;
mod sockets;
mod watching;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use ringfort_core::device::Device;

use super::*;
use crate::capture;
use crate::control::jobs::Outcome;
use crate::control::listing::Listing;
use crate::control::uapi::{Errno, InterfaceStatus, Reply, Request};
use crate::control::watch::Watchers;

/// A directory of its own for each test, removed with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("ringfort-server-{}-{number}", std::process::id())))
    }

    fn open(&self) -> Result<Listener, DaemonError> {
        Listener::open_in(&self.0, "t0", &SignalFd::new(&SigSet::empty()).unwrap())
    }

    fn server(&self, bounds: Bounds) -> Server {
        Server::new(self.open().unwrap(), bounds).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.join("t0.sock")
    }

    fn connect(&self) -> UnixStream {
        connect(&self.path()).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Answers every `get=1` with so many bytes, and counts.
#[derive(Default)]
struct Fake {
    gets: usize,
    sets: usize,
    padding: usize,
    /// Pages of answers that are still to come.
    pages: usize,
    /// Whoever holds one of these has a change that is not done yet.
    changes: Option<Vec<SyncSender<Outcome>>>,
    captures: Vec<UnixStream>,
    /// What may be watched.
    watch: Option<(Device, Watchers)>,
}

impl Handler for Fake {
    fn hand_over(&mut self, _: HandOver, _: &UnixStream) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn handle(&mut self, request: Request, reply: &mut Reply) -> Progress {
        match request {
            Request::Get => {
                self.gets += 1;
                reply.interface(&InterfaceStatus { listen_port: 7, ..InterfaceStatus::default() });
                for _ in 0..self.padding {
                    reply.line("padding", 0);
                }
                self.more_pages()
            }
            Request::Set(_) => {
                self.sets += 1;
                let Some(changes) = &mut self.changes else { return Progress::Done(Errno::OK) };
                let (answer, answered) = sync_channel(1);
                changes.push(answer);
                Progress::Unfinished(Unfinished::Change(answered))
            }
            Request::Watch => {
                let Some((device, watchers)) = &mut self.watch else { return Progress::Done(Errno::INVALID) };
                match watchers.admit(device, reply) {
                    Ok(watching) => self.go_on(Unfinished::Watch(Box::new(watching)), reply),
                    Err(errno) => Progress::Done(errno),
                }
            }
            _ => Progress::Done(Errno::INVALID),
        }
    }

    fn go_on(&mut self, unfinished: Unfinished, reply: &mut Reply) -> Progress {
        match unfinished {
            Unfinished::Change(outcome) => match outcome.try_recv() {
                Ok(_) => Progress::Done(Errno::OK),
                Err(_) => Progress::Unfinished(Unfinished::Change(outcome)),
            },
            Unfinished::Role(_) | Unfinished::Alive(_) => Progress::Done(Errno::INVALID),
            Unfinished::Watch(mut watching) => {
                let Some((device, _)) = &mut self.watch else { return Progress::Done(Errno::INVALID) };
                watching.page(reply, device, "t0", at(1));
                Progress::Unfinished(Unfinished::Watch(watching))
            }
            Unfinished::Listing(_) => {
                self.pages -= 1;
                for _ in 0..PAGE_LINES {
                    reply.line("page", self.pages);
                }
                self.more_pages()
            }
        }
    }

    /// Keeps the connection.
    fn capture(&mut self, _: &capture::Request, client: &UnixStream, _: &mut Reply) -> Result<(), Errno> {
        let kept = client.try_clone().map_err(|_| Errno::IO)?;
        self.captures.push(kept);
        Ok(())
    }
}

impl Fake {
    fn more_pages(&self) -> Progress {
        match self.pages {
            0 => Progress::Done(Errno::OK),
            _ => Progress::Unfinished(Unfinished::Listing(Listing::default())),
        }
    }
}

/// Of one page.
const PAGE_LINES: usize = 1_000;

fn at(seconds: u64) -> Time {
    Time::from_secs(seconds)
}

/// Whatever has arrived at the client; empty at the end of the stream and if nothing has.
fn received(client: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = client.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

fn is_closed(client: &mut UnixStream) -> bool {
    matches!(client.read(&mut [0; 1]), Ok(0))
}

/// Whether it was disconnected, whatever it was told before.
fn is_gone(client: &mut UnixStream) -> bool {
    client.read_to_end(&mut Vec::new()).is_ok()
}

#[test]
fn a_request_is_answered_and_the_connection_stays_open() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let mut client = place.connect();
    for _ in 0..2 {
        client.write_all(b"get=1\n\n").unwrap();
        assert!(server.serve(at(1), &mut fake));
        assert!(server.serve(at(1), &mut fake));
        assert_eq!(received(&mut client), "listen_port=7\nerrno=0\n\n");
    }
    assert_eq!(server.next_deadline(), Some(at(31)));
    drop(client);
    server.serve(at(2), &mut fake);
    assert_eq!(server.next_deadline(), None);
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let mut client = place.connect();
    client.write_all(b"set=1\nfwmark=1\n\nget=1\n\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    assert_eq!(received(&mut client), "errno=0\n\nlisten_port=7\nerrno=0\n\n");
    assert!(is_closed(&mut client));
}

/// Otherwise the server would turn in vain for as long as the capture goes on.
#[test]
fn a_connection_that_a_capture_has_is_no_business_of_the_server_s() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let mut client = place.connect();
    let request = r#"{"peers":[],"plain":true,"cipher":true,"inbound":true,"outbound":true,"drops_only":false,"#;
    let request = format!("capture={request}\"snap_len\":0,\"one_in\":1,\"count\":0,\"bytes\":0,");
    client.write_all(format!("{request}\"time_ms\":0,\"queue\":1}}\n\n").as_bytes()).unwrap();
    assert!(server.serve(at(1), &mut fake));
    assert_eq!((fake.captures.len(), server.next_deadline()), (1, None));
    fake.captures[0].write_all(b"captured").unwrap();
    assert_eq!(received(&mut client), "captured");
    drop(client);
    let mut events = [EpollEvent::empty()];
    assert_eq!(server.epoll.wait(&mut events, EpollTimeout::ZERO), Ok(0), "not even that it has gone");
}

#[test]
fn a_request_without_its_end_changes_nothing() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let mut client = place.connect();
    client.write_all(b"set=1\nfwmark=1\n").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    assert_eq!(received(&mut client), "errno=-5\n\n");
    assert!(is_closed(&mut client));
    assert_eq!(fake.sets, 0);
}

#[test]
fn silent_and_dribbling_clients_are_disconnected() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let (mut silent, mut dribbling) = (place.connect(), place.connect());
    dribbling.write_all(b"set=1\n").unwrap();
    for second in 1..31 {
        dribbling.write_all(b"fwmark=1\n").unwrap();
        server.serve(at(second), &mut fake);
        assert!(!is_closed(&mut silent) && !is_closed(&mut dribbling));
    }
    server.serve(at(31), &mut fake);
    assert!(is_closed(&mut silent) && is_closed(&mut dribbling));
    assert_eq!((fake.sets, server.next_deadline()), (0, None));
}

#[test]
fn who_does_not_read_delays_others_by_a_bounded_time() {
    let place = Place::new();
    let bounds = Bounds { unread_len: 1 << 20, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake { padding: 1 << 18, ..Fake::default() });
    let (mut lazy, mut next) = (place.connect(), place.connect());
    lazy.write_all(b"get=1\n\n").unwrap();
    for _ in 0..3 {
        server.serve(at(1), &mut fake);
    }
    next.write_all(b"get=1\n\n").unwrap();
    for _ in 0..3 {
        server.serve(at(2), &mut fake);
    }
    assert_eq!(fake.gets, 1, "two mebibytes wait for the lazy one");
    server.serve(at(31), &mut fake);
    server.serve(at(31), &mut fake);
    assert_eq!(fake.gets, 2);
    let mut answer = String::new();
    while !answer.ends_with("errno=0\n\n") {
        answer.push_str(&received(&mut next));
        server.serve(at(32), &mut fake);
    }
    assert_eq!(answer.matches("padding=0\n").count(), 1 << 18);
}

#[test]
fn a_hundred_clients_at_once_are_all_served() {
    let place = Place::new();
    let bounds = Bounds { clients: 8, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake::default());
    let mut clients: Vec<_> = (0..100).map(|_| place.connect()).collect();
    for client in &mut clients {
        client.write_all(b"get=1\n\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
    }
    for _ in 0..100 {
        server.serve(at(1), &mut fake);
    }
    assert_eq!(fake.gets, 100);
    assert!(clients.iter_mut().all(|client| received(client).ends_with("errno=0\n\n")));
}

/// Silent connections cost who comes after them no more than a moment each.
#[test]
fn a_thousand_idle_clients_lock_nobody_out() {
    let place = Place::new();
    let bounds = Bounds { clients: 8, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake::default());
    let mut now = at(1);
    let mut idle: Vec<UnixStream> = Vec::new();
    while idle.len() < 1000 {
        match connect(&place.path()) {
            Ok(client) => idle.push(client),
            Err(_) => now = run_once(&mut server, now, &mut fake),
        }
    }
    let mut client = loop {
        match connect(&place.path()) {
            Ok(client) => break client,
            Err(_) => now = run_once(&mut server, now, &mut fake),
        }
    };
    client.write_all(b"get=1\n\n").unwrap();
    let latest = now + Duration::from_millis(100 * 1000 / 8);
    while fake.gets == 0 {
        assert!(now <= latest, "its turn has not come");
        now = run_once(&mut server, now, &mut fake);
    }
    assert!(received(&mut client).ends_with("errno=0\n\n"));
}

/// What the control loop does: serves, and then sleeps until there is something to do.
fn run_once(server: &mut Server, now: Time, fake: &mut Fake) -> Time {
    assert!(server.serve(now, fake));
    assert!(now < at(600), "nobody's turn comes");
    let mut events = [EpollEvent::empty(); 1];
    let is_ready = server.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap() > 0;
    if is_ready { now } else { server.next_deadline().expect("it waits for something") }
}

/// The idle before the stalled, the longest silent first, and only if somebody waits.
#[test]
fn who_is_silent_makes_room() {
    let place = Place::new();
    let bounds = Bounds { clients: 3, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake::default());
    let mut clients: Vec<UnixStream> = Vec::new();
    for (second, text) in [(1, "set=1\n"), (2, ""), (3, "get=1\n\n")] {
        clients.push(place.connect());
        clients.last_mut().unwrap().write_all(text.as_bytes()).unwrap();
        server.serve(at(second), &mut fake);
        server.serve(at(second), &mut fake);
    }
    server.serve(at(4), &mut fake);
    assert!(!clients.iter_mut().any(is_gone), "nobody waits");
    let mut gone = Vec::new();
    for second in 4..7 {
        clients.push(place.connect());
        server.serve(at(second), &mut fake);
        // The newcomer is at work, and so stays.
        clients.last_mut().unwrap().write_all(b"set=1\n").unwrap();
        server.serve(at(second), &mut fake);
        gone.extend((0..3).filter(|index| !gone.contains(index) && is_gone(&mut clients[*index])).collect::<Vec<_>>());
    }
    assert_eq!(gone, [1, 2, 0]);
}

/// Without anybody to disconnect, the listener is left alone until there is.
#[test]
fn nobody_is_disconnected_at_once() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds { clients: 1, ..Bounds::default() }), Fake::default());
    let mut first = place.connect();
    server.serve(at(1), &mut fake);
    let mut second = place.connect();
    second.write_all(b"get=1\n\n").unwrap();
    for _ in 0..3 {
        server.serve(at(1), &mut fake);
    }
    assert!(!is_closed(&mut first) && fake.gets == 0);
    let next = server.next_deadline().unwrap();
    assert!(next > at(1) && next <= at(2));
    server.serve(next, &mut fake);
    server.serve(next, &mut fake);
    assert!(is_closed(&mut first) && fake.gets == 1);
}

#[test]
fn pipelined_requests_are_all_answered_in_order() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    let mut client = place.connect();
    client.write_all(&b"get=1\n\n".repeat(100)).unwrap();
    let mut answers = String::new();
    for _ in 0..60 {
        server.serve(at(1), &mut fake);
        answers.push_str(&received(&mut client));
    }
    assert_eq!((fake.gets, answers.matches("errno=0").count()), (100, 100));
}

#[test]
fn clients_share_the_bound_on_requests() {
    let place = Place::new();
    let bounds = Bounds { request_len: 1000, ..Bounds::default() };
    let (mut server, mut fake) = (place.server(bounds), Fake::default());
    let (mut first, mut second) = (place.connect(), place.connect());
    first.write_all(format!("set=1\n{}", "fwmark=1\n".repeat(100)).as_bytes()).unwrap();
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    second.write_all(format!("set=1\n{}\n", "fwmark=1\n".repeat(20)).as_bytes()).unwrap();
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    assert_eq!(received(&mut second), "errno=-5\n\n");
    first.write_all(b"\n").unwrap();
    server.serve(at(1), &mut fake);
    assert_eq!((received(&mut first).as_str(), fake.sets), ("errno=0\n\n", 1));
}

/// Control has more to do than to take them in.
#[test]
fn those_who_come_and_go_get_a_bounded_share_of_a_turn() {
    let place = Place::new();
    let (mut server, mut fake) = (place.server(Bounds::default()), Fake::default());
    (0..ACCEPTS_PER_TURN + 1).for_each(|_| drop(place.connect()));
    let mut client = place.connect();
    client.write_all(b"get=1\n\n").unwrap();
    server.serve(at(1), &mut fake);
    assert_eq!(fake.gets, 0, "those before it are enough for one turn");
    server.serve(at(1), &mut fake);
    server.serve(at(1), &mut fake);
    assert!(received(&mut client).ends_with("errno=0\n\n"));
}
