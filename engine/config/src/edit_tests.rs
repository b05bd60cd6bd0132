use std::cell::Cell;
use std::io;

use super::*;
use crate::files::{Content, Memory};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER: &str = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=";
const SECRET: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn files(text: &str) -> Memory {
    Memory::new([("wg0.conf", text.as_bytes())])
}

/// What a gateway has right after it has read the file.
fn state_of(files: &Memory) -> State {
    let config = load(Path::new("wg0.conf"), files, KeyFiles::Needed).unwrap().config;
    let peers = config.peers.into_iter().map(|mut peer| {
        peer.name = None;
        if matches!(peer.endpoint, Some(Endpoint::Name { .. })) {
            peer.endpoint = Some(Endpoint::Address("192.0.2.99:9".parse().unwrap()));
        }
        peer
    });
    let interface = config.interface;
    State {
        private_key: interface.private_key,
        listen_port: interface.listen_port,
        fwmark: interface.fwmark,
        peers: peers.collect(),
    }
}

fn edited(files: &Memory, state: &State) -> Vec<(String, String)> {
    let changed = edit(Path::new("wg0.conf"), files, state).unwrap();
    changed.iter().map(|(path, text)| (path.display().to_string(), text.as_str().to_owned())).collect()
}

fn example() -> String {
    format!(
        "# ours\n[Interface]\nPrivateKey = {SECRET} # old\nListenPort=51820\r\nAddress = 10.0.0.1/24\nPostUp = a\n\n\
         # Ann\n# her laptop\n[Peer]\n#ringfort: Name = laptop\nPublicKey = {KEY}\nAllowedIPs = 10.0.0.2/32 # one\n\
         AllowedIPs = 10.0.0.3\nEndpoint = host.example:1\n\n\
         # Bob\n[peer]\npublickey = {OTHER}\nEndpoint = 192.0.2.1:1\n"
    )
}

#[test]
fn what_has_not_changed_stays_byte_for_byte() {
    let files = files(&example());
    assert_eq!(edited(&files, &state_of(&files)), []);
}

/// One list of peers may be given to all gateways. Each leaves itself out when it runs, and must not when it writes.
#[test]
fn our_own_section_stays() {
    let own = PrivateKey::new(*SecretKey::from_base64(SECRET).unwrap().expose()).public_key();
    let text = format!("{}\n# This is us.\n[Peer]\nPublicKey = {}\n", example(), key_text::encode(&own));
    let files = files(&text);
    let mut state = state_of(&files);
    state.peers.retain(|peer| peer.public_key != own);
    assert_eq!(edited(&files, &state), []);
}

/// The bits that X25519 does not use may be anything in the file, and are fixed in a gateway.
#[test]
fn a_key_that_is_clamped_stays_as_it_was_written() {
    let key = SecretKey::copy_of(&[0xff; 32]);
    let files = files(&example().replace(SECRET, key_value(&key).as_str()));
    let clamped = SecretKey::copy_of(PrivateKey::copy_of(key.expose()).as_bytes());
    assert!(clamped != key);
    let state = State { private_key: Some(clamped), ..state_of(&files) };
    assert_eq!(edited(&files, &state), []);
}

#[test]
fn what_has_changed_changes_in_its_line() {
    let files = files(&example());
    let mut state = state_of(&files);
    state.listen_port = Some(51_821);
    state.fwmark = Some(0xca6c);
    state.peers[0].allowed_ips.pop_last();
    state.peers[0].persistent_keepalive = Some(25);
    state.peers[1].endpoint = Some(Endpoint::Address("[2001:db8::1]:2".parse().unwrap()));
    state.peers[1].source = Some("192.0.2.7".parse().unwrap());
    let expected = example()
        .replace("ListenPort=51820", "ListenPort=51821")
        .replace("PostUp = a\n", "PostUp = a\nFwMark = 0xca6c\n")
        .replace("AllowedIPs = 10.0.0.3\n", "")
        .replace("host.example:1\n", "host.example:1\nPersistentKeepalive = 25\n")
        .replace("192.0.2.1:1\n", "[2001:db8::1]:2\n#ringfort: Source = 192.0.2.7\n");
    assert_eq!(edited(&files, &state), [("wg0.conf".to_owned(), expected)]);
}

