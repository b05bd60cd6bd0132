//! The values that pass between the device and the shell around it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::health::{Failure, PeerState};
use crate::allowed_ips::AllowedIps;
use crate::cell::{PeerShared, SessionNumber};
use crate::crypto::PublicKey;
use crate::drops::DropReason;
use crate::gate::Gate;
use crate::handover::Resumed;
use crate::ids::{Endpoint, PeerId};
use crate::noise::NewSession;
use crate::peer_drops::SendError;
use crate::suite::Suite;
use crate::time::Time;
use crate::whereabouts::Whereabouts;
use crate::wire::HANDSHAKE_LEN_MAX;

/// Why a worker asks for a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeReason {
    /// A packet is staged because there is no sending session, or none that is young enough.
    NoSession,
    /// The session with this local index asks to be replaced, by age or by its counter.
    KeyAging {
        /// The index of the session's receiving half.
        local_index: u32,
    },
}

/// What a worker tells the device. An event about a peer that is gone is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// The peer left idleness: [`Activity`](crate::activity::Activity) said that control must be woken.
    Awake(PeerId),
    /// [`Activity::request_handshake`](crate::activity::Activity::request_handshake) was true.
    NeedHandshake {
        /// The peer that must be asked.
        peer: PeerId,
        /// What for.
        reason: HandshakeReason,
    },
    /// The first authenticated data message came in under a session that we answered for. All workers send under it
    /// already ([`Receiver::note_authentic`](crate::cell::Receiver::note_authentic)). The event must not get lost:
    /// until it arrives, the handshake counts as unfinished.
    Confirmed(PeerId),
    /// An authenticated data message came, and no endpoint was known until then. The workers know it already
    /// ([`PeerShared::endpoint`]). That a peer roams is no event: whoever could provoke one with each datagram could
    /// keep control busy.
    Found(PeerId),
    /// Data came from where the peer was last, and nobody has the session that it names. It proves nothing, so it is
    /// told once in Rekey-Timeout at most ([`LostSession`](crate::whereabouts::LostSession)), and only as long as
    /// [`Action::Recover`] says where peers are.
    LostSession(PeerId),
    /// A peer has moved: [`Moves::note`](crate::whereabouts::Moves::note) was true. Nothing is lost with this event
    /// but the time until control wakes up for another reason.
    Moved(PeerId),
    /// Packets of the peer were thrown away for a reason that the operator should know, the first in a while
    /// ([`PeerDrops::note`](crate::peer_drops::PeerDrops::note)).
    Dropped {
        /// Whose.
        peer: PeerId,
        /// Why.
        reason: DropReason,
    },
    /// A packet from inside had no peer. Limited in rate by who reports it.
    Unrouted {
        /// Where it was to go.
        destination: IpAddr,
    },
    /// A handshake message was meant for another public key than ours. Limited in rate by who reports it.
    WrongKey {
        /// Where it came from, if that is true.
        remote: SocketAddr,
    },
}

/// A message that is not a data message, held by value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    bytes: [u8; HANDSHAKE_LEN_MAX],
    len: u8,
}

impl Datagram {
    /// Copies a message. `None` if it is longer than any handshake message.
    pub fn new(message: &[u8]) -> Option<Self> {
        let mut bytes = [0; HANDSHAKE_LEN_MAX];
        bytes.get_mut(..message.len())?.copy_from_slice(message);
        Some(Self { bytes, len: u8::try_from(message.len()).ok()? })
    }
}

impl AsRef<[u8]> for Datagram {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Datagram(type {}, {} bytes)", self.bytes[0], self.len)
    }
}

