use std::net::UdpSocket;
use std::sync::Arc;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{Plan, Provider};
use ringfort_core::constants::PEERS_MAX;
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::{Action, Outgoing};
use ringfort_core::tai64n::Tai64N;
use ringfort_path::Order;
use ringfort_worker::queues::{Mail, Queues};
use udp_uring::SocketConfig;

use super::*;
use crate::control::answer;
use crate::control::listing::{self, Listing};
use crate::control::sockets::Sockets;
use crate::control::uapi::{REQUEST_LEN_MAX, Reply, Request, RequestEvent, RequestReader};

const A: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const PSK: &str = "3333333333333333333333333333333333333333333333333333333333333333";
/// A private key, and its public key as wg(8) computes it.
const PRIVATE: &str = "77076d0a7318a57d3c16c17251b26645df4c6f5ebf6a2d2a86fbd5f2a0f2ab5a";
const PUBLIC: &str = "63f6f555856742e6e67957c4a116e01c67468a6754ba17f7ce4813310de9c41c";
const NOW: Time = Time::from_secs(100);

/// Control without its loop, and workers that are only their inboxes.
struct Fixture {
    device: Device,
    plane: DataPlane,
    queues: Arc<Queues>,
    /// How many steps the last request took.
    steps: usize,
}

impl Fixture {
    fn new() -> Self {
        let queues = Arc::new(Queues::new(2).unwrap());
        let mut plane = DataPlane::new(
            queues.clone(),
            Plan::fixed(Provider::RustCrypto),
            Sockets::new(SocketConfig::new(0, 2)).unwrap(),
        );
        plane.sockets_mut().want(NOW);
        assert!(plane.listen(NOW));
        let fixture = Self { device: Device::new(2), plane, queues, steps: 0 };
        fixture.mail(0);
        fixture
    }

    fn set(&mut self, lines: &str) -> Result<(), Refusal> {
        let mut reader = RequestReader::default();
        for piece in format!("set=1\n{lines}\n").as_bytes().chunks(1000) {
            reader.space()[..piece.len()].copy_from_slice(piece);
            reader.advance(piece.len());
            match reader.next_event(REQUEST_LEN_MAX, |_| None) {
                None => {}
                Some(RequestEvent::Request(Request::Set(request))) => {
                    let begun = Application::begin(*request, &mut self.device, &mut self.plane, NOW);
                    let result = begun.map(|application| self.steps = self.run(application));
                    self.plane.carry_out(&mut self.device, NOW);
                    return result;
                }
                other => panic!("{other:?} in a test's own request"),
            }
        }
        panic!("an unfinished request")
    }

    /// Applies all of it, without anybody else's turns. Returns in how many steps.
    fn run(&mut self, mut application: Application) -> usize {
        let mut steps = 1;
        while application.step(&mut self.device, NOW) {
            steps += 1;
        }
        steps
    }

    /// `get=1` without the lines that a test does not look at.
    fn get(&self) -> String {
        let mut reply = Reply::default();
        listing::interface(&mut reply, &self.device, &self.plane);
        let mut listing = Listing::default();
        while listing.page(&mut reply, &self.device) {}
        let text = String::from_utf8(reply.unwritten().to_vec()).unwrap();
        let boring = ["listen_port=", "protocol_version=", "last_handshake", "tx_bytes=", "rx_bytes="];
        let lines = text.lines().filter(|line| !boring.iter().any(|boring| line.starts_with(boring)));
        lines.map(|line| format!("{line}\n")).collect()
    }

    fn mail(&self, worker: usize) -> Vec<Mail> {
        std::iter::from_fn(|| self.queues.workers[worker].next_mail()).collect()
    }

    fn routes_published(&self) -> usize {
        self.mail(1).iter().filter(|mail| matches!(mail, Mail::Order(Order::Routes { .. }))).count()
    }
}

fn peer(key: &str, psk: &str, keepalive: u16, rest: &str) -> String {
    let (before, after) = rest.split_once('|').unwrap_or(("", rest));
    format!("public_key={key}\npreshared_key={psk}\n{before}persistent_keepalive_interval={keepalive}\n{after}")
}

fn zeros() -> String {
    "0".repeat(64)
}

#[test]
fn what_is_set_is_shown() {
    let mut fixture = Fixture::new();
    let lines = format!(
        "private_key={PRIVATE}\npublic_key={A}\npreshared_key={PSK}\nendpoint=[2001:db8::1]:7\n\
         persistent_keepalive_interval=25\nallowed_ip=10.1.2.3/8\nallowed_ip=::/0\npublic_key={B}\n"
    );
    fixture.set(&lines).unwrap();
    let a = peer(A, PSK, 25, "endpoint=[2001:db8::1]:7\n|allowed_ip=10.0.0.0/8\nallowed_ip=::/0\n");
    // The private key as it is used, with the bits set and cleared that RFC 7748 demands.
    let clamped = PRIVATE.replacen("77", "70", 1);
    assert_eq!(fixture.get(), format!("private_key={clamped}\n{a}{}", peer(B, &zeros(), 0, "")));
    assert_eq!(fixture.routes_published(), 1, "many lines are one version of the routes");
}

