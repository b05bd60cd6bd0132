use std::net::UdpSocket;
use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{Plan, Provider};
use ringfort_core::allowed_ips::Prefix;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Datagram, Outgoing};
use ringfort_core::ids::Endpoint;
use ringfort_core::time::Now;
use ringfort_core::wire::TYPE_RESPONSE;
use ringfort_path::Order;
use ringfort_worker::clock;
use ringfort_worker::queues::{Mail, Queues};
use udp_uring::SocketConfig;

use super::*;
use crate::control::sockets::Sockets;
use crate::control::uapi::{AllowedIpUpdate, DeviceUpdate, PeerUpdate, SecretKey};

const NOW: Time = Time::from_secs(100);
const PEERS: u32 = 3_000;

struct Rig {
    device: Device,
    plane: DataPlane,
    queues: Arc<Queues>,
    jobs: Jobs,
}

impl Rig {
    fn new() -> Self {
        let queues = Arc::new(Queues::new(2).unwrap());
        let sockets = Sockets::new(SocketConfig::new(0, 2)).unwrap();
        let mut plane = DataPlane::new(queues.clone(), Plan::fixed(Provider::RustCrypto), sockets);
        plane.sockets_mut().want(NOW);
        assert!(plane.listen(NOW));
        let mut device = Device::new(2);
        device.link_up(NOW);
        Self { device, plane, queues, jobs: Jobs::default() }
    }

    /// What control does in a turn.
    fn turn(&mut self) {
        let now = Now { mono: NOW, wall: clock::now().wall };
        self.device.handle_timeout(now, &mut UnwrapErr(SysRng));
        self.jobs.step(&mut self.device, &mut self.plane, NOW);
        self.plane.carry_out(&mut self.device, NOW);
        self.jobs.answer(&self.device);
    }

