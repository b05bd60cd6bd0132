//! What can be wrong between us and a peer.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::crypto::PublicKey;
use crate::device::Unreachable;
use crate::suite::Suite;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing passes as long as this is so.
    Broken,
    /// Some of what should pass does not, or will not for long.
    Impaired,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// A stable name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Impaired => "impaired",
            Self::Note => "note",
        }
    }
}

/// How well a finding is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// It was seen here, or the peer proved it.
    Known,
    /// What was seen has no other usual cause.
    Likely,
    /// One of several causes that look the same from here.
    Possible,
}

impl Certainty {
    /// A stable name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Likely => "likely",
            Self::Possible => "possible",
        }
    }
}

/// The name of an endpoint that has no address so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnresolvedName {
    /// The name, with the port.
    pub name: String,
    /// For how long it has had none.
    pub since: Duration,
    /// What the resolver said last; `None` if it is being asked for the first time.
    pub error: Option<String>,
    /// When it is asked again; `None` if it is being asked.
    pub next: Option<Duration>,
}

/// One finding about a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The interface is down.
    LinkDown,
    /// The gateway is passive: another one serves its peers.
    Passive,
    /// We have no socket: the port is taken.
    NotListening,
    /// We have no private key.
    NoPrivateKey,
    /// There is no such peer here.
    NotAPeer {
        /// Where somebody who has the key asked from, how often, and how long ago.
        asked: Option<(SocketAddr, u64, Duration)>,
    },
    /// We do not know where the peer is.
    NoEndpoint {
        /// Packets that were dropped for it.
        dropped: u64,
    },
    /// The endpoint is a name, and has no address.
    NameUnresolved {
        /// What is known of it.
        name: UnresolvedName,
        /// Where the peer is reached all the same.
        remote: Option<SocketAddr>,
    },
    /// The system has no route to the endpoint.
    NoRoute {
        /// The endpoint.
        remote: SocketAddr,
        /// The system's number for why.
        errno: i32,
    },
    /// The system refuses to send to the endpoint: a firewall on this machine, nearly always.
    SendRefused {
        /// The endpoint.
        remote: SocketAddr,
        /// The system's number for why.
        errno: i32,
        /// How often.
        count: u64,
    },
    /// Datagrams to the endpoint were lost on this machine, and others left.
    SendsLost {
        /// The endpoint.
        remote: SocketAddr,
        /// How many.
        count: u64,
        /// As many sends were under way as the gateway has room for. Otherwise the kernel took only a part of a train.
        are_full: bool,
    },
    /// The network said that our handshake could not be delivered.
    Undeliverable {
        /// The endpoint.
        remote: SocketAddr,
        /// How.
        unreachable: Unreachable,
        /// Who said so.
        reporter: IpAddr,
        /// How long ago.
        ago: Duration,
    },
    /// Our initiations leave, and nothing comes back.
    Silent {
        /// Where they go to.
        remote: Option<SocketAddr>,
        /// How many in a row.
        initiations: u32,
        /// For how long.
        since: Duration,
        /// There was a session before.
        was_up: bool,
        /// Nothing would tell us if the network said why.
        is_deaf: bool,
    },
    /// The peer's answers do not open.
    PskDiffers {
        /// How many.
        count: u64,
        /// We have one.
        has_psk: bool,
    },
    /// We answer, and the peer makes no use of it.
    AnswersUnused {
        /// How many.
        count: u64,
        /// Where the peer asks from.
        remote: Option<SocketAddr>,
        /// We have a preshared key for it.
        has_psk: bool,
    },
    /// The two sides are set to different cipher suites.
    SuiteDiffers {
        /// What the peer is set to here.
        ours: Suite,
        /// What it asked for.
        theirs: Suite,
    },
    /// The peer's handshakes are dated before one that we accepted.
    ClockBehind {
        /// By how much.
        behind: Duration,
        /// How many came.
        count: u64,
    },
    /// Two gateways have the peer's key.
    TwoGateways {
        /// Where they are.
        places: [SocketAddr; 2],
        /// How often the peer went back from one to the other.
        returns: u32,
        /// For how long a pair of old timestamps speaks for it as well.
        old_timestamps: u64,
    },
    /// A stranger asks for a session from where the peer is: the peer has another key than we think.
    OtherKeyAtEndpoint {
        /// The stranger's key.
        key: PublicKey,
        /// Where it is.
        remote: SocketAddr,
        /// How long ago it asked.
        ago: Duration,
        /// There is a session from before.
        has_session: bool,
    },
    /// Handshakes come from the peer's address, and are meant for another public key than ours.
    WrongKeyThere {
        /// The address.
        remote: SocketAddr,
        /// How many.
        count: u64,
        /// How long ago.
        ago: Duration,
        /// It is the address of the peer, and not only somebody's.
        is_endpoint: bool,
        /// There is a session from before.
        has_session: bool,
    },
    /// The peer sends from inner addresses that it does not have here.
    SourceNotAllowed {
        /// One of them.
        source: Option<IpAddr>,
        /// How many packets were dropped.
        count: u64,
        /// How long ago.
        ago: Duration,
    },
    /// The peer has no inner address here at all.
    NoAllowedIps,
    /// Inner destinations lately had no peer.
    Unrouted {
        /// Which, the latest first.
        destinations: Vec<IpAddr>,
    },
    /// We send data, and nothing but keepalives comes back.
    NothingBack {
        /// Messages that we sent.
        sent: u64,
    },
    /// The system knows that the path takes less than our packets need.
    PathTooSmall {
        /// Bytes that the path takes.
        path_mtu: u32,
        /// Bytes that a full packet of the interface needs.
        needed: u32,
        /// An MTU of the interface that fits.
        fits: u32,
    },
    /// Messages are missing, and none of those that came was large.
    LargeMissing {
        /// How many are missing.
        missing: u64,
        /// How many came.
        received: u64,
        /// Bytes of the largest that came.
        largest: u32,
        /// Bytes of the largest that the peer may send.
        largest_possible: u32,
    },
    /// Large messages leave, and only small ones come back.
    LargeUnanswered {
        /// Bytes of the largest that was sent.
        sent: u32,
        /// Bytes of the largest that came.
        received: u32,
    },
    /// We have just asked the peer, and it may still answer.
    Asking {
        /// For how long.
        since: Duration,
    },
    /// The peer never asked us, and we never had to ask it.
    NeverHeard,
    /// Nothing is wrong, and there is no session because there was nothing to send.
    Idle {
        /// How long ago the last handshake was, by the wall clock's record; `None` for never.
        had_session: bool,
    },
    /// There is a session, and nothing is wrong with it.
    Up {
        /// Its age.
        age: Duration,
        /// Its worker.
        worker: usize,
    },
}

