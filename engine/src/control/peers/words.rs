//! Words for what goes wrong between us and a peer.

use std::net::SocketAddr;
use std::time::Duration;

use ringfort_core::device::Unreachable;
use ringfort_core::diagnosis::{Finding, UnresolvedName};
use ringfort_core::peer_drops::SendError;

use super::super::key_text;
use super::super::words::{send_error, system_error};
use super::remedy::{self, Subject};

/// A finding in words: what is so, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Sentences about what is so, and how we know.
    pub what: String,
    /// Sentences about what to do; empty if there is nothing to do.
    pub remedy: String,
}

/// The words for a finding about this peer.
#[must_use]
pub fn of(finding: &Finding, subject: &Subject<'_>) -> Words {
    Words { what: what(finding), remedy: remedy::of(finding, subject) }
}

fn what(finding: &Finding) -> String {
    match finding {
        Finding::LinkDown => "The interface is down: nothing is sent or received.".to_owned(),
        Finding::Passive => {
            "This gateway is passive: nothing is sent or answered, since another one serves its peers.".to_owned()
        }
        Finding::NotListening => {
            "The UDP port cannot be had, so nothing is sent or received. The log says why.".to_owned()
        }
        Finding::NoPrivateKey => "This interface has no private key, so no handshake is possible.".to_owned(),
        Finding::NotAPeer { asked: None } => {
            "No peer of this interface has that key, and nobody has lately asked for a session under it.".to_owned()
        }
        Finding::NotAPeer { asked: Some((remote, count, ago)) } => format!(
            "No peer of this interface has that key. But its owner asks for a session: {}, last from {remote}, {} ago.",
            times(*count),
            age(*ago)
        ),
        Finding::NoEndpoint { dropped } => format!(
            "The peer has no endpoint here, and has not asked for a session itself. {} for it.",
            dropped_packets(*dropped)
        ),
        Finding::NameUnresolved { name, remote } => unresolved(name, remote.as_ref()),
        Finding::Silent { .. } | Finding::AnswersUnused { .. } | Finding::PskDiffers { .. } => handshakes(finding),
        Finding::SuiteDiffers { .. } | Finding::ClockBehind { .. } | Finding::TwoGateways { .. } => handshakes(finding),
        Finding::NoRoute { .. }
        | Finding::SendRefused { .. }
        | Finding::SendsLost { .. }
        | Finding::Undeliverable { .. } => way_out(finding),
        Finding::OtherKeyAtEndpoint { .. } | Finding::WrongKeyThere { .. } => other_keys(finding),
        Finding::SourceNotAllowed { .. }
        | Finding::NoAllowedIps
        | Finding::Unrouted { .. }
        | Finding::NothingBack { .. } => inner_addresses(finding),
        Finding::PathTooSmall { .. } | Finding::LargeMissing { .. } | Finding::LargeUnanswered { .. } => sizes(finding),
        Finding::Asking { since } => {
            format!("We asked the peer for a session {} ago, and it may still answer.", age(*since))
        }
        Finding::NeverHeard => "The peer has never asked us, and there was nothing to send to it.".to_owned(),
        Finding::Idle { had_session: true } => {
            "Nothing is wrong. There is no session, because nothing was to be sent for a while.".to_owned()
        }
        Finding::Idle { had_session: false } => {
            "There is no session, and at the moment nobody asks for one.".to_owned()
        }
        Finding::Up { age: session, worker } => {
            format!("Nothing is wrong. The session is {} old, and worker {worker} receives under it.", age(*session))
        }
    }
}

fn unresolved(name: &UnresolvedName, remote: Option<&SocketAddr>) -> String {
    let UnresolvedName { name, since, error, next } = name;
    let said = match (error, next) {
        (Some(error), Some(next)) => format!("The resolver says: {error}. It is asked again in {}.", age(*next)),
        (Some(error), None) => format!("The resolver says: {error}."),
        (None, _) => "The resolver has not answered yet.".to_owned(),
    };
    let reached = remote.map_or_else(String::new, |remote| {
        format!(" The peer is reached all the same, at {remote}, where it was heard from or was last.")
    });
    format!("The endpoint {name} has had no address for {}. {said}{reached}", age(*since))
}

