//! The kernel's side, with errors that say what could not be done and what to do about it.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;

use route_netlink::{
    Address, KernelRefusal, LinkSocket, LinkState, Place, RequestError, Route, RouteFilter, RouteSocket, Rule,
    RuleKind, SetupSocket, TABLE_MAIN, Way,
};

use crate::error::Error;
use crate::prefix::Prefix;

/// Sockets in one network namespace.
#[derive(Debug)]
pub(crate) struct Kernel {
    links: LinkSocket,
    routes: RouteSocket,
    setup: SetupSocket,
}

/// The interface that is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
}

impl Kernel {
    pub(crate) fn open() -> Result<Self, Error> {
        let open =
            || Ok(Self { links: LinkSocket::open()?, routes: RouteSocket::open()?, setup: SetupSocket::open()? });
        open().map_err(asking("open a netlink socket"))
    }

    pub(crate) fn interface(&self, name: &str) -> Result<(Interface, LinkState), Error> {
        let found = self.links.find(Place::Home, name).map_err(asking(&format!("look for the interface {name}")))?;
        let (index, state) = found.ok_or_else(|| Error::NoInterface(name.to_owned()))?;
        Ok((Interface { name: name.to_owned(), index }, state))
    }

    /// `None` if the interface is gone.
    pub(crate) fn state(&self, interface: &Interface) -> Result<Option<LinkState>, Error> {
        let what = format!("look at the interface {}", interface.name);
        self.links.state(Place::Home, interface.index).map_err(asking(&what))
    }

    pub(crate) fn set_mtu(&self, interface: &Interface, mtu: u32) -> Result<(), Error> {
        let what = || format!("set the MTU of {} to {mtu}", interface.name);
        let remedy = |errno| if errno == libc::EINVAL { "Choose another MTU".to_owned() } else { String::new() };
        self.setup.set_mtu(interface.index, mtu).map_err(|error| refused(what(), error, remedy))
    }

    pub(crate) fn set_up(&self, interface: &Interface, up: bool) -> Result<(), Error> {
        let what = || format!("set {} {}", interface.name, if up { "up" } else { "down" });
        self.setup.set_up(interface.index, up).map_err(|error| refused(what(), error, |_| String::new()))
    }

    pub(crate) fn addresses(&self, interface: &Interface) -> Result<Vec<Prefix>, Error> {
        let what = || format!("read the addresses of {}", interface.name);
        let all = self.setup.addresses(interface.index).map_err(|error| refused(what(), error, |_| String::new()))?;
        Ok(all.into_iter().filter_map(|one| Prefix::new(one.address, one.prefix_len)).collect())
    }

    pub(crate) fn add_address(&self, interface: &Interface, prefix: Prefix) -> Result<(), Error> {
        let what = || format!("add the address {prefix} to {}", interface.name);
        let remedy = |errno| match errno {
            libc::EEXIST => {
                format!("{} has this address with another prefix: correct Address, or remove the other", interface.name)
            }
            libc::EACCES if !prefix.address().is_ipv4() => {
                "Enable IPv6 (sysctl net.ipv6.conf.all.disable_ipv6), or use no IPv6 address".to_owned()
            }
            _ => String::new(),
        };
        self.setup.add_address(interface.index, address(prefix)).map_err(|error| refused(what(), error, remedy))
    }

    /// False if it was not there.
    pub(crate) fn remove_address(&self, interface: &Interface, prefix: Prefix) -> Result<bool, Error> {
        let what = format!("remove the address {prefix} from {}", interface.name);
        let gone = [libc::EADDRNOTAVAIL, libc::ENODEV];
        removed(what, &gone, self.setup.remove_address(interface.index, address(prefix)))
    }

    pub(crate) fn routes(&self, interface: &Interface, ipv4: bool, table: u32) -> Result<Vec<Route>, Error> {
        let what = || format!("read the routes of {} in table {table}", interface.name);
        let filter = RouteFilter { ipv4, table, interface: interface.index };
        self.setup.routes(filter).map_err(|error| refused(what(), error, |_| String::new()))
    }

