//! The UDP sockets through their changes: a new port or mark is in force as a whole, or not at all.
//!
//! As with the kernel's WireGuard, there are sockets only while the interface is up, so another interface may have the
//! port meanwhile. Unlike the kernel we cannot refuse that the interface comes up. If its port is taken by then, we try
//! again until it is free, and are as good as down.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use ringfort_core::time::Time;
use udp_uring::{Bind, BindError, JunkFilter, SocketConfig, SocketGroup, SocketPair, unguard};

use super::sources::Way;
use super::uapi::Refusal;

/// When to try again to get the port, from the first attempt to the last. An interface that goes down lets its port go
/// some milliseconds later, when its workers have let go of it.
const RETRY_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// The pause with which the operator is told: after five attempts in 150 ms it is more than a hand-over.
const TOLD_PAUSE: Duration = Duration::from_millis(160);

/// The sockets in use, and how they are asked for.
#[derive(Debug)]
pub struct Sockets {
    /// While the interface is up, if its port can be had.
    group: Option<SocketGroup>,
    config: SocketConfig,
    /// The port that the kernel chose, if none was asked for; 0: it has not been asked yet.
    chosen: u16,
    /// The interface is up and the port cannot be had: when to try again, and the pause after that.
    retry: Option<(Time, Duration)>,
    /// What stands in front of them.
    filter: Option<Arc<JunkFilter>>,
}

/// New sockets that nobody uses yet.
#[derive(Debug)]
pub struct Rebind {
    group: SocketGroup,
    config: SocketConfig,
    /// For the workers, in their order.
    pairs: Vec<SocketPair>,
}

/// What a request for another port or mark comes to, once it is known that it can be had.
#[derive(Debug)]
pub enum Prepared {
    /// The sockets remain, and have the mark.
    InPlace,
    /// From now on these sockets are used.
    Rebind(Rebind),
}

