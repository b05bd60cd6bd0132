use std::path::Path;

use proptest::prelude::*;
use ringfort_config::{KeyFiles, Memory, load};
use ringfort_core::device::Device;
use ringfort_core::suite::Suite;

use super::*;

const PRIVATE: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn config(text: &str) -> Config {
    let files = Memory::new([("wg0.conf", text.as_bytes())]);
    load(Path::new("wg0.conf"), &files, KeyFiles::Needed).unwrap_or_else(|error| panic!("{error}\n{text}")).config
}

fn key(number: u8) -> PublicKey {
    PublicKey::new([number; 32])
}

fn section(number: u8, rest: &str) -> String {
    format!("[Peer]\nPublicKey = {}\n{rest}\n", crate::control::key_text::encode(&key(number)))
}

fn file(peers: &str) -> Config {
    config(&format!("[Interface]\nPrivateKey = {PRIVATE}\nListenPort = 51820\n{peers}"))
}

/// A device as far as a request reaches, without a kernel.
#[derive(Default)]
struct Model(Running);

impl Model {
    /// As `control/config` carries a request out.
    fn apply(&mut self, request: &SetRequest) {
        let running = &mut self.0;
        if let Some(key) = &request.device.private_key {
            let key = PrivateKey::copy_of(key.expose());
            running.public_key = Some(key.public_key());
            running.private_key = Some(SecretKey::copy_of(key.as_bytes()));
        }
        running.listen_port = request.device.listen_port.unwrap_or(running.listen_port);
        running.fwmark = request.device.fwmark.unwrap_or(running.fwmark);
        running.cipher_suite = request.device.cipher_suite.unwrap_or(running.cipher_suite);
        for update in &request.peers {
            self.apply_peer(update);
        }
    }

    fn apply_peer(&mut self, update: &PeerUpdate) {
        let running = &mut self.0;
        let key = PublicKey::new(update.public_key);
        if update.remove {
            running.peers.remove(&key);
            return;
        }
        match update.cipher_suite {
            Some(PeerSuite::Own(suite)) => _ = running.suites.insert(key, suite),
            Some(PeerSuite::Interface) => _ = running.suites.remove(&key),
            None => {}
        }
        match &update.name {
            Some(Some(name)) => _ = running.names.insert(key, name.as_str().into()),
            Some(None) => _ = running.names.remove(&key),
            None => {}
        }
        match update.source {
            Some(PeerSource::Own(source)) => _ = running.sources.insert(key, source),
            Some(PeerSource::Any) => _ = running.sources.remove(&key),
            None => {}
        }
        if update.update_only && !running.peers.contains_key(&key) {
            return;
        }
        for change in &update.allowed_ips {
            if let AllowedIpUpdate::Add(prefix) = change {
                running.peers.values_mut().for_each(|peer| _ = peer.allowed_ips.remove(prefix));
            }
        }
        let peer = running.peers.entry(key).or_default();
        if let Some(psk) = &update.preshared_key {
            peer.preshared_key = Some(psk.clone()).filter(|psk| !psk.is_zero());
        }
        for change in &update.allowed_ips {
            match change {
                AllowedIpUpdate::Add(prefix) => peer.allowed_ips.insert(*prefix),
                AllowedIpUpdate::Remove(prefix) => peer.allowed_ips.remove(prefix),
            };
        }
        peer.endpoint = update.endpoint.or(peer.endpoint);
        peer.persistent_keepalive = update.persistent_keepalive.unwrap_or(peer.persistent_keepalive);
    }

    fn difference(&self, config: &Config, previous: Option<&Config>, scope: Scope) -> SetRequest {
        difference(&Comparison { config, previous, running: &self.0, scope, fwmark: config.interface.fwmark })
    }

    fn become_file(&mut self, config: &Config, previous: Option<&Config>) -> SetRequest {
        let request = self.difference(config, previous, Scope::Gateway);
        self.apply(&request);
        request
    }
}

#[test]
fn an_unchanged_file_touches_nothing() {
    let config = file(
        &(section(1, "AllowedIPs = 10.0.0.1, fd00::/64\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 5")
            + &section(2, &format!("PresharedKey = {PRIVATE}\nCipherSuite = aes256gcm\nSource = 192.0.2.7"))),
    );
    let mut model = Model::default();
    let first = model.become_file(&config, None);
    assert_eq!((first.peers.len(), first.device.listen_port), (2, Some(51_820)));
    assert!(first.device.private_key.is_some() && first.device.fwmark.is_none());
    assert!(is_empty(&model.difference(&config, Some(&config), Scope::Gateway)));
    // A peer has roamed: the file has not changed, so the peer stays where it is.
    model.0.peers.get_mut(&key(1)).unwrap().endpoint = Some("198.51.100.9:9".parse().unwrap());
    assert!(is_empty(&model.difference(&config, Some(&config), Scope::Gateway)));
    // Nobody knows what the file said before: it counts.
    assert_eq!(model.difference(&config, None, Scope::Gateway).peers.len(), 1);
}

