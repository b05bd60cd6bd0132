//! What to do about a finding. Commands in it can be pasted: they name the interface and the peer. What only the
//! operator knows stands there in capitals.

use ringfort_core::crypto::PublicKey;
use ringfort_core::device::Unreachable;
use ringfort_core::diagnosis::Finding;
use udp_uring::Bind;

use super::super::key_text;

/// What a finding is about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The interface.
    pub interface: &'a str,
    /// The peer, or whoever would like to be one.
    pub key: &'a PublicKey,
    /// The mark of our datagrams; 0 is none.
    pub fwmark: u32,
    /// What our sockets are bound to.
    pub bound: Bind,
}

/// What to do; empty if there is nothing to do.
pub fn of(finding: &Finding, subject: &Subject<'_>) -> String {
    let Subject { interface, key, .. } = subject;
    let peer = format!("wg set {interface} peer {}", key_text::encode(key));
    match finding {
        Finding::LinkDown => format!("Bring it up: ip link set {interface} up."),
        Finding::Passive => format!("If this one should serve them: ringfort promote {interface}."),
        Finding::NotListening => {
            format!("Find out who has the port (ss -ulpn), or set another one: wg set {interface} listen-port PORT.")
        }
        Finding::NoPrivateKey => {
            format!("Set one: wg set {interface} private-key FILE, or PrivateKey in the configuration file.")
        }
        Finding::NotAPeer { asked: Some(_) } => format!("If it is yours, add it: {peer} allowed-ips ADDRESSES."),
        Finding::NotAPeer { asked: None } => {
            format!("Check the key (ringfort peers {interface} lists all peers), or add it: {peer}.")
        }
        Finding::NoEndpoint { .. } => format!(
            "Set its endpoint ({peer} endpoint HOST:PORT), or wait until it asks; then PersistentKeepalive on its side \
             helps."
        ),
        Finding::NameUnresolved { name, .. } => {
            let host = name.name.rsplit_once(':').map_or("", |(host, _)| host).trim_matches(['[', ']']);
            format!(
                "Ask the resolver yourself: getent ahosts {host}. If the name is right, look at /etc/resolv.conf and \
                 at the way to the name server, which must not lead through this tunnel. Until then an address helps: \
                 {peer} endpoint ADDRESS:PORT."
            )
        }
        Finding::NoRoute { .. }
        | Finding::SendRefused { .. }
        | Finding::SendsLost { .. }
        | Finding::Undeliverable { .. }
        | Finding::Silent { .. } => way_out(finding, subject),
        Finding::NoAllowedIps => format!("Set them: {peer} allowed-ips ADDRESSES, or AllowedIPs in the file."),
        Finding::SuiteDiffers { theirs, .. } => format!(
            "Set CipherSuite to the same on both sides. To take the peer's here: ringfort --set-suite {theirs} --peer \
             {} {interface}.",
            key_text::encode(key)
        ),
        Finding::WrongKeyThere { .. } => {
            format!("Set our public key on the other side: wg show {interface} public-key prints it.")
        }
        Finding::PathTooSmall { fits, .. } => format!(
            "Lower the MTU of the tunnel on both sides: ip link set {interface} mtu {fits}, or MTU = {fits} in the \
             file."
        ),
        _ => other(finding).to_owned(),
    }
}

fn way_out(finding: &Finding, subject: &Subject<'_>) -> String {
    let bound = match subject.bound {
        Bind::Address(address) if !address.is_unspecified() => format!(" from {address}"),
        Bind::Device(device) => format!(" oif {device}"),
        Bind::Any | Bind::Address(_) => String::new(),
    };
    let mark = if subject.fwmark == 0 { String::new() } else { format!(" mark {:#x}", subject.fwmark) };
    match finding {
        Finding::NoRoute { remote, .. } => {
            format!("Check routes and addresses: ip route get {}{bound}{mark}.", remote.ip())
        }
        Finding::SendRefused { errno: libc::EAFNOSUPPORT, .. } => {
            "Give the peer an endpoint of the other family, or change Bind. Whether IPv6 is disabled is said by \
             sysctl net.ipv6.conf.all.disable_ipv6."
                .to_owned()
        }
        Finding::SendRefused { .. } => {
            "Look for a firewall rule on this machine that drops or rejects outgoing UDP: nft list ruleset.".to_owned()
        }
        Finding::SendsLost { are_full: true, .. } => {
            "Nothing, if it was a burst. Otherwise less leaves this machine than is sent: look at the queue of the \
             card, tc -s qdisc."
                .to_owned()
        }
        Finding::SendsLost { are_full: false, .. } => {
            "Look at what the kernel says of the card (dmesg), and at its counters: ip -s link.".to_owned()
        }
        Finding::Undeliverable { unreachable: Unreachable::Port, .. } => {
            "Check the port of the endpoint, and that the other gateway runs and is up.".to_owned()
        }
        Finding::Undeliverable { .. } => {
            "Check the address of the endpoint, and the routes and firewalls on the way.".to_owned()
        }
        Finding::Silent { remote, .. } => {
            let port = remote.map_or_else(|| "PORT".to_owned(), |remote| remote.port().to_string());
            format!(
                "Check the endpoint and the peer's public key here, then ask the other side. There, ringfort why names \
                 the cause if our handshakes arrive. If nothing arrives there (tcpdump -ni any udp port {port}), it is \
                 the way."
            )
        }
        _ => String::new(),
    }
}

