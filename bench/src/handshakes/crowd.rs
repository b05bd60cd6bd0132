//! The clients: each with a key of its own, played by the protocol core of the gateway, which knows no sockets.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_core::cookie::CookieGenerator;
use ringfort_core::crypto::{PublicKey, aead_seal};
use ringfort_core::noise::{LocalIdentity, NewSession, PendingInitiation, RemoteIdentity, create_initiation};
use ringfort_core::tai64n::Tai64N;
use ringfort_core::wire::{DATA_HEADER_LEN, DATA_LEN_MIN, HandshakeInitiation, write_data_header};
use ringfort_testbed::{Context, Result};

use super::sockets::{ClientAddress, client_address};
use crate::players;

/// Inner addresses of the clients begin here.
const INNER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 0);
/// Seconds between the timestamps of two handshakes of one client: as many attempts may be made of each.
const SECONDS_APART: u64 = 1_000;

/// An initiation that is ready to be sent, except for its macs.
pub struct Initiation {
    /// What opens its response.
    pub pending: PendingInitiation,
    /// The message.
    pub message: HandshakeInitiation,
}

/// A handshake that is under way.
pub struct Flight {
    /// When it was due.
    pub due: Instant,
    /// When it was first sent.
    pub began: Instant,
    /// When it is repeated.
    pub repeat: Instant,
    /// What opens the response to what was sent last.
    pub pending: PendingInitiation,
    /// Initiations sent.
    pub attempts: u64,
}

/// One client.
pub struct Client {
    local: LocalIdentity,
    remote: RemoteIdentity,
    /// Signs messages, and keeps the gateway's cookie.
    pub cookies: CookieGenerator,
    /// Where it sends from.
    pub source: ClientAddress,
    /// What is under way.
    pub flight: Option<Flight>,
    /// Not to begin again before.
    pub rested: Instant,
    prepared: VecDeque<Initiation>,
    /// Handshakes that were begun or prepared.
    handshakes: u64,
    /// Attempts so far, of all handshakes: part of each index.
    serial: u16,
    number: u16,
    /// The Unix time at which the load began.
    epoch: u64,
}

impl Client {
    /// Makes the initiations of `handshakes` handshakes beforehand, so making them is no part of what is measured.
    ///
    /// # Errors
    /// The gateway's public key is of low order.
    pub fn prepare(&mut self, handshakes: u64) -> Result<()> {
        for _ in 0..handshakes {
            let initiation = self.make(0)?;
            self.prepared.push_back(initiation);
        }
        Ok(())
    }

    /// The initiation of the next handshake.
    ///
    /// # Errors
    /// As [`Client::prepare`].
    pub fn next(&mut self) -> Result<Initiation> {
        match self.prepared.pop_front() {
            Some(initiation) => Ok(initiation),
            None => self.make(0),
        }
    }

    /// One more initiation of the handshake that is under way, of which there were `attempts`.
    ///
    /// # Errors
    /// As [`Client::prepare`].
    pub fn again(&mut self, attempts: u64) -> Result<Initiation> {
        self.make(attempts)
    }

    /// Opens a response, and makes the empty message that confirms the session.
    pub fn confirm(&self, session: &NewSession) -> [u8; DATA_LEN_MIN] {
        let mut message = [0; DATA_LEN_MIN];
        let (header, sealed) = message.split_first_chunk_mut::<DATA_HEADER_LEN>().expect("longer than its header");
        write_data_header(header, session.remote_index, 0);
        // The nonce of the first message is 0, as that of all handshake messages.
        aead_seal(session.suite, &session.keys.send, &[], &[], sealed);
        message
    }

    /// Our key, for what opens a response.
    pub const fn local(&self) -> &LocalIdentity {
        &self.local
    }

    /// The gateway's key, likewise.
    pub const fn remote(&self) -> &RemoteIdentity {
        &self.remote
    }

    /// `attempt`: of the handshake that was begun last; 0 begins one.
    fn make(&mut self, attempt: u64) -> Result<Initiation> {
        let handshake = if attempt == 0 { self.handshakes } else { self.handshakes - 1 - self.prepared.len() as u64 };
        self.handshakes += u64::from(attempt == 0);
        // Later than that of every handshake before, whether it was made beforehand or not.
        let timestamp = Tai64N::from_unix(self.epoch + handshake * SECONDS_APART + attempt, 0);
        self.serial = self.serial.wrapping_add(1);
        let index = players::index(self.number, self.serial);
        let (pending, message) = create_initiation(&self.local, &self.remote, timestamp, index, &mut UnwrapErr(SysRng))
            .context("making an initiation")?;
        Ok(Initiation { pending, message })
    }
}

/// Makes the clients of a gateway.
///
/// # Errors
/// Nothing computes handshakes here.
pub fn clients(gateway: [u8; 32], count: u32, addresses: u32) -> Result<Vec<Client>> {
    let x25519 = players::x25519()?;
    let gateway = PublicKey::new(gateway);
    let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let rested = Instant::now();
    let client = |number: u32| {
        let local = players::identity(x25519);
        let remote = RemoteIdentity::new(gateway);
        Client {
            local,
            remote,
            cookies: CookieGenerator::new(&gateway),
            source: client_address(number, addresses),
            flight: None,
            rested,
            prepared: VecDeque::new(),
            handshakes: 0,
            serial: 0,
            number: u16::try_from(number).expect("an index has room for 65,536 clients"),
            epoch,
        }
    };
    Ok((0..count).map(client).collect())
}

/// Makes them peers of the gateway on `interface`, each with an inner address.
///
/// # Errors
/// The gateway refuses.
pub fn introduce(clients: &[Client], interface: &str) -> Result<()> {
    let peers = (0..).zip(clients).map(|(place, client)| {
        let inner = Ipv4Addr::from_bits(INNER.to_bits() + place);
        Ok((client.local.public(), format!("allowed_ip={inner}/32\n")))
    });
    players::introduce(interface, peers)
}

#[cfg(test)]
mod tests {
    use ringfort_core::crypto::PrivateKey;
    use ringfort_core::noise::consume_initiation;
    use ringfort_core::suite::Suite;

    use super::*;

    /// A gateway takes each initiation only if it is later than all before it.
    #[test]
    fn attempts_are_later_than_what_came_before_and_earlier_than_what_was_prepared() {
        let gateway = LocalIdentity::new(PrivateKey::new([7; 32]));
        let mut crowd = clients(*gateway.public().as_bytes(), 2, 1).unwrap();
        let client = &mut crowd[1];
        client.prepare(2).unwrap();
        let first = client.next().unwrap();
        let again = [client.again(1).unwrap(), client.again(2).unwrap()];
        let [second, third] = [client.next().unwrap(), client.next().unwrap()];
        let remote = RemoteIdentity::new(*client.local.public());
        let [one, two] = again;
        let timestamps = [first, one, two, second, third].map(|initiation| {
            assert_eq!(players::client_of(initiation.pending.local_index()), 1);
            let claimed = consume_initiation(&gateway, Suite::default(), &initiation.message).unwrap();
            claimed.verify(&gateway, &remote).unwrap().timestamp()
        });
        assert!(timestamps.is_sorted_by(|a, b| a < b), "{timestamps:?}");
    }
}
