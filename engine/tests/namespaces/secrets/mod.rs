//! Keys leave the memory of the gateway when they should, and lie nowhere but where they must until then.
//!
//! The peer is played here, so all keys are known: the static and the preshared key, the Diffie-Hellman of both static
//! keys, and those of each session. The gateway's memory is searched for them, and for pieces of them, at each point of
//! a session's life.

mod client;

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::Signal;
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::suite::Suite;
use ringfort_testbed::command::run;
use ringfort_testbed::memory::{Find, Needle, find};
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Family, Key, KeyPair, Tunnel, janitor, uapi};

use self::client::Client;
use crate::harness::traffic::PATIENCE;
use crate::harness::{us, wg};

/// Sessions that a peer may have at once: three that only receive, and the one to send with.
const SESSIONS_KEPT: usize = 4;

/// Where keys may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In places that are locked and not dumped.
    Safe,
    /// The same, and on the stack of a worker whose cipher has used the key last, for as long as the session lives.
    AtWork,
    /// Where a library puts them that does not let us choose.
    Anywhere,
    /// One copy more than in safe places alone: that of the library that computes X25519, wherever that puts it.
    AndLibrary,
}

/// What must be there: so many whole copies, and nothing elsewhere.
struct Present {
    needle: Needle,
    copies: usize,
    place: Where,
}

impl Present {
    fn check(&self, finds: &[Find]) -> Vec<String> {
        let of_it = || finds.iter().filter(|find| find.name == self.needle.name);
        // The schedule of an AES key begins with the key, and that for decryption ends with a half of it.
        let stray = |find: &&Find| self.place == Where::Safe && !find.place.is_safe;
        let mut wrong: Vec<_> = of_it().filter(stray).map(|find| format!("strays: {find}")).collect();
        let counts = |find: &&Find| find.is_whole() && (find.place.is_safe || self.place != Where::AtWork);
        let count = of_it().filter(counts).count();
        let is_library = matches!(self.place, Where::Anywhere | Where::AndLibrary);
        let is_pieced = is_library && of_it().count() > count;
        let ordinary = of_it().filter(|find| is_library && !find.place.is_safe).count();
        let copies = self.copies + usize::from(self.place == Where::AndLibrary);
        if count != copies || is_pieced || ordinary > 1 {
            wrong.push(format!("{count} copies instead of {copies}"));
            wrong.extend(of_it().map(Find::to_string));
        }
        wrong
    }
}

/// A gateway, its one peer, and what both know.
struct Stage {
    tunnel: Tunnel,
    client: Client,
    inside: UdpSocket,
    keys: KeyPair,
    suite: Suite,
    sessions_are: Where,
    /// The file has a copy of what it says, which the next reload is compared with.
    copies: usize,
    /// Who has set keys stays connected.
    client_of_socket: Option<UnixStream>,
}

impl Stage {
    fn new(options: &str, suite: Suite, sessions_are: Where) -> Self {
        let tunnel = Tunnel::new([&us().with_options(options), &us()]).unwrap();
        let client = Client::new(tunnel.namespace(1), tunnel.sides[0].endpoint(Family::V4));
        let inside = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
        let keys = KeyPair::random().unwrap();
        Self { tunnel, client, inside, keys, suite, sessions_are, copies: 1, client_of_socket: None }
    }

    fn interface(&self) -> &str {
        &self.tunnel.sides[0].interface
    }

    fn set(&self, lines: &str) {
        uapi::set(self.interface(), lines).unwrap();
    }