#[test]
fn a_prefix_moves_and_is_removed_only_from_its_owner() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\nallowed_ip=10.0.0.0/8\nallowed_ip=fd00::/8\n")).unwrap();
    fixture.set(&format!("public_key={B}\nallowed_ip=10.0.0.0/8\nallowed_ip=-fd00::/8\n")).unwrap();
    let expected = |a: &str, b: &str| peer(A, &zeros(), 0, a) + &peer(B, &zeros(), 0, b);
    assert_eq!(fixture.get(), expected("allowed_ip=fd00::/8\n", "allowed_ip=10.0.0.0/8\n"));
    let replace = format!("public_key={B}\nallowed_ip=1.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=2.0.0.0/8\n");
    fixture.set(&replace).unwrap();
    assert_eq!(fixture.get(), expected("allowed_ip=fd00::/8\n", "allowed_ip=2.0.0.0/8\n"));
}

#[test]
fn update_only_and_remove_do_not_create() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\nupdate_only=true\nallowed_ip=10.0.0.0/8\n")).unwrap();
    fixture.set(&format!("public_key={B}\nremove=true\nallowed_ip=10.0.0.0/8\n")).unwrap();
    assert_eq!(fixture.get(), "");
    fixture.set(&format!("public_key={A}\n")).unwrap();
    fixture.set(&format!("public_key={A}\nupdate_only=true\npersistent_keepalive_interval=3\n")).unwrap();
    assert_eq!(fixture.get(), peer(A, &zeros(), 3, ""));
    fixture.set(&format!("public_key={A}\nremove=true\n")).unwrap();
    assert_eq!(fixture.get(), "");
}

#[test]
fn replace_peers_keeps_only_what_follows() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\nallowed_ip=10.0.0.0/8\npublic_key={B}\n")).unwrap();
    fixture.set(&format!("replace_peers=true\npublic_key={A}\n")).unwrap();
    assert_eq!(fixture.get(), peer(A, &zeros(), 0, ""));
    fixture.set("replace_peers=true\n").unwrap();
    assert_eq!(fixture.get(), "");
}

#[test]
fn our_own_key_is_no_peer() {
    let mut fixture = Fixture::new();
    // Known as a peer before it becomes ours: it is removed.
    fixture.set(&format!("public_key={PUBLIC}\n")).unwrap();
    fixture.set(&format!("private_key={PRIVATE}\n")).unwrap();
    assert!(!fixture.get().contains(PUBLIC));
    // And it is no error to name it, with whatever lines.
    fixture.set(&format!("public_key={PUBLIC}\nallowed_ip=10.0.0.0/8\npublic_key={A}\n")).unwrap();
    assert!(!fixture.get().contains(PUBLIC) && fixture.get().contains(A));
    assert!(fixture.device.routes().is_empty());
}

#[test]
fn a_private_key_of_zeros_is_none() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("private_key={PRIVATE}\n")).unwrap();
    assert!(fixture.device.private_key().is_some());
    fixture.set(&format!("private_key={}\n", zeros())).unwrap();
    assert_eq!(fixture.get(), "");
}

#[test]
fn a_port_in_use_undoes_the_whole_request() {
    let mut fixture = Fixture::new();
    let before = fixture.plane.sockets().port();
    let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let lines = format!("private_key={PRIVATE}\nlisten_port={port}\nreplace_peers=true\npublic_key={A}\n");
    assert_eq!(fixture.set(&lines), Err(Refusal::PortInUse));
    assert_eq!((fixture.get().as_str(), fixture.plane.sockets().port()), ("", before));
    assert!(fixture.mail(0).is_empty(), "the workers keep their sockets");
    drop(taken);
    fixture.set(&lines).unwrap();
    assert_eq!(fixture.plane.sockets().port(), port);
    assert!(matches!(fixture.mail(0)[..], [Mail::Sockets(Some(_)), ..]));
}

