//! Who carries requests out, and how far that is.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;

use crate::capture;
use crate::control::handover::Versions;
use crate::control::jobs::Outcome;
use crate::control::listing::Listing;
use crate::control::uapi::{Errno, Reply, Request, Role};
use crate::control::watch::Watching;

/// Carries requests out.
pub trait Handler {
    /// Carries one out, or begins to. Lines of the answer go to `reply`.
    fn handle(&mut self, request: Request, reply: &mut Reply) -> Progress;

    /// Goes on with one that was begun.
    fn go_on(&mut self, unfinished: Unfinished, reply: &mut Reply) -> Progress;

    /// Gives the connection of a client to a capture, which answers him.
    ///
    /// # Errors
    /// It is refused; then lines for the client go to `reply`.
    fn capture(&mut self, request: &capture::Request, client: &UnixStream, reply: &mut Reply) -> Result<(), Errno>;

    /// Takes a step of a hand-over, and answers it on the connection of the client.
    ///
    /// # Errors
    /// The system's, or nothing is handed over: the client is disconnected.
    fn hand_over(&mut self, step: HandOver, client: &UnixStream) -> io::Result<()>;
}

/// What a process wants that is to go on in our place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandOver {
    /// To know what there is, and to have the descriptors. It knows these versions.
    Offer(Versions),
    /// The state, and with it everything.
    State,
}

/// How far a request is.
#[derive(Debug)]
pub enum Progress {
    /// Done; the number ends the answer.
    Done(Errno),
    /// There is more to do.
    Unfinished(Unfinished),
}

/// What takes more than one turn.
#[derive(Debug)]
pub enum Unfinished {
    /// A change waits for its turn, or is applied.
    Change(Receiver<Outcome>),
    /// Workers and peers are being told of a role.
    Role(Role),
    /// Workers were asked for so many signs of life.
    Alive(u64),
    /// All peers are listed, the next page as soon as the client has read the one before.
    Listing(Listing),
    /// What happens to peers is told as it happens, until the client hangs up.
    Watch(Box<Watching>),
}
