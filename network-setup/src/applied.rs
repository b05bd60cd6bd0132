//! A setup as it stands, and how it changes.

use crate::changes::Changes;
use crate::error::Error;
use crate::setup::{Setup, check_name};

/// What was set up for an interface. Dropped, it stays as it is.
#[derive(Debug)]
pub struct Applied {
    setup: Setup,
}

/// The mark that the interface's own UDP packets must carry, so a default route does not catch them: the one that the
/// setup names, else 51820 or the next number whose routing table is empty. `None` without a default route. Ask before
/// the sockets are opened, set their mark, and name it in the [`Setup`] that is applied.
///
/// # Errors
/// [`Error::System`] if the kernel does not tell its routes.
pub fn fwmark_for(setup: &Setup) -> Result<Option<u32>, Error> {
    setup.check()?;
    Ok(setup.fwmark.filter(|mark| *mark != 0 && setup.default_routes().next().is_some()))
}

/// Sets up the network of an interface that exists, and sets the interface up.
///
/// # Errors
/// [`Error`]. Then nothing is left of it, except as [`Error::Left`] says.
pub fn apply(setup: &Setup) -> Result<Applied, Error> {
    setup.check()?;
    Err(unfinished("set up the network"))
}

/// Removes what a process that was killed has left behind for an interface of this name: rules and nftables tables
/// outlive the interface, and so do name servers. Routes and addresses went with it. Nothing is there: nothing happens.
///
/// # Errors
/// [`Error`] if something could not be removed.
pub fn take_back(interface: &str) -> Result<(), Error> {
    check_name(interface)?;
    Err(unfinished("take back what is left"))
}

impl Applied {
    /// The mark of the interface's own UDP packets that the rules spare, if there are such rules.
    #[must_use]
    pub fn fwmark(&self) -> Option<u32> {
        self.setup.fwmark
    }

    /// Makes the difference between what is applied and another setup of the same interface, and nothing else. If the
    /// setup names no mark, the one in use stays in use.
    ///
    /// # Errors
    /// [`Error`]. Then everything is as before, except as [`Error::Left`] says.
    pub fn update(&mut self, setup: &Setup) -> Result<Changes, Error> {
        setup.check()?;
        Err(unfinished("change the network"))
    }

    /// Removes all that was set up. The interface is down again if it was down before, and has its old MTU. An
    /// interface that is gone has taken its addresses and routes along. `net.ipv4.conf.all.src_valid_mark` stays set,
    /// as with wg-quick: others may need it.
    ///
    /// # Errors
    /// [`Error`] says what is left. What could be removed is removed.
    pub fn take_back(self) -> Result<(), Error> {
        Err(unfinished("take back the network"))
    }
}

fn unfinished(what: &str) -> Error {
    Error::System { what: what.to_owned(), source: std::io::ErrorKind::Unsupported.into() }
}
