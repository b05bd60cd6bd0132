//! Whether this gateway serves its peers, or stands by while another one does.
//!
//! A passive gateway takes configuration, endpoints included. It answers nothing and asks nothing, exactly as if its
//! link were down. So no session of it is alive: whoever served the peers meanwhile, under whichever keys, no counter
//! is used twice. When it is promoted, the link as good as comes up, and sessions are recovered as after a start. Data
//! under an unknown index, from where a peer is, then leads to an initiation (`recovery.rs`).
//!
//! Unlike with a link that is down, packets arrive from both sides. The workers hear of the role before anything else
//! happens ([`Action::Passive`]), and drop them.

use super::Device;
use super::api::Action;
use crate::drops::DropReason;
use crate::time::Time;

impl Device {
    /// Stands by, or serves the peers. Nothing happens if that is so already. With many peers it takes more than this
    /// call until all of their keys are gone, see [`Device::is_renewing`]; nothing is sent or answered meanwhile.
    pub fn set_passive(&mut self, now: Time, passive: bool) {
        if self.is_passive() != passive {
            self.role_changes += 1;
            self.out.push(Action::Passive(passive.then_some(now)));
            self.follow_role(now);
        }
    }

    /// Whether it stands by.
    pub const fn is_passive(&self) -> bool {
        !self.role_changes.is_multiple_of(2)
    }

    /// How often that has changed, beginning with a device that serves: so many times each worker was told
    /// ([`Action::Passive`]). Whether they have obeyed the last one cannot be told from what they do, as there may be
    /// others under way.
    pub const fn role_changes(&self) -> u64 {
        self.role_changes
    }

    /// Whether the peers are served, or why not.
    pub(super) const fn serves(&self) -> Result<(), DropReason> {
        match (self.link, self.is_passive()) {
            (true, false) => Ok(()),
            (true, true) => Err(DropReason::Passive),
            (false, _) => Err(DropReason::Down),
        }
    }

    /// The link or the role may have changed.
    pub(super) fn follow_role(&mut self, now: Time) {
        let up = self.serves().is_ok();
        if std::mem::replace(&mut self.up, up) == up {
            return;
        }
        self.renewal.note_link();
        self.begin_renewal(now);
        if up {
            self.recovery.open(now, &self.out);
        } else {
            self.recovery.close(&mut self.out);
        }
    }
}
