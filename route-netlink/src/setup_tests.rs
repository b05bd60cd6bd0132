//! Addresses, routes and rules of interfaces, in a namespace.

use ringfort_testbed::scratch::{in_namespace, ip};

use super::*;
use crate::link::{LinkSocket, Place};

/// An interface that is up, and a socket.
fn dummy(test: impl FnOnce(&SetupSocket, u32) + Send) {
    in_namespace(|| {
        ip("link add d0 type veth peer name d1");
        ip("link set d1 up");
        let index = LinkSocket::open().unwrap().find(Place::Home, "d0").unwrap().unwrap().0;
        // No address of its own.
        std::fs::write("/proc/sys/net/ipv6/conf/d0/addr_gen_mode", "1").unwrap();
        let socket = SetupSocket::open().unwrap();
        socket.set_up(index, true).unwrap();
        test(&socket, index);
    });
}

fn address(text: &str, prefix_len: u8) -> Address {
    Address { address: text.parse().unwrap(), prefix_len }
}

fn route(network: &str, prefix_len: u8, table: u32) -> Route {
    Route { network: network.parse().unwrap(), prefix_len, table, protocol: PROTOCOL_BOOT }
}

#[test]
fn addresses_come_and_go() {
    dummy(|socket, index| {
        let all = [address("10.0.0.1", 24), address("10.0.0.2", 24), address("fd00::1", 64)];
        all.iter().for_each(|address| socket.add_address(index, *address).unwrap());
        assert_eq!(socket.addresses(index).unwrap(), all);
        assert_eq!(socket.add_address(index, all[2]).unwrap_err().errno(), Some(libc::EEXIST));
        socket.remove_address(index, all[1]).unwrap();
        assert_eq!(socket.addresses(index).unwrap(), [all[0], all[2]]);
        let gone = socket.remove_address(index, all[1]).unwrap_err();
        // Each C library has words of its own for it.
        let words = io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
        assert_eq!(gone.to_string(), format!("ipv4: Address not found ({words})"));
    });
}

#[test]
fn the_kernel_s_own_words_are_kept() {
    dummy(|socket, index| {
        let refused = socket.add_routes(index, &[route("10.0.0.0", 8, 254), route("10.1.0.1", 16, 254)]).unwrap();
        let [(1, refusal)] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!((refusal.errno, refusal.text.is_some()), (libc::EINVAL, true));
        let error = socket.set_mtu(index, 1).unwrap_err().to_string();
        assert!(error.contains("mtu"), "{error}");
    });
}

#[test]
fn routes_of_a_batch_are_there_except_those_that_were_refused() {
    dummy(|socket, index| {
        let mut routes: Vec<_> = (0..100).map(|i| route(&format!("10.0.{i}.0"), 24, 77_000)).collect();
        routes[50] = routes[49];
        let refused = socket.add_routes(index, &routes).unwrap();
        assert_eq!(
            refused.iter().map(|(position, no)| (*position, no.errno)).collect::<Vec<_>>(),
            [(50, libc::EEXIST)]
        );
        let filter = RouteFilter { ipv4: true, table: 77_000, interface: index };
        assert_eq!(socket.routes(filter).unwrap().len(), 99);
        assert_eq!(socket.routes(RouteFilter { interface: 1, ..filter }).unwrap(), []);
        assert_eq!(socket.routes(RouteFilter { table: 77_001, ..filter }).unwrap(), [], "no such table");
        assert!(!SetupSocket::is_empty(77_000).unwrap() && SetupSocket::is_empty(77_001).unwrap());
        let refused = socket.remove_routes(index, &routes).unwrap();
        assert_eq!(refused.iter().map(|(position, no)| (*position, no.errno)).collect::<Vec<_>>(), [(50, libc::ESRCH)]);
        assert!(SetupSocket::is_empty(77_000).unwrap());
        assert_eq!(socket.add_routes(index, &[]).unwrap(), []);
    });
}

#[test]
fn a_batch_that_is_refused_as_a_whole_loses_no_answer() {
    dummy(|socket, index| {
        let routes = vec![route("fd00:1::", 48, 78_000); SetupSocket::ROUTES_MAX];
        assert_eq!(socket.add_routes(index, &routes).unwrap().len(), SetupSocket::ROUTES_MAX - 1);
        assert_eq!(socket.add_routes(index, &routes).unwrap().len(), SetupSocket::ROUTES_MAX);
    });
}

