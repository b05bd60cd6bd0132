//! The threads of a run: each makes its ring on its own CPU, all begin at one time, and each says what CPU time it
//! took.

use std::sync::mpsc;
use std::thread::{Scope, ScopedJoinHandle};

use ringfort_testbed::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{Placement, sys};

/// From when everybody is ready to when the schedules begin.
const LEAD_NS: u64 = 5_000_000;

/// What a thread gave, and what it took.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done<T> {
    pub(crate) value: T,
    /// CPU time from the start to the end, in nanoseconds.
    pub(crate) cpu_ns: u64,
}

/// Threads that wait for each other before they begin.
pub(crate) struct Crew<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    placement: &'env Placement,
    /// Of each thread: its seat is its place here.
    starts: Vec<mpsc::Sender<u64>>,
    ready: (mpsc::Sender<Result<()>>, mpsc::Receiver<Result<()>>),
}

/// A thread of a crew.
pub(crate) type Member<'scope, T> = ScopedJoinHandle<'scope, Result<Done<T>>>;

impl<'scope, 'env> Crew<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, placement: &'env Placement) -> Self {
        Self { scope, placement, starts: Vec::new(), ready: mpsc::channel() }
    }

    /// Adds a thread on the next CPU, which calls `prepare` at once, and `work` with the start time when all are ready.
    pub(crate) fn add<R, T: Send + 'scope>(
        &mut self,
        prepare: impl FnOnce() -> Result<R> + Send + 'scope,
        work: impl FnOnce(R, u64) -> Result<T> + Send + 'scope,
    ) -> Member<'scope, T> {
        let (placement, seat) = (self.placement, self.starts.len());
        let (start, started) = mpsc::channel();
        let ready = self.ready.0.clone();
        self.starts.push(start);
        self.scope.spawn(move || {
            let prepared = sys::take_seat(placement, seat).and_then(|()| prepare());
            let (prepared, report) = match prepared {
                Ok(prepared) => (Some(prepared), Ok(())),
                Err(error) => (None, Err(error)),
            };
            // Nobody listens when another thread has failed; then no start comes either.
            let _ = ready.send(report);
            let (Some(prepared), Ok(start_ns)) = (prepared, started.recv()) else {
                return Err(Error::new("the run did not begin"));
            };
            let before_ns = sys::thread_cpu_ns();
            let value = work(prepared, start_ns)?;
            Ok(Done { value, cpu_ns: sys::thread_cpu_ns() - before_ns })
        })
    }

    /// Waits until all are ready and lets them begin; returns the start time, which is not past yet.
    ///
    /// # Errors
    /// One of them could not prepare; the others end.
    pub(crate) fn begin(self) -> Result<u64> {
        self.assemble()?.begin()
    }

    /// Waits until all are ready.
    ///
    /// # Errors
    /// One of them could not prepare; the others end.
    pub(crate) fn assemble(self) -> Result<Ready> {
        for _ in &self.starts {
            self.ready.1.recv().map_err(|_| Error::new("a thread of the generator panicked"))??;
        }
        Ok(Ready(self.starts))
    }
}

/// All threads of a crew wait for the start. They end if this is dropped.
pub(crate) struct Ready(Vec<mpsc::Sender<u64>>);

impl Ready {
    /// Lets them begin; returns the start time, which is not past yet.
    ///
    /// # Errors
    /// One has ended before.
    pub(crate) fn begin(self) -> Result<u64> {
        let start_ns = sys::now_ns() + LEAD_NS;
        for start in &self.0 {
            start.send(start_ns).map_err(|_| Error::new("a thread of the generator ended before the start"))?;
        }
        Ok(start_ns)
    }
}

/// Waits for a thread.
pub(crate) fn join<T>(member: Member<'_, T>) -> Result<Done<T>> {
    member.join().map_err(|_| Error::new("a thread of the generator panicked"))?
}
