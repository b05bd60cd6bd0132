//! Whether this gateway serves its peers, as the operator decides it while it runs.

use std::sync::Arc;

use ringfort_core::constants::RECOVERY_TIME;
use ringfort_core::crypto::X25519;
use ringfort_core::node::Node;
use ringfort_core::time::Time;

use super::Control;
use crate::clock;
use crate::control::server::{Progress, Unfinished};
use crate::control::uapi::{Errno, Reply, Role};
use crate::guard::Guard;

impl Control {
    /// To be called first, before there are a private key, peers, a link or workers. Handshakes are computed by this
    /// library, the guard of the sockets is told what it must know, indices name the node, and a passive gateway stands
    /// by.
    pub fn prepare(&mut self, x25519: &'static dyn X25519, guard: Option<Guard>, node: Node, is_passive: bool) {
        let now = clock::boot_time();
        self.device.set_x25519(x25519);
        self.device.set_node(now, node);
        if let Some(guard) = guard {
            self.device.set_outpost(Arc::new(guard));
        }
        if is_passive {
            self.device.set_passive(now, true);
            self.plane.carry_out(&mut self.device, now);
        }
    }

    /// Sessions may have been lost with another gateway: asks for them as after a start, and says for how long.
    pub(super) fn recover(&mut self, reply: &mut Reply, now: Time) {
        let is_open = self.device.recover(now);
        if is_open {
            log::info!("sessions under indices of nobody are recovered for {} s", RECOVERY_TIME.as_secs());
            self.plane.carry_out(&mut self.device, now);
        }
        reply.line("recovery_s", if is_open { RECOVERY_TIME.as_secs() } else { 0 });
    }

    /// Whether we serve the peers.
    #[must_use]
    pub fn role(&self) -> Role {
        Role::of(self.device.is_passive())
    }

    /// Changes the role if one is asked for, and answers with the one that holds. What changes waits for nothing that
    /// is being applied: whoever fails over must not wait for a reload.
    pub(super) fn change_role(&mut self, role: Option<Role>, reply: &mut Reply, now: Time) -> Progress {
        let Some(role) = role else { return self.say_role(reply) };
        if role != self.role() {
            match role {
                Role::Active => log::info!("promoted: this gateway serves its peers from now on"),
                Role::Passive => log::info!(
                    "demoted: this gateway is passive from now on: nothing is sent or answered until ringfort promote"
                ),
            }
            self.device.set_passive(now, role == Role::Passive);
            self.plane.carry_out(&mut self.device, now);
        }
        self.settle_role(role, reply)
    }

    /// Answers once what was asked for is so. A demotion has come to its end when no worker lets anything pass, and no
    /// key of a session is left. Somebody else may decide otherwise meanwhile.
    pub(super) fn settle_role(&self, wanted: Role, reply: &mut Reply) -> Progress {
        let is_settled = self.queues.control.have_obeyed(self.device.role_changes()) && !self.device.is_renewing();
        if (wanted, self.role()) == (Role::Passive, Role::Passive) && !is_settled {
            return Progress::Unfinished(Unfinished::Role(wanted));
        }
        self.say_role(reply)
    }

    fn say_role(&self, reply: &mut Reply) -> Progress {
        reply.line("role", self.role().name());
        Progress::Done(Errno::OK)
    }
}
