//! The configuration file: any bytes are understood or refused on one of their lines. What was understood says the same
//! when it is written and read again, and no mistake repeats what the file says. When what runs is saved, files that
//! say it already stay as they are, and others say it afterwards.
//!
//! The input is up to three files, with a zero byte between them: `wg0.conf`, `a.conf` and `b.conf`, which may include
//! each other.

use std::path::Path;

use ringfort_config::{
    Config, Endpoint, KeyFiles, Loaded, Memory, Mistakes, Peer, Problem, SecretKey, State, edit, load,
};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::suite::Suite;

use crate::Seed;

const NAMES: [&str; 3] = ["wg0.conf", "a.conf", "b.conf"];
/// The shortest text that is looked for in mistakes. A shorter one is in their own words by chance.
const SECRET_LEN: usize = 40;
/// What a file may begin with, without saying anything by it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

pub(super) fn run(data: &[u8]) {
    let parts: Vec<&[u8]> = data.splitn(NAMES.len(), |&byte| byte == 0).collect();
    let mut files = Memory::new(NAMES.into_iter().zip(parts.iter().copied()));
    files.credentials = Some("".into());
    match load(Path::new(NAMES[0]), &files, KeyFiles::Needed) {
        Ok(loaded) => understood(loaded, &files),
        Err(mistakes) => refused(&mistakes, &parts),
    }
    // Who only checks finds the same, apart from key files.
    if load(Path::new(NAMES[0]), &files, KeyFiles::IfReadable).is_err() {
        assert!(load(Path::new(NAMES[0]), &files, KeyFiles::Needed).is_err());
    }
}

fn understood(loaded: Loaded, files: &Memory) {
    saved(&loaded, files);
    let mut config = loaded.config;
    let prefixes = config.allowed_ips().count();
    let mut unique: Vec<_> = config.allowed_ips().collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), prefixes, "a prefix of two peers");
    // The key itself is written then, and its file need not be there.
    config.interface.private_key_file = None;
    let text = config.write();
    let mut again = Memory::new([(NAMES[0], text.as_str().as_bytes())]);
    again.credentials.clone_from(&files.credentials);
    let again: Result<Config, Mistakes> =
        load(Path::new(NAMES[0]), &again, KeyFiles::Needed).map(|loaded| loaded.config);
    assert!(again == Ok(config), "{}", text.as_str());
}

/// What runs as the files say changes none of them. What runs otherwise is what they say afterwards.
fn saved(loaded: &Loaded, files: &Memory) {
    let path = Path::new(NAMES[0]);
    let own = loaded.config.interface.private_key.as_ref();
    let own = own.map(|key| PrivateKey::copy_of(key.expose()).public_key());
    let edited = |config: &Config| edit(path, files, &state_of(config, own)).expect("they were read before");
    assert!(edited(&loaded.config).is_empty(), "nothing has changed");
    // A peer that has lost a prefix to another has it again when the other is gone.
    if loaded.warnings.iter().any(|warning| matches!(warning.problem, Problem::PrefixMoved { .. })) {
        return;
    }
    let expected = changed(&loaded.config, own);
    let mut again = files.clone();
    for (path, text) in edited(&expected) {
        let text = text.as_str();
        let before = again.files.insert(path, text.as_bytes().to_owned()).expect("no file is new");
        assert_eq!(text.as_bytes().starts_with(BYTE_ORDER_MARK), before.starts_with(BYTE_ORDER_MARK), "{text}");
    }
    let said: Result<Config, Mistakes> = load(path, &again, KeyFiles::Needed).map(|loaded| loaded.config);
    assert!(said == Ok(expected), "{again:?}");
}

/// What a gateway that runs as `config` says has. It leaves itself out.
fn state_of(config: &Config, own: Option<PublicKey>) -> State {
    let others = config.peers.iter().filter(|peer| Some(peer.public_key) != own);
    State {
        private_key: config.interface.private_key.clone(),
        listen_port: config.interface.listen_port,
        fwmark: Some(config.interface.fwmark.unwrap_or(0)),
        peers: others.map(|peer| Peer { name: None, ..peer.clone() }).collect(),
    }
}

