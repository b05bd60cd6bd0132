//! Kernel WireGuard as a contender. Most machines that run these tests have none, so what configures it is tried on
//! gateways in user space, which `wg` talks to in the same way. The tests that are ignored need a kernel that has it
//! (`cargo nextest run -p ringfort-bench --run-ignored only kernel::`). No machine of ours has run them so far.

use ringfort_testbed::daemon::Program;
use ringfort_testbed::kernel::{configuration, configure, probe};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Implementation, Tunnel};
use serde_json::Value;

use crate::traffic::hosts::{Reflector, generate};
use crate::{PATIENCE, output, printed, refusal, ringfort, text};

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
        let text = configuration(&side.keys, &[tunnel.peer(index, &Peering::default())]);
        configure(tunnel.namespace(index), &side.interface, &text).unwrap();
    }
    tunnel.wait_until_open(0, PATIENCE).unwrap();
    let refused = configure(tunnel.namespace(0), &tunnel.sides[0].interface, "[Interface]\nPrivateKey = none\n");
    assert!(refused.unwrap_err().to_string().contains("setconf"));
}

/// Between hosts, nothing is known of a tunnel but its addresses; here it is a tunnel to us.
#[test]
#[ignore = "needs WireGuard in the kernel: --run-ignored only, on a machine that has it"]
fn an_existing_tunnel_of_the_kernel_is_measured() {
    let kernel = Program::peer(Implementation::Kernel).unwrap();
    let program = Program::ringfort(ringfort());
    for pair in [[&kernel, &kernel], [&kernel, &program]] {
        let tunnel = Tunnel::connected(pair, &Peering::default()).unwrap();
        tunnel.wait_until_open(0, PATIENCE).unwrap();
        let reflector = Reflector::start(tunnel.namespace(1), "10.77.0.2");
        let ends = ["10.77.0.1", "10.77.0.2"];
        for work in ["udp --rate 100 --seconds 1", "latency --rate 50 --seconds 1", "tcp --seconds 1 --warm-up 0"] {
            let work: Vec<&str> = work.split(' ').collect();
            let results = generate(tunnel.namespace(0), &reflector.control, ends, &work).unwrap();
            assert_eq!(results["kind"], if work[0] == "tcp" { "tcp" } else { "udp" });
        }
    }
}

/// No process does its work, so there is no CPU time and no memory in its row, and `handshakes` has nothing to say.
#[test]
#[ignore = "needs WireGuard in the kernel: --run-ignored only, on a machine that has it"]
fn conditions_are_for_the_kernel_too() {
    let conditions = ["--implementation", "kernel-wireguard", "--peers", "50", "--mtu", "8920", "--size", "8920"];
    let printed = printed(&[&["udp", "--rate", "50", "--seconds", "1", "--json", "-"][..], &conditions].concat());
    let results: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(results["contender"]["name"], "kernel-wireguard");
    assert!(results["gateways"].is_null(), "{:#}", results["gateways"]);
    assert!(refusal(&["handshakes", "--implementation", "kernel-wireguard"]).contains("no process"));
}
