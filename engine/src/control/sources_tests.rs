use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use nix::net::if_::if_nametoindex;
use ringfort_core::cell::PeerShared;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Action;
use ringfort_testbed::scratch::{in_namespace, ip};

use super::*;

/// Two ways to the peer, in a network namespace that has nothing yet, and a device that has heard the peer on one.
struct Fixture {
    check: SourceCheck,
    device: Device,
    peer: PeerId,
    /// What its worker would write to.
    shared: Arc<PeerShared>,
    clock: u64,
}

impl Fixture {
    fn new(source: &str, remote: &str) -> Self {
        ip("link set lo up");
        ip("link add one type veth peer name one-far");
        ip("link add two type veth peer name two-far");
        for link in ["one", "one-far", "two", "two-far"] {
            ip(&format!("link set {link} up"));
        }
        for (addr, link) in [("10.1.0.1/24", "one"), ("10.1.0.9/24", "one"), ("10.2.0.1/24", "two")] {
            ip(&format!("address add {addr} dev {link}"));
        }
        ip("address add fd00:1::1/64 dev one nodad");
        ip("address add fd00:1::9/64 dev one nodad");
        ip("route add 198.51.100.0/24 via 10.1.0.7");
        let mut device = Device::new(1);
        device.link_up(Time::ZERO);
        let peer = device.add_peer(PublicKey::new([7; 32])).unwrap();
        let Some(Action::AddPeer { shared, .. }) = device.poll_action() else { panic!("a peer was added") };
        let fixture = Self { check: SourceCheck::new().unwrap(), device, peer, shared, clock: 0 };
        fixture.await_address(source);
        fixture.hear(source, remote);
        assert_eq!(fixture.source(), Some(source.parse().unwrap()));
        fixture
    }

    /// The kernel completes IPv6 addresses from a work queue, also those without duplicate address detection.
    fn await_address(&self, addr: &str) {
        let (addr, ifindex) = (addr.parse().unwrap(), if_nametoindex("one").unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.check.routes.is_local(addr, ifindex).unwrap() {
            assert!(Instant::now() < deadline, "{addr} is still not an address of this namespace");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The peer is heard, at that address of ours and by the first interface.
    fn hear(&self, source: &str, remote: &str) {
        let ifindex = if_nametoindex("one").unwrap();
        let source = Some(LocalAddr { addr: source.parse().unwrap(), ifindex });
        let endpoint = Endpoint { remote: remote.parse().unwrap(), source };
        self.shared.endpoint.set(endpoint);
    }

    fn source(&self) -> Option<IpAddr> {
        self.device.status(self.peer).unwrap().endpoint().unwrap().source.map(|source| source.addr)
    }

    /// A second passes, in which changes are noted and acted on.
    fn pass(&mut self) -> Option<IpAddr> {
        self.clock += 1;
        let now = Time::from_secs(self.clock);
        self.check.note_changes(now).unwrap();
        self.check.step(now, &mut self.device, Way::default());
        assert_eq!(self.check.next_deadline(), None);
        self.source()
    }
}

#[test]
fn changes_that_do_not_concern_a_source_leave_it() {
    for (source, remote) in [("10.1.0.9", "10.1.0.2:5"), ("fd00:1::9", "[fd00:1::2]:5")] {
        in_namespace(|| {
            let mut fixture = Fixture::new(source, remote);
            let expected = Some(source.parse().unwrap());
            assert_eq!(fixture.pass(), expected);
            for change in [
                "address add 10.3.0.1/24 dev two",
                "address add 10.1.0.10/24 dev one",
                "route add 203.0.113.0/24 via 10.2.0.7",
                "address del 10.2.0.1/24 dev two",
                "rule add fwmark 9 table 9",
            ] {
                ip(change);
                assert_eq!(fixture.pass(), expected, "{change}");
            }
        });
    }
}

#[test]
fn a_removed_address_is_forgotten() {
    for (source, length, remote) in [("10.1.0.9", 24, "10.1.0.2:5"), ("fd00:1::9", 64, "[fd00:1::2]:5")] {
        in_namespace(|| {
            let mut fixture = Fixture::new(source, remote);
            ip(&format!("address del {source}/{length} dev one"));
            assert_eq!(fixture.pass(), None, "{source}");
        });
    }
}

#[test]
fn a_better_route_takes_the_source_away() {
    in_namespace(|| {
        let mut fixture = Fixture::new("10.1.0.1", "198.51.100.5:5");
        ip("route add 198.51.100.5/32 via 10.2.0.7");
        assert_eq!(fixture.pass(), None);
        fixture.hear("10.1.0.1", "198.51.100.5:5");
        ip("route del 198.51.100.5/32");
        assert!(fixture.pass().is_some(), "the way that is left is the one that it was heard on");
        ip("route del 198.51.100.0/24");
        assert_eq!(fixture.pass(), None, "there is no way any more");
    });
}

#[test]
fn checks_are_apart_and_none_is_lost() {
    in_namespace(|| {
        let mut fixture = Fixture::new("10.1.0.9", "10.1.0.2:5");
        ip("route add 203.0.113.0/24 via 10.2.0.7");
        assert!(fixture.pass().is_some());
        let now = Time::from_secs(fixture.clock);
        ip("address del 10.1.0.9/24 dev one");
        fixture.check.note_changes(now).unwrap();
        let next = fixture.check.next_deadline().expect("it is due after the pause");
        assert_eq!(next, now + PAUSE);
        fixture.check.step(now, &mut fixture.device, Way::default());
        assert!(fixture.source().is_some());
        fixture.check.step(next, &mut fixture.device, Way::default());
        assert_eq!(fixture.source(), None);
    });
}
