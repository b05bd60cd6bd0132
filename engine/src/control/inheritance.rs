//! What a process needs that goes on in the place of another: from the offer of that one to the moment when it serves.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ringfort_core::crypto::X25519;
use ringfort_core::device::Remembered;
use ringfort_core::node::Node;
use tun_uring::{Given, Program, Tun, detach, set_attached};
use udp_uring::{SocketConfig, SocketGroup};

use super::endpoints::Keeper;
use super::error::DaemonError;
use super::file::ConfigFile;
use super::handover::{Facts, FileFacts, Offer, Possessions, Succession};
use super::inherited::is_descriptor;
use super::sockets::Sockets;
use crate::guard::Guard;

/// What is done when the other process has stopped.
#[derive(Debug)]
pub struct Inheritance {
    /// The other process.
    pub succession: Succession,
    /// For the device.
    pub beginning: Beginning,
    /// How many queues of the interface the other process has. Ours beyond them are detached.
    pub queues: usize,
}

impl Inheritance {
    /// Once everything is made of the offer.
    #[must_use]
    pub fn new(offer: Offer, beginning: Beginning) -> Self {
        Self { beginning, queues: offer.facts.queues, succession: offer.succession() }
    }
}

/// What a device begins with, whether it is new or comes from another process.
#[derive(Debug)]
pub struct Beginning {
    /// Computes handshakes.
    pub x25519: &'static dyn X25519,
    /// Stands in front of the sockets.
    pub guard: Option<Guard>,
    /// Whose indices its sessions have from now on.
    pub node: Node,
    /// Whether a new device stands by.
    pub is_passive: bool,
    /// Where peers of a new device were last.
    pub peers: Vec<Remembered>,
    /// Keeps where they are.
    pub keeper: Keeper,
}

/// Refuses to go on in the place of a gateway that was started otherwise, if that cannot be changed on the way.
///
/// # Errors
/// [`DaemonError::NotHandedOver`].
fn require_same(offer: &Offer, config: &SocketConfig, file: Option<&ConfigFile>) -> Result<(), DaemonError> {
    let facts = &offer.facts;
    let refused = |why: String| Err(DaemonError::NotHandedOver(facts.name.clone(), why));
    if facts.bind != config.bind.to_string() {
        return refused(format!(
            "its sockets are bound to {}, and those of the new process should be bound to {}: restart it without \
             handing over",
            facts.bind, config.bind
        ));
    }
    if let Some(ours) = file.filter(|ours| is_descriptor(&ours.path)) {
        return refused(format!("{} cannot be read again: name a file", ours.path.display()));
    }
    match (&facts.file, file) {
        (None, None) => Ok(()),
        (Some(theirs), Some(ours)) if is_same(theirs, ours) => match changed_since(ours, theirs.read_at) {
            None => Ok(()),
            Some(path) => refused(format!(
                "{} has changed since it was read: ringfort reload {} first, or undo that",
                path.display(),
                facts.name
            )),
        },
        (Some(theirs), _) => refused(format!("it follows {}: name the same file", theirs.path.display())),
        (None, Some(ours)) => refused(format!(
            "it follows no file, and the new process should follow {}: restart it without handing over",
            ours.path.display()
        )),
    }
}

fn is_same(theirs: &FileFacts, ours: &ConfigFile) -> bool {
    let place = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    theirs.is_gateway == ours.is_gateway() && place(&theirs.path) == place(&ours.path)
}

/// A file that was changed after this time, in nanoseconds since the Unix epoch.
fn changed_since(file: &ConfigFile, read_at: u64) -> Option<&Path> {
    let is_newer = |path: &&Path| {
        // Of its status: a file that was moved or copied here keeps its time of modification.
        let changed = |meta: fs::Metadata| i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
        fs::metadata(path).is_ok_and(|meta| changed(meta) > i128::from(read_at))
    };
    let included = file.loaded.files.iter().map(std::path::PathBuf::as_path);
    [file.path.as_path()].into_iter().chain(included).find(is_newer)
}

/// The interface that the other process serves, with a queue for each worker of that one, and for each of ours.
///
/// # Errors
/// See [`Tun::resume`].
pub fn interface(offer: &mut Offer, workers: usize) -> Result<Tun, DaemonError> {
    let queues = std::mem::take(&mut offer.possessions.queues);
    let Facts { given, flow_seed, .. } = &offer.facts;
    Ok(Tun::resume(queues, workers, given.map(Given::from_numbers), *flow_seed)?)
}

/// New sockets, or those that another process receives on.
///
/// # Errors
/// [`DaemonError::NotHandedOver`] if those are not what is wanted, and the system's.
pub fn sockets(
    offer: Option<&mut Offer>,
    config: SocketConfig,
    file: Option<&ConfigFile>,
) -> Result<Sockets, DaemonError> {
    let Some(offer) = offer else { return Ok(Sockets::new(config)?) };
    require_same(offer, &config, file)?;
    let config = SocketConfig { port: offer.facts.port, fwmark: offer.facts.fwmark, ..config };
    let group = offer.sockets.take().map(SocketGroup::resume).transpose()?;
    Ok(Sockets::inherited(config, group))
}

/// The CPU of each worker. There is one for each queue, and what waits in a queue would be lost with it. So there are
/// never fewer than before, and some share a CPU then.
#[must_use]
pub fn cpus_for(queues: usize, cpus: &[usize]) -> Vec<usize> {
    cpus.iter().copied().cycle().take(queues).collect()
}

/// Copies of these queues, for a process that comes after this one.
///
/// # Errors
/// The system's.
pub fn for_heirs(queues: &[OwnedFd]) -> Result<Possessions, DaemonError> {
    let copies = queues.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>();
    let queues = copies.map_err(|error| DaemonError::system("keep the queues of the interface", error))?;
    Ok(Possessions { queues, ..Possessions::default() })
}

/// Attaches queues that the interface has got for this process.
pub fn attach<'a>(queues: impl Iterator<Item = &'a OwnedFd>) {
    for queue in queues {
        if let Err(error) = set_attached(queue, true) {
            log::warn!("a queue of the interface stays unused: {error}");
        }
    }
}

/// Has the program choose the queues from now on, or nothing of ours. That of the process before us knows nothing of
/// what comes now.
pub fn steer(program: Option<&Program>, queue: &impl AsFd) {
    let Some(program) = program else {
        // There may be none.
        let _ = detach(queue);
        return;
    };
    if let Err(error) = program.attach(queue) {
        log::warn!(
            "packets from the interface come to the worker that receives from their peer, not to all, since the kernel \
             refused the steering program: {error}"
        );
    }
}
