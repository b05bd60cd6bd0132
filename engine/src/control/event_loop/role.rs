//! Whether this gateway serves its peers, as the operator decides it while it runs, and what that needs: the file of
//! endpoints, and threads that are alive.

use std::sync::Arc;

use ringfort_core::constants::RECOVERY_TIME;
use ringfort_core::device::Remembered;
use ringfort_core::time::Time;
use ringfort_worker::clock;
use ringfort_worker::queues::Mail;

use super::Control;
use crate::control::endpoints::{Keeper, Step};
use crate::control::error::DaemonError;
use crate::control::file::ConfigFile;
use crate::control::inheritance::Beginning;
use crate::control::server::{Progress, Unfinished};
use crate::control::uapi::{Errno, Reply, Role};

impl Control {
    /// A new device. To be called first, before there are a private key, peers, or a link: handshakes are computed by
    /// this library, the guard of the sockets is told what it must know, indices name the node, and a passive gateway
    /// stands by. A plain daemon has what its file says from then on.
    ///
    /// # Errors
    /// [`DaemonError::Refused`].
    pub fn begin(&mut self, beginning: Beginning, file: Option<&ConfigFile>) -> Result<(), DaemonError> {
        let Beginning { x25519, guard, node, is_passive, peers, keeper } = beginning;
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
        self.remember(peers, keeper);
        file.filter(|file| !file.is_gateway()).map_or(Ok(()), |file| self.configure(file))
    }

    /// Takes over where peers were last, and has it kept from now on, both before any peer is added.
    pub fn remember(&mut self, peers: Vec<Remembered>, keeper: Keeper) {
        self.device.remember(peers);
        self.endpoints = keeper;
        if self.device.is_passive() {
            self.endpoints.begin_passive();
        }
    }

    /// Where peers are is written for the next process. To be called when this one ends.
    pub fn finish(&mut self) {
        std::mem::replace(&mut self.endpoints, Keeper::none()).finish(&mut self.device);
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
    /// is being applied: whoever fails over must not wait for a reload. A promotion waits for the file of endpoints.
    pub(super) fn change_role(&mut self, role: Option<Role>, reply: &mut Reply, now: Time) -> Progress {
        match role {
            None => return self.say_role(reply),
            Some(Role::Passive) => self.demote(now),
            Some(Role::Active) if self.role() == Role::Active => {
                log::info!(
                    "promoted, though active already: peers that send under a session that is not known here are asked \
                     for a new one, for three minutes"
                );
                self.device.recover(now);
                self.plane.carry_out(&mut self.device, now);
            }
            Some(Role::Active) if self.promotion.is_some() => {}
            Some(Role::Active) => match self.endpoints.read(&self.queues, now) {
                Some(pending) => self.promotion = Some(pending),
                None => self.promote(now),
            },
        }
        self.settle_role(role.unwrap_or(Role::Passive), reply)
    }

    fn demote(&mut self, now: Time) {
        self.promotion = None;
        if self.role() == Role::Active {
            log::info!(
                "demoted: this gateway is passive from now on: nothing is sent or answered until ringfort promote"
            );
            self.take_role(Role::Passive, now);
        }
    }

    fn promote(&mut self, now: Time) {
        log::info!("promoted: this gateway serves its peers from now on");
        self.take_role(Role::Active, now);
    }

    fn take_role(&mut self, role: Role, now: Time) {
        let is_passive = role == Role::Passive;
        self.device.set_passive(now, is_passive);
        self.plane.carry_out(&mut self.device, now);
        self.endpoints.follow_role(is_passive, now);
    }

    /// Goes on with a promotion. True: there is more to do at once.
    pub(super) fn step_promotion(&mut self, now: Time) -> bool {
        let Some(pending) = &mut self.promotion else { return false };
        match pending.step(now, &mut self.device) {
            Step::Waits => return false,
            Step::More => return true,
            Step::Done(None) => {}
            Step::Done(Some(loaded)) if loaded.is_bad() => log::warn!("{loaded}"),
            Step::Done(Some(loaded)) => log::info!("{loaded}"),
            Step::TooSlow => log::warn!(
                "the file of endpoints could not be read in time, and is not waited for: peers are asked where this \
                 gateway knows them to be"
            ),
        }
        self.promotion = None;
        self.promote(now);
        false
    }

    /// Answers once what was asked for is so. A demotion has come to its end when no worker lets anything pass, and no
    /// key of a session is left. Somebody else may decide otherwise meanwhile.
    pub(super) fn settle_role(&self, wanted: Role, reply: &mut Reply) -> Progress {
        let is_settled = self.queues.control.have_obeyed(self.device.role_changes()) && !self.device.is_renewing();
        let is_under_way = match (wanted, self.role()) {
            (Role::Passive, Role::Passive) => !is_settled,
            (Role::Active, Role::Passive) => self.promotion.is_some(),
            (_, Role::Active) => false,
        };
        if is_under_way {
            return Progress::Unfinished(Unfinished::Role(wanted));
        }
        self.say_role(reply)
    }

    /// Has each worker give a sign of life.
    pub(super) fn ask_for_signs(&mut self, reply: &mut Reply) -> Progress {
        self.signs_asked += 1;
        self.queues.workers.iter().for_each(|inbox| inbox.push_mail(Mail::Sign));
        self.settle_signs(self.signs_asked, reply)
    }

    /// Answers once all of them have.
    pub(super) fn settle_signs(&self, asked: u64, reply: &mut Reply) -> Progress {
        if !self.queues.control.have_given_signs(asked) {
            return Progress::Unfinished(Unfinished::Alive(asked));
        }
        reply.line("workers", self.queues.workers.len());
        self.say_role(reply)
    }

    fn say_role(&self, reply: &mut Reply) -> Progress {
        reply.line("role", self.role().name());
        Progress::Done(Errno::OK)
    }
}
