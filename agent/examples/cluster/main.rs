//! What a cluster of three gateways loses when a part of it fails, shown in network namespaces: `scripts/cluster`.

// The tests use the rest of it.
#[allow(dead_code)]
#[path = "../../tests/namespaces/bird.rs"]
mod bird;
#[allow(dead_code)]
#[path = "../../tests/namespaces/demo.rs"]
mod demo;
#[allow(dead_code)]
#[path = "../../tests/namespaces/harness.rs"]
mod harness;

/// Clients, unless the command line says how many.
const CLIENTS: usize = 9;

fn main() {
    let clients = std::env::args().nth(1).map_or(CLIENTS, |text| match text.parse() {
        Ok(clients @ 1..=40) => clients,
        _ => {
            eprintln!("cluster: the number of clients is 1 to 40");
            std::process::exit(2);
        }
    });
    println!("three gateways, three members of etcd, a router, {clients} clients: this takes a minute or two");
    let mut demo = demo::Demo::new(clients);
    println!("{}", demo::HEADER);
    demo.all(|row| println!("{row}"));
}