#[test]
fn peers_go_with_their_comments_and_new_ones_come_last() {
    let files = files(&example());
    let mut state = state_of(&files);
    state.peers.remove(0);
    let mut new = Peer::new(PublicKey::new([7; 32]));
    new.preshared_key = SecretKey::from_base64(SECRET);
    state.peers.push(new);
    let (before, behind) = (example().find("# Ann").unwrap(), example().find("# Bob").unwrap());
    let key = key_text::encode(&PublicKey::new([7; 32]));
    let expected = example()[..before].to_owned()
        + &example()[behind..]
        + &format!("\n[Peer]\nPublicKey = {key}\nPresharedKey = {SECRET}\n");
    assert_eq!(edited(&files, &state), [("wg0.conf".to_owned(), expected)]);
}

#[test]
fn included_files_are_changed_where_they_are() {
    let main = format!("[Interface]\nPrivateKey = {SECRET}\nInclude = peers.d/*.conf\n");
    let (a, b) = (format!("[Peer]\nPublicKey = {KEY}\n"), format!("[Peer]\nPublicKey = {OTHER}"));
    let files = Memory::new([
        ("wg0.conf", main.as_bytes()),
        ("peers.d/a.conf", a.as_bytes()),
        ("peers.d/b.conf", b.as_bytes()),
    ]);
    let mut state = state_of(&files);
    state.peers[1].persistent_keepalive = Some(5);
    let expected = format!("[Peer]\nPublicKey = {OTHER}\nPersistentKeepalive = 5\n");
    assert_eq!(edited(&files, &state), [("peers.d/b.conf".to_owned(), expected)]);
}

/// A byte order mark hides no section: neither that of the interface, nor a peer with its comment.
#[test]
fn what_follows_a_byte_order_mark_is_changed() {
    let main = format!("\u{feff}[Interface]\nPrivateKey = {SECRET}\nListenPort = 1\nInclude = peers.d/*.conf\n");
    let (a, b) =
        (format!("\u{feff}# Ann\n[Peer]\nPublicKey = {KEY}\n"), format!("\u{feff}[Peer]\nPublicKey = {OTHER}\n"));
    let files = Memory::new([
        ("wg0.conf", main.as_bytes()),
        ("peers.d/a.conf", a.as_bytes()),
        ("peers.d/b.conf", b.as_bytes()),
    ]);
    let mut state = state_of(&files);
    assert_eq!(edited(&files, &state), []);
    state.listen_port = Some(2);
    state.peers.remove(0);
    state.peers[0].persistent_keepalive = Some(5);
    let expected = [
        ("wg0.conf", main.replace("ListenPort = 1", "ListenPort = 2")),
        ("peers.d/a.conf", "\u{feff}".to_owned()),
        ("peers.d/b.conf", b + "PersistentKeepalive = 5\n"),
    ];
    assert_eq!(edited(&files, &state), expected.map(|(path, text)| (path.to_owned(), text)));
}

#[test]
fn an_endpoint_lasts_by_the_name_of_its_interface() {
    let name_of = |index| [(3, "eth0"), (4, "a#b")].into_iter().find(|(of, _)| *of == index);
    let lasting = |addr: &str| {
        let endpoint = Endpoint::lasting(addr.parse().unwrap(), |index| Some(name_of(index)?.1.to_owned()));
        endpoint.map(|endpoint| endpoint.to_string())
    };
    for (addr, expected) in [
        ("192.0.2.1:1", Some("192.0.2.1:1")),
        ("[2001:db8::1]:1", Some("[2001:db8::1]:1")),
        ("[2001:db8::1%3]:1", Some("[2001:db8::1]:1")),
        ("[fe80::1]:1", Some("[fe80::1]:1")),
        ("[fe80::1%3]:1", Some("[fe80::1%eth0]:1")),
        // What would not be read.
        ("[fe80::1%4]:1", None),
        ("[fe80::1%5]:1", None),
        ("192.0.2.1:0", None),
    ] {
        assert_eq!(lasting(addr).as_deref(), expected, "{addr}");
        let read = expected.map(|text| crate::value::endpoint(text).unwrap().to_string());
        assert_eq!(read.as_deref(), expected, "it is read as it was written");
    }
}