#[test]
fn only_what_differs_is_named() {
    let before = file(
        &(section(1, "AllowedIPs = 10.0.0.1, 10.0.0.2") + &section(2, "AllowedIPs = 10.0.1.0/24") + &section(3, "")),
    );
    let after = file(
        &(section(1, "AllowedIPs = 10.0.0.1, 10.0.0.3\nPersistentKeepalive = 25")
            + &section(2, "AllowedIPs = 10.0.1.0/24")
            + &section(4, "AllowedIPs = 10.0.0.2\nEndpoint = 192.0.2.4:4")),
    );
    let mut model = Model::default();
    model.become_file(&before, None);
    let request = model.become_file(&after, Some(&before));
    let keys: Vec<u8> = request.peers.iter().map(|update| update.public_key[0]).collect();
    assert_eq!(keys, [3, 1, 4], "the second peer is not touched");
    assert!(request.peers[0].remove);
    let first = &request.peers[1];
    assert!(first.update_only && first.preshared_key.is_none() && first.endpoint.is_none());
    assert_eq!(first.persistent_keepalive, Some(25));
    // The one that moves is taken by its addition to the fourth peer.
    assert_eq!(first.allowed_ips, [AllowedIpUpdate::Add("10.0.0.3".parse().map(host).unwrap())]);
    assert!(!request.peers[2].update_only);
    assert!(is_empty(&model.difference(&after, Some(&after), Scope::Gateway)));
    let lines = super::super::summary(&request, &after, |key| before.peers.iter().any(|peer| peer.public_key == *key));
    assert!(lines[0].ends_with(": removed") && lines[2].ends_with(": added"), "{lines:?}");
    assert!(lines[1].ends_with(": keepalive 25 s, allowed IPs +1 -0"), "{lines:?}");
}

fn host(addr: std::net::IpAddr) -> Prefix {
    Prefix::new(addr, 32).unwrap()
}

#[test]
fn an_endpoint_counts_when_the_file_has_changed() {
    let at = |text: &str| file(&section(1, &format!("Endpoint = {text}")));
    let (first, second, name) = (at("192.0.2.1:1"), at("192.0.2.2:2"), at("host.example:1"));
    let mut model = Model::default();
    model.become_file(&first, None);
    let request = model.become_file(&second, Some(&first));
    assert_eq!(request.peers[0].endpoint, Some("192.0.2.2:2".parse().unwrap()));
    assert!(is_empty(&model.difference(&name, Some(&second), Scope::Gateway)), "a name is resolved first");
    let none = file(&section(1, ""));
    assert!(is_empty(&model.difference(&none, Some(&second), Scope::Gateway)), "it stays where it is");
}

#[test]
fn settings_of_a_section_go_with_it() {
    let before = file(&(section(1, "CipherSuite = aes256gcm\nSource = 192.0.2.7\nName = a") + &section(2, "")));
    let after = file(&section(2, ""));
    let mut model = Model::default();
    model.become_file(&before, None);
    // Set by command for a peer that is not there: not the file's business.
    model.0.suites.insert(key(9), Suite::Aes256Gcm);
    model.become_file(&after, Some(&before));
    assert_eq!((model.0.peers.len(), model.0.suites.len(), model.0.sources.len()), (1, 1, 0));
    assert!(model.0.names.is_empty());
}

/// A file beside that of wg-quick: who is there, and with what, is wg-quick's business.
#[test]
fn without_a_key_only_suites_and_sources_count() {
    let config = config(&("[Interface]\nCipherSuite = aes256gcm\n".to_owned() + &section(1, "Source = 192.0.2.7")));
    let mut model = Model::default();
    model.0.peers.insert(key(2), RunningPeer::default());
    let request = model.difference(&config, None, Scope::Settings);
    model.apply(&request);
    assert_eq!((model.0.peers.len(), model.0.sources.len(), model.0.cipher_suite), (1, 1, Suite::Aes256Gcm));
    assert!(is_empty(&model.difference(&config, Some(&config), Scope::Settings)));
}