    /// Turns until nothing is left to do. Returns how many.
    fn finish(&mut self) -> usize {
        let mut turns = 0;
        while !self.jobs.is_empty() {
            self.turn();
            turns += 1;
            assert!(turns < 10_000, "it has an end");
        }
        turns
    }
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [9; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

fn crowd(count: u32) -> Box<SetRequest> {
    let peers = (0..count).map(|number| PeerUpdate::new(key(number))).collect();
    Box::new(SetRequest { peers, ..SetRequest::default() })
}

/// The first handshake message among what a device wants done.
fn sent(device: &mut Device) -> Option<Datagram> {
    std::iter::from_fn(|| device.poll_action()).find_map(|action| match action {
        Action::Outgoing(Outgoing::Send { datagram, .. }) => Some(datagram),
        _ => None,
    })
}

#[test]
fn a_handshake_is_served_between_two_parts_of_a_request() {
    let (mut rig, mut rng) = (Rig::new(), UnwrapErr(SysRng));
    let now = Now { mono: NOW, wall: clock::now().wall };
    let (ours, theirs) = (PrivateKey::new([1; 32]), PrivateKey::new([2; 32]));
    let mut other = Device::new(1);
    other.set_private_key(NOW, Some(theirs.clone()));
    other.link_up(NOW);
    let peer = other.add_peer(ours.public_key()).unwrap();
    other.set_endpoint(NOW, peer, "127.0.0.1:9".parse().unwrap());
    other.set_keepalive(NOW, peer, 25);
    other.handle_timeout(now, &mut rng);
    let initiation = sent(&mut other).expect("a persistent keepalive asks for a session");
    rig.device.set_private_key(NOW, Some(ours));
    rig.device.add_peer(theirs.public_key()).unwrap();
    rig.plane.carry_out(&mut rig.device, NOW);

    let outcome = rig.jobs.request(crowd(PEERS));
    rig.turn();
    let before = rig.device.peer_count();
    assert!((2..PEERS as usize).contains(&before) && outcome.try_recv().is_err(), "it is half done");
    let endpoint = Endpoint::new("127.0.0.1:9".parse().unwrap());
    rig.device.handle_datagram(now, endpoint, initiation.as_ref(), false, &mut rng).unwrap();
    let answer = sent(&mut rig.device).expect("an answer at once");
    assert_eq!((answer.as_ref()[0], rig.device.peer_count()), (TYPE_RESPONSE, before));
    assert!(rig.finish() >= 10);
    assert_eq!((outcome.recv().unwrap(), rig.device.peer_count()), (Ok(()), PEERS as usize + 1));
}

/// In the order in which they came, each when it is applied, whether or not anybody waits; refused ones as well.
/// Two sockets of one port at the same moment: the former one, which a worker holds until its next turn.
#[test]
fn a_port_that_was_ours_a_moment_ago_is_waited_for() {
    let mut rig = Rig::new();
    let first = rig.plane.sockets().port();
    let port = |port| Box::new(SetRequest { device: listen_on(port), ..SetRequest::default() });
    let second = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let away = rig.jobs.request(port(second));
    rig.finish();
    assert_eq!(away.try_recv(), Ok(Ok(())));
    let back = rig.jobs.request(port(first));
    rig.turn();
    assert!(back.try_recv().is_err() && !rig.jobs.are_ready(NOW), "it is neither refused nor tried all the time");
    assert_eq!(rig.jobs.next_deadline(), Some(NOW + PORT_PAUSE));
    // The workers take their new sockets, and let go of the old ones.
    for worker in &rig.queues.workers {
        while worker.next_mail().is_some() {}
    }
    let mut later = NOW;
    while !rig.jobs.is_empty() {
        later += PORT_PAUSE;
        rig.jobs.step(&mut rig.device, &mut rig.plane, later);
        rig.jobs.answer(&rig.device);
    }
    assert_eq!((back.try_recv(), rig.plane.sockets().port()), (Ok(Ok(())), first));
}

fn listen_on(port: u16) -> DeviceUpdate {
    DeviceUpdate { listen_port: Some(port), ..DeviceUpdate::default() }
}

#[test]
fn requests_keep_their_order() {
    let mut rig = Rig::new();
    let first = rig.jobs.request(crowd(PEERS));
    let remove = PeerUpdate { remove: true, ..PeerUpdate::new(key(PEERS - 1)) };
    drop(rig.jobs.request(Box::new(SetRequest { peers: vec![remove], ..SetRequest::default() })));
    let taken = UdpSocket::bind("[::]:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let device = DeviceUpdate { listen_port: Some(port), ..DeviceUpdate::default() };
    let refused = rig.jobs.request(Box::new(SetRequest { device, ..SetRequest::default() }));
    let (answer, copied) = sync_channel(1);
    rig.jobs.copy_for(answer);
    let last = rig.jobs.request(crowd(PEERS));
    while first.try_recv().is_err() {
        assert!(refused.try_recv().is_err() && copied.try_recv().is_err());
        rig.turn();
    }
    assert_eq!(rig.device.peer_count(), PEERS as usize);
    while last.try_recv().is_err() {
        rig.turn();
    }
    assert!(refused.recv().unwrap().is_err());
    assert_eq!(copied.recv().unwrap().peers.len(), PEERS as usize - 1, "as it was when its turn came");
    assert_eq!(rig.device.peer_count(), PEERS as usize);
}

#[test]
fn a_copy_is_made_in_parts_and_whole() {
    let mut rig = Rig::new();
    let secret = SecretKey::copy_of(&[7; 32]);
    let mut request = crowd(PEERS);
    request.device.private_key = Some(secret);
    for (number, peer) in request.peers.iter_mut().enumerate() {
        peer.name = Some(Some(format!("peer {number}")));
        peer.persistent_keepalive = Some(25);
    }
    drop(rig.jobs.request(request));
    rig.finish();
    let (answer, copied) = sync_channel(1);
    rig.jobs.copy_for(answer);
    let turns = rig.finish();
    let running = copied.recv().unwrap();
    assert!(turns >= 2 * PEERS as usize / 512, "{turns} turns");
    assert_eq!((running.peers.len(), running.names.len()), (PEERS as usize, PEERS as usize));
    assert!(running.peers.values().all(|peer| peer.persistent_keepalive == 25) && running.private_key.is_some());
    assert_eq!(&*running.names[&PublicKey::new(key(17))], "peer 17");
}

/// With half of them, packets for a peer whose turn has not come would go to whoever has a shorter prefix.
#[test]
fn workers_get_the_routes_of_the_whole_request() {
    let mut rig = Rig::new();
    let mut request = crowd(PEERS);
    for (number, peer) in request.peers.iter_mut().enumerate() {
        let addr = std::net::Ipv4Addr::from_bits(number as u32).into();
        let prefix = Prefix::new(addr, 32).unwrap();
        peer.allowed_ips.push(AllowedIpUpdate::Add(prefix));
    }
    drop(rig.jobs.request(request));
    rig.finish();
    let (mut versions, mut last) = (0, 0);
    while let Some(mail) = rig.queues.workers[0].next_mail() {
        if let Mail::Order(Order::Routes { routes, .. }) = mail {
            versions += 1;
            last = routes.len();
        }
    }
    assert_eq!((versions, last), (1, PEERS as usize));
}

/// The next request is checked against the places that are free.
#[test]
fn who_removes_peers_hears_of_it_when_their_places_are_free() {
    let mut rig = Rig::new();
    drop(rig.jobs.request(crowd(PEERS)));
    rig.finish();
    let device = DeviceUpdate { replace_peers: true, ..DeviceUpdate::default() };
    let outcome = rig.jobs.request(Box::new(SetRequest { device, ..SetRequest::default() }));
    while rig.device.peer_count() > 0 || rig.device.is_releasing() {
        assert!(outcome.try_recv().is_err());
        rig.turn();
    }
    assert_eq!(outcome.recv(), Ok(Ok(())));
}
