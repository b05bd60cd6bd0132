//! A peer without a gateway of its own: it sends what a step tells it, and keeps what comes back.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ringfort_testbed::Namespace;

use super::noise::{self, Asked, COOKIE_REPLY_LEN, INITIATION_LEN, Identity, RESPONSE_LEN, Session};

/// 2026 as TAI64, so clocks of today have not passed it; each initiation of a player is a second later.
const EPOCH: u64 = 0x4000_0000_6956_0000;

/// From which of its two sockets a player sends, and at which it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where it began.
    Home,
    /// Another port, to roam to.
    Away,
}

pub struct Player {
    pub me: Identity,
    pub psk: [u8; 32],
    pub inner: Ipv4Addr,
    pub inner6: Ipv6Addr,
    pub sessions: Vec<Session>,
    pub gateway_public: [u8; 32],
    gateway: SocketAddr,
    sockets: [UdpSocket; 2],
    next_index: u32,
    timestamps: u64,
}

impl Player {
    /// Number `host` of the inner network.
    pub fn new(namespace: &Namespace, gateway: SocketAddr, gateway_public: [u8; 32], host: u8) -> Self {
        let socket = || {
            let socket = namespace.enter(|| UdpSocket::bind("10.200.0.2:0")).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Self {
            me: Identity::random(),
            psk: [0; 32],
            inner: Ipv4Addr::new(10, 77, 0, host),
            inner6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, u16::from(host)),
            sessions: Vec::new(),
            gateway_public,
            gateway,
            sockets: [socket(), socket()],
            next_index: u32::from(host) << 16,
            timestamps: 0,
        }
    }

    pub fn public_hex(&self) -> String {
        ringfort_testbed::Key(self.me.public).hex()
    }

    pub fn address(&self, place: Place) -> SocketAddr {
        self.socket(place).local_addr().unwrap()
    }

    pub fn socket(&self, place: Place) -> &UdpSocket {
        &self.sockets[place as usize]
    }

    pub fn send(&self, datagram: &[u8]) {
        self.send_from(Place::Home, datagram);
    }

    pub fn send_from(&self, place: Place, datagram: &[u8]) {
        self.socket(place).send_to(datagram, self.gateway).unwrap();
    }

    /// A later timestamp than all before.
    pub fn timestamp(&mut self) -> [u8; 12] {
        self.timestamps += 1;
        let mut bytes = [0; 12];
        bytes[..8].copy_from_slice(&(EPOCH + self.timestamps).to_be_bytes());
        bytes
    }

    /// An initiation as it has to be.
    pub fn initiation(&mut self) -> (Asked, Vec<u8>) {
        let timestamp = self.timestamp();
        self.initiation_at(timestamp, Identity::random())
    }

    /// An initiation with this timestamp and this ephemeral key, and with mac1.
    pub fn initiation_at(&mut self, timestamp: [u8; 12], ephemeral: Identity) -> (Asked, Vec<u8>) {
        let index = self.index();
        let (asked, mut message) = noise::initiation(&self.me, ephemeral, &self.gateway_public, timestamp, index);
        noise::add_mac1(&mut message, &self.gateway_public);
        (asked, message)
    }

    /// The response to an initiation of the gateway; the session is the latest from then on.
    pub fn response(&mut self, initiation: &[u8]) -> Option<Vec<u8>> {
        let index = self.index();
        let (session, mut message) = noise::response(&self.me, &self.psk, initiation, index)?;
        noise::add_mac1(&mut message, &self.gateway_public);
        self.sessions.push(session);
        Some(message)
    }

    /// Puts mac1 into a message again.
    pub fn seal_mac1(&self, message: &mut [u8]) {
        noise::add_mac1(message, &self.gateway_public);
    }

    /// The session of the first response among `heard` that opens; it is the latest from then on.
    pub fn take_response(&mut self, asked: Asked, heard: &[Heard]) -> bool {
        let is_response = |heard: &&Heard| heard.datagram[0] == 2 && heard.datagram.len() == RESPONSE_LEN;
        let Some(response) = heard.iter().find(is_response) else { return false };
        let session = asked.answered(&self.me, &self.psk, &response.datagram);
        let opened = session.is_some();
        self.sessions.extend(session);
        opened
    }

    /// A data message of the latest session.
    pub fn data(&mut self, packet: &[u8]) -> Vec<u8> {
        self.latest().seal(packet)
    }

    pub fn latest(&mut self) -> &mut Session {
        self.sessions.last_mut().expect("a step opens a session before it uses one")
    }

    /// What has come since the last look.
    pub fn heard(&self) -> Vec<Heard> {
        let mut heard = Vec::new();
        let mut buffer = [0; 4_096];
        for place in [Place::Home, Place::Away] {
            loop {
                match self.socket(place).recv(&mut buffer) {
                    Ok(len) => heard.push(Heard { place, datagram: buffer[..len].to_vec() }),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    // An ICMP error, which is then no more.
                    Err(_) => {}
                }
            }
        }
        heard
    }

    /// In words, without anything that is random.
    pub fn describe(&self, heard: &Heard) -> String {
        let datagram = &heard.datagram;
        let mut text = match (datagram.first(), datagram.len()) {
            (Some(1), INITIATION_LEN) => "initiation".to_owned(),
            (Some(2), RESPONSE_LEN) => "response".to_owned(),
            (Some(3), COOKIE_REPLY_LEN) => "cookie reply".to_owned(),
            (Some(4), len) => match self.sessions.iter().find_map(|session| session.open(datagram)) {
                Some(packet) if packet.is_empty() => "keepalive".to_owned(),
                Some(packet) => format!("packet of {} padded to {}", total_len(&packet), packet.len()),
                None => format!("{len} bytes of data that do not open"),
            },
            (kind, len) => format!("{len} bytes of type {kind:?}"),
        };
        if heard.place == Place::Away {
            let _ = write!(text, " (away)");
        }
        text
    }

    fn index(&mut self) -> u32 {
        self.next_index += 1;
        self.next_index
    }
}

/// A datagram of the gateway.
#[derive(Clone)]
pub struct Heard {
    pub place: Place,
    pub datagram: Vec<u8>,
}

impl Heard {
    /// Whether mac2 is there.
    pub fn has_mac2(&self) -> bool {
        self.datagram[self.datagram.len() - 16..] != [0; 16]
    }
}

/// How long an inner packet says that it is.
fn total_len(packet: &[u8]) -> usize {
    match packet[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([packet[2], packet[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])),
    }
}