impl Finding {
    /// A stable name, lower case, `_` between words.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::LinkDown => "link_down",
            Self::Passive => "passive",
            Self::NotListening => "not_listening",
            Self::NoPrivateKey => "no_private_key",
            Self::NotAPeer { .. } => "not_a_peer",
            Self::NoEndpoint { .. } => "no_endpoint",
            Self::NameUnresolved { .. } => "name_unresolved",
            Self::NoRoute { .. } => "no_route",
            Self::SendRefused { .. } => "send_refused",
            Self::SendsLost { .. } => "sends_lost",
            Self::Undeliverable { .. } => "undeliverable",
            Self::Silent { .. } => "silent",
            Self::PskDiffers { .. } => "psk_differs",
            Self::AnswersUnused { .. } => "answers_unused",
            Self::SuiteDiffers { .. } => "suite_differs",
            Self::ClockBehind { .. } => "clock_behind",
            Self::TwoGateways { .. } => "two_gateways",
            Self::OtherKeyAtEndpoint { .. } => "other_key_at_endpoint",
            Self::WrongKeyThere { .. } => "wrong_key_there",
            Self::SourceNotAllowed { .. } => "source_not_allowed",
            Self::NoAllowedIps => "no_allowed_ips",
            Self::Unrouted { .. } => "unrouted",
            Self::NothingBack { .. } => "nothing_back",
            Self::PathTooSmall { .. } => "path_too_small",
            Self::LargeMissing { .. } => "large_missing",
            Self::LargeUnanswered { .. } => "large_unanswered",
            Self::Asking { .. } => "asking",
            Self::NeverHeard => "never_heard",
            Self::Idle { .. } => "idle",
            Self::Up { .. } => "up",
        }
    }

    /// How much it matters.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::LinkDown
            | Self::Passive
            | Self::NotListening
            | Self::NoPrivateKey
            | Self::NotAPeer { .. }
            | Self::NoEndpoint { .. }
            | Self::NameUnresolved { remote: None, .. }
            | Self::NoRoute { .. }
            | Self::SendRefused { .. }
            | Self::Undeliverable { .. }
            | Self::Silent { .. }
            | Self::PskDiffers { .. }
            | Self::AnswersUnused { .. }
            | Self::SuiteDiffers { .. }
            | Self::ClockBehind { .. }
            | Self::OtherKeyAtEndpoint { has_session: false, .. } => Severity::Broken,
            Self::OtherKeyAtEndpoint { has_session: true, .. }
            | Self::TwoGateways { .. }
            | Self::SourceNotAllowed { .. }
            | Self::NoAllowedIps
            | Self::NothingBack { .. }
            | Self::SendsLost { .. }
            | Self::PathTooSmall { .. }
            | Self::LargeMissing { .. }
            | Self::WrongKeyThere { is_endpoint: true, .. } => Severity::Impaired,
            Self::WrongKeyThere { is_endpoint: false, .. }
            | Self::NameUnresolved { remote: Some(_), .. }
            | Self::Unrouted { .. }
            | Self::LargeUnanswered { .. }
            | Self::Asking { .. }
            | Self::NeverHeard
            | Self::Idle { .. }
            | Self::Up { .. } => Severity::Note,
        }
    }

    /// How well it is founded.
    pub const fn certainty(&self) -> Certainty {
        match self {
            Self::PskDiffers { .. }
            | Self::TwoGateways { .. }
            | Self::ClockBehind { .. }
            | Self::OtherKeyAtEndpoint { .. }
            | Self::Undeliverable { .. }
            | Self::SendRefused { .. }
            | Self::LargeMissing { .. } => Certainty::Likely,
            Self::Silent { .. }
            | Self::AnswersUnused { .. }
            | Self::WrongKeyThere { .. }
            | Self::Unrouted { .. }
            | Self::NothingBack { .. }
            | Self::LargeUnanswered { .. } => Certainty::Possible,
            Self::LinkDown
            | Self::Passive
            | Self::NotListening
            | Self::NoPrivateKey
            | Self::NotAPeer { .. }
            | Self::NoEndpoint { .. }
            | Self::NameUnresolved { .. }
            | Self::NoRoute { .. }
            | Self::SendsLost { .. }
            | Self::SuiteDiffers { .. }
            | Self::SourceNotAllowed { .. }
            | Self::NoAllowedIps
            | Self::PathTooSmall { .. }
            | Self::Asking { .. }
            | Self::NeverHeard
            | Self::Idle { .. }
            | Self::Up { .. } => Certainty::Known,
        }
    }
}
