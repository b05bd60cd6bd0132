//! A device on its way to another process: everything that its peers must not notice the change by.
//!
//! ```text
//!   Device ─┐                                                      ┌─► Device
//!   Progress┼─► Handover ── write ─► header │ body ── read ─► Handover │
//!   packets ┘             version, length, checksum                └─► actions: peers, routes, sessions that go on
//! ```
//!
//! In it are the private key, the peers with their settings, the keys of all sessions with exact counters and windows,
//! handshakes that are under way, timers, what failed, and packets that wait. Not in it are what was counted of drops,
//! what is known of strangers, and secrets of cookies: a peer that is asked for a cookie just then is asked once more.
//!
//! The bytes are secret. Whoever has them can read and forge what the peers say. They belong in memory that is locked
//! and that nobody else sees, and keys are copied from there straight into their places.

pub(crate) mod parts;
mod progress;

#[cfg(test)]
mod tests;

pub use progress::{Progress, ReceiverReport, Resumed, SendHalf};

use crate::crypto::{KEY_LEN, PublicKey, hash};
use crate::device::State;
pub use crate::keypair::Received;
use crate::part::{Count, Fill, Malformed, Part, Reader, Sink, parts};

/// What a state begins with.
const MAGIC: [u8; 8] = *b"ringfort";
/// Which order of which fields this program writes, and the only one that it reads. Any change of a part is another
/// version: what is not understood to the last byte must not be used.
pub const VERSION: u32 = 3;
/// Magic, version, bytes of the body, and their checksum.
pub const HEADER_LEN: usize = 8 + 4 + 8 + KEY_LEN;

/// A device on its way to another process.
pub struct Handover {
    pub(crate) state: State,
    /// Packets that wait for sessions: worker by worker, of each the oldest first.
    pub(crate) packets: Vec<WaitingPacket>,
}

parts!(Handover { state, packets });

/// A packet that waits for a session.
pub struct WaitingPacket {
    /// Where it waits. What comes later of its flow comes there too, and must not overtake it.
    pub(crate) worker: u8,
    pub(crate) peer: PublicKey,
    pub(crate) packet: Vec<u8>,
}

/// Why bytes are no state that this program can go on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// They do not begin as a state does.
    #[error("this is no state of a gateway")]
    NoState,
    /// Another version of the program has written it.
    #[error(
        "the state has version {found}, and this program reads version {VERSION} only: restart without handing over"
    )]
    OtherVersion {
        /// The version.
        found: u32,
    },
    /// Some of it is missing, or there is more.
    #[error("the state has {found} bytes, and says to have {said}")]
    WrongLength {
        /// How many there are.
        found: u64,
        /// How many there should be.
        said: u64,
    },
    /// It was changed on its way.
    #[error("the checksum of the state does not match its {0} bytes")]
    WrongChecksum(u64),
    /// It was written by somebody who does not know how.
    #[error("the state is damaged: {what} is missing or wrong before byte {at}")]
    Malformed {
        /// What was looked for.
        what: &'static str,
        /// Where in the body.
        at: usize,
    },
}

impl Handover {
    /// How many bytes it takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut count = Count(0);
        self.put(&mut count);
        HEADER_LEN + count.0
    }

    /// Writes all of it to a place of exactly that many bytes.
    ///
    /// # Panics
    /// If the place has another length.
    pub fn write(&self, place: &mut [u8]) {
        assert_eq!(place.len(), self.encoded_len(), "the place is as long as the state");
        let (header, body) = place.split_at_mut(HEADER_LEN);
        self.put(&mut Fill(body));
        let mut header = Fill(header);
        MAGIC.put(&mut header);
        VERSION.put(&mut header);
        (body.len() as u64).put(&mut header);
        hash(&[body]).put(&mut header);
    }

    /// Reads what [`Handover::write`] has written.
    ///
    /// # Errors
    /// [`ReadError`]. Any bytes at all may be given.
    pub fn read(bytes: &[u8]) -> Result<Self, ReadError> {
        let (header, body) = bytes.split_at_checked(HEADER_LEN).ok_or(ReadError::NoState)?;
        let mut header = Reader::new(header);
        if <[u8; 8]>::take(&mut header)? != MAGIC {
            return Err(ReadError::NoState);
        }
        // Before anything that another version may have elsewhere.
        let found = u32::take(&mut header)?;
        if found != VERSION {
            return Err(ReadError::OtherVersion { found });
        }
        let (found, said) = (body.len() as u64, u64::take(&mut header)?);
        if found != said {
            return Err(ReadError::WrongLength { found, said });
        }
        if hash(&[body]) != <[u8; KEY_LEN]>::take(&mut header)? {
            return Err(ReadError::WrongChecksum(found));
        }
        Self::read_body(body)
    }

    /// The body alone, whatever its checksum is.
    pub(crate) fn read_body(body: &[u8]) -> Result<Self, ReadError> {
        let mut source = Reader::new(body);
        let handover = Self::take(&mut source)?;
        if source.is_empty() { Ok(handover) } else { Err(source.bad("the end").into()) }
    }

    /// How many peers there are, how many sessions, and how many packets wait.
    #[must_use]
    pub fn counts(&self) -> (usize, usize, usize) {
        let (peers, sessions) = self.state.counts();
        (peers, sessions, self.packets.len())
    }
}

impl Part for WaitingPacket {
    fn put(&self, to: &mut dyn Sink) {
        (self.worker, self.peer).put(to);
        (self.packet.len() as u32).put(to);
        to.put(&self.packet);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (worker, peer) = Part::take(from)?;
        let len = u32::take(from)?;
        let packet = from.bytes(len as usize, "a packet that waits")?.to_vec();
        Ok(Self { worker, peer, packet })
    }
}

impl From<Malformed> for ReadError {
    fn from(Malformed { what, at }: Malformed) -> Self {
        Self::Malformed { what, at }
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (peers, sessions, packets) = self.counts();
        write!(f, "Handover({peers} peers, {sessions} sessions, {packets} packets)")
    }
}