#[test]
fn rules_get_their_priority_from_the_kernel() {
    dummy(|socket, _| {
        for ipv4 in [true, false] {
            assert_eq!(socket.rules(ipv4).unwrap(), []);
            let unmarked = socket.add_rule(ipv4, RuleKind::Unmarked(51820)).unwrap();
            let main = socket.add_rule(ipv4, RuleKind::MainWithoutDefault).unwrap();
            assert_eq!((unmarked.priority, main.priority), (32765, 32764));
            assert_eq!((unmarked.protocol, main.protocol), (PROTOCOL_OURS, PROTOCOL_OURS));
            ip(if ipv4 { "-4 rule add fwmark 9 table 9" } else { "-6 rule add fwmark 9 table 9" });
            assert_eq!(socket.rules(ipv4).unwrap(), [main, unmarked], "the third is none of these kinds");
            socket.remove_rule(unmarked).unwrap();
            assert_eq!(socket.rules(ipv4).unwrap(), [main]);
            assert_eq!(socket.remove_rule(unmarked).unwrap_err().errno(), Some(libc::ENOENT));
            ip(if ipv4 { "-4 rule add not fwmark 7 table 7" } else { "-6 rule add not fwmark 7 table 7" });
            assert_eq!(socket.rules(ipv4).unwrap()[0].protocol, 0, "it is not ours");
        }
    });
}

#[test]
fn the_default_route_and_its_mtu() {
    dummy(|_, index| {
        assert_eq!(SetupSocket::default_way().unwrap(), None);
        ip("address add 192.0.2.1/24 dev d0");
        ip("route add default via 192.0.2.2 mtu 1400");
        let way = SetupSocket::default_way().unwrap().unwrap();
        assert_eq!((way.interface, way.mtu), (index, Some(1400)));
    });
}

/// A dump that other changes interrupt is repeated until it is whole, or ends with an error that says so.
#[test]
fn a_dump_tells_all_that_stays_while_others_come_and_go() {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    dummy(|socket, index| {
        let number = |i: usize| format!("10.{}.{}.0", i / 256, i % 256);
        let routes: Vec<_> = (0..1000).map(|i| route(&number(i), 24, 79_000)).collect();
        for batch in routes.chunks(SetupSocket::ROUTES_MAX) {
            assert_eq!(socket.add_routes(index, batch).unwrap(), []);
        }
        let addresses: Vec<_> = (0..500).map(|i| address(&number(i), 32)).collect();
        addresses.iter().for_each(|address| socket.add_address(index, *address).unwrap());
        let done = AtomicBool::new(false);
        // Threads that are made here are in this namespace as well.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let other = SetupSocket::open().unwrap();
                while !done.load(Relaxed) {
                    let comes_and_goes = [route("9.0.0.0", 8, 79_000), route("11.0.0.0", 8, 79_000)];
                    assert_eq!(other.add_routes(index, &comes_and_goes).unwrap(), []);
                    assert_eq!(other.remove_routes(index, &comes_and_goes).unwrap(), []);
                    other.add_address(index, address("9.0.0.1", 32)).unwrap();
                    other.remove_address(index, address("9.0.0.1", 32)).unwrap();
                }
            });
            let filter = RouteFilter { ipv4: true, table: 79_000, interface: index };
            let interrupted =
                |error: RequestError| assert_eq!(error.to_string(), "it changes faster than it can be read");
            for _ in 0..10 {
                let count = |found: Vec<Route>| routes.iter().filter(|route| found.contains(route)).count();
                assert_eq!(socket.routes(filter).map(count).map_err(interrupted).unwrap_or(1000), 1000);
                let count = |found: Vec<Address>| addresses.iter().filter(|one| found.contains(one)).count();
                assert_eq!(socket.addresses(index).map(count).map_err(interrupted).unwrap_or(500), 500);
            }
            done.store(true, Relaxed);
        });
        assert_eq!(socket.addresses(index).unwrap().len(), 500);
    });
}
