//! Kernel WireGuard as a contender. Most machines that run these tests have none, so what configures it is tried on
//! gateways in user space, which `wg` talks to in the same way.

use std::net::SocketAddr;

use ringfort_testbed::daemon::Program;
use ringfort_testbed::kernel::{Peer, configuration, configure, probe};
use ringfort_testbed::{Family, Tunnel};

use crate::{PATIENCE, output, ringfort, text};

#[test]
fn it_is_measured_where_it_is_and_refused_plainly_where_it_is_not() {
    let short = ["--tests", "latency", "--rounds", "1", "--seconds", "1", "--warm-up", "0"];
    let measured = output(&[&["compare", "--contenders", "kernel-wireguard"], &short[..]].concat());
    let said = text(&measured);
    match probe() {
        Ok(()) => assert!(measured.status.success() && said.contains("kernel-wireguard"), "{said}"),
        Err(error) => {
            assert!(!measured.status.success() && said.contains(&error.to_string()), "{said}");
            assert!(said.contains("this kernel (") && said.contains("has no WireGuard"), "{said}");
        }
    }
}

#[test]
fn wg_configures_both_ends_and_the_tunnel_opens() {
    let program = Program::ringfort(ringfort());
    let tunnel = Tunnel::new([&program, &program]).unwrap();
    for (index, side) in tunnel.sides.iter().enumerate() {
        let other = &tunnel.sides[1 - index];
        let peer = Peer {
            public: other.keys.public,
            endpoint: Some(SocketAddr::new(other.outer(Family::V4), ringfort_testbed::tunnel::PORT)),
            allowed: vec![other.inner(Family::V4), other.inner(Family::V6)],
        };
        configure(tunnel.namespace(index), &side.interface, &configuration(&side.keys, &[peer])).unwrap();
    }
    tunnel.wait_until_open(0, PATIENCE).unwrap();
    let refused = configure(tunnel.namespace(0), &tunnel.sides[0].interface, "[Interface]\nPrivateKey = none\n");
    assert!(refused.unwrap_err().to_string().contains("setconf"));
}