fn handshakes(finding: &Finding) -> String {
    match finding {
        Finding::Silent { remote, initiations, since, was_up, is_deaf } => {
            let to = remote.map_or_else(String::new, |remote| format!(" to {remote}"));
            let before = if *was_up { " There was a session before." } else { " There never was a session." };
            format!(
                "Our handshakes leave{to} ({initiations} in {}), and nothing comes back.{before} From here these \
                 causes look the same: the host is off, or is another one; its port is another one; a firewall on the \
                 way, there or here, drops them or the answers; the peer does not know our public key, or we have a \
                 wrong one for it; its clock or ours went back.{}",
                age(*since),
                if *is_deaf { " What ICMP says of it cannot be heard without CAP_NET_RAW." } else { "" }
            )
        }
        Finding::PskDiffers { count, has_psk } => format!(
            "The peer answers, and its answers do not open here ({}). Nobody else knows what they must contain, so the \
             preshared keys differ. Here one is {}.",
            times(*count),
            if *has_psk { "set" } else { "not set" }
        ),
        Finding::AnswersUnused { count, remote, has_psk } => format!(
            "The peer asks{}, we answer, and it asks again instead of using the session ({}). So its handshakes reach \
             us, but our answers do not reach it, or do not open there. Here a preshared key is {}.",
            remote.map_or_else(String::new, |remote| format!(" from {remote}")),
            times(*count),
            if *has_psk { "set" } else { "not set" }
        ),
        Finding::SuiteDiffers { ours, theirs } => {
            format!(
                "The peer asks for the cipher suite {theirs}, and here it is set to {ours}. Each refuses the other."
            )
        }
        Finding::ClockBehind { behind, count } => format!(
            "The peer's handshakes are dated {} before one that we accepted earlier ({}), so they count as replays. \
             Its clock went back, or it was ahead before.",
            age(*behind),
            times(*count)
        ),
        Finding::TwoGateways { places: [one, other], returns, old_timestamps } => {
            let replays = match old_timestamps {
                0 => String::new(),
                count => format!(" Some handshakes were dated before others ({}), as two clocks would.", times(*count)),
            };
            format!(
                "The peer asks for sessions from {one} and from {other} in turn ({returns} times back and \
                 forth).{replays} Two gateways have its key, and take the session from each other. A client that \
                 switches between two networks looks the same, but switches rarely."
            )
        }
        _ => String::new(),
    }
}

fn way_out(finding: &Finding) -> String {
    match finding {
        Finding::NoRoute { remote, errno } => {
            format!("This system has no route to {remote}: {}.", system_error(*errno))
        }
        Finding::SendRefused { remote, errno: libc::EAFNOSUPPORT, count } => {
            format!(
                "There is no socket from which to send to {remote} ({}): IPv6 is disabled here, or Bind is of the \
                 other family.",
                times(*count)
            )
        }
        Finding::SendRefused { remote, errno, count } => {
            format!("This system refuses to send to {remote} ({}): {}.", times(*count), system_error(*errno))
        }
        Finding::SendsLost { remote, count, are_full } => {
            let why = if *are_full { SendError::Full } else { SendError::Partial };
            format!("{count} datagrams to {remote} were dropped on this machine: {}.", send_error(why))
        }
        Finding::Undeliverable { remote, unreachable, reporter, ago } => {
            let says = match unreachable {
                Unreachable::Port => "nobody listens on that port, or a firewall refuses",
                Unreachable::Host => "that host cannot be found",
                Unreachable::Network => "it has no route to that network",
                Unreachable::Prohibited => "a firewall forbids it",
            };
            format!("{reporter} says of our handshake to {remote}, {} ago: {says}.", age(*ago))
        }
        _ => String::new(),
    }
}

fn other_keys(finding: &Finding) -> String {
    match finding {
        Finding::OtherKeyAtEndpoint { key, remote, ago, has_session } => format!(
            "{remote}, where the peer should be, asks for a session under another key, {} ({} ago). It belongs to no \
             peer here.{}",
            key_text::encode(key),
            age(*ago),
            session_of_before(*has_session)
        ),
        Finding::WrongKeyThere { remote, count, ago, is_endpoint, has_session } => format!(
            "Handshakes come from {remote}{} that are meant for another public key than ours ({}, last {} ago). \
             Nothing proves who sends them.{}",
            if *is_endpoint { ", where the peer is," } else { "" },
            times(*count),
            age(*ago),
            session_of_before(*has_session)
        ),
        _ => String::new(),
    }
}

fn session_of_before(is_there: bool) -> &'static str {
    if is_there { " The session from before is used until it ends, and then there may be none." } else { "" }
}

