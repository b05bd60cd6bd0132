//! Whether a gateway that runs serves its peers, and which of several it is.

use ringfort_core::node::Node;

use super::super::finding::Finding;
use super::super::subject::{RUNNING, STRAYS, Subject};
use super::super::system::System;

/// Who serves the interface, if one was named.
pub fn running(_: &System, subject: &Subject) -> Vec<Finding> {
    let name = subject.interface.as_deref().filter(|_| subject.runs());
    let serves = name.map(|name| Finding::good(RUNNING, format!("process {} serves {name}", subject.process)));
    serves.or_else(|| subject.unserved.clone()).into_iter().collect()
}

/// Says that a gateway is passive: nothing is wrong with it, and nothing passes. And which node it is, and whether it
/// gets what is another's.
pub fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    passive(system, subject).into_iter().chain(node(subject)).collect()
}

fn node(subject: &Subject) -> Option<Finding> {
    let stats = subject.stats.as_ref()?;
    let [number, bits] = ["node", "node_bits"].map(|name| stats.get(name).copied());
    let node = Node::new(u32::try_from(number?).ok()?, u8::try_from(bits?).ok()?).ok()?;
    let (strays, now) = (stats.get(STRAYS).copied().unwrap_or(0), subject.strays);
    if now == 0 {
        let mut text = format!("Of a receiver index, the top {} bits are {}.", node.bits(), node.number());
        if strays > 0 {
            text += &format!(" Since it began, {strays} datagrams of other gateways came here. None comes now.");
        }
        return Some(Finding::note("gateway.node", format!("this gateway is node {node}"), text));
    }
    let text = format!(
        "{strays} datagrams were dropped here because their sessions are those of other gateways, and in the last \
         second {now} more. Nothing passes them on, or those are gone."
    );
    let finding = Finding::warning("gateway.node", format!("node {node} gets what is of other nodes"), text);
    Some(finding.remedy("Load the rules of `ringfort steer nft` on each gateway, for those gateways that are there."))
}

fn passive(_: &System, subject: &Subject) -> Vec<Finding> {
    let is_passive = subject.stats.as_ref().is_some_and(|stats| stats.get("passive") == Some(&1));
    let name = subject.interface.as_deref().unwrap_or("NAME");
    let note = Finding::note(
        "gateway.role",
        "this gateway is passive",
        "Nothing is sent or answered, since another one serves its peers.",
    );
    let remedy = format!("If this one should serve them: ringfort promote {name}");
    if is_passive { vec![note.remedy(remedy)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::super::finding::Severity;
    use super::super::super::subject::fake::planned;
    use super::super::super::system::fake::Machine;
    use super::super::tests::found;
    use super::*;

    #[test]
    fn whom_all_is_about_is_said_first() {
        let machine = Machine::new();
        let runs = Subject { process: "17".to_owned(), stats: Some(BTreeMap::new()), ..planned(&[0]) };
        let note = Finding::note(RUNNING, "nobody", "why");
        let unserved = Subject { unserved: Some(note.clone()), ..planned(&[0]) };
        assert_eq!(super::super::all(&machine.system, &runs)[0], Finding::good(RUNNING, "process 17 serves wg0"));
        assert_eq!(super::super::all(&machine.system, &unserved)[0], note);
        assert!(running(&machine.system, &planned(&[0])).is_empty());
    }

    #[test]
    fn a_passive_gateway_says_so() {
        let machine = Machine::new();
        let running =
            |passive| Subject { stats: Some(BTreeMap::from([("passive".to_owned(), passive)])), ..planned(&[0]) };
        let findings = check(&machine.system, &running(1));
        let (severity, finding) = found(&findings, "gateway.role");
        assert_eq!((severity, finding.remedy.ends_with("ringfort promote wg0")), (Severity::Note, true));
        assert!(check(&machine.system, &running(0)).is_empty() && check(&machine.system, &planned(&[0])).is_empty());
    }

    #[test]
    fn a_node_says_which_it_is_and_whether_it_gets_what_is_of_others() {
        let machine = Machine::new();
        let running = |(all, strays)| {
            let stats = [("node", 2), ("node_bits", 3), (STRAYS, all)];
            let stats = stats.map(|(name, value)| (name.to_owned(), value));
            Subject { stats: Some(stats.into()), strays, ..planned(&[0]) }
        };
        let findings = [(0, 0), (7, 0), (7, 2)].map(|strays| check(&machine.system, &running(strays)));
        let found = findings.each_ref().map(|findings| found(findings, "gateway.node"));
        let [(quiet, is), (before, got), (warning, gets)] = found;
        assert_eq!((quiet, is.what.as_str()), (Severity::Note, "this gateway is node 2/3"));
        assert_eq!((before, got.why.contains("7 datagrams")), (Severity::Note, true), "one stray is no fault for ever");
        assert_eq!((warning, gets.why.starts_with("7 datagrams")), (Severity::Warning, true));
    }
}
