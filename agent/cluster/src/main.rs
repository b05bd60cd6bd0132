//! What a cluster of three gateways loses when a part of it fails, shown in network namespaces: `scripts/cluster`.

use std::process::ExitCode;

use ringfort_cluster::demo::{Demo, HEADER};

/// Clients, unless the command line says how many.
const CLIENTS: usize = 9;

fn main() -> ExitCode {
    let clients = match std::env::args().nth(1).map(|text| text.parse()) {
        None => CLIENTS,
        Some(Ok(clients @ 3..=40)) => clients,
        Some(_) => {
            eprintln!("ringfort-cluster: the number of clients is 3 to 40");
            return ExitCode::from(2);
        }
    };
    println!("three gateways, three members of etcd, a router, {clients} clients: this takes a minute or two");
    let mut demo = Demo::new(clients);
    println!("\n{HEADER}");
    demo.all(|row| println!("{row}"));
    println!(
        "\nEvery third client only receives, and sends keepalives every 2 s; the others send 50 datagrams a second.\n\
         other way: the router leads to other gateways. asked: these ask who comes to them for sessions.\n\
         by itself: clients that had to notice themselves that nobody answers."
    );
    ExitCode::SUCCESS
}