/// An address behind an interface is no name: the peer may be elsewhere today.
#[test]
fn an_address_behind_an_interface_changes() {
    let text = |endpoint: &str| {
        format!("[Interface]\nPrivateKey = {SECRET}\n[Peer]\nPublicKey = {KEY}\nEndpoint = {endpoint}\n")
    };
    let files = files(&text("[fe80::1%3]:1"));
    let mut state = state_of(&files);
    for now in ["[fe80::1%eth0]:1", "192.0.2.9:9"] {
        state.peers[0].endpoint = Some(crate::value::endpoint(now).unwrap());
        assert_eq!(edited(&files, &state), [("wg0.conf".to_owned(), text(now))]);
    }
    state.peers[0].endpoint = None;
    assert_eq!(edited(&files, &state), [], "nobody knows of another one");
}

#[test]
fn an_edited_file_says_what_the_state_is() {
    let files = files(&example());
    let hex = |byte: &str| byte.repeat(32);
    let answer = format!(
        "private_key={}\nlisten_port=7\nfwmark=9\npublic_key={}\npreshared_key={}\nprotocol_version=1\n\
         endpoint=192.0.2.5:5\nlast_handshake_time_sec=1\npersistent_keepalive_interval=3\nallowed_ip=10.9.0.0/16\n\
         cipher_suite=aes256gcm\nsource=192.0.2.7\nerrno=0\n\n",
        hex("48"),
        hex("77"),
        hex("00")
    );
    let state = State::from_answer(&answer).unwrap();
    let text = edited(&files, &state).remove(0).1;
    let config = load(Path::new("wg0.conf"), &self::files(&text), KeyFiles::Needed).unwrap().config;
    assert_eq!((config.interface.listen_port, config.interface.fwmark), (Some(7), Some(9)));
    assert_eq!(config.interface.private_key, Some(SecretKey::copy_of(&[0x48; 32])));
    assert_eq!(config.peers, state.peers);
    assert_eq!(config.interface.hooks.post_up, ["a"]);
    assert!(State::from_answer("nonsense").is_none());
}

/// A file that is no text any more when it is read to be changed.
struct Spoilt {
    good: Memory,
    is_read: Cell<bool>,
}

impl Files for Spoilt {
    fn read(&self, path: &Path, len_max: usize) -> io::Result<Content> {
        let content = self.good.read(path, len_max)?;
        let bytes = if self.is_read.replace(true) { vec![b'#', 0xff].into() } else { content.bytes };
        Ok(Content { bytes, ..content })
    }

    fn matching(&self, directory: &Path, pattern: &str) -> Result<Vec<PathBuf>, Problem> {
        self.good.matching(directory, pattern)
    }

    fn identity(&self, path: &Path) -> PathBuf {
        self.good.identity(path)
    }

    fn credentials(&self) -> Option<&Path> {
        self.good.credentials()
    }
}

#[test]
fn a_file_that_is_no_text_any_more_is_left_alone() {
    let good = Memory::new([("wg0.conf", example().as_bytes())]);
    let state = state_of(&good);
    let files = Spoilt { good, is_read: Cell::new(false) };
    let refused = edit(Path::new("wg0.conf"), &files, &state).unwrap_err().to_string();
    assert!(refused.starts_with("wg0.conf:1:2: "), "{refused}");
}
