//! BIRD on each node and on the router, as the handbook has it: routes of sessions go inside, and the shared address is
//! reached through all gateways that announce it. Each node hears which others there are.

use std::fmt::Write as _;
use std::fs;

use ringfort_testbed::{Daemon, Namespace, janitor};

use crate::harness::{Cluster, Node, OWN_PREFIXES, eventually};
use crate::programs::program;
use crate::ways;

/// What runs until it is dropped.
pub struct Birds {
    _all: Vec<Daemon>,
}

/// BIRD waits a minute after it lost a neighbour, if nothing is said, and that is as long as a test waits for anything.
const WAITS: &str = "connect delay time 1; connect retry time 1; error wait time 1, 5;";
const COMMON: &str = "protocol device { scan time 1; }\n\
                      protocol bfd { interface \"*\" { interval 100 ms; multiplier 3; }; }\n";

impl Birds {
    /// Starts them, and returns when the router has a way to the shared address through each node.
    pub fn start(cluster: &Cluster) -> Self {
        let nodes = cluster.nodes.len();
        let mut all = vec![run(&cluster.router, &of_router(nodes))];
        for (index, node) in cluster.nodes.iter().enumerate() {
            all.push(run(&node.namespace, &of_node(201 + index)));
        }
        eventually("the router has all ways", || ways::count(&cluster.router) == nodes);
        eventually("each node has a route to each other one", || {
            let others = |node: &Node| node.namespace.ip("route show proto bird").unwrap().lines().count();
            cluster.nodes.iter().all(|node| others(node) == nodes - 1)
        });
        Self { _all: all }
    }
}

fn of_node(network: usize) -> String {
    format!(
        "router id 10.{network}.0.2;\n{COMMON}\
         protocol kernel ringfort {{ learn; scan time 1;\n\
         \x20 ipv4 {{ import where krt_source = 52; export where source = RTS_BGP; }};\n\
         }}\n\
         protocol bgp inside {{\n\
         \x20 local as 65001; neighbor 10.{network}.0.1 as 65000; bfd on; {WAITS}\n\
         \x20 allow local as;\n\
         \x20 ipv4 {{ import where net ~ [ {OWN_PREFIXES}+ ]; export where proto = \"ringfort\"; }};\n\
         }}\n"
    )
}

fn of_router(nodes: usize) -> String {
    let mut text = format!(
        "router id 10.250.0.1;\n{COMMON}protocol kernel {{ merge paths on; ipv4 {{ import none; export all; }}; }}\n"
    );
    for network in (201..).take(nodes) {
        let _ = writeln!(
            text,
            "protocol bgp {{ local as 65000; neighbor 10.{network}.0.2 as 65001; bfd on; {WAITS} \
             ipv4 {{ import all; export where net ~ [ {OWN_PREFIXES}+ ]; }}; }}"
        );
    }
    text
}

fn run(namespace: &Namespace, configuration: &str) -> Daemon {
    let path = janitor::directory().join(janitor::unique_name());
    fs::write(&path, configuration).unwrap();
    // BFD takes a neighbour for dead that says nothing for 300 ms. On a machine that is full, others have to wait, or
    // routes come and go. Where that may not be asked for, nice says so and goes on.
    let mut command = namespace.command("nice");
    command.args(["-n", "-20"]).arg(program("bird"));
    command.arg("-f").arg("-c").arg(&path).arg("-s").arg(path.with_extension("ctl"));
    Daemon::spawn_command(command, "bird").unwrap()
}