    /// Adds routes, and says of each that is there. The first that is refused ends it.
    pub(crate) fn add_routes(
        &self,
        interface: &Interface,
        routes: &[Route],
        mut added: impl FnMut(Route),
    ) -> Result<(), Error> {
        for batch in routes.chunks(SetupSocket::ROUTES_MAX) {
            let what = |route: &Route| format!("add {} to {}", name_of(route), interface.name);
            // What has become of a batch whose answers were lost is not known: removing all of it is right.
            let refusals = self.setup.add_routes(interface.index, batch).map_err(|error| {
                batch.iter().for_each(|route| added(*route));
                refused(format!("add routes to {}", interface.name), error, |_| String::new())
            })?;
            each_other(batch, &refusals).for_each(&mut added);
            if let Some((position, refusal)) = refusals.into_iter().next() {
                let route = &batch[position];
                return Err(refused(what(route), refusal.into(), |errno| route_remedy(errno, route)));
            }
        }
        Ok(())
    }

    /// Removes routes, those that are not there included. Says of each that is gone, and whether it was there.
    pub(crate) fn remove_routes(
        &self,
        interface: &Interface,
        routes: &[Route],
        mut removed: impl FnMut(Route, bool),
    ) -> Result<(), Error> {
        for batch in routes.chunks(SetupSocket::ROUTES_MAX) {
            let what = || format!("remove routes from {}", interface.name);
            let refusals = self.setup.remove_routes(interface.index, batch);
            let refusals = refusals.map_err(|error| refused(what(), error, |_| String::new()))?;
            each_other(batch, &refusals).for_each(|route| removed(route, true));
            for (position, refusal) in refusals {
                let route = batch[position];
                if !matches!(refusal.errno, libc::ESRCH | libc::ENODEV | libc::ENOENT) {
                    let what = format!("remove {} from {}", name_of(&route), interface.name);
                    return Err(refused(what, refusal.into(), |_| String::new()));
                }
                removed(route, false);
            }
        }
        Ok(())
    }

    /// From now on an IPv4 packet that finds no other way in a table gets no further.
    pub(crate) fn block(&self, table: u32) -> Result<(), Error> {
        match self.routes.block(table) {
            Err(error) if error.errno() != Some(libc::EEXIST) => {
                Err(refused(format!("add {}", unreachable(table)), error, |_| String::new()))
            }
            _ => Ok(()),
        }
    }

    /// Takes [`block`](Self::block) back, if it is there.
    pub(crate) fn unblock(&self, table: u32) -> Result<(), Error> {
        let gone = [libc::ESRCH, libc::ENOENT];
        removed(format!("remove {}", unreachable(table)), &gone, self.routes.unblock(table)).map(drop)
    }

    pub(crate) fn rules(&self, ipv4: bool) -> Result<Vec<Rule>, Error> {
        let what = || "read the routing rules".to_owned();
        self.setup.rules(ipv4).map_err(|error| refused(what(), error, |_| String::new()))
    }

    pub(crate) fn add_rule(&self, ipv4: bool, kind: RuleKind) -> Result<Rule, Error> {
        let what = || format!("add the rule `{}`", rule_words(ipv4, kind));
        self.setup.add_rule(ipv4, kind).map_err(|error| refused(what(), error, |_| String::new()))
    }

    /// False if it was not there.
    pub(crate) fn remove_rule(&self, rule: Rule) -> Result<bool, Error> {
        let what = format!("remove the rule `{}`", rule_words(rule.ipv4, rule.kind));
        removed(what, &[libc::ENOENT], self.setup.remove_rule(rule))
    }

    /// The MTU of the way to the peers: the smallest of the routes to them, or of the interfaces that these lead to.
    pub(crate) fn mtu_towards(&self, remotes: &[IpAddr], mark: u32) -> Result<Option<u32>, Error> {
        // Thousands of peers are behind few interfaces.
        let mut known = HashMap::new();
        let mut smallest = None;
        for remote in remotes.iter().collect::<HashSet<_>>() {
            let way = self.routes.way_to(*remote, mark).map_err(asking(&format!("look for the route to {remote}")))?;
            smallest = smallest.into_iter().chain(self.mtu_of(way, &mut known)?).min();
        }
        Ok(smallest)
    }

