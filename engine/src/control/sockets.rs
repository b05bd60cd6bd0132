//! The UDP sockets through their changes: a new port or mark is in force as a whole, or not at all.

use std::io;

use udp_uring::{BindError, SocketConfig, SocketGroup, SocketPair};

use super::uapi::Refusal;

/// The sockets in use, and how they were asked for.
#[derive(Debug)]
pub struct Sockets {
    group: SocketGroup,
    config: SocketConfig,
}

/// New sockets that nobody uses yet.
#[derive(Debug)]
pub struct Rebind {
    sockets: Sockets,
    /// For the workers, in their order.
    pairs: Vec<SocketPair>,
}

/// What a request for another port or mark comes to, once it is known that it can be had.
#[derive(Debug)]
pub enum Prepared {
    /// The sockets remain, and have the mark.
    InPlace,
    /// These sockets are to be used from now on.
    Rebind(Rebind),
}

impl Sockets {
    /// Binds a port of the kernel's choice, for that many workers.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(workers: u8) -> Result<Self, BindError> {
        let config = SocketConfig::new(0, workers);
        Ok(Self { group: SocketGroup::bind(&config)?, config })
    }

    /// The port that we listen on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.group.port()
    }

    /// The mark of outgoing packets; 0 is none.
    #[must_use]
    pub fn fwmark(&self) -> u32 {
        self.config.fwmark
    }

    /// Those that control sends handshakes through.
    #[must_use]
    pub fn own(&self) -> &SocketPair {
        self.group.pair(0)
    }

    /// Each worker's, in their order.
    ///
    /// # Errors
    /// The system's, most likely `EMFILE`.
    pub fn pairs(&self) -> io::Result<Vec<SocketPair>> {
        (0..self.group.workers()).map(|worker| self.group.pair(worker).try_clone()).collect()
    }

    /// Gets what is asked for. If it cannot be had, everything stays as it is.
    ///
    /// Port 0 lets the kernel choose; if it did already, the port stays.
    ///
    /// # Errors
    /// [`Refusal::PortInUse`] or [`Refusal::Fwmark`].
    pub fn prepare(&mut self, port: Option<u16>, fwmark: Option<u32>) -> Result<Prepared, Refusal> {
        let port = port.unwrap_or(self.config.port);
        let fwmark = fwmark.unwrap_or(self.config.fwmark);
        if port != self.config.port && port != self.group.port() {
            return self.bind_anew(SocketConfig { port, fwmark, ..self.config }).map(Prepared::Rebind);
        }
        if fwmark != self.config.fwmark {
            self.mark(fwmark)?;
        }
        // A port that was the kernel's choice and is now asked for by its number.
        self.config.port = port;
        Ok(Prepared::InPlace)
    }

    /// Uses the new sockets. The old ones are closed when the workers have taken theirs, which are returned.
    pub fn adopt(&mut self, rebind: Rebind) -> Vec<SocketPair> {
        *self = rebind.sockets;
        rebind.pairs
    }

    fn bind_anew(&self, config: SocketConfig) -> Result<Rebind, Refusal> {
        let refused = |error: &dyn std::fmt::Display| {
            log::warn!("the listening port stays {}: {error}", self.port());
            Refusal::PortInUse
        };
        let group = SocketGroup::bind(&config).map_err(|error| refused(&error))?;
        let sockets = Self { group, config };
        let pairs = sockets.pairs().map_err(|error| refused(&error))?;
        Ok(Rebind { sockets, pairs })
    }

    fn mark(&mut self, fwmark: u32) -> Result<(), Refusal> {
        if let Err(error) = self.group.set_fwmark(fwmark) {
            log::warn!("the firewall mark stays {}: {error}", self.config.fwmark);
            // Some of the sockets may have taken it.
            let _ = self.group.set_fwmark(self.config.fwmark);
            return Err(Refusal::Fwmark);
        }
        self.config.fwmark = fwmark;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;
    use std::time::{Duration, Instant};

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// Runs in a network namespace of its own, where all ports are free.
    fn elsewhere(body: impl FnOnce() + Send) {
        let inside = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the tests of the network need root");
            body();
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    }

    /// A port that was just let go of is free, but for children of other tests, which hold copies of its socket until
    /// they execute their program.
    fn prepare_when_free(sockets: &mut Sockets, port: u16) -> Prepared {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match sockets.prepare(Some(port), None) {
                Err(Refusal::PortInUse) if Instant::now() < deadline => thread::sleep(Duration::from_millis(1)),
                prepared => return prepared.unwrap(),
            }
        }
    }

    #[test]
    fn a_taken_port_leaves_everything_as_it_is() {
        elsewhere(|| {
            let mut sockets = Sockets::bind(2).unwrap();
            let before = sockets.port();
            let taken = UdpSocket::bind("0.0.0.0:0").unwrap();
            let wanted = taken.local_addr().unwrap().port();
            assert_eq!(sockets.prepare(Some(wanted), None).unwrap_err(), Refusal::PortInUse);
            assert_eq!(sockets.port(), before);
            drop(taken);
            let Prepared::Rebind(rebind) = prepare_when_free(&mut sockets, wanted) else { panic!("a new port") };
            assert_eq!(sockets.port(), before, "nothing changes before it is adopted");
            assert_eq!(sockets.adopt(rebind).len(), 2);
            assert_eq!(sockets.port(), wanted);
        });
    }

    #[test]
    fn the_port_that_we_have_is_not_bound_again() {
        let mut sockets = Sockets::bind(1).unwrap();
        let port = sockets.port();
        assert!(matches!(sockets.prepare(Some(0), None), Ok(Prepared::InPlace)));
        assert!(matches!(sockets.prepare(Some(port), Some(0)), Ok(Prepared::InPlace)));
        assert!(matches!(sockets.prepare(Some(0), None), Ok(Prepared::Rebind(_))), "now any other port is asked for");
    }
}
