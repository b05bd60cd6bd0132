//! Whether a gateway that runs serves its peers, and which of several it is.

use ringfort_core::node::Node;

use super::super::finding::Finding;
use super::super::subject::Subject;
use super::super::system::System;

/// Says that a gateway is passive: nothing is wrong with it, and nothing passes. And which node it is, and whether it
/// gets what is another's.
pub fn check(system: &System, subject: &Subject) -> Vec<Finding> {
    passive(system, subject).into_iter().chain(node(subject)).collect()
}

fn node(subject: &Subject) -> Option<Finding> {
    let stats = subject.stats.as_ref()?;
    let [number, bits] = ["node", "node_bits"].map(|name| stats.get(name).copied());
    let node = Node::new(u32::try_from(number?).ok()?, u8::try_from(bits?).ok()?).ok()?;
    let strays = stats.get("drop_other_node").copied().unwrap_or(0);
    if strays == 0 {
        let text = format!("Of a receiver index, the top {} bits are {}.", node.bits(), node.number());
        return Some(Finding::note("gateway.node", format!("this gateway is node {node}"), text));
    }
    let text = format!(
        "{strays} datagrams were dropped here because their sessions are those of other gateways. Nothing passes them \
         on, or those are gone."
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
        let running = |strays| {
            let stats = [("node", 2), ("node_bits", 3), ("drop_other_node", strays)];
            let stats = stats.map(|(name, value)| (name.to_owned(), value));
            Subject { stats: Some(stats.into()), ..planned(&[0]) }
        };
        let findings = [0, 7].map(|strays| check(&machine.system, &running(strays)));
        let [(quiet, is), (warning, gets)] = findings.each_ref().map(|findings| found(findings, "gateway.node"));
        assert_eq!((quiet, is.what.as_str()), (Severity::Note, "this gateway is node 2/3"));
        assert_eq!((warning, gets.why.starts_with("7 datagrams")), (Severity::Warning, true));
    }
}