#[test]
fn another_peer_s_settings_leave_a_session_alone() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("private_key={PRIVATE}\npublic_key={A}\nallowed_ip=10.0.0.0/8\n")).unwrap();
    fixture.mail(0);
    let change = format!(
        "public_key={B}\npreshared_key={PSK}\nendpoint=192.0.2.1:1\nallowed_ip=11.0.0.0/8\n\
         persistent_keepalive_interval=1\npublic_key={B}\nremove=true\n"
    );
    fixture.set(&change).unwrap();
    let a = fixture.device.peer(&PublicKey::new([0x11; 32])).unwrap();
    for mail in fixture.mail(0) {
        assert!(
            !matches!(mail, Mail::Order(Order::RemovePeer { peer } | Order::DropStaged { peer }) if peer == a),
            "{mail:?}"
        );
    }
}

fn suites(fixture: &Fixture) -> String {
    let mut reply = Reply::default();
    answer::suites(&mut reply, &fixture.device);
    String::from_utf8(reply.unwritten().to_vec()).unwrap()
}

#[test]
fn suites_are_shown_where_they_are_not_the_default() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\npublic_key={B}\ncipher_suite=aes256gcm\n")).unwrap();
    let marked = |key: &str, suite: &str| {
        peer(key, &zeros(), 0, "").replace("persistent", &format!("cipher_suite={suite}\npersistent"))
    };
    let (a, b) = (peer(A, &zeros(), 0, ""), marked(B, "aes256gcm"));
    assert_eq!(fixture.get(), format!("{a}{b}"));
    fixture.set(&format!("cipher_suite=aes256gcm\npublic_key={A}\ncipher_suite=chacha20poly1305\n")).unwrap();
    assert_eq!(fixture.get(), format!("cipher_suite=aes256gcm\n{}{b}", marked(A, "chacha20poly1305")));
    // What get=1 says is what set=1 takes.
    let shown = fixture.get();
    let mut other = Fixture::new();
    other.set(&shown).unwrap();
    assert_eq!(other.get(), shown);
    fixture.set(&format!("cipher_suite=default\npublic_key={A}\ncipher_suite=default\n")).unwrap();
    assert_eq!(fixture.get(), format!("{a}{b}"));
}

/// As `wg setconf` and `wg-quick` do: all peers are replaced, by somebody who knows nothing of suites.
#[test]
fn a_peer_s_suite_waits_for_it_and_survives_its_replacement() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\nupdate_only=true\ncipher_suite=aes256gcm\n")).unwrap();
    assert_eq!(fixture.get(), "", "no peer comes of it");
    let remembered = format!("cipher_suite=chacha20poly1305\npublic_key={A}\ncipher_suite=aes256gcm\n");
    assert_eq!(suites(&fixture), remembered);
    for lines in [format!("public_key={A}\n"), format!("replace_peers=true\npublic_key={A}\n")] {
        fixture.set(&lines).unwrap();
        assert!(fixture.get().contains("cipher_suite=aes256gcm\n"), "{}", fixture.get());
    }
    fixture.set(&format!("public_key={A}\nremove=true\n")).unwrap();
    assert_eq!((fixture.get(), suites(&fixture)), (String::new(), remembered));
    fixture.set(&format!("public_key={A}\nupdate_only=true\ncipher_suite=default\n")).unwrap();
    assert_eq!(suites(&fixture), "cipher_suite=chacha20poly1305\n");
}

#[test]
fn a_peer_s_source_waits_for_it_and_survives_its_replacement() {
    let mut fixture = Fixture::new();
    fixture.set(&format!("public_key={A}\nupdate_only=true\nsource=192.0.2.7\n")).unwrap();
    assert_eq!(fixture.get(), "", "no peer comes of it");
    for lines in [format!("public_key={A}\n"), format!("replace_peers=true\npublic_key={A}\n")] {
        fixture.set(&lines).unwrap();
        assert!(fixture.get().contains("source=192.0.2.7\n"), "{}", fixture.get());
    }
    // What get=1 says is what set=1 takes.
    let mut other = Fixture::new();
    other.set(&fixture.get()).unwrap();
    assert_eq!(other.get(), fixture.get());
    fixture.set(&format!("public_key={A}\nsource=default\n")).unwrap();
    assert!(!fixture.get().contains("source"), "{}", fixture.get());
}

#[test]
fn suites_for_too_many_peers_are_refused_as_a_whole() {
    let mut fixture = Fixture::new();
    let key = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        PublicKey::new(key)
    };
    for number in 0..PEERS_MAX - 1 {
        fixture.device.set_peer_suite(NOW, key(number), Some(Suite::Aes256Gcm)).unwrap();
    }
    let one = |key: &str, suite: &str| format!("public_key={key}\nupdate_only=true\ncipher_suite={suite}\n");
    let both = one(A, "aes256gcm") + &one(B, "aes256gcm");
    assert_eq!(fixture.set(&format!("cipher_suite=aes256gcm\n{both}")), Err(Refusal::TooManySuites));
    assert_eq!(fixture.device.suite(), Suite::ChaCha20Poly1305);
    assert_eq!(fixture.set(&(one(A, "aes256gcm") + &one(A, "chacha20poly1305") + &one(B, "default"))), Ok(()));
    assert_eq!(fixture.set(&one(B, "aes256gcm")), Err(Refusal::TooManySuites));
}

