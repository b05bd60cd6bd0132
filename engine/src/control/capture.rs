//! Control's half of `ringfort capture`: whether it may begin, who has one, and the names of peers.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Instant;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Device;
use ringfort_path::tap::Tap;
use ringfort_worker::queues::Queues;

use super::key_text;
use crate::capture::{LAST_WORK, MEMORY_MAX, PEERS_MAX, Recorder, Request, Shared, Subject};
use crate::sandbox::{self, Role};

/// The capture that is under way, if there is one.
#[derive(Debug)]
pub struct Captures {
    queues: Arc<Queues>,
    /// To the thread that captures. It is there from the start: what control would start later had control's rights.
    recorders: Sender<Recorder>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    client: String,
}

/// What a step came to.
#[derive(Debug)]
pub enum Step {
    /// Nothing changes.
    Same,
    /// Control's own messages are seen by this tap from now on.
    Tap(Box<Tap>),
    /// They are seen by none.
    Ended,
}

impl Captures {
    /// There is none, and a thread waits for one.
    ///
    /// # Errors
    /// The system's, if there is no thread.
    pub fn start(queues: Arc<Queues>) -> io::Result<Self> {
        let (recorders, begun) = channel();
        thread::Builder::new().name("capture".to_owned()).spawn(move || run(&begun))?;
        Ok(Self { queues, recorders, running: None })
    }

    /// Begins one, which has the client's connection from now on.
    ///
    /// # Errors
    /// Why not, for the client.
    pub fn begin(
        &mut self,
        request: &Request,
        client: &UnixStream,
        interface: &str,
        port: u16,
        device: &Device,
    ) -> Result<(), String> {
        if let Some(running) = self.running.as_ref().filter(|running| !running.shared.has_ended()) {
            return Err(format!("{} has a capture already, and there is one at a time", running.client));
        }
        let filter = request.filter(peers(request, device)?.into());
        let memory = u64::from(request.queue) * self.queues.workers.len() as u64;
        if memory > MEMORY_MAX {
            return Err(format!(
                "{memory} bytes are too much memory for a capture: choose a smaller --buffer, which is for each of {} \
                 workers",
                self.queues.workers.len()
            ));
        }
        let system = |error: io::Error| format!("the gateway cannot capture: {error}");
        let stream = client.try_clone().map_err(system)?;
        let shared = Shared::new().map_err(system)?;
        shared.set_port(port);
        let client = name_of(client);
        let subject = Subject { interface: interface.to_owned(), filter, client: client.clone() };
        let recorder = Recorder::new(request.clone(), subject, stream, self.queues.clone(), shared.clone());
        self.recorders.send(recorder).map_err(|_| "the gateway cannot capture: its thread has ended".to_owned())?;
        log::warn!("{client} captures packets: {}", request.describe());
        self.running = Some(Running { shared, client });
        Ok(())
    }

    /// Does what the recorder asks for. `port` is our UDP port.
    pub fn step(&mut self, device: &Device, port: u16) -> Step {
        let Some(Running { shared, .. }) = &self.running else { return Step::Same };
        shared.set_port(port);
        if let Some(peer) = shared.next_asked() {
            let status = device.status(peer);
            shared.tell(peer, status.map(|peer| key_text::named(peer.public_key(), peer.name().map(AsRef::as_ref))));
        }
        if let Some(tap) = shared.take_tap() {
            return Step::Tap(tap);
        }
        if shared.has_ended() {
            self.running = None;
            return Step::Ended;
        }
        Step::Same
    }

    /// Has the one that is under way end, if there is one. Until when it may take for that: whoever looks on gets a
    /// file that is whole. It still asks for names, so call [`Captures::step`] until it has ended.
    pub fn stop(&self) -> Option<Instant> {
        let Running { shared, .. } = self.running.as_ref()?;
        shared.stop();
        Some(Instant::now() + LAST_WORK)
    }

    /// Whether one is under way.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running.is_some()
    }
}

/// One capture after the other.
fn run(begun: &Receiver<Recorder>) {
    sandbox::enter(Role::Capture);
    while let Ok(recorder) = begun.recv() {
        recorder.run();
    }
}

/// The peers that a capture is of.
fn peers(request: &Request, device: &Device) -> Result<Vec<ringfort_core::ids::PeerId>, String> {
    if request.peers.len() > PEERS_MAX {
        return Err(format!("a capture is of {PEERS_MAX} peers at most, or of all"));
    }
    let find = |hex: &String| {
        let key: Option<PublicKey> = key_text::from_hex(hex);
        let peer = key.as_ref().and_then(|key| device.peer(key));
        peer.ok_or_else(|| "there is no such peer any more".to_owned())
    };
    request.peers.iter().map(find).collect()
}

/// Who is at the other end, as the kernel knows him.
fn name_of(client: &UnixStream) -> String {
    match getsockopt(client, PeerCredentials) {
        Ok(peer) => format!("process {} of user {}", peer.pid(), peer.uid()),
        Err(_) => "an unknown process".to_owned(),
    }
}