impl Sockets {
    /// No sockets yet. Whether the system gives so many is tried.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn new(config: SocketConfig) -> Result<Self, BindError> {
        // Better refused now than when the interface comes up.
        drop(open(&config)?);
        Ok(Self { group: None, config, chosen: 0, retry: None, filter: None })
    }

    /// The sockets that another process has opened, which still receives from them. No filter is put in front of them
    /// before [`guard`](Self::guard).
    #[must_use]
    pub fn inherited(config: SocketConfig, group: Option<SocketGroup>) -> Self {
        let chosen = group.as_ref().filter(|_| config.port == 0).map_or(0, SocketGroup::port);
        Self { group, config, chosen, retry: None, filter: None }
    }

    /// Opens sockets for workers that have none yet. Those that cannot be had are done without: another worker hands
    /// over what is for this one.
    pub fn grow(&mut self) {
        if let Some(group) = &mut self.group
            && let Err(error) = group.grow(&self.config)
        {
            log::warn!("some workers have no sockets of their own: {error}");
        }
    }

    /// Datagrams come to the worker that has their session again, whatever another process has done to the sockets.
    pub fn steer(&self) {
        if let Some(group) = &self.group
            && let Err(error) = group.steer()
        {
            log::warn!("datagrams may come to workers that do not have their sessions, and are handed over: {error}");
        }
    }

    /// Puts the filter in front of sockets that another process has opened, in place of that of the other process,
    /// which knows nothing of what comes now.
    pub fn guard_inherited(&self) {
        if let Some(group) = &self.group {
            unguard(group);
        }
        self.guard();
    }

    /// Puts the filter in front of the sockets that are there.
    pub fn guard(&self) {
        if let (Some(filter), Some(group)) = (&self.filter, &self.group)
            && let Err(error) = filter.guard(group)
        {
            log::warn!("the workers alone drop floods: {error}");
        }
    }

    /// With this filter in front of all sockets that are opened from now on.
    #[must_use]
    pub fn behind(self, filter: Option<Arc<JunkFilter>>) -> Self {
        Self { filter, ..self }
    }

    /// The port that we listen on, or will; 0 if it is yet to be chosen.
    #[must_use]
    pub fn port(&self) -> u16 {
        match &self.group {
            Some(group) => group.port(),
            None if self.config.port == 0 => self.chosen,
            None => self.config.port,
        }
    }

    /// The mark of outgoing packets; 0 is none.
    #[must_use]
    pub fn fwmark(&self) -> u32 {
        self.config.fwmark
    }

    /// How datagrams leave.
    #[must_use]
    pub fn way(&self) -> Way {
        Way { fwmark: self.config.fwmark, is_fixed: matches!(self.config.bind, Bind::Device(_)) }
    }

    /// Size of each receive buffer, in bytes.
    #[must_use]
    pub fn receive_buffer(&self) -> usize {
        self.config.receive_buffer
    }

    /// The port that was asked for; 0: any.
    #[must_use]
    pub fn asked_port(&self) -> u16 {
        self.config.port
    }

    /// What they are bound to.
    #[must_use]
    pub fn bind(&self) -> Bind {
        self.config.bind
    }

    /// Those of each worker, while there are any.
    pub fn pairs(&self) -> impl Iterator<Item = &SocketPair> {
        self.group.iter().flat_map(|group| (0..group.workers()).map(|worker| group.pair(worker)))
    }

    /// Those that control sends handshakes through.
    #[must_use]
    pub fn own(&self) -> Option<&SocketPair> {
        self.group.as_ref().map(|group| group.pair(0))
    }

    /// Whether there are sockets.
    #[must_use]
    pub fn are_open(&self) -> bool {
        self.group.is_some()
    }

    /// The interface is up: sockets are wanted from now on.
    pub fn want(&mut self, now: Time) {
        if self.group.is_none() {
            self.retry = Some((now, RETRY_PAUSES.0));
        }
    }

    /// When to call [`open_if_due`](Self::open_if_due).
    #[must_use]
    pub fn next_attempt(&self) -> Option<Time> {
        self.retry.map(|(due, _)| due)
    }

    /// Opens the sockets if they are wanted, and returns each worker's, in their order.
    pub fn open_if_due(&mut self, now: Time) -> Option<Vec<SocketPair>> {
        let (due, pause) = self.retry?;
        if now < due {
            return None;
        }
        match self.open() {
            Ok((group, pairs)) => {
                log::info!("listening on UDP port {}", group.port());
                self.install(group);
                Some(pairs)
            }
            Err(error) => {
                if pause == TOLD_PAUSE {
                    log::error!("{error}. It is tried again every second; until then nothing is sent or received");
                }
                self.retry = Some((now + pause, (2 * pause).min(RETRY_PAUSES.1)));
                None
            }
        }
    }

    /// Why there are no sockets although they are wanted, if that is so now.
    pub fn failure(&self) -> Option<BindError> {
        self.retry?;
        self.open().err()
    }

    /// The interface is down: the port is free for others when the workers have let go of theirs as well.
    pub fn close(&mut self) {
        (self.group, self.retry) = (None, None);
    }

    /// Gets what is asked for. If it cannot be had, everything stays as it is. While the interface is down, it is only
    /// remembered.
    ///
    /// Port 0 lets the kernel choose; if it did already, the port stays.
    ///
    /// # Errors
    /// [`Refusal::PortInUse`], [`Refusal::Sockets`] or [`Refusal::Fwmark`].
    pub fn prepare(&mut self, port: Option<u16>, fwmark: Option<u32>) -> Result<Prepared, Refusal> {
        let config = SocketConfig {
            port: port.unwrap_or(self.config.port),
            fwmark: fwmark.unwrap_or(self.config.fwmark),
            ..self.config
        };
        let is_wanted = self.group.is_some() || self.retry.is_some();
        if is_wanted
            && config.port != self.config.port
            && Some(config.port) != self.group.as_ref().map(SocketGroup::port)
        {
            return self.bind_anew(config).map(Prepared::Rebind);
        }
        if config.fwmark != self.config.fwmark {
            self.mark(config.fwmark)?;
        }
        // Or a port that was the kernel's choice and is now asked for by its number.
        self.chosen = if config.port == self.config.port { self.chosen } else { 0 };
        self.config.port = config.port;
        Ok(Prepared::InPlace)
    }

    /// Whether another port than ours cannot be had now.
    #[must_use]
    pub fn is_taken(&self, port: u16) -> bool {
        let is_another = self.group.is_some() && port != self.port();
        is_another && matches!(open(&SocketConfig { port, ..self.config }), Err(BindError::PortInUse { .. }))
    }

    /// Uses the new sockets. The old ones are closed when the workers have taken theirs, which are returned.
    pub fn adopt(&mut self, rebind: Rebind) -> Vec<SocketPair> {
        self.config = rebind.config;
        self.install(rebind.group);
        rebind.pairs
    }

    fn install(&mut self, group: SocketGroup) {
        self.chosen = if self.config.port == 0 { group.port() } else { 0 };
        (self.group, self.retry) = (Some(group), None);
        self.guard();
    }

    /// What was chosen before, if it is still free.
    fn open(&self) -> Result<(SocketGroup, Vec<SocketPair>), BindError> {
        match open(&SocketConfig { port: self.port(), ..self.config }) {
            Err(BindError::PortInUse { .. }) if self.config.port == 0 => open(&self.config),
            result => result,
        }
    }

    fn bind_anew(&self, config: SocketConfig) -> Result<Rebind, Refusal> {
        match open(&config) {
            Ok((group, pairs)) => Ok(Rebind { group, config, pairs }),
            Err(error) => {
                log::warn!("the listening port stays {}: {error}", self.port());
                let is_taken = matches!(error, BindError::PortInUse { .. });
                Err(if is_taken { Refusal::PortInUse } else { Refusal::Sockets })
            }
        }
    }

    fn mark(&mut self, fwmark: u32) -> Result<(), Refusal> {
        if let Some(group) = &self.group
            && let Err(error) = group.set_fwmark(fwmark)
        {
            log::warn!("the firewall mark stays {}: {error}", self.config.fwmark);
            // Some of the sockets may have taken it.
            let _ = group.set_fwmark(self.config.fwmark);
            return Err(Refusal::Fwmark);
        }
        self.config.fwmark = fwmark;
        Ok(())
    }
}

/// Sockets, and each worker's duplicates.
fn open(config: &SocketConfig) -> Result<(SocketGroup, Vec<SocketPair>), BindError> {
    let group = SocketGroup::bind(config)?;
    let pairs = (0..group.workers()).map(|worker| group.pair(worker).try_clone()).collect::<Result<_, _>>();
    let pairs = pairs.map_err(|error| BindError::Descriptors {
        errno: error.raw_os_error().map_or(Errno::EMFILE, Errno::from_raw),
    })?;
    Ok((group, pairs))
}

#[cfg(test)]
#[path = "sockets_tests.rs"]
mod tests;
