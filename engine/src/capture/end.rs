//! Why a capture ended.

use std::fmt;
use std::time::Duration;

/// See the module. Displayed, it is what the capture did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Asked,
    ClientGone,
    Time,
    Count,
    Bytes,
    Gateway,
}

impl End {
    /// How long a client that reads nothing is waited for, if not to the end. Others wait for a gateway that ends.
    pub(super) const fn stall(self) -> Option<Duration> {
        match self {
            Self::Gateway => Some(Duration::from_millis(500)),
            _ => None,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "was ended by its client",
            Self::ClientGone => "ended, as its client is gone",
            Self::Time => "ended, as its time is over",
            Self::Count => "ended with the last packet that was asked for",
            Self::Bytes => "ended, as its file is as large as was asked for",
            Self::Gateway => "ended with the gateway",
        })
    }
}
