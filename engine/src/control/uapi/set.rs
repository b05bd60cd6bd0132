//! `set=1`, line by line.

use ringfort_core::suite::Suite;

use super::errno::Refusal;
use super::request::{AllowedIpUpdate, PeerSuite, PeerUpdate, SetRequest};
use super::value;

/// Collects the lines of one `set=1` into a [`SetRequest`]. Applies nothing.
#[derive(Debug, Default)]
pub struct SetParser {
    request: SetRequest,
}

impl SetParser {
    /// Takes one line, without its end. `resolve_zone` turns an interface's name in an IPv6 endpoint into its index.
    ///
    /// # Errors
    /// What is wrong with the line. The request is then to be thrown away: it is applied as a whole or not at all.
    pub fn line(&mut self, line: &[u8], resolve_zone: impl Fn(&str) -> Option<u32>) -> Result<(), Refusal> {
        let equals = line.iter().position(|&byte| byte == b'=').ok_or(Refusal::NotKeyValue)?;
        let (key, value) = (&line[..equals], &line[equals + 1..]);
        if key == b"public_key" {
            let key = value::public_key(value).ok_or(Refusal::Value("public_key"))?;
            self.request.peers.push(PeerUpdate::new(key));
            return Ok(());
        }
        match self.request.peers.last_mut() {
            Some(peer) => peer_line(peer, key, value, resolve_zone),
            None => self.device_line(key, value),
        }
    }

    /// The blank line has arrived.
    pub fn finish(self) -> SetRequest {
        self.request
    }

    fn device_line(&mut self, key: &[u8], value: &[u8]) -> Result<(), Refusal> {
        let device = &mut self.request.device;
        match key {
            b"private_key" => {
                let key = value::secret_key(value).ok_or(Refusal::Value("private_key"))?;
                device.private_key = Some(key);
            }
            b"listen_port" => {
                let port = value::decimal(value).ok_or(Refusal::Value("listen_port"))?;
                device.listen_port = Some(port);
            }
            b"fwmark" => {
                device.fwmark = Some(value::decimal(value).ok_or(Refusal::Value("fwmark"))?);
            }
            b"cipher_suite" => {
                device.cipher_suite = Some(match value::cipher_suite(value).ok_or(Refusal::Value("cipher_suite"))? {
                    PeerSuite::Own(suite) => suite,
                    PeerSuite::Interface => Suite::default(),
                });
            }
            b"replace_peers" => {
                value::flag(value).ok_or(Refusal::Value("replace_peers"))?;
                device.replace_peers = true;
            }
            _ => return Err(Refusal::UnknownInterfaceKey),
        }
        Ok(())
    }
}

fn peer_line(
    peer: &mut PeerUpdate,
    key: &[u8],
    value: &[u8],
    resolve_zone: impl Fn(&str) -> Option<u32>,
) -> Result<(), Refusal> {
    match key {
        b"remove" => {
            value::flag(value).ok_or(Refusal::Value("remove"))?;
            peer.remove = true;
        }
        b"update_only" => {
            value::flag(value).ok_or(Refusal::Value("update_only"))?;
            peer.update_only = true;
        }
        b"preshared_key" => {
            let key = value::secret_key(value).ok_or(Refusal::Value("preshared_key"))?;
            peer.preshared_key = Some(key);
        }
        b"cipher_suite" => {
            peer.cipher_suite = Some(value::cipher_suite(value).ok_or(Refusal::Value("cipher_suite"))?);
        }
        b"source" => {
            peer.source = Some(value::source(value).ok_or(Refusal::Value("source"))?);
        }
        b"name" => {
            peer.name = Some(value::name(value).ok_or(Refusal::Value("name"))?);
        }
        b"endpoint" => {
            let endpoint = value::endpoint(value, resolve_zone);
            peer.endpoint = Some(endpoint.ok_or(Refusal::Value("endpoint"))?);
        }
        b"persistent_keepalive_interval" => {
            let seconds = value::decimal(value);
            let seconds = seconds.ok_or(Refusal::Value("persistent_keepalive_interval"))?;
            peer.persistent_keepalive = Some(seconds);
        }
        b"replace_allowed_ips" => {
            value::flag(value).ok_or(Refusal::Value("replace_allowed_ips"))?;
            peer.replace_allowed_ips = true;
            peer.allowed_ips.clear();
        }
        b"allowed_ip" => {
            let update = allowed_ip(value).ok_or(Refusal::Value("allowed_ip"))?;
            peer.allowed_ips.push(update);
        }
        b"protocol_version" => {
            let ours = value == b"1";
            ours.then_some(()).ok_or(Refusal::Value("protocol_version"))?;
        }
        _ => return Err(Refusal::UnknownPeerKey),
    }
    Ok(())
}

fn allowed_ip(value: &[u8]) -> Option<AllowedIpUpdate> {
    match value.strip_prefix(b"-") {
        Some(value) => value::prefix(value).map(AllowedIpUpdate::Remove),
        None => value::prefix(value).map(AllowedIpUpdate::Add),
    }
}