#[test]
fn old_routes_are_kept_until_the_workers_have_taken_newer_ones() {
    let mut fixture = Fixture::new();
    let release_wanted = |fixture: &Fixture| fixture.plane.next_deadline().is_some();
    fixture.set(&format!("public_key={A}\nallowed_ip=10.0.0.0/8\n")).unwrap();
    assert!(!release_wanted(&fixture), "the newest version is kept for good");
    fixture.set(&format!("public_key={A}\nallowed_ip=11.0.0.0/8\n")).unwrap();
    assert!(release_wanted(&fixture));
    fixture.queues.control.acknowledge_routes(0, 2);
    fixture.plane.release_routes(NOW);
    assert!(release_wanted(&fixture), "the other worker may hold the first version");
    fixture.queues.control.acknowledge_routes(1, 2);
    fixture.plane.release_routes(NOW);
    assert!(!release_wanted(&fixture));
}

#[test]
fn a_keepalive_starts_a_handshake_that_leaves_through_our_sockets() {
    let mut fixture = Fixture::new();
    let remote = UdpSocket::bind("127.0.0.1:0").unwrap();
    fixture.device.link_up(NOW);
    let endpoint = remote.local_addr().unwrap();
    let lines = format!(
        "private_key={PRIVATE}\npublic_key={PUBLIC_OF_PEER}\nendpoint={endpoint}\npersistent_keepalive_interval=25\n"
    );
    fixture.set(&lines).unwrap();
    let now = ringfort_core::time::Now { mono: NOW, wall: Tai64N::from_unix(1_800_000_000, 0) };
    fixture.device.handle_timeout(now, &mut UnwrapErr(SysRng));
    fixture.plane.carry_out(&mut fixture.device, NOW);
    remote.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let mut message = [0; 200];
    let (len, from) = remote.recv_from(&mut message).unwrap();
    assert_eq!((len, message[0], from.port()), (148, 1, fixture.plane.sockets().port()));
    assert_eq!((fixture.plane.handshakes_sent, fixture.plane.handshakes_unsent), (1, 0));
    assert!(!matches!(fixture.device.poll_action(), Some(Action::Outgoing(Outgoing::Send { .. }))));
}

/// A peer with a key of low order gets no handshake.
const PUBLIC_OF_PEER: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";

fn crowd(count: u32, lines: impl Fn(u32) -> String) -> String {
    (0..count).map(|number| format!("public_key={number:064x}\n{}", lines(number))).collect()
}

/// Everything that has no bound of its own is spread over steps: peers, allowed IPs, what is removed and replaced, and
/// another private key.
#[test]
fn no_step_is_long() {
    const PEERS: u32 = 2_000;
    let per_step = CHANGES_PER_STEP / (CHANGES_PER_PEER + 1);
    let mut fixture = Fixture::new();
    let prefix = |number: u32| format!("allowed_ip=10.0.{}.{}/32\n", number >> 8, number & 0xff);
    fixture.set(&crowd(PEERS, prefix)).unwrap();
    assert_eq!(fixture.steps, (PEERS as usize).div_ceil(per_step));
    assert_eq!((fixture.device.peer_count(), fixture.device.routes().len()), (PEERS as usize, PEERS as usize));

    fixture.set(&format!("private_key={PRIVATE}\n")).unwrap();
    assert!((PEERS as usize / 256..=PEERS as usize / 256 + 1).contains(&fixture.steps), "{} steps", fixture.steps);
    assert!(!fixture.device.is_renewing());

    let many: String = (0..5_000).map(|number: u32| format!("allowed_ip=fd00::{number:x}/128\n")).collect();
    fixture.set(&format!("replace_peers=true\npublic_key={A}\n{many}")).unwrap();
    assert_eq!(fixture.steps, (PEERS as usize * 5 + 5_000).div_ceil(CHANGES_PER_STEP));
    assert_eq!((fixture.device.peer_count(), fixture.device.routes().len()), (1, 5_000));
    for change in ["replace_allowed_ips=true\nallowed_ip=10.0.0.0/8\n", "remove=true\n"] {
        fixture.set(&format!("public_key={B}\n{many}")).unwrap();
        fixture.set(&format!("public_key={B}\n{change}")).unwrap();
        assert_eq!(fixture.steps, 5_000 / CHANGES_PER_STEP + 1, "{change}");
    }
    assert_eq!((fixture.device.peer_count(), fixture.device.routes().len()), (1, 0));
}
