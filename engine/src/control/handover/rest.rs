//! All workers come to rest. Control waits for them: it has nothing else to do meanwhile.

use std::io;
use std::time::Instant;

use nix::poll::PollFlags;
use ringfort_worker::queues::{Mail, Queues, Rested};

use super::line::wait_for;

/// Why workers did not come to rest. They may rest all the same.
#[derive(Debug, thiserror::Error)]
pub enum Unrest {
    /// One has ended.
    #[error("a worker has ended meanwhile")]
    Ended,
    /// One has too much to do.
    #[error("worker {0} did not come to rest in time")]
    Late(usize),
    /// The system's.
    #[error("waiting for the workers failed: {0}")]
    System(#[from] io::Error),
}

/// Has all workers read nothing more, and waits until nothing of them is under way. Each answers this round, whether it
/// rests already or not: what another one had handed to it in the round before is done with then.
///
/// # Errors
/// [`Unrest`]. A worker that has ended stays in the queue of failures.
pub fn rest(queues: &Queues, round: u32, deadline: Instant) -> Result<Vec<Rested>, Unrest> {
    for inbox in &queues.workers {
        inbox.push_mail(Mail::Rest(round));
    }
    let mut all: Vec<Option<Rested>> = queues.workers.iter().map(|_| None).collect();
    loop {
        queues.control.heard();
        while let Some(rested) = queues.control.next_rested() {
            if rested.round == round {
                let worker = rested.worker;
                all[worker] = Some(rested);
            }
        }
        let Some(missing) = all.iter().position(Option::is_none) else {
            return Ok(all.into_iter().flatten().collect());
        };
        if queues.control.has_failed() {
            return Err(Unrest::Ended);
        }
        match wait_for(queues.control.waker(), PollFlags::POLLIN, deadline) {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Unrest::Late(missing)),
            waited => waited?,
        }
    }
}