fn inner_addresses(finding: &Finding) -> String {
    match finding {
        Finding::SourceNotAllowed { source, count, ago } => format!(
            "The peer sends packets{} that are not from its allowed IPs here: {} ({} ago).",
            source.map_or_else(String::new, |source| format!(" from {source}")),
            dropped_packets(*count).to_lowercase().trim_end_matches('.'),
            age(*ago)
        ),
        Finding::NoAllowedIps => {
            "The peer has no allowed IPs here: nothing is sent to it, and nothing is accepted from it.".to_owned()
        }
        Finding::Unrouted { destinations } => {
            let list: Vec<_> = destinations.iter().map(ToString::to_string).collect();
            format!(
                "Packets from inside to {} were dropped lately, because they are in no peer's allowed IPs. Whether \
                 they were for this peer cannot be known.",
                list.join(", ")
            )
        }
        Finding::NothingBack { sent } => format!(
            "There is a session and {sent} messages were sent under it, but only keepalives came back. The peer gets \
             them. What it does with them cannot be seen from here: our inner addresses may be missing in its allowed \
             IPs, a firewall behind it may drop them, or nobody answers there."
        ),
        _ => String::new(),
    }
}

fn sizes(finding: &Finding) -> String {
    match finding {
        Finding::PathTooSmall { path_mtu, needed, .. } => format!(
            "The path to the peer takes {path_mtu} bytes, and a full packet of this interface needs {needed}. So full \
             packets leave as fragments, which is slow, and many firewalls drop fragments."
        ),
        Finding::LargeMissing { missing, received, largest, largest_possible } => format!(
            "Of what the peer sent under this session, {missing} messages are missing, while {received} came. None of \
             those that came has more than {largest} bytes, and up to {largest_possible} are possible. So the path \
             from the peer swallows large datagrams."
        ),
        Finding::LargeUnanswered { sent, received } => format!(
            "Messages of up to {sent} bytes were sent under this session, and the largest that came back has \
             {received} bytes. That may be how the traffic is. If large transfers hang while ping works, the path \
             swallows large datagrams; only the other side can see that."
        ),
        _ => String::new(),
    }
}

fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

fn dropped_packets(count: u64) -> String {
    match count {
        0 => "No packet was dropped".to_owned(),
        1 => "1 packet was dropped".to_owned(),
        count => format!("{count} packets were dropped"),
    }
}

/// A duration as people say it: two units at most.
#[must_use]
pub fn age(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds @ 7_200..=172_799 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use ringfort_core::crypto::PublicKey;
    use udp_uring::Bind;

    use super::*;

    #[test]
    fn ages_are_short() {
        let texts = [0, 119, 120, 7_199, 7_200, 172_800].map(|seconds| age(Duration::from_secs(seconds)));
        assert_eq!(texts, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 days"]);
    }

    /// Sentences end, and say something; numbers and addresses are in them.
    #[test]
    fn findings_are_sentences() {
        let remote = "192.0.2.1:51820".parse().unwrap();
        let source = IpAddr::from([10, 0, 0, 9]);
        let ago = Duration::from_secs(7);
        let key = PublicKey::new([1; 32]);
        let subject = Subject { interface: "wg7", key: &key, fwmark: 0, bound: Bind::Any };
        let error = Some("no such host".to_owned());
        let name = UnresolvedName { name: "vpn.example:7".to_owned(), since: ago, error, next: Some(ago) };
        for (finding, parts) in [
            (Finding::SourceNotAllowed { source: Some(source), count: 3, ago }, &["10.0.0.9", "3 packets", "7 s"][..]),
            (Finding::NoEndpoint { dropped: 1 }, &["1 packet was dropped for it"]),
            (Finding::SendRefused { remote, errno: libc::EPERM, count: 2 }, &["192.0.2.1:51820", "not permitted"]),
            (Finding::SendRefused { remote, errno: libc::EAFNOSUPPORT, count: 1 }, &["no socket", "Bind"]),
            (Finding::SendsLost { remote, count: 3, are_full: true }, &["3 datagrams", "has room for"]),
            (Finding::SendsLost { remote, count: 3, are_full: false }, &["3 datagrams", "only a part"]),
            (
                Finding::Silent { remote: Some(remote), initiations: 4, since: ago, was_up: false, is_deaf: true },
                &["4 in 7 s", "port", "CAP_NET_RAW"],
            ),
            (Finding::Unrouted { destinations: vec![source] }, &["10.0.0.9"]),
            (Finding::NotAPeer { asked: None }, &["No peer"]),
            (Finding::NameUnresolved { name, remote: None }, &["vpn.example:7", "for 7 s", "no such host", "in 7 s"]),
        ] {
            let Words { what, remedy } = of(&finding, &subject);
            assert!(what.ends_with('.') && remedy.ends_with('.'), "{what} {remedy}");
            assert!(parts.iter().all(|part| what.contains(part)), "{what}");
        }
    }
}