    fn configure(&mut self) {
        let (private, suite) = (self.keys.private.hex(), self.suite);
        let (public, psk) = (self.client.keys.public.hex(), self.tunnel.preshared.hex());
        let endpoint = self.client.address();
        let mut stream = UnixStream::connect(uapi::socket_path(self.interface())).unwrap();
        let request = format!(
            "set=1\nprivate_key={private}\nlisten_port={PORT}\ncipher_suite={suite}\npublic_key={public}\n\
             preshared_key={psk}\nendpoint={endpoint}\nallowed_ip=10.77.0.2/32\n\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 9];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"errno=0\n\n");
        self.client_of_socket = Some(stream);
        self.know();
    }

    /// The client knows the gateway.
    fn know(&mut self) {
        self.client.know(self.keys.public.0, self.tunnel.preshared.0, self.suite);
    }

    fn set_link(&self, state: &str) {
        self.tunnel.namespace(0).ip(&format!("link set {} {state}", self.interface())).unwrap();
    }

    /// A packet goes from the gateway's side to the client, in a session.
    fn send(&mut self) {
        let Self { client, inside, .. } = self;
        client.await_data(|| send_to_client(inside));
    }

    fn static_private(&self) -> Needle {
        Needle::new("the private key", PrivateKey::new(self.keys.private.0).as_bytes())
    }

    fn static_static(&self) -> Needle {
        let shared = PrivateKey::new(self.client.keys.private.0).diffie_hellman(&PublicKey::new(self.keys.public.0));
        Needle::new("the Diffie-Hellman of the static keys", shared.unwrap().as_bytes())
    }

    fn preshared(&self) -> Needle {
        Needle::new("the preshared key", self.tunnel.preshared.0)
    }

    /// What is configured.
    fn configured(&self) -> Vec<Present> {
        let present = |needle, place| Present { needle, copies: self.copies, place };
        vec![present(self.static_private(), Where::AndLibrary), present(self.preshared(), Where::Safe)]
    }

    /// The same, and what a session has.
    fn in_session(&self, session: usize) -> Vec<Present> {
        let mut all = self.configured();
        all.push(Present { needle: self.static_static(), copies: 1, place: Where::Safe });
        let of_session = self.client.needles(session);
        // One for the cipher, and one that control could give to another process.
        all.extend(of_session.map(|needle| Present { needle, copies: 2, place: self.sessions_are }));
        all
    }

    /// The texts by which keys are configured and shown.
    fn texts(&self) -> Vec<Needle> {
        let keys = [("the private key", self.keys.private), ("the preshared key", self.tunnel.preshared)];
        let hex = keys.map(|(name, key)| Needle::new(format!("{name} in hexadecimal"), key.hex()));
        let base64 = keys.map(|(name, key)| Needle::new(format!("{name} in base64"), key.base64()));
        hex.into_iter().chain(base64).collect()
    }

    /// Checks what is in memory, and that of `absent` there is nothing, as soon as the workers have done what they were
    /// told.
    fn check(&mut self, moment: &str, present: &[Present], absent: &[Needle]) {
        let pid = self.tunnel.sides[0].daemon().pid();
        let needles: Vec<_> = present.iter().map(|present| present.needle.clone()).collect();
        let mut wrong = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            wrong.clear();
            let finds = find(pid, &needles).unwrap();
            wrong.extend(present.iter().flat_map(|present| present.check(&finds)));
            wrong.extend(find(pid, absent).unwrap().iter().map(|find| format!("remains: {find}")));
            if wrong.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{moment}: {wrong:#?}");
        }
    }
}

fn send_to_client(inside: &UdpSocket) {
    inside.send_to(b"data", "10.77.0.2:9").unwrap();
}

fn life_of_keys(options: &str, suite: Suite, sessions_are: Where) {
    let mut stage = Stage::new(options, suite, sessions_are);
    let mut absent = vec![stage.static_private(), stage.preshared(), stage.static_static()];
    absent.extend(stage.texts());
    stage.check("before it is configured", &[], &absent);

    stage.configure();
    let texts = stage.texts();
    stage.check("configured", &stage.configured(), &texts);
    wg::wg(&format!("showconf {}", stage.interface())).unwrap();
    stage.check("shown", &stage.configured(), &texts);

    stage.client.ask();
    stage.send();
    stage.check("in a session", &stage.in_session(0), &texts);

    for _ in 0..=SESSIONS_KEPT {
        stage.client.ask();
        // Or else the gateway may never come to use this one, and keep an older one instead.
        stage.send();
    }
    let (last, retired) = (stage.client.sessions.len() - 1, stage.client.needles(0));
    stage.check("after many sessions", &stage.in_session(last), &retired);

    stage.set_link("down");
    let mut absent: Vec<_> = (0..=last).flat_map(|session| stage.client.needles(session)).collect();
    stage.check("down", &stage.configured(), &absent);

    stage.set_link("up");
    let Stage { client, inside, .. } = &mut stage;
    client.await_session(|| send_to_client(inside));
    stage.send();
    stage.check("in a session that the gateway asked for", &stage.in_session(last + 1), &absent);

    stage.set("replace_peers=true\n");
    absent.extend([stage.preshared(), stage.static_static()]);
    absent.extend(stage.client.needles(last + 1));
    let [private, _] = stage.configured().try_into().ok().unwrap();
    stage.check("without peers", &[private], &absent);

    absent.push(stage.static_private());
    stage.keys = KeyPair::random().unwrap();
    stage.set(&format!("private_key={}\n", stage.keys.private.hex()));
    let [private, _] = stage.configured().try_into().ok().unwrap();
    stage.check("with another private key", &[private], &absent);

    stage.set(&format!("private_key={}\n", "0".repeat(64)));
    absent.push(stage.static_private());
    stage.check("without any", &[], &absent);
}

#[test]
fn rustcrypto() {
    life_of_keys("--aead rustcrypto", Suite::ChaCha20Poly1305, Where::AtWork);
}

/// With AVX-512 it works on more blocks at once than there are registers for, and has round keys on its stack.
#[test]
fn rustcrypto_aes() {
    let wide = cpu_has("avx512f") && cpu_has("vaes");
    life_of_keys("--aead rustcrypto", Suite::Aes256Gcm, if wide { Where::AtWork } else { Where::Safe });
}

fn cpu_has(feature: &str) -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == feature))
}