#[test]
fn a_peer_with_our_own_key_is_left_out_every_time() {
    let own = PrivateKey::new(*SecretKey::from_base64(PRIVATE).unwrap().expose()).public_key();
    let config = file(&format!("[Peer]\nPublicKey = {}\n", crate::control::key_text::encode(&own)));
    let mut model = Model::default();
    assert_eq!(model.become_file(&config, None).peers.len(), 0);
    assert!(is_empty(&model.difference(&config, Some(&config), Scope::Gateway)));
}

/// As with wg-quick, which uses `wg addconf`. A reload makes all what the file says.
#[test]
fn peers_of_pre_up_stay_until_the_file_is_read_again() {
    let config = file(&section(1, ""));
    let mut model = Model::default();
    model.0.peers.insert(key(2), RunningPeer::default());
    model.become_file(&config, None);
    assert_eq!(model.0.peers.len(), 2);
    model.become_file(&config, Some(&config));
    assert!(!model.0.peers.contains_key(&key(2)) && model.0.peers.len() == 1);
}

/// Nobody gets a prefix of that section, so whoever had it would keep it.
#[test]
fn a_prefix_that_moves_to_our_own_section_is_taken_away() {
    let own = PrivateKey::new(*SecretKey::from_base64(PRIVATE).unwrap().expose()).public_key();
    let own = format!("[Peer]\nPublicKey = {}\n", crate::control::key_text::encode(&own));
    let before = file(&(section(1, "AllowedIPs = 10.0.0.1") + &own));
    let after = file(&(section(1, "") + &own + "AllowedIPs = 10.0.0.1\n"));
    let mut model = Model::default();
    model.become_file(&before, None);
    let request = model.become_file(&after, Some(&before));
    assert_eq!(request.peers[0].allowed_ips, [AllowedIpUpdate::Remove(host([10, 0, 0, 1].into()))]);
}

/// Applied to a real device: the copy that is compared is the device's own.
#[test]
fn a_device_is_copied_as_it_is() {
    let mut device = Device::new(1);
    let peer = device.add_peer(key(1)).unwrap();
    device.set_keepalive(ringfort_core::time::Time::ZERO, peer, 7);
    device.insert_allowed_ip(peer, host([10, 0, 0, 1].into()));
    device.set_peer_source(key(2), Some([192, 0, 2, 7].into())).unwrap();
    let sockets = crate::control::sockets::Sockets::new(udp_uring::SocketConfig::new(0, 1)).unwrap();
    let running = Running::of(&device, &sockets);
    assert_eq!((running.peers[&key(1)].persistent_keepalive, running.sources.len()), (7, 1));
    assert!(running.peers[&key(1)].preshared_key.is_none() && running.private_key.is_none());
}

fn peers() -> impl Strategy<Value = Vec<String>> {
    let rest = (0..3_u8, 0..6_u8, 0..3_u8, any::<bool>()).prop_map(|(keepalive, prefix, endpoint, suite)| {
        let mut text = format!("PersistentKeepalive = {keepalive}\nAllowedIPs = 10.0.0.{prefix}, 10.{prefix}.0.0/16\n");
        if endpoint > 0 {
            text += &format!("Endpoint = 192.0.2.{endpoint}:1\n");
        }
        if suite {
            text += &format!("CipherSuite = aes256gcm\nSource = 192.0.2.7\n#ringfort: Name = office {prefix}\n");
        }
        text
    });
    let peers = prop::collection::btree_map(1..6_u8, rest, 0..5);
    peers.prop_map(|peers| peers.iter().map(|(&number, rest)| section(number, rest)).collect())
}

proptest! {
    /// Whatever ran before, the request makes it what the file says, and then there is nothing left to do.
    #[test]
    fn the_request_leads_to_the_file(before in peers(), after in peers()) {
        let (before, after) = (file(&before.concat()), file(&after.concat()));
        let mut model = Model::default();
        model.become_file(&before, None);
        model.become_file(&after, Some(&before));
        prop_assert_eq!(model.0.peers.len(), after.peers.len());
        for peer in &after.peers {
            let running = &model.0.peers[&peer.public_key];
            prop_assert_eq!(&running.allowed_ips, &peer.allowed_ips);
            prop_assert_eq!(Some(running.persistent_keepalive), peer.persistent_keepalive);
            prop_assert_eq!(model.0.suites.get(&peer.public_key).copied(), peer.cipher_suite);
            prop_assert_eq!(model.0.sources.get(&peer.public_key).copied(), peer.source);
            prop_assert_eq!(model.0.names.get(&peer.public_key).map(AsRef::as_ref), peer.name.as_deref());
        }
        prop_assert!(is_empty(&model.difference(&after, Some(&after), Scope::Gateway)));
    }
}
