//! Routes through the interface of the gateway, in the kernel, and whether there are routes to other nodes.

use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ringfort_core::allowed_ips::Prefix;
use route_netlink::{LinkMonitor, LinkNews, Route, RouteFilter, RouteMonitor, RouteSocket, SetupSocket};
use tokio::sync::mpsc::Sender;

use crate::state::{RouteOps, Routes};

/// Changes of routes in one turn.
pub const BATCH: usize = SetupSocket::ROUTES_MAX;

/// What the kernel says.
#[derive(Debug)]
pub enum FromKernel {
    /// Something has happened to the interface, perhaps.
    Link,
    /// Something has happened to routes, perhaps.
    Routes,
}

/// One interface, one table, one protocol.
pub struct Kernel {
    socket: SetupSocket,
    questions: RouteSocket,
    interface: String,
    /// `None`: it is not there.
    index: Option<u32>,
    table: u32,
    protocol: u8,
}

/// Says from now on whenever the interface may have changed, until nobody listens. A thread waits for it: the runtime
/// takes descriptors of other kinds only by `unsafe` code.
///
/// # Errors
/// The system's.
pub fn watch_links(interface: String, events: Sender<impl From<FromKernel> + Send + 'static>) -> io::Result<()> {
    let monitor = LinkMonitor::open()?;
    let wait = move || {
        let mut index = 0;
        loop {
            let mut fds = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
            let waited = poll(&mut fds, PollTimeout::NONE);
            let news = monitor.news(index).unwrap_or(LinkNews::Changed);
            // One that comes into being has an index that nobody knows yet.
            let before = std::mem::replace(&mut index, find(&interface).unwrap_or(0));
            let has_changed = news != LinkNews::None || before != index;
            if waited.is_ok() && has_changed && events.blocking_send(FromKernel::Link.into()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("ringfort-links".to_owned()).spawn(wait).map(drop)
}

/// Says from now on whenever routes have changed, until nobody listens.
///
/// # Errors
/// The system's.
pub fn watch_routes(events: Sender<impl From<FromKernel> + Send + 'static>) -> io::Result<()> {
    let monitor = RouteMonitor::open()?;
    let wait = move || {
        loop {
            let mut fds = [PollFd::new(monitor.as_fd(), PollFlags::POLLIN)];
            let waited = poll(&mut fds, PollTimeout::NONE);
            let has_changed = monitor.has_changed().unwrap_or(true);
            if waited.is_ok() && has_changed && events.blocking_send(FromKernel::Routes.into()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("ringfort-routes".to_owned()).spawn(wait).map(drop)
}

fn find(interface: &str) -> Option<u32> {
    if_nametoindex(interface).ok()
}

impl Kernel {
    /// Of the network namespace that we are in.
    ///
    /// # Errors
    /// The system's.
    pub fn open(interface: &str, table: u32, protocol: u8) -> io::Result<Self> {
        let interface = interface.to_owned();
        let (socket, questions) = (SetupSocket::open()?, RouteSocket::open()?);
        Ok(Self { socket, questions, interface, index: None, table, protocol })
    }

    /// The interface is there, as it was when routes were read.
    #[must_use]
    pub fn has_interface(&self) -> bool {
        self.index.is_some()
    }

    /// Whether there is a route to just this prefix, through whatever interface.
    ///
    /// # Errors
    /// The system's.
    pub fn has_route(&self, prefix: Prefix) -> io::Result<bool> {
        self.questions.has((prefix.addr(), prefix.len()))
    }

    /// Tells `routes` what the kernel has now.
    ///
    /// # Errors
    /// The system's.
    pub fn read(&mut self, routes: &mut Routes) -> io::Result<()> {
        self.index = find(&self.interface);
        let Some(interface) = self.index else {
            routes.forget_installed();
            return Ok(());
        };
        let mut all = Vec::new();
        for ipv4 in [true, false] {
            all.extend(self.socket.routes(RouteFilter { ipv4, table: self.table, interface })?);
        }
        let ours = all.into_iter().filter(|route| route.protocol == self.protocol);
        routes.set_installed(ours.filter_map(|route| Prefix::new(route.network, route.prefix_len)));
        Ok(())
    }

    /// Carries a batch out. Returns how many routes the kernel has refused to add; the log has the first reason.
    ///
    /// # Errors
    /// It is not known what has happened: it must be read again.
    pub fn apply(&self, ops: &RouteOps, routes: &mut Routes) -> io::Result<usize> {
        let Some(interface) = self.index else { return Ok(0) };
        let as_routes = |prefixes: &[Prefix]| -> Vec<Route> {
            let route = |prefix: &Prefix| Route {
                network: prefix.addr(),
                prefix_len: prefix.len(),
                table: self.table,
                protocol: self.protocol,
            };
            prefixes.iter().map(route).collect()
        };
        // One that is gone already is as good.
        self.socket.remove_routes(interface, &as_routes(&ops.remove))?;
        let refused = self.socket.add_routes(interface, &as_routes(&ops.add))?;
        if let Some((position, refusal)) = refused.first() {
            log::warn!(
                "the kernel refuses {} of {} routes, that to {} because of: {refusal}; they are tried again when the \
                 interface comes up",
                refused.len(),
                ops.add.len(),
                ops.add[*position]
            );
        }
        for (position, _) in &refused {
            routes.refused(ops.add[*position]);
        }
        Ok(refused.len())
    }
}