/// What needs no command.
fn other(finding: &Finding) -> &'static str {
    match finding {
        Finding::PskDiffers { .. } => "Set the same PresharedKey on both sides, or none on both.",
        Finding::AnswersUnused { .. } => {
            "Compare PresharedKey on both sides. If it is the same, look for a firewall or NAT that drops our answers."
        }
        Finding::ClockBehind { .. } => {
            "Set the peer's clock (NTP). If the earlier date was wrong, remove the peer here and add it again: that \
             forgets it."
        }
        Finding::TwoGateways { .. } => "Give each gateway a key of its own, and make each a peer here.",
        Finding::OtherKeyAtEndpoint { .. } => "If that is the peer's new key, replace the old one here.",
        Finding::SourceNotAllowed { .. } => {
            "If it may, add the address to the peer's AllowedIPs here. If not, correct the peer's address."
        }
        Finding::Unrouted { .. } => "If one of them is behind this peer, add it to the peer's AllowedIPs here.",
        Finding::NothingBack { .. } => {
            "Ask ringfort why on the other side: it counts and names sources that it refuses."
        }
        Finding::LargeMissing { .. } | Finding::LargeUnanswered { .. } => {
            "Lower the MTU of the tunnel interface on both sides: to the path's less 60 bytes over IPv4, 80 over IPv6."
        }
        Finding::Asking { .. } => "Ask again in some seconds.",
        Finding::NeverHeard => "Send something (ping), or set PersistentKeepalive on one side.",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ringfort_core::diagnosis::UnresolvedName;
    use ringfort_core::suite::Suite;

    use super::*;

    /// A command with a placeholder for what the gateway knows cannot be pasted.
    #[test]
    fn commands_name_the_interface_and_the_peer() {
        let (key, remote) = (PublicKey::new([7; 32]), "203.0.113.9:4500".parse().unwrap());
        let subject = Subject { interface: "wg7", key: &key, fwmark: 0xca6c, bound: Bind::Any };
        let name = UnresolvedName { name: "vpn.example:7".to_owned(), since: Duration::ZERO, error: None, next: None };
        let set = format!("wg set wg7 peer {}", key_text::encode(&key));
        let since = Duration::ZERO;
        for (finding, part) in [
            (Finding::LinkDown, "ip link set wg7 up."),
            (Finding::Passive, "ringfort promote wg7."),
            (Finding::NotListening, "wg set wg7 listen-port PORT."),
            (Finding::NotAPeer { asked: Some((remote, 1, since)) }, &format!("{set} allowed-ips ADDRESSES.")),
            (Finding::NoEndpoint { dropped: 1 }, &format!("{set} endpoint HOST:PORT)")),
            (Finding::NameUnresolved { name, remote: None }, "getent ahosts vpn.example."),
            (Finding::NoRoute { remote, errno: 101 }, "ip route get 203.0.113.9 mark 0xca6c."),
            (
                Finding::Silent { remote: Some(remote), initiations: 3, since, was_up: false, is_deaf: false },
                "udp port 4500)",
            ),
            (
                Finding::SuiteDiffers { ours: Suite::default(), theirs: Suite::Aes256Gcm },
                &format!("ringfort --set-suite aes256gcm --peer {} wg7.", key_text::encode(&key)),
            ),
            (Finding::PathTooSmall { path_mtu: 1_400, needed: 1_480, fits: 1_328 }, "ip link set wg7 mtu 1328,"),
        ] {
            let remedy = of(&finding, &subject);
            assert!(remedy.contains(part) && !remedy.contains("NAME") && !remedy.contains("KEY"), "{remedy}");
        }
        for (bound, part) in [("198.51.100.1", "203.0.113.9 from 198.51.100.1 mark"), ("wan2", "203.0.113.9 oif wan2")]
        {
            let subject = Subject { bound: bound.parse().unwrap(), ..subject };
            let remedy = of(&Finding::NoRoute { remote, errno: 101 }, &subject);
            assert!(remedy.contains(part), "{remedy}");
        }
    }
}