/// AWS-LC has a heap of its own.
#[test]
fn aws_lc() {
    life_of_keys("--aead aws-lc", Suite::ChaCha20Poly1305, Where::Anywhere);
}

#[test]
fn aws_lc_aes() {
    life_of_keys("--aead aws-lc", Suite::Aes256Gcm, Where::Anywhere);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn train() {
    // The one that this CPU would choose: each of them works with keys in the same way.
    let kernels = [ringfort_aead::Provider::Train, ringfort_aead::Provider::TrainAvx2];
    let runs = |kernel: &ringfort_aead::Provider| kernel.is_available(ringfort_aead::Suite::ChaCha20Poly1305);
    let Some(kernel) = kernels.into_iter().find(runs) else {
        eprintln!("left out: this CPU runs no train kernel");
        return;
    };
    life_of_keys(&format!("--aead {kernel}"), Suite::ChaCha20Poly1305, Where::AtWork);
}

/// A file, which is read again and written.
#[test]
fn keys_of_a_file() {
    let path = janitor::directory().join("secrets.conf");
    let (keys, client, preshared) = (KeyPair::random().unwrap(), KeyPair::random().unwrap(), Key::random().unwrap());
    let (private, public, psk) = (keys.private.base64(), client.public.base64(), preshared.base64());
    let text = format!(
        "[Interface]\nPrivateKey = {private}\nListenPort = {PORT}\n\n[Peer]\nPublicKey = {public}\n\
         PresharedKey = {psk}\nAllowedIPs = 10.77.0.2/32\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut stage = Stage::new(&format!("--config {}", path.display()), Suite::default(), Where::Safe);
    (stage.keys, stage.client.keys, stage.tunnel.preshared, stage.copies) = (keys, client, preshared, 2);
    let texts = stage.texts();
    stage.check("started", &stage.configured(), &texts);

    let ringfort = std::env::var_os("RINGFORT_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_ringfort").into());
    run(Command::new(&ringfort).args(["reload", stage.interface()])).unwrap();
    stage.check("read again", &stage.configured(), &texts);
    run(Command::new(&ringfort).args(["save", stage.interface()])).unwrap();
    stage.check("saved", &stage.configured(), &texts);
}

/// Whoever crashes leaves no file with keys, also where the limit on core dumps would allow it.
#[test]
fn nothing_is_dumped() {
    let limit_of = |pid| {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        line.split_whitespace().nth(4).unwrap().to_owned()
    };
    let mut tunnel = Tunnel::new([&us(), &us().with_options("--core-dumps")]).unwrap();
    let [ours, wanted] = &mut tunnel.sides;
    let pid = ours.daemon().pid();
    assert_eq!(limit_of(pid), "0");
    assert_eq!(limit_of(wanted.daemon().pid()), limit_of(i32::try_from(std::process::id()).unwrap()));
    run(Command::new("prlimit").args(["--core=unlimited:unlimited", "--pid", &pid.to_string()])).unwrap();
    ours.daemon().signal(Signal::SIGABRT);
    let status = ours.daemon().wait(PATIENCE).unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(Signal::SIGABRT as i32), false));
}
