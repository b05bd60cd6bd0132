//! A gate in front of control, for the target of the data path, and who is asked at it.

use std::sync::Arc;
use std::time::Duration;

use ringfort_core::cookie::{CookieChecker, CookieGenerator};
use ringfort_core::crypto::{PrivateKey, PublicKey};
use ringfort_core::device::{Action, Device};
use ringfort_core::gate::Gate;
use ringfort_core::time::Time;

use crate::rng::Repeatable;

/// What handshake messages are asked, and a stranger who knows the gateway's public key.
pub(crate) struct Door {
    pub(crate) gate: Arc<Gate>,
    pub(crate) checker: CookieChecker,
    pub(crate) stranger: CookieGenerator,
    pub(crate) is_closed: bool,
}

impl Door {
    pub(crate) fn new(now: Time) -> Self {
        let key = PrivateKey::new([7; 32]);
        let public: PublicKey = key.public_key();
        let mut device = Device::new(1);
        device.set_private_key(now, Some(key));
        device.link_up(now);
        // There is a secret of cookies since then. The load is over.
        let earlier = Time(now.as_nanos() - Duration::from_secs(60).as_nanos() as u64);
        device.note_load(earlier, &mut Repeatable::new(11));
        let gates = std::iter::from_fn(|| device.poll_action());
        let gates = gates.filter_map(|action| if let Action::Gate(gate) = action { gate } else { None });
        Self {
            gate: gates.last().expect("a device with a key has a gate"),
            checker: CookieChecker::new(&public),
            stranger: CookieGenerator::new(&public),
            is_closed: false,
        }
    }
}
