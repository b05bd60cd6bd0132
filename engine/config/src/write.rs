//! From a configuration to the text of a file that says the same.

use std::fmt::{self, Write as _};

use network_setup::Table;

use super::config::{Config, Interface, Peer};
use super::key_text;
use super::secret::SecretText;

impl Config {
    /// One file that says all of it: what was included is in place, and each of our own settings is behind
    /// `#ringfort:`, so `wg-quick` reads it as well. A key that came from a file is still named by that file.
    #[must_use]
    pub fn write(&self) -> SecretText {
        let mut text = SecretText::default();
        write_interface(&mut text, &self.interface).expect("memory takes everything");
        for peer in &self.peers {
            text.push_str("\n");
            write_peer(&mut text, peer).expect("memory takes everything");
        }
        text
    }
}

fn write_interface(text: &mut SecretText, interface: &Interface) -> fmt::Result {
    let Interface { listen_port, fwmark, mtu, table, hooks, start, .. } = interface;
    text.push_str("[Interface]\n");
    match (&interface.private_key_file, &interface.private_key) {
        (Some(path), _) => own(text, "PrivateKeyFile", &Some(path.display()))?,
        (None, Some(key)) => {
            text.push_str("PrivateKey = ");
            text.push_key(key.expose());
            text.push_str("\n");
        }
        (None, None) => {}
    }
    line(text, "ListenPort", listen_port)?;
    if let Some(mark) = fwmark {
        writeln!(text, "FwMark = {mark:#x}")?;
    }
    own(text, "CipherSuite", &interface.cipher_suite)?;
    list(text, "Address", &interface.addresses)?;
    list(text, "DNS", &interface.dns)?;
    line(text, "MTU", mtu)?;
    line(text, "Table", &Some(table).filter(|&&table| table != Table::Auto))?;
    for (name, commands) in [
        ("PreUp", &hooks.pre_up),
        ("PostUp", &hooks.post_up),
        ("PreDown", &hooks.pre_down),
        ("PostDown", &hooks.post_down),
    ] {
        commands.iter().try_for_each(|command| writeln!(text, "{name} = {command}"))?;
    }
    line(text, "SaveConfig", &interface.save_config.then_some(true))?;
    own(text, "HookTimeout", &interface.hook_timeout)?;
    own(text, "Workers", &start.workers)?;
    own(text, "CPUs", &start.cpus)?;
    own(text, "BusyPoll", &start.busy_poll)?;
    own(text, "UdpGso", &start.udp_gso)?;
    own(text, "Overlays", &start.overlays)?;
    own(text, "Bind", &start.bind)?;
    own(text, "SocketBuffer", &start.socket_buffer)?;
    own(text, "Memory", &start.memory)?;
    own(text, "Node", &start.node)?;
    own(text, "Passive", &start.passive)?;
    own(text, "Aead", &start.aead)?;
    own(text, "LogLevel", &start.log_level)?;
    own(text, "Metrics", &start.metrics)
}

pub(crate) fn write_peer(text: &mut SecretText, peer: &Peer) -> fmt::Result {
    text.push_str("[Peer]\n");
    own(text, "Name", &peer.name)?;
    line(text, "PublicKey", &Some(key_text::encode(&peer.public_key)))?;
    if let Some(key) = &peer.preshared_key {
        text.push_str("PresharedKey = ");
        text.push_key(key.expose());
        text.push_str("\n");
    }
    list(text, "AllowedIPs", &peer.allowed_ips)?;
    line(text, "Endpoint", &peer.endpoint)?;
    line(text, "PersistentKeepalive", &peer.persistent_keepalive)?;
    own(text, "CipherSuite", &peer.cipher_suite)?;
    own(text, "Source", &peer.source)
}

fn line(text: &mut SecretText, name: &str, value: &Option<impl fmt::Display>) -> fmt::Result {
    value.as_ref().map_or(Ok(()), |value| writeln!(text, "{name} = {value}"))
}

fn own(text: &mut SecretText, name: &str, value: &Option<impl fmt::Display>) -> fmt::Result {
    value.as_ref().map_or(Ok(()), |value| writeln!(text, "#ringfort: {name} = {value}"))
}

fn list<'a, T: fmt::Display + 'a>(
    text: &mut SecretText,
    name: &str,
    values: impl IntoIterator<Item = &'a T>,
) -> fmt::Result {
    for (position, value) in values.into_iter().enumerate() {
        if position == 0 {
            write!(text, "{name} = {value}")?;
        } else {
            write!(text, ", {value}")?;
        }
    }
    if text.as_str().ends_with('\n') { Ok(()) } else { writeln!(text) }
}
