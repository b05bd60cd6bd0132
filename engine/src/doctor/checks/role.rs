//! Whether a gateway that runs serves its peers.

use super::super::finding::Finding;
use super::super::subject::Subject;
use super::super::system::System;

/// Says that a gateway is passive: nothing is wrong with it, and nothing passes.
pub fn check(_: &System, subject: &Subject) -> Vec<Finding> {
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
}
