//! mac1, mac2 and cookies: what a loaded responder asks for before it does any Diffie-Hellman (WireGuard paper,
//! sections 5.3, 5.4.4 and 5.4.7).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::constants::{COOKIE_SECRET_MAX_AGE, COOKIE_SECRET_RETIREMENT};
use crate::crypto::{KEY_LEN, Key, MacKey, PublicKey, hash, mac, xaead_open, xaead_seal};
use crate::drops;
use crate::part::{Malformed, Part, Reader, Sink, parts};
use crate::time::Time;
use crate::wire::{CookieReply, MAC_LEN, MACS_LEN, TAG_LEN, TYPE_COOKIE_REPLY};

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// A cookie: the responder's MAC over an address and port. Who has it can receive there.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
struct Cookie([u8; MAC_LEN]);

/// The responder's side: one per device, made anew when the device's key changes. A copy knows the same cookies, for as
/// long as the original makes no other secret.
pub struct CookieChecker {
    mac1_key: MacKey,
    cookie_key: [u8; KEY_LEN],
    secret: Key,
    /// When the secret was drawn; nothing before the first cookie was asked for.
    secret_born: Option<Time>,
    /// The secret before, and until when it counts.
    former: Option<(Key, Time)>,
}

/// The nonce of a cookie reply: no two replies of one device may have the same, since all are sealed with one key.
pub type CookieNonce = [u8; COOKIE_NONCE_LEN];
/// Its length in bytes.
pub const COOKIE_NONCE_LEN: usize = 24;

impl CookieChecker {
    /// Checks messages that are meant for the owner of `local`.
    pub fn new(local: &PublicKey) -> Self {
        let (mac1_key, cookie_key) = mac_keys(local);
        Self { mac1_key: MacKey::new(&mac1_key), cookie_key, secret: Key::zeroed(), secret_born: None, former: None }
    }

    /// Whether the sender of a handshake message knows our public key. Constant in time, and the first thing to ask.
    pub fn verify_mac1(&self, message: &[u8]) -> bool {
        let Some((covered, macs)) = split_macs(message) else { return false };
        // A message of the protocol has more than its macs.
        !covered.is_empty() && self.mac1_key.mac(covered).ct_eq(&macs[..MAC_LEN]).into()
    }

    /// Whether the sender of a handshake message got our cookie at this very address and port. Constant in time.
    pub fn verify_mac2(&self, now: Time, remote: SocketAddr, message: &[u8]) -> bool {
        let Some((_, macs)) = split_macs(message) else { return false };
        // Who has no cookie leaves zeros, which everybody on the way can see. A cookie that makes them is one in 2^128.
        if !self.secret_valid(now) || macs[MAC_LEN..] == [0; MAC_LEN] {
            return false;
        }
        let covered = &message[..message.len() - MAC_LEN];
        let is_of =
            |secret: &Key| -> bool { mac(&cookie(secret, remote).0, &[covered]).ct_eq(&macs[MAC_LEN..]).into() };
        let former = self.former.as_ref().filter(|(_, until)| now < *until);
        is_of(&self.secret) || former.is_some_and(|(secret, _)| is_of(secret))
    }

