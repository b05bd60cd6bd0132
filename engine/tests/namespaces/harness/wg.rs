//! `wg`, the tool that people configure WireGuard with.

use std::fmt::Write as _;
use std::process::Command;

use ringfort_testbed::command::{run, run_with_input};
use ringfort_testbed::tunnel::{PORT, Peering};
use ringfort_testbed::{Context, Error, Family, Result, Tunnel};

/// Runs `wg` with words split at spaces.
pub fn wg(words: &str) -> Result<String> {
    run(Command::new("wg").args(words.split_whitespace()))
}

/// Runs `wg` with `input` as its standard input: where it wants a file, give it `/dev/stdin`.
pub fn wg_with_input(words: &str, input: &str) -> Result<String> {
    run_with_input(Command::new("wg").args(words.split_whitespace()), input)
}

/// The configuration of one side of a tunnel as a file for `wg setconf`.
pub fn config(tunnel: &Tunnel, index: usize, peering: &Peering) -> String {
    let mut text =
        format!("[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n\n", tunnel.sides[index].keys.private.base64());
    text += &peer_section(tunnel, index, peering);
    text
}

/// The `[Peer]` section for the other side.
pub fn peer_section(tunnel: &Tunnel, index: usize, peering: &Peering) -> String {
    let other = &tunnel.sides[1 - index];
    let mut text = format!("[Peer]\nPublicKey = {}\n", other.keys.public.base64());
    if peering.preshared {
        let _ = writeln!(text, "PresharedKey = {}", tunnel.preshared.base64());
    }
    if peering.knows_endpoint[index] {
        let _ = writeln!(text, "Endpoint = {}", other.endpoint(peering.outer));
    }
    if peering.keepalive_s > 0 {
        let _ = writeln!(text, "PersistentKeepalive = {}", peering.keepalive_s);
    }
    let _ = writeln!(text, "AllowedIPs = {}/32, {}/128", other.inner(Family::V4), other.inner(Family::V6));
    text
}

/// Configures both sides with `wg setconf`.
pub fn connect(tunnel: &Tunnel, peering: &Peering) -> Result<()> {
    for (index, side) in tunnel.sides.iter().enumerate() {
        wg_with_input(&format!("setconf {} /dev/stdin", side.interface), &config(tunnel, index, peering))?;
    }
    Ok(())
}

/// A peer as `wg show INTERFACE dump` prints it.
#[derive(Clone, Debug)]
pub struct PeerDump {
    pub public_key: String,
    pub preshared_key: String,
    pub endpoint: String,
    pub allowed_ips: Vec<String>,
    /// Seconds since 1970; 0 is never.
    pub latest_handshake: u64,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    pub keepalive: String,
}

/// The peers of an interface.
pub fn peers(interface: &str) -> Result<Vec<PeerDump>> {
    wg(&format!("show {interface} dump"))?.lines().skip(1).map(parse_peer).collect()
}

/// The only peer of an interface.
pub fn only_peer(interface: &str) -> Result<PeerDump> {
    let mut peers = peers(interface)?;
    match (peers.pop(), peers.is_empty()) {
        (Some(peer), true) => Ok(peer),
        _ => Err(Error::new(format!("{interface} does not have exactly one peer"))),
    }
}

fn parse_peer(line: &str) -> Result<PeerDump> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [public_key, preshared_key, endpoint, allowed_ips, handshake, received, sent, keepalive] = fields[..] else {
        return Err(Error::new(format!("wg printed a peer as {line:?}")));
    };
    let number = |text: &str| text.parse::<u64>().context(format_args!("{text:?} in {line:?}"));
    Ok(PeerDump {
        public_key: public_key.to_owned(),
        preshared_key: preshared_key.to_owned(),
        endpoint: endpoint.to_owned(),
        allowed_ips: allowed_ips.split(',').filter(|text| *text != "(none)").map(str::to_owned).collect(),
        latest_handshake: number(handshake)?,
        received_bytes: number(received)?,
        sent_bytes: number(sent)?,
        keepalive: keepalive.to_owned(),
    })
}
