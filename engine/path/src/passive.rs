//! While the gateway is passive, nothing passes. What comes from either side is dropped as [`DropReason::Passive`].
//!
//! No packet pays for that: there are no routes, so none from inside finds a peer, and no sessions, so none from
//! outside is opened. Only what has found nothing asks why.

use ringfort_core::allowed_ips::AllowedIps;
use ringfort_core::drops::DropReason;
use ringfort_core::time::Time;

use crate::{DataPath, Watch};

impl<W: Watch> DataPath<W> {
    /// Whether the gateway is passive.
    #[must_use]
    pub const fn is_passive(&self) -> bool {
        self.standing_by.is_some()
    }

    /// Stands by `since` a time, or not. What was read before leaves as it would have.
    ///
    /// Control ends each session as well, a few peers at a time. One that was made since then is of a gateway that has
    /// been promoted again: what is said of sessions is read before other mail.
    pub(crate) fn set_passive(&mut self, now: Time, since: Option<Time>) {
        let Some(since) = since else {
            if let Some(routes) = self.standing_by.take() {
                self.routes = routes;
            }
            return;
        };
        self.seal_gathered(now);
        let routes = std::mem::replace(&mut self.routes, AllowedIps::new());
        self.standing_by.get_or_insert(routes);
        self.sessions.retain(|_, receiver| receiver.session.created() > since);
        self.has_forgotten = true;
        self.drop_all_staged(now, DropReason::Passive);
    }

    /// Why a packet without a peer, or a message without a session, is dropped: for the usual reason, or since the
    /// gateway is passive.
    pub(crate) const fn reason_or_passive(&self, usual: DropReason) -> DropReason {
        if self.is_passive() { DropReason::Passive } else { usual }
    }
}
