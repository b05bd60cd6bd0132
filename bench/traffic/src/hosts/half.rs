//! The half of a load that one of two hosts carries: its sockets and its threads.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringfort_testbed::{Context, Error, Result};

use crate::crew::{Crew, Member, join};
use crate::hosts::messages::Part;
use crate::receiver::{Arrivals, Receiver, Signals};
use crate::reflector::{Reflection, Reflector};
use crate::schedule::Schedule;
use crate::sender::{Sender, Sending};
use crate::sockets::{Bound, Grid, bind_here, merge, sides};
use crate::{Load, Placement, Route};

/// Which of the two hosts this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// Packets of [`Route::Forward`] and [`Route::RoundTrip`] begin here.
    Generator,
    /// The other one.
    Reflector,
}

/// A lane whose sockets on this host are bound. Those of the other one are not known yet.
#[derive(Debug)]
pub(crate) struct Bare {
    host: Host,
    pub(crate) route: Route,
    pub(crate) schedule: Schedule,
    bound: Bound,
}

/// One lane, as far as it is on this host.
#[derive(Debug)]
pub(crate) struct Half {
    host: Host,
    pub(crate) route: Route,
    pub(crate) schedule: Schedule,
    grid: Grid,
    tag: u32,
    stop_sending: AtomicBool,
    receiving: Signals,
    reflecting: Signals,
}

/// Its threads here.
#[derive(Default)]
pub(crate) struct Threads<'scope> {
    sender: Option<Member<'scope, Sending>>,
    receiver: Option<Member<'scope, Arrivals>>,
    reflector: Option<Member<'scope, Reflection>>,
}

impl Host {
    /// Whether the packets of a route begin here.
    fn has_sources(self, route: Route) -> bool {
        (self == Self::Generator) == (route != Route::Backward)
    }

    /// Whether they are received and counted here.
    fn receives(self, route: Route) -> bool {
        (self == Self::Generator) == (route != Route::Forward)
    }

    fn reflects(self, route: Route) -> bool {
        self == Self::Reflector && route == Route::RoundTrip
    }
}

impl Bare {
    /// Binds what a lane needs at this address of this host.
    ///
    /// # Errors
    /// This host does not have the address, or the kernel refuses a socket.
    pub(crate) fn new(host: Host, load: &Load, (number, route): (u16, Route), address: IpAddr) -> Result<Self> {
        let schedule = Schedule::new(load, number, address);
        let (sources, sinks) = sides(schedule.flows);
        let bound = bind_here(address, if host.has_sources(route) { sources } else { sinks })?;
        Ok(Self { host, route, schedule, bound })
    }

    /// The ports of its sockets here.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.bound.1.iter().map(SocketAddr::port).collect()
    }

    /// Together with the ports on the other host.
    ///
    /// # Errors
    /// These are not as many as the load needs.
    pub(crate) fn facing(self, address: IpAddr, ports: &[u16], load: &Load, tag: u32) -> Result<Half> {
        let Self { host, route, schedule, bound } = self;
        let (sources, sinks) = sides(schedule.flows);
        let wanted = if host.has_sources(route) { sinks } else { sources };
        if ports.len() != wanted as usize || ports.contains(&0) {
            return Err(Error::new(format!("{} ports of the other host for a lane that needs {wanted}", ports.len())));
        }
        let far = ports.iter().map(|&port| SocketAddr::new(address, port)).collect();
        let grid = if host.has_sources(route) { Grid::of_sources(bound, far)? } else { Grid::of_sinks(bound, far) };
        if host.has_sources(route) && schedule.train_len > 1 {
            grid.segment(schedule.payload_len_max())?;
        }
        let half = Half {
            host,
            route,
            schedule,
            grid,
            tag,
            stop_sending: AtomicBool::new(false),
            receiving: Signals::new()?,
            reflecting: Signals::new()?,
        };
        if load.gro && host.receives(route) {
            merge(half.grid.receiving(route))?;
        }
        Ok(half)
    }
}