    /// Answers a handshake message with a cookie for its sender, who said to be known as `sender_index`.
    ///
    /// # Errors
    /// [`drops::DropReason::BadLength`] if the message is too short to carry macs.
    pub fn create_reply(
        &mut self,
        now: Time,
        remote: SocketAddr,
        message: &[u8],
        sender_index: u32,
        rng: &mut dyn CryptoRng,
    ) -> Result<CookieReply, drops::DropReason> {
        if message.len() < MACS_LEN {
            return Err(drops::DropReason::BadLength);
        }
        self.renew_secret(now, rng);
        let mut nonce = [0; COOKIE_NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        self.seal_reply(remote, message, sender_index, nonce)
    }

    /// The same with the present secret, valid or not, and a nonce that was never used before.
    ///
    /// # Errors
    /// As [`CookieChecker::create_reply`].
    pub fn seal_reply(
        &self,
        remote: SocketAddr,
        message: &[u8],
        sender_index: u32,
        nonce: CookieNonce,
    ) -> Result<CookieReply, drops::DropReason> {
        let (_, macs) = split_macs(message).ok_or(drops::DropReason::BadLength)?;
        let mut encrypted_cookie = [0; MAC_LEN + TAG_LEN];
        let cookie = cookie(&self.secret, remote);
        xaead_seal(&self.cookie_key, &nonce, &cookie.0, &macs[..MAC_LEN], &mut encrypted_cookie);
        Ok(CookieReply {
            message_type: u32::from(TYPE_COOKIE_REPLY).into(),
            receiver_index: sender_index.into(),
            nonce,
            encrypted_cookie,
        })
    }

    /// Draws another secret if the present one has come of age. True: it has.
    pub fn renew_secret(&mut self, now: Time, rng: &mut dyn CryptoRng) -> bool {
        let is_old = !self.secret_valid(now);
        if is_old {
            self.draw_secret(now, rng);
        }
        is_old
    }

    /// Draws another secret unless the present one is used for longer than `least`. Returns until when it is.
    pub fn secret_for(&mut self, now: Time, least: Duration, rng: &mut dyn CryptoRng) -> Time {
        match self.secret_ends() {
            Some(end) if now + least < end => end,
            _ => self.draw_secret(now, rng),
        }
    }

    fn draw_secret(&mut self, now: Time, rng: &mut dyn CryptoRng) -> Time {
        // Who was given a cookie just now must not have to ask again.
        let is_recent = self.secret_ends().is_some_and(|end| now < end + COOKIE_SECRET_RETIREMENT);
        self.former = is_recent.then(|| (Key::copy_of(self.secret.as_bytes()), now + COOKIE_SECRET_RETIREMENT));
        rng.fill_bytes(self.secret.as_mut_bytes());
        self.secret_born = Some(now);
        now + COOKIE_SECRET_MAX_AGE
    }

    /// Whether there is a secret, and it is still used.
    pub fn secret_valid(&self, now: Time) -> bool {
        self.secret_ends().is_some_and(|end| now < end)
    }

    /// Until when the present secret is used.
    pub fn secret_ends(&self) -> Option<Time> {
        self.secret_born.map(|born| born + COOKIE_SECRET_MAX_AGE)
    }
}

/// MAC(secret, address ‖ port). IPv4 and IPv6 differ in length, so no address means two endpoints.
fn cookie(secret: &Key, remote: SocketAddr) -> Cookie {
    let (secret, port) = (secret.as_bytes(), remote.port().to_be_bytes());
    Cookie(match remote.ip() {
        IpAddr::V4(v4) => mac(secret, &[&v4.octets(), &port]),
        IpAddr::V6(v6) => mac(secret, &[&v6.octets(), &port]),
    })
}

/// What a [`CookieGenerator`] has been told.
pub(crate) struct Kept {
    cookie: Option<(Cookie, Time)>,
    awaited_mac1: Option<[u8; MAC_LEN]>,
}

parts!(Kept { cookie, awaited_mac1 });

impl Part for Cookie {
    fn put(&self, to: &mut dyn Sink) {
        to.put(&self.0);
    }

    fn take(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        from.array("a cookie").map(|bytes| Self(*bytes))
    }
}

/// The requester's side: one per peer.
pub struct CookieGenerator {
    mac1_key: [u8; KEY_LEN],
    cookie_key: [u8; KEY_LEN],
    /// The last cookie and when it came.
    cookie: Option<(Cookie, Time)>,
    /// The mac1 that a cookie reply has to be about. Each is answered at most once.
    awaited_mac1: Option<[u8; MAC_LEN]>,
}

impl CookieGenerator {
    /// What it has been told, for another process.
    pub(crate) fn kept(&self) -> Kept {
        Kept { cookie: self.cookie.clone(), awaited_mac1: self.awaited_mac1 }
    }

