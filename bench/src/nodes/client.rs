//! One client: the handshakes of a WireGuard peer, from either side, and echo requests through the session.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ringfort_aead::{OpenKey, Plan, Provider, SealKey};
use ringfort_core::cookie::CookieGenerator;
use ringfort_core::crypto::{PublicKey, X25519};
use ringfort_core::noise::{
    LocalIdentity, NewSession, PendingInitiation, RemoteIdentity, consume_initiation, create_initiation,
};
use ringfort_core::suite::Suite;
use ringfort_core::tai64n::Tai64N;
use ringfort_core::wire::{
    DATA_HEADER_LEN, HandshakeInitiation, Message, TAG_LEN, classify, parse_data_header, write_data_header,
};
use ringfort_testbed::ping::internet_checksum;
use ringfort_testbed::{Context, Result};
use zerocopy::IntoBytes;

use crate::players::{self, time};

/// Of the tunnel's network, 10.96.0.0/16: the gateways all have the first address.
pub const INNER_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// What a client keeps, as the paper has it: the sessions before, now and next.
const SESSIONS: usize = 3;
/// An IPv4 header, and that of an ICMP echo.
const ECHO_LEN: usize = 28;
const PADDED_LEN: usize = 32;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;

struct Session {
    local_index: u32,
    remote_index: u32,
    seal: SealKey,
    open: OpenKey,
    counter: u64,
}

/// See the module.
pub struct Client {
    number: u16,
    local: LocalIdentity,
    remote: RemoteIdentity,
    cookies: CookieGenerator,
    socket: UdpSocket,
    /// How many indices it has given away.
    serial: u16,
    asked: Option<PendingInitiation>,
    /// The newest last.
    sessions: VecDeque<Session>,
    /// The one to send with, by its local index.
    sending: Option<u32>,
    sequence: u16,
}

/// What a datagram was to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// A session that it had asked for.
    Session,
    /// The answer to the echo request of this number.
    Echo(u16),
    /// Nothing to account for.
    Other,
}

impl Client {
    /// A client that sends from `socket`, which is connected to the gateways.
    pub fn new(number: u16, x25519: &'static dyn X25519, gateway: PublicKey, socket: UdpSocket) -> Self {
        Self {
            number,
            local: players::identity(x25519),
            remote: RemoteIdentity::new(gateway),
            cookies: CookieGenerator::new(&gateway),
            socket,
            serial: 0,
            asked: None,
            sessions: VecDeque::new(),
            sending: None,
            sequence: 0,
        }
    }

    /// Its key.
    pub const fn public(&self) -> &PublicKey {
        self.local.public()
    }

    /// Its address in the tunnel.
    pub fn inner(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(INNER_GATEWAY.to_bits() + 1 + u32::from(self.number))
    }