/// What the shell has to do. Actions come in the order in which they must take effect; whatever concerns a worker must
/// reach its mailbox before the next [`Outgoing::Send`] leaves.
#[derive(Debug)]
pub enum Action {
    /// No worker: what leaves the gateway.
    Outgoing(Outgoing),
    /// All workers: a peer exists from now on.
    AddPeer {
        /// Its name. The slot was free.
        peer: PeerId,
        /// What it shares with control.
        shared: Arc<PeerShared>,
    },
    /// All workers: forget a peer and its staged packets. Its receiving halves were retired and its
    /// routes withdrawn before.
    RemovePeer {
        /// Its name.
        peer: PeerId,
    },
    /// All workers: the new version of all allowed IPs.
    Routes(AllowedIps),
    /// A handshake has yielded a session. The worker that `local_index` names must be able to receive under it before
    /// the next [`Outgoing::Send`] leaves, and before any worker sends under it
    /// ([`Receiver::new`](crate::cell::Receiver::new)).
    BeginSession {
        /// Whom it is with.
        peer: PeerId,
        /// Its place among the peer's sessions.
        number: SessionNumber,
        /// When it was made.
        created: Time,
        /// Its keys and indices. Boxed, so the keys stay where they are until they are wiped.
        session: Box<NewSession>,
    },
    /// A session of another process goes on. As for one that begins, its worker must be able to receive under it before
    /// any worker sends under it.
    ResumeSession {
        /// Whom it is with.
        peer: PeerId,
        /// Its place among the peer's sessions.
        number: SessionNumber,
        /// When it was made.
        created: Time,
        /// Its keys and indices.
        session: Box<NewSession>,
        /// How far it is.
        resumed: Box<Resumed>,
    },
    /// One worker: a packet for a peer, which waited for a session in another process.
    Offer {
        /// Where it waited. There may be fewer workers now.
        worker: u8,
        /// Whom it is for.
        peer: PeerId,
        /// The packet.
        packet: Box<[u8]>,
    },
    /// The worker that the index names: forget the receiving half.
    RetireReceive {
        /// Its index.
        local_index: u32,
    },
    /// All workers: there is a session to send with, so what is staged can leave.
    SendStaged {
        /// For whom it is staged.
        peer: PeerId,
        /// The worker that owns this receiver index must send something at once, a keepalive if nothing is staged: the
        /// peer may not send before it hears from us.
        confirm: Option<u32>,
    },
    /// The peer has no sending session any more, and gets none of a number up to this one
    /// ([`SendState::end`](crate::cell::SendState::end)).
    EndSessions {
        /// Who.
        peer: PeerId,
        /// A number after those of all its sessions.
        number: SessionNumber,
    },
    /// Any one worker: send a keepalive (or, better, staged packets if there are any).
    SendKeepalive {
        /// Whom to.
        peer: PeerId,
    },
    /// All workers: drop the peer's staged packets, as [`DropReason::NoSession`].
    DropStaged {
        /// Whose.
        peer: PeerId,
    },
    /// All workers: data under an unknown index from these places is told as [`PeerEvent::LostSession`], in place of
    /// what was said before. `None`: it is not told any more.
    Recover(Option<Arc<Whereabouts>>),
    /// All workers: from now on drop whatever comes from either side, as [`DropReason::Passive`], and forget the
    /// sessions that were made up to this time. `None`: do so no more.
    Passive(Option<Time>),
    /// All workers: ask handshake messages here before control gets them, in place of any gate before. `None`: there is
    /// no private key, so nobody can be asked anything.
    Gate(Option<Arc<Gate>>),
}

/// What control carries out itself, because no worker can.
#[derive(Debug)]
pub enum Outgoing {
    /// Send a handshake message, from `endpoint.source` if there is one.
    Send {
        /// Where to.
        endpoint: Endpoint,
        /// The message.
        datagram: Datagram,
        /// Whom it is for; nobody for a cookie reply.
        peer: Option<PeerId>,
    },
    /// Tell the operator. Rare enough for a log: whatever a peer does, it is limited in time.
    Notify {
        /// Whom it is about.
        peer: PublicKey,
        /// What it is.
        notice: Notice,
    },
}

/// What the operator should know, because only he can change it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The peer asked for a session under another suite than it is set to here. It was refused.
    SuiteMismatch {
        /// What it is set to.
        ours: Suite,
        /// What it asked for.
        theirs: Suite,
    },
    /// The state of the peer is another one.
    State {
        /// What it is now.
        state: PeerState,
        /// What the operator knew of it.
        was: PeerState,
        /// What refuses it, if something does.
        reason: Option<Failure>,
        /// Where it is.
        remote: Option<SocketAddr>,
        /// How long the handshake took, if we asked for it.
        took: Option<Duration>,
    },
    /// The peer is somewhere else.
    Roamed {
        /// Where it was.
        from: SocketAddr,
        /// Where it is.
        to: SocketAddr,
    },
    /// Packets of the peer are thrown away, and only the operator can mend that.
    Dropped {
        /// Why.
        reason: DropReason,
        /// The inner source address of one that the peer may not use.
        source: Option<IpAddr>,
        /// Why datagrams did not leave.
        error: Option<SendError>,
    },
    /// Somebody proved to have this key, and it belongs to none of our peers.
    Stranger {
        /// Where it asked from.
        remote: SocketAddr,
    },
    /// The peer does not answer, and the suite that it is asked under is one that only Ringfort speaks.
    SuiteSilence {
        /// That suite.
        suite: Suite,
    },
}

/// Why a peer was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddPeerError {
    /// The public key is our own.
    #[error("a device is not its own peer")]
    OwnKey,
    /// There is a peer with that public key.
    #[error("the peer exists already")]
    Exists(PeerId),
    /// There are as many peers as there may be.
    #[error("no room for more than {} peers", crate::constants::PEERS_MAX)]
    Full,
}

/// There are as many settings of single peers, by their keys, as there may be peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for the settings of more than {} peers", crate::constants::PEERS_MAX)]
pub struct PeerSettingsFull;
