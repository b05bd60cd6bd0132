//! A gateway under test, and what must lie in its memory.

use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::suite::Suite;
use ringfort_testbed::memory::{Find, Needle, Stack, find, stacks};
use ringfort_testbed::tunnel::PORT;
use ringfort_testbed::{Family, KeyPair, Tunnel, uapi};

use super::client::{Client, Initiated};
use crate::handover::hand_over;
use crate::harness::traffic::PATIENCE;
use crate::harness::{eventually, us, us_measured};

/// Where keys may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Where {
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
#[derive(Clone)]
pub struct Present {
    needle: Needle,
    copies: usize,
    place: Where,
}

impl Present {
    fn check(&self, finds: &[Find], workers: &[Stack]) -> Vec<String> {
        let of_it = || finds.iter().filter(|find| find.name == self.needle.name);
        let may_stray = |find: &Find| match self.place {
            Where::Safe => false,
            // The schedule of an AES key begins with the key, and that for decryption ends with a half of it.
            Where::AtWork => workers.iter().any(|stack| stack.has(find)),
            Where::Anywhere | Where::AndLibrary => true,
        };
        let stray = |find: &&Find| !find.place.is_safe && !may_stray(find);
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
pub struct Stage {
    pub tunnel: Tunnel,
    pub client: Client,
    pub inside: UdpSocket,
    pub keys: KeyPair,
    suite: Suite,
    sessions_are: Where,
    /// Whether this process has made or answered an initiation: what it computes of the static keys is not handed over.
    has_shaken_hands: bool,
    /// The file has a copy of what it says, which the next reload is compared with.
    pub copies: usize,
    /// Who has set keys stays connected.
    client_of_socket: Option<UnixStream>,
}

impl Stage {
    pub fn new(options: &str, suite: Suite, sessions_are: Where) -> Self {
        let tunnel = Tunnel::new([&us_measured().with_options(options), &us()]).unwrap();
        let client = Client::new(tunnel.namespace(1), tunnel.sides[0].endpoint(Family::V4));
        let inside = tunnel.namespace(0).enter(|| UdpSocket::bind("10.77.0.1:0")).unwrap();
        let keys = KeyPair::random().unwrap();
        Self {
            tunnel,
            client,
            inside,
            keys,
            suite,
            sessions_are,
            has_shaken_hands: true,
            copies: 1,
            client_of_socket: None,
        }
    }

    pub fn interface(&self) -> &str {
        &self.tunnel.sides[0].interface
    }

    pub fn set(&self, lines: &str) {
        uapi::set(self.interface(), lines).unwrap();
    }

    pub fn configure(&mut self) {
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
    pub fn know(&mut self) {
        self.client.know(self.keys.public.0, self.tunnel.preshared.0, self.suite);
    }

    pub fn set_link(&self, state: &str) {
        self.tunnel.namespace(0).ip(&format!("link set {} {state}", self.interface())).unwrap();
    }

    /// A packet goes from the gateway's side to the client, in a session.
    pub fn send(&mut self) {
        let Self { client, inside, .. } = self;
        client.await_data(|| send_to_client(inside));
    }

    pub fn static_private(&self) -> Needle {
        Needle::new("the private key", PrivateKey::new(self.keys.private.0).as_bytes())
    }

    pub fn static_static(&self) -> Needle {
        let shared = PrivateKey::new(self.client.keys.private.0).diffie_hellman(&PublicKey::new(self.keys.public.0));
        Needle::new("the Diffie-Hellman of the static keys", shared.unwrap().as_bytes())
    }

    pub fn preshared(&self) -> Needle {
        Needle::new("the preshared key", self.tunnel.preshared.0)
    }

    /// What is configured.
    pub fn configured(&self) -> Vec<Present> {
        let present = |needle, place| Present { needle, copies: self.copies, place };
        vec![present(self.static_private(), Where::AndLibrary), present(self.preshared(), Where::Safe)]
    }

    /// The same, and what a session has.
    pub fn in_session(&self, session: usize) -> Vec<Present> {
        let mut all = self.configured();
        all.push(self.of_static_keys());
        let of_session = self.client.needles(session);
        // One for the cipher, and one that control could give to another process.
        all.extend(of_session.map(|needle| Present { needle, copies: 2, place: self.sessions_are }));
        all
    }

    /// The same while this initiation of the gateway waits for its answer.
    pub fn waiting(&self, initiation: &Initiated) -> Vec<Present> {
        let mut all = self.configured();
        all.push(self.of_static_keys());
        all.push(Present { needle: initiation.chaining_key.clone(), copies: 1, place: Where::Safe });
        all
    }

    fn of_static_keys(&self) -> Present {
        let copies = usize::from(self.has_shaken_hands);
        Present { needle: self.static_static(), copies, place: Where::Safe }
    }

    /// The texts by which keys are configured and shown.
    pub fn texts(&self) -> Vec<Needle> {
        let keys = [("the private key", self.keys.private), ("the preshared key", self.tunnel.preshared)];
        let hex = keys.map(|(name, key)| Needle::new(format!("{name} in hexadecimal"), key.hex()));
        let base64 = keys.map(|(name, key)| Needle::new(format!("{name} in base64"), key.base64()));
        hex.into_iter().chain(base64).collect()
    }

    /// The first initiation that the gateway sends from now on, which stays unanswered.
    pub fn await_initiation(&mut self) -> Initiated {
        let mut found = None;
        eventually(PATIENCE, "the gateway asks for a session", || {
            send_to_client(&self.inside);
            found = self.client.unanswered();
            found.is_some()
        });
        self.has_shaken_hands = true;
        found.unwrap()
    }

    /// The gateway asks for a session, and gets it.
    pub fn await_session(&mut self) {
        let Self { client, inside, .. } = self;
        client.await_session(|| send_to_client(inside));
        self.has_shaken_hands = true;
        self.send();
    }

    /// Goes on in another process. The client of the socket has to come again.
    pub fn hand_over(&mut self, options: &str) {
        self.client_of_socket = None;
        self.has_shaken_hands = false;
        hand_over(&mut self.tunnel, options);
    }

    /// Checks what is in memory while the gateway waits for an answer, and asks again now and then. Returns what must
    /// be absent once it waits no longer.
    pub fn check_waiting(&mut self, moment: &str, mut last: Initiated, absent: &[Needle]) -> Vec<Needle> {
        let mut past = absent.to_vec();
        self.check_again(moment, |stage| {
            if let Some(next) = stage.client.unanswered() {
                stage.has_shaken_hands = true;
                past.push(std::mem::replace(&mut last, next).chaining_key);
            }
            past.append(&mut last.passed);
            (stage.waiting(&last), past.clone())
        });
        past.push(last.chaining_key);
        past.split_off(absent.len())
    }

    /// Checks what is in memory, and that of `absent` there is nothing, as soon as the workers have done what they were
    /// told.
    pub fn check(&mut self, moment: &str, present: &[Present], absent: &[Needle]) {
        self.check_again(moment, |_| (present.to_vec(), absent.to_vec()));
    }

    /// The same of what changes meanwhile.
    pub fn check_again(&mut self, moment: &str, mut expected: impl FnMut(&mut Self) -> (Vec<Present>, Vec<Needle>)) {
        let pid = self.tunnel.sides[0].daemon().pid();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (present, absent) = expected(self);
            let needles: Vec<_> = present.iter().map(|present| present.needle.clone()).collect();
            let (finds, workers) = (find(pid, &needles).unwrap(), stacks(pid, "ringfort-w").unwrap());
            assert!(!workers.is_empty(), "{moment}: there are no workers");
            let mut wrong: Vec<_> = present.iter().flat_map(|present| present.check(&finds, &workers)).collect();
            wrong.extend(find(pid, &absent).unwrap().iter().map(|find| format!("remains: {find}")));
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