/// Port and mark differ, if there are any. The first peer is gone, a new one is there. The others lack what they had,
/// and have what they lacked.
fn changed(config: &Config, own: Option<PublicKey>) -> Config {
    let mut config = config.clone();
    // The kernel's choice stays open.
    let port = &mut config.interface.listen_port;
    *port = port.map(|port| if port == 0 { 0 } else { port ^ 1 });
    let mark = &mut config.interface.fwmark;
    *mark = mark.map(|mark| mark ^ 1).filter(|&mark| mark != 0);
    let new = Peer::new(PublicKey::new([9; 32]));
    let is_new = config.peers.iter().all(|peer| peer.public_key != new.public_key);
    let is_other = |peer: &Peer| Some(peer.public_key) != own;
    if let Some(first) = config.peers.iter().position(is_other) {
        config.peers.remove(first);
    }
    for (position, peer) in config.peers.iter_mut().enumerate().filter(|(_, peer)| is_other(peer)) {
        let key = SecretKey::copy_of(&[7; 32]);
        peer.preshared_key = if peer.preshared_key.is_some() { None } else { Some(key) };
        peer.persistent_keepalive = if peer.persistent_keepalive.unwrap_or(0) > 0 { None } else { Some(25) };
        peer.cipher_suite = if peer.cipher_suite.is_some() { None } else { Some(Suite::Aes256Gcm) };
        if position % 2 == 0 {
            peer.allowed_ips.clear();
        }
        if !matches!(peer.endpoint, Some(Endpoint::Name { .. })) {
            peer.endpoint = Some(Endpoint::Address(([192, 0, 2, 9], 9).into()));
        }
    }
    if is_new {
        config.peers.push(new);
    }
    config
}

fn refused(mistakes: &Mistakes, parts: &[&[u8]]) {
    assert!(mistakes.count() > 0);
    for mistake in mistakes.list() {
        let place = &mistake.place;
        // A file that is not there has a name, and no line.
        let file = NAMES.iter().position(|name| Path::new(name) == &*place.file).and_then(|file| parts.get(file));
        let lines = file.map_or(0, |bytes| 1 + bytes.iter().filter(|&&byte| byte == b'\n').count());
        assert!(place.line <= lines, "{mistake}");
    }
    let shown = format!("{mistakes} {mistakes:?}");
    for line in parts.iter().flat_map(|bytes| bytes.split(|&byte| byte == b'\n' || byte == b'\r')) {
        let Ok(line) = std::str::from_utf8(line) else { continue };
        // The names of files are shown, those of an Include too, and so is the prefix that is in two peers.
        if line.trim_start().get(..7).is_some_and(|name| name.eq_ignore_ascii_case("include")) {
            continue;
        }
        let mut values = line.rsplit('=').map(str::trim);
        let value = values.find(|part| part.len() >= SECRET_LEN && !part.contains(['/', '.']));
        assert!(!value.is_some_and(|value| shown.contains(value)), "{shown}");
    }
}

pub(super) fn seeds() -> Vec<Seed> {
    let key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
    let whole = format!(
        "[Interface]\nPrivateKey = {key}\nListenPort = 51820\nFwMark = 0xca6c\nAddress = 10.0.0.1/24, fd00::1/64\n\
         DNS = 10.0.0.53, example.net\nMTU = 1380\nTable = off\nPreUp = a\nPostUp = b %i\nPreDown = c\nPostDown = d\n\
         SaveConfig = true\n#ringfort: Workers = 2\nCPUs = 0-1,4\nBusyPoll = always\nUdpGso = ragged\n\
         Overlays = off\nNode = 2/3\nPassive = true\nAead = train\nLogLevel = debug\nMetrics = [::1]:9586\n\
         CipherSuite = aes256gcm\nInclude = *.conf\n\0\
         [Peer]\nPublicKey = {key}\n#ringfort: Name = laptop\nPresharedKey = {key}\nAllowedIPs = 10.0.0.2, fd00::/64\n\
         Endpoint = host.example:51820\nPersistentKeepalive = 25\nSource = 192.0.2.7\n\0# nothing\n"
    );
    let key_file = format!("[Interface]\nPrivateKeyFile = $CREDENTIALS_DIRECTORY/a.conf\n\0{key}\n");
    let moved = format!(
        "[Peer]\nPublicKey={key}\nAllowedIPs=::/0\n[Peer]\nPublicKey=T{}\nAllowedIPs=0::/0\nEndpoint=[fe80::1%a]:1",
        &key[1..]
    );
    let marked = format!(
        "\u{feff}[Interface]\nListenPort = 51820\nInclude = a.conf\n\0\
         \u{feff}# Ann\n[Peer]\nPublicKey = {key}\n[Peer]\nPublicKey = T{}\nPersistentKeepalive = 5\n",
        &key[1..]
    );
    vec![
        Seed::new("whole", whole.into_bytes()),
        Seed::new("key-file", key_file.into_bytes()),
        Seed::new("moved-prefix", moved.into_bytes()),
        Seed::new("marked", marked.into_bytes()),
        Seed::new("cycle", b"Include = a.conf\n\0Include = b.conf\n\0Include = a.conf\n".to_vec()),
        Seed::new(
            "mistakes",
            b"x\n[Peer\n[Interface]\nMtu=1\nMTU=x\n#ringfort: MTU=1\n[Peer]\nAllowedIPs=1/2,\n".to_vec(),
        ),
        Seed::new("no-text", b"\xef\xbb\xbf[Interface]\r\nMTU=1400\r\n\xff".to_vec()),
    ]
}