impl Half {
    /// Adds its threads. Our clock shows `offset_ns` beyond that of who sends to us.
    pub(crate) fn spawn<'scope, 'env>(
        &'env self,
        crew: &mut Crew<'scope, 'env>,
        load: &'env Load,
        placement: &'env Placement,
        offset_ns: i64,
        progress: &'env AtomicU64,
    ) -> Threads<'scope> {
        let mut threads = Threads::default();
        if self.host.has_sources(self.route) {
            threads.sender = Some(crew.add(
                || Sender::new(&self.grid, &self.schedule, self.tag, &self.stop_sending),
                |sender, start_ns| sender.run(placement, start_ns),
            ));
        }
        if self.host.receives(self.route) {
            // What comes back from a round trip was stamped by our own clock.
            let offset_ns = if self.route == Route::RoundTrip { 0 } else { offset_ns };
            let sockets = self.grid.receiving(self.route);
            threads.receiver = Some(crew.add(
                move || Receiver::new(sockets, &self.schedule, self.tag, load.gro, &self.receiving, progress),
                move |receiver, _| receiver.with_clock_offset(offset_ns).run(placement),
            ));
        }
        if self.host.reflects(self.route) {
            threads.reflector = Some(crew.add(
                || Reflector::new(&self.grid, &self.schedule, self.tag, &self.reflecting),
                |reflector, _| reflector.run(),
            ));
        }
        threads
    }

    /// What is received here was sent in so many packets.
    pub(crate) fn announce(&self, sent: u64) {
        self.receiving.announce(sent);
    }

    /// Nothing more is sent.
    pub(crate) fn stop_sending(&self) {
        self.stop_sending.store(true, Ordering::Relaxed);
    }

    /// Nothing more is waited for.
    pub(crate) fn stop(&self) {
        self.stop_sending();
        self.receiving.stop();
        self.reflecting.stop();
    }

    /// Whether its datagrams are received on this host, sent by the other one.
    pub(crate) fn is_sent_elsewhere(&self) -> bool {
        !self.host.has_sources(self.route)
    }
}

impl Threads<'_> {
    /// Whether a sender here has not ended.
    pub(crate) fn sends(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| !sender.is_finished())
    }

    /// Waits for the sender, if there is one here.
    pub(crate) fn join_sender(&mut self, part: &mut Part) -> Result<()> {
        part.sending = self.sender.take().map(join).transpose().context("sending")?;
        Ok(())
    }

    /// Waits until nothing is missing, or the time is over.
    pub(crate) fn settle(&self, deadline: Instant) {
        let missing = || self.receiver.as_ref().is_some_and(|receiver| !receiver.is_finished());
        while missing() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the others, which were told to stop.
    pub(crate) fn join(self, part: &mut Part) -> Result<()> {
        part.arrivals = self.receiver.map(join).transpose().context("receiving")?;
        part.reflection = self.reflector.map(join).transpose().context("reflecting")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_is_sent_and_received_once() {
        for route in [Route::Forward, Route::Backward, Route::RoundTrip] {
            let hosts = [Host::Generator, Host::Reflector];
            assert_eq!(hosts.iter().filter(|host| host.has_sources(route)).count(), 1, "{route:?}");
            assert_eq!(hosts.iter().filter(|host| host.receives(route)).count(), 1, "{route:?}");
            assert_eq!(
                hosts.iter().filter(|host| host.reflects(route)).count(),
                usize::from(route == Route::RoundTrip)
            );
        }
    }

    #[test]
    fn ports_that_do_not_fit_the_load_are_refused() {
        let (load, address) = (Load { flows: 3, ..Load::default() }, IpAddr::from([127, 0, 0, 1]));
        // Three flows are two sources and two sinks.
        for wrong in [&[1, 2, 3][..], &[1], &[], &[1, 0]] {
            let bare = Bare::new(Host::Reflector, &load, (0, Route::Forward), address).expect("this test needs root");
            let error = bare.facing(address, wrong, &load, 7).unwrap_err();
            assert!(error.to_string().contains("needs 2"), "{error}");
        }
    }
}
