//! Ports that were ours a moment ago. Workers let go of a former socket with their next turns, so its port is taken for
//! some milliseconds more: by nobody else.

use std::time::Duration;

use ringfort_core::time::Time;

/// How long a former port may be ours. A worker that is busy lets go of it after a turn or two.
const LETTING_GO: Duration = Duration::from_secs(1);

/// The ports, and until when each may be ours.
#[derive(Debug, Default)]
pub struct FormerPorts(Vec<(u16, Time)>);

impl FormerPorts {
    /// This one is let go of from now on.
    pub fn note(&mut self, port: u16, now: Time) {
        self.0.retain(|(former, until)| *former != port && now < *until);
        self.0.push((port, now + LETTING_GO));
    }

    /// Whether workers may still hold it.
    #[must_use]
    pub fn may_be_ours(&self, port: u16, now: Time) -> bool {
        self.0.iter().any(|(former, until)| *former == port && now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_former_for_a_while() {
        let (mut ports, start) = (FormerPorts::default(), Time::from_secs(9));
        ports.note(7, start);
        ports.note(8, start + LETTING_GO / 2);
        assert!(ports.may_be_ours(7, start) && !ports.may_be_ours(9, start));
        let later = start + LETTING_GO;
        assert!(!ports.may_be_ours(7, later) && ports.may_be_ours(8, later));
        ports.note(8, later);
        assert_eq!(ports.0.len(), 1, "what is over takes no memory");
    }
}
