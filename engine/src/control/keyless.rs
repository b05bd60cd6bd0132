//! Packets that wait because there is no private key: no handshake can be made, and the peers cannot know why.

use std::time::Duration;

use ringfort_core::device::{Device, PeerEvent};
use ringfort_core::time::Time;

/// How long to be silent after a line.
const SILENCE: Duration = Duration::from_secs(60);

/// When it was said last.
#[derive(Debug, Default)]
pub struct Keyless {
    said: Option<Time>,
}

impl Keyless {
    /// Says it, if a packet waits for that reason and it was not said for a while.
    pub fn note(&mut self, device: &Device, event: &PeerEvent, now: Time) {
        let wants_session = matches!(event, PeerEvent::NeedHandshake { .. });
        if wants_session && device.private_key().is_none() && self.may_speak(now) {
            log::warn!(
                "packets wait, because the interface has no private key: set one (wg set NAME private-key FILE). \
                 ringfort stats NAME counts them as staged_without_private_key"
            );
        }
    }

    /// How many of `staged` packets wait because there is no key.
    #[must_use]
    pub fn waiting(device: &Device, staged: u64) -> u64 {
        if device.private_key().is_none() { staged } else { 0 }
    }

    fn may_speak(&mut self, now: Time) -> bool {
        let may = self.said.is_none_or(|said| now >= said + SILENCE);
        if may {
            self.said = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let mut keyless = Keyless::default();
        let spoken: Vec<u64> = (100..300).filter(|&second| keyless.may_speak(Time::from_secs(second))).collect();
        assert_eq!(spoken, [100, 160, 220, 280]);
    }
}