    /// The MTU of the IPv4 default route.
    pub(crate) fn default_mtu(&self) -> Result<Option<u32>, Error> {
        let what = || "read the default route".to_owned();
        let way = SetupSocket::default_way().map_err(|error| refused(what(), error, |_| String::new()))?;
        self.mtu_of(way, &mut HashMap::new())
    }

    fn mtu_of(&self, way: Option<Way>, known: &mut HashMap<u32, Option<u32>>) -> Result<Option<u32>, Error> {
        let Some(way) = way else { return Ok(None) };
        if way.mtu.is_some() || way.interface == 0 {
            return Ok(way.mtu);
        }
        if let Some(mtu) = known.get(&way.interface) {
            return Ok(*mtu);
        }
        let state = self.links.state(Place::Home, way.interface).map_err(asking("look at an interface"))?;
        let mtu = state.and_then(|state| state.mtu);
        known.insert(way.interface, mtu);
        Ok(mtu)
    }
}

/// Whether nobody uses a routing table.
pub(crate) fn is_free(table: u32) -> Result<bool, Error> {
    let what = || format!("look into the routing table {table}");
    SetupSocket::is_empty(table).map_err(|error| refused(what(), error, |_| String::new()))
}

/// The routes of a batch that were not refused.
fn each_other<'a>(batch: &'a [Route], refusals: &'a [(usize, KernelRefusal)]) -> impl Iterator<Item = Route> + 'a {
    // Refusals come in the order of the requests.
    let mut refusals = refusals.iter().map(|(position, _)| *position).peekable();
    let accepted = batch.iter().enumerate().filter(move |(i, _)| refusals.next_if_eq(i).is_none());
    accepted.map(|(_, route)| *route)
}

fn address(prefix: Prefix) -> Address {
    Address { address: prefix.address(), prefix_len: prefix.length() }
}

fn name_of(route: &Route) -> String {
    let prefix = format!("{}/{}", route.network, route.prefix_len);
    if route.table == TABLE_MAIN {
        format!("the route {prefix}")
    } else {
        format!("the route {prefix} (table {})", route.table)
    }
}

fn unreachable(table: u32) -> String {
    format!("the route `unreachable default` (table {table})")
}

fn route_remedy(errno: i32, route: &Route) -> String {
    let prefix = format!("{}/{}", route.network, route.prefix_len);
    match errno {
        libc::EEXIST => format!(
            "There is another route to it, see `ip route show {prefix} table {}`: remove it, or take the prefix out of \
             AllowedIPs, or set `Table = off` and make routes in PostUp",
            route.table
        ),
        libc::EACCES if route.network.is_ipv6() => {
            "Enable IPv6 (sysctl net.ipv6.conf.all.disable_ipv6), or allow no IPv6 addresses".to_owned()
        }
        _ => String::new(),
    }
}

fn rule_words(ipv4: bool, kind: RuleKind) -> String {
    let family = if ipv4 { "-4" } else { "-6" };
    match kind {
        RuleKind::Unmarked(mark) => format!("ip {family} rule add not fwmark {mark} table {mark}"),
        RuleKind::MainWithoutDefault => format!("ip {family} rule add table main suppress_prefixlength 0"),
    }
}

fn removed(what: String, gone: &[i32], result: Result<(), RequestError>) -> Result<bool, Error> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.errno().is_some_and(|errno| gone.contains(&errno)) => Ok(false),
        Err(error) => Err(refused(what, error, |_| String::new())),
    }
}

fn refused(what: String, error: RequestError, remedy: impl Fn(i32) -> String) -> Error {
    match error {
        RequestError::Refused(refusal) => {
            let remedy = match refusal.errno {
                libc::EPERM => "It needs CAP_NET_ADMIN: run as root".to_owned(),
                errno => remedy(errno),
            };
            Error::Refused { what, reason: refusal.to_string(), errno: refusal.errno, remedy }
        }
        RequestError::Io(source) => Error::System { what, source },
    }
}

fn asking(what: &str) -> impl Fn(io::Error) -> Error + use<> {
    let what = what.to_owned();
    move |source| Error::System { what: what.clone(), source }
}