    /// As another process has left it.
    pub(crate) fn resumed(remote: &PublicKey, kept: &Kept) -> Self {
        Self { cookie: kept.cookie.clone(), awaited_mac1: kept.awaited_mac1, ..Self::new(remote) }
    }

    /// Signs messages that are meant for the owner of `remote`.
    pub fn new(remote: &PublicKey) -> Self {
        let (mac1_key, cookie_key) = mac_keys(remote);
        Self { mac1_key, cookie_key, cookie: None, awaited_mac1: None }
    }

    /// Fills in both macs of a complete handshake message: mac2 only while there is a cookie, else zeros.
    ///
    /// # Panics
    /// If the message is shorter than its macs, which no handshake message is.
    pub fn add_macs(&mut self, now: Time, message: &mut [u8]) {
        let (covered, macs) =
            message.split_last_chunk_mut::<MACS_LEN>().expect("a handshake message is longer than its macs");
        let mac1 = mac(&self.mac1_key, &[covered]);
        self.awaited_mac1 = Some(mac1);
        macs[..MAC_LEN].copy_from_slice(&mac1);
        let mac2 = match &self.cookie {
            Some((cookie, came)) if now.since(*came) < COOKIE_SECRET_MAX_AGE => mac(&cookie.0, &[covered, &mac1]),
            _ => [0; MAC_LEN],
        };
        macs[MAC_LEN..].copy_from_slice(&mac2);
    }

    /// Takes the cookie out of a reply to the last message that [`CookieGenerator::add_macs`] signed.
    ///
    /// # Errors
    /// [`drops::DropReason::InvalidCookieReply`] if no message awaits a reply or this is not the reply to it; nothing
    /// changes.
    pub fn consume_reply(&mut self, now: Time, reply: &CookieReply) -> Result<(), drops::DropReason> {
        let mac1 = self.awaited_mac1.as_ref().ok_or(drops::DropReason::InvalidCookieReply)?;
        let mut cookie = Cookie([0; MAC_LEN]);
        xaead_open(&self.cookie_key, &reply.nonce, &reply.encrypted_cookie, mac1, &mut cookie.0)
            .map_err(|_| drops::DropReason::InvalidCookieReply)?;
        self.cookie = Some((cookie, now));
        self.awaited_mac1 = None;
        Ok(())
    }
}

impl Clone for CookieChecker {
    fn clone(&self) -> Self {
        let Self { mac1_key, cookie_key, secret, secret_born, former } = self;
        let copy = |secret: &Key| Key::copy_of(secret.as_bytes());
        Self {
            mac1_key: mac1_key.clone(),
            cookie_key: *cookie_key,
            secret: copy(secret),
            secret_born: *secret_born,
            former: former.as_ref().map(|(secret, until)| (copy(secret), *until)),
        }
    }
}

impl std::fmt::Debug for CookieChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieChecker").field("secret_born", &self.secret_born).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for CookieGenerator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CookieGenerator").field("has_cookie", &self.cookie.is_some()).finish_non_exhaustive()
    }
}

/// The key of mac1 in messages to the owner of `public`. Who knows one knows the other.
pub fn mac1_key(public: &PublicKey) -> [u8; KEY_LEN] {
    mac_keys(public).0
}

/// The keys of mac1 and of cookie replies: HASH(label ‖ public key of the one who checks). Who knows the public key
/// knows them.
fn mac_keys(public: &PublicKey) -> ([u8; KEY_LEN], [u8; KEY_LEN]) {
    let derive = |label| hash(&[label, public.as_bytes()]);
    (derive(LABEL_MAC1), derive(LABEL_COOKIE))
}

/// What mac1 covers, and both macs.
fn split_macs(message: &[u8]) -> Option<(&[u8], &[u8; MACS_LEN])> {
    message.split_last_chunk()
}

#[cfg(test)]
#[path = "cookie_tests.rs"]
mod tests;
