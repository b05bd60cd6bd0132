//! A network of many peers.

use std::fmt::Write as _;
use std::time::Instant;

use etcd_client::{PutOptions, Txn, TxnOp};
use ringfort_cluster::{Cluster, NETWORK, eventually};
use ringfort_testbed::Key;

const PEERS: usize = 50_000;
/// Of one transaction.
const OPS: usize = 128;
/// What an agent of so many peers may take: some 1.5 KiB for each.
const MEMORY_MAX_KIB: u64 = 160 << 10;

#[test]
fn fifty_thousand_peers() {
    let mut cluster = Cluster::new(1);
    let keys: Vec<Key> = (0..PEERS).map(|_| Key::random().unwrap()).collect();
    let write = |cluster: &Cluster, from: &[Key], keepalive: u16| {
        let put = |(number, key): (usize, &Key)| {
            let (a, b) = (number / 250, number % 250);
            let mut value = format!(r#"{{"allowed_ips": ["10.{}.{}.{b}/32"], "#, a / 250, a % 250);
            let _ = write!(value, r#""preshared_key": "{}", "persistent_keepalive": {keepalive}}}"#, key.base64());
            let name = format!("/ringfort/{NETWORK}/peers/{}", key.base64());
            TxnOp::put(name, value, None::<PutOptions>)
        };
        let ops: Vec<TxnOp> = from.iter().enumerate().map(put).collect();
        cluster.etcd(async |etcd| {
            for part in ops.chunks(OPS) {
                etcd.txn(Txn::new().and_then(part)).await.unwrap();
            }
        });
    };
    write(&cluster, &keys, 0);
    let begun = Instant::now();
    cluster.nodes[0].start_agent("");
    let node = &cluster.nodes[0];
    let peers = || node.status()["peers"].as_u64().unwrap() as usize;
    eventually("all are at the gateway", || peers() == PEERS);
    println!("{PEERS} peers after {:?}", begun.elapsed());
    let changes = || node.status()["totals"]["gateway_changes"].as_u64().unwrap() as usize;
    assert_eq!(changes(), PEERS);
    // One of them changes, among all the others.
    let begun = Instant::now();
    write(&cluster, &keys[..1], 7);
    eventually("a change of one", || changes() == PEERS + 1);
    println!("a change after {:?}", begun.elapsed());
    // A list again, and nothing differs.
    let memory = node.agent.as_ref().unwrap().memory_peak_kib().unwrap();
    println!("the agent took {memory} KiB at most");
    assert!(memory < MEMORY_MAX_KIB, "{memory} KiB");
    cluster.nodes[0].stop_agent();
    cluster.nodes[0].start_agent("");
    let node = &cluster.nodes[0];
    eventually("all are known", || node.status()["peers_listed"] == PEERS && node.status()["peers"] == PEERS);
    assert_eq!(node.status()["totals"]["gateway_changes"], 0, "nothing was set anew");
}
