//! The states that a peer can be in.

use std::fmt;

/// How a peer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerState {
    /// There is no session, and nobody asks for one: nothing was to be sent for a while, or ever.
    #[default]
    Idle,
    /// Something waits, and we cannot ask for a session: its endpoint or our private key is missing.
    Waiting,
    /// We ask for a session.
    Asking,
    /// There is a session.
    Up,
    /// We ask for a session again and again, and hear nothing.
    Unreachable,
    /// Messages pass, but no handshake succeeds.
    Refused,
}

impl PeerState {
    /// All states.
    pub const ALL: [Self; 6] = [Self::Idle, Self::Waiting, Self::Asking, Self::Up, Self::Unreachable, Self::Refused];

    /// A stable name, lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting => "waiting",
            Self::Asking => "asking",
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }

    /// The operator hears of it. A peer that has nothing to say is not news, nor is one that is being asked.
    pub const fn is_news(self) -> bool {
        matches!(self, Self::Up | Self::Unreachable | Self::Refused)
    }
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