    /// Where it is.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> Result<SocketAddr> {
        self.socket.local_addr().context("asking where a client is")
    }

    /// The socket.
    pub const fn socket(&self) -> &UdpSocket {
        &self.socket
    }

    /// The gateway's index of the session that it sends under, if there is one.
    pub fn remote_index(&self) -> Option<u32> {
        self.sessions.iter().find(|session| Some(session.local_index) == self.sending).map(|one| one.remote_index)
    }

    /// Asks for a session.
    ///
    /// # Errors
    /// The gateway's public key is of low order.
    pub fn ask(&mut self, now: Duration) -> Result<()> {
        let (since, index) = (unix_time(), self.next_index());
        let made = create_initiation(&self.local, &self.remote, since, index, &mut UnwrapErr(SysRng));
        let (pending, mut message) = made.context("making an initiation")?;
        self.cookies.add_macs(time(now), message.as_mut_bytes());
        self.asked = Some(pending);
        self.send(message.as_bytes());
        Ok(())
    }

    /// Sends the next echo request, and returns its number. Without a session it goes nowhere.
    pub fn ping(&mut self) -> u16 {
        self.sequence = self.sequence.wrapping_add(1);
        let packet = echo_request(self.inner(), self.sequence);
        if let Some(datagram) = self.sealed(&packet) {
            self.send(&datagram);
        }
        self.sequence
    }

    /// Takes a datagram.
    pub fn receive(&mut self, now: Duration, datagram: &mut [u8]) -> News {
        if parse_data_header(datagram).is_ok() {
            return self.open(datagram);
        }
        match classify(datagram) {
            Ok(Message::Response(response)) => {
                let session =
                    self.asked.as_ref().map(|asked| asked.consume_response(&self.local, &self.remote, response));
                let Some(Ok(session)) = session else { return News::Other };
                self.asked = None;
                self.sending = Some(session.local_index);
                self.begin(&session);
                // It confirms the session.
                if let Some(keepalive) = self.sealed(&[]) {
                    self.send(&keepalive);
                }
                News::Session
            }
            Ok(Message::Initiation(suite, message)) => {
                self.answer(now, suite, message);
                News::Other
            }
            Ok(Message::CookieReply(reply)) => {
                // Whoever cannot use it asks again without.
                let _ = self.cookies.consume_reply(time(now), reply);
                News::Other
            }
            _ => News::Other,
        }
    }

    /// A gateway asks for a session.
    fn answer(&mut self, now: Duration, suite: Suite, message: &HandshakeInitiation) {
        let index = self.next_index();
        let claimed = consume_initiation(&self.local, suite, message);
        let verified = claimed.and_then(|claimed| claimed.verify(&self.local, &self.remote));
        let made = verified.and_then(|one| one.create_response(&self.remote, index, &mut UnwrapErr(SysRng)));
        let Ok((session, mut response)) = made else { return };
        self.begin(&session);
        self.cookies.add_macs(time(now), response.as_mut_bytes());
        self.send(response.as_bytes());
    }

    fn begin(&mut self, session: &NewSession) {
        let (plan, suite) = (Plan::fixed(Provider::AwsLc), ringfort_aead::Suite::ChaCha20Poly1305);
        self.sessions.push_back(Session {
            local_index: session.local_index,
            remote_index: session.remote_index,
            seal: SealKey::new(plan, suite, session.keys.send.as_bytes()),
            open: OpenKey::new(plan, suite, session.keys.receive.as_bytes()),
            counter: 0,
        });
        if self.sessions.len() > SESSIONS {
            self.sessions.pop_front();
        }
    }

    /// The first message under a session that the gateway asked for confirms it.
    fn open(&mut self, datagram: &mut [u8]) -> News {
        let Ok(header) = parse_data_header(datagram) else { return News::Other };
        let Some(session) = self.sessions.iter().find(|one| one.local_index == header.receiver) else {
            return News::Other;
        };
        let sealed = &mut datagram[DATA_HEADER_LEN..];
        if session.open.open(header.counter, sealed).is_err() {
            return News::Other;
        }
        let newest = self.sessions.back().map(|newest| newest.local_index);
        if newest == Some(header.receiver) {
            self.sending = newest;
        }
        let packet = &sealed[..sealed.len() - TAG_LEN];
        echo_reply(packet).map_or(News::Other, News::Echo)
    }

    fn sealed(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let sending = self.sending?;
        let session = self.sessions.iter_mut().find(|one| one.local_index == sending)?;
        let padded = if packet.is_empty() { 0 } else { PADDED_LEN };
        let mut datagram = vec![0; DATA_HEADER_LEN + padded + TAG_LEN];
        let (header, body) = datagram.split_first_chunk_mut::<DATA_HEADER_LEN>()?;
        write_data_header(header, session.remote_index, session.counter);
        session.seal.seal_from(session.counter, packet, body).ok()?;
        session.counter += 1;
        Some(datagram)
    }

    /// What the kernel does not take is lost, and counts as such.
    fn send(&self, datagram: &[u8]) {
        let _ = self.socket.send(datagram);
    }

    fn next_index(&mut self) -> u32 {
        self.serial = self.serial.wrapping_add(1);
        players::index(self.number, self.serial)
    }
}

fn echo_request(source: Ipv4Addr, sequence: u16) -> [u8; ECHO_LEN] {
    let mut packet = [0; ECHO_LEN];
    packet[..10].copy_from_slice(&[0x45, 0, 0, ECHO_LEN as u8, 0, 0, 0x40, 0, 64, 1]);
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&INNER_GATEWAY.octets());
    packet[20] = ECHO_REQUEST;
    packet[26..28].copy_from_slice(&sequence.to_be_bytes());
    let (header, echo) = packet.split_at_mut(20);
    for (part, at) in [(header, 10), (echo, 2)] {
        let sum = internet_checksum(part);
        part[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

fn echo_reply(packet: &[u8]) -> Option<u16> {
    let is_ours = packet.len() >= ECHO_LEN && packet[0] == 0x45 && packet[9] == 1 && packet[20] == ECHO_REPLY;
    is_ours.then(|| u16::from_be_bytes([packet[26], packet[27]]))
}

fn unix_time() -> Tai64N {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Tai64N::from_unix(since.as_secs(), since.subsec_nanos())
}
