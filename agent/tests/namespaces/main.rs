//! Agents with real gateways and a real etcd, in network namespaces. Needs root, and what `scripts/install-test-peers`
//! installs.

mod many;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use ringfort_agent::gateway;
use ringfort_agent::state::{Change, GatewayOp};
use ringfort_agent::value::Settings;
use ringfort_cluster::demo::{Demo, HEADER};
use ringfort_cluster::{Cluster, NETWORK, eventually, harness};
use ringfort_core::crypto::PublicKey;
use ringfort_testbed::{KeyPair, uapi};
use serde_json::Value;

/// A cluster of so many nodes, whose agents run, and a client that is at the first one.
fn with_client(nodes: u8, options: &str) -> Cluster {
    let mut cluster = Cluster::new(nodes);
    cluster.nodes.iter_mut().for_each(|node| node.start_agent(options));
    let client = cluster.add_client();
    cluster.put_client(client);
    cluster.clients[client].connect(&cluster.keys);
    cluster.clients[client].reaches_gateway();
    eventually("the claim is in etcd", || cluster.is_at(0, 0));
    cluster
}

/// The client finds itself at another node, as after a router has changed its mind.
fn move_client(cluster: &Cluster, node: usize) {
    cluster.move_to(node);
    cluster.clients[0].connect(&cluster.keys);
    cluster.clients[0].reaches_gateway();
    eventually("the claim has moved", || cluster.is_at(0, node));
}

#[test]
fn peers_follow_etcd_soon_and_a_bad_value_harms_nobody() {
    let mut cluster = Cluster::new(1);
    let peers: Vec<KeyPair> = (0..20).map(|_| KeyPair::random().unwrap()).collect();
    cluster.put_peer(&peers[0], r#"{"allowed_ips": ["10.1.0.0/32"]}"#);
    cluster.nodes[0].start_agent("");
    let node = &cluster.nodes[0];
    eventually("what was there is there", || node.has(&[(&peers[0], "10.1.0.0/32")]));
    let mut took = Vec::new();
    for (number, peer) in peers.iter().enumerate().skip(1) {
        let written = cluster.put_peer(peer, &format!(r#"{{"allowed_ips": ["10.1.0.{number}/32"]}}"#));
        let key = peer.public.hex();
        eventually("a new peer", || uapi::get(&node.interface).unwrap().iter().any(|(_, value)| *value == key));
        took.push(written.elapsed());
    }
    took.sort();
    println!("from etcd's answer to the gateway's: median {:?}, at most {:?}", took[took.len() / 2], took[18]);
    assert!(took[9] < Duration::from_secs(2), "{took:?}");

    cluster.put_peer(&peers[0], r#"{"allowed_ips": ["10.1.0.0/33"], "preshared_key": "secret"}"#);
    cluster.put(&format!("/ringfort/{}/peers/laptop", NETWORK), "{}");
    peers[2..].iter().for_each(|peer| cluster.delete_peer(peer));
    eventually("the others change", || node.has(&[(&peers[0], "10.1.0.0/32"), (&peers[1], "10.1.0.1/32")]));
    let status = node.status();
    assert_eq!((&status["peers_bad"], &status["totals"]["bad_values"]), (&1.into(), &2.into()), "{status}");
    let log = node.log();
    assert!(log.contains(&peers[0].public.base64()) && log.contains("expected a prefix"), "{log}");
    assert!(log.contains("peers/laptop is ignored") && !log.contains("secret"), "{log}");
}

#[test]
fn nothing_of_a_peer_that_is_removed_stays_at_the_gateway() {
    let cluster = Cluster::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let interface = &cluster.nodes[0].interface;
    let key = KeyPair::random().unwrap().public;
    let peer = PublicKey::new(key.0);
    let settings = Settings::parse(br#"{"allowed_ips": [], "name": "laptop"}"#).unwrap();
    let set = Change::Set { to: Arc::new(settings), from: None, endpoint: None };
    let told = Change::Tell("192.0.2.7:7".parse().unwrap(), "192.0.2.1".parse().ok());
    let has = |text: &str| uapi::get(interface).unwrap().iter().any(|(_, value)| value == text);
    for (change, is_there) in [(set, true), (told, true), (Change::Remove, false)] {
        let (done, result) = runtime.block_on(gateway::set(interface, vec![GatewayOp { peer, change }]));
        result.unwrap();
        assert!(done.iter().all(|(_, is_done)| *is_done));
        assert_eq!((has(&key.hex()), has("laptop")), (is_there, is_there));
    }
    // Somebody else adds it.
    uapi::request(interface, &format!("set=1\npublic_key={}\n\n", key.hex())).unwrap();
    assert!(has(&key.hex()) && !has("laptop") && !has("192.0.2.1"));
}

#[test]
fn the_tunnel_goes_on_without_etcd_and_changes_arrive_afterwards() {
    let mut cluster = with_client(1, "--ttl 2");
    let before = cluster.lease(0);
    cluster.etcd.kill(0);
    let node = &cluster.nodes[0];
    eventually("the agent has noticed", || node.status()["etcd"].is_null());
    cluster.clients[0].reaches_gateway();
    assert_eq!(node.routes(), ["10.77.1.1"]);
    // A new session needs no etcd either.
    cluster.clients[0].connect(&cluster.keys);
    cluster.clients[0].reaches_gateway();
    cluster.etcd.run(0, &cluster.router);
    eventually("it is followed again", || !node.status()["etcd"].is_null());
    let late = KeyPair::random().unwrap();
    cluster.put_peer(&late, r#"{"allowed_ips": []}"#);
    let client = &cluster.clients[0].keys;
    eventually("a change arrives", || node.has(&[(client, "10.77.1.1/32"), (&late, "")]));
    eventually("the claim is there", || cluster.is_at(0, 0));

    // The lease ends while the agent does not notice, and all is claimed again.
    let lease = cluster.lease(0);
    println!("lease {before:x} before, {lease:x} after the restart");
    cluster.etcd(async |etcd| etcd.lease_revoke(lease).await.unwrap());
    eventually("a claim under a new lease", || cluster.is_at(0, 0) && cluster.lease(0) != lease);
    assert_eq!(node.routes(), ["10.77.1.1"], "the route has stayed");
}

#[test]
fn changes_that_were_compacted_before_they_were_read_are_found_in_a_list() {
    let mut cluster = with_client(1, "");
    let (kept, gone) = (KeyPair::random().unwrap(), KeyPair::random().unwrap());
    cluster.put_peer(&gone, r#"{"allowed_ips": ["10.1.0.1/32"]}"#);
    let node = &cluster.nodes[0];
    let client = &cluster.clients[0].keys;
    eventually("both are there", || node.has(&[(client, "10.77.1.1/32"), (&gone, "10.1.0.1/32")]));
    let lists = node.status()["totals"]["etcd_lists"].as_u64().unwrap();
    node.signal(Signal::SIGSTOP);
    cluster.etcd.kill(0);
    cluster.etcd.run(0, &cluster.router);
    eventually("etcd is back", || cluster.is_etcd_there());
    cluster.put_peer(&kept, r#"{"allowed_ips": ["10.1.0.2/32"]}"#);
    cluster.delete_peer(&gone);
    cluster.etcd(async |etcd| {
        let revision = etcd.get("/", None).await.unwrap().header().unwrap().revision();
        etcd.compact(revision, None).await.unwrap();
    });
    node.signal(Signal::SIGCONT);
    eventually("only what differs has changed", || node.has(&[(client, "10.77.1.1/32"), (&kept, "10.1.0.2/32")]));
    assert!(node.status()["totals"]["etcd_lists"].as_u64().unwrap() > lists);
    let log = node.gateway.as_ref().unwrap().log();
    assert!(!log.contains("panic"), "{log}");
    cluster.clients[0].reaches_gateway();
}

#[test]
fn a_peer_belongs_to_the_node_that_it_confirmed_with_last() {
    let mut cluster = with_client(2, "");
    let session = cluster.session(0).unwrap();
    assert_eq!(
        (session["endpoint"].as_str(), session["source"].as_str()),
        (Some("10.210.0.2:51820"), Some("192.0.2.1"))
    );
    assert_eq!((cluster.nodes[0].routes(), cluster.nodes[1].routes()), (vec!["10.77.1.1".to_owned()], vec![]));
    move_client(&cluster, 1);
    eventually("the route is at one node", || cluster.nodes[0].routes().is_empty());
    assert_eq!(cluster.nodes[1].routes(), ["10.77.1.1"]);
    let status = cluster.nodes[0].status();
    assert_eq!(
        (&status["sessions"], &status["owned"], &status["claimed_elsewhere"]),
        (&1.into(), &0.into(), &1.into())
    );

    // Its gateway is killed: the route goes with the interface, the claim with the agent's patience.
    let node = &mut cluster.nodes[1];
    node.gateway.take().unwrap().kill().unwrap();
    eventually("the claim is withdrawn", || cluster.session(0).is_none());
    assert_eq!(cluster.nodes[1].status()["gateway"], "absent");
    // It comes back, without peers, and gets them.
    let keys = cluster.keys;
    cluster.nodes[1].start_gateway(&keys, "");
    move_client(&cluster, 1);
    assert_eq!(cluster.nodes[1].routes(), ["10.77.1.1"]);
}

#[test]
fn a_drained_node_has_nobody_once_they_are_elsewhere() {
    let cluster = with_client(2, "--announce 192.0.2.1/32 --table 77");
    let [first, second] = &cluster.nodes[..] else { panic!() };
    let mut routes = first.routes();
    routes.sort();
    assert_eq!(routes, ["10.77.1.1", "192.0.2.1"]);
    let drain = first.command("drain", "--timeout 0");
    let text = String::from_utf8(drain.stdout).unwrap();
    assert_eq!(drain.status.code(), Some(3), "{text}");
    assert!(text.contains(&cluster.clients[0].keys.public.base64()), "{text}");
    assert!(first.routes().is_empty());
    eventually("the claim is withdrawn", || cluster.session(0).is_none());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| first.command("drain", "--json --timeout 60"));
        cluster.move_to(1);
        cluster.clients[0].connect(&cluster.keys);
        cluster.clients[0].reaches_gateway();
        let drain = waiting.join().unwrap();
        let status: Value = serde_json::from_slice(&drain.stdout).unwrap();
        assert_eq!((drain.status.code(), &status["owned"], &status["draining"]), (Some(0), &0.into(), &true.into()));
    });
    assert!(cluster.is_at(0, 1) && second.routes().len() == 2);
    let asked = || first.status()["totals"]["recoveries"].as_u64().unwrap();
    let before = asked();
    assert!(first.command("resume", "").status.success());
    eventually("it announces its address again", || first.routes() == ["192.0.2.1"]);
    // The network may lead peers of others to it now. Their sessions are elsewhere.
    eventually("it has its gateway ask them", || asked() > before);
    cluster.move_to(0);
    cluster.clients[0].reaches_gateway();
    eventually("the claim has moved", || cluster.is_at(0, 0));
}

#[test]
fn an_agent_that_starts_anew_takes_up_what_it_finds() {
    let mut cluster = with_client(1, "");
    let second = cluster.nodes[0]
        .namespace
        .command(harness::agent())
        .args(["run", &cluster.nodes[0].interface, "--network", "net"])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&second.stderr).contains("runs already"));
    assert_eq!(second.status.code(), Some(1));

    let lease = cluster.lease(0);
    let node = &mut cluster.nodes[0];
    node.stop_agent();
    assert_eq!(node.routes(), ["10.77.1.1"], "the tunnel goes on");
    node.namespace.ip(&format!("route add 10.9.9.9/32 dev {} proto 52", node.interface)).unwrap();
    node.start_agent("--withdraw");
    eventually("a route for nobody is removed", || node.routes() == ["10.77.1.1"]);
    eventually("the claim is under a new lease", || ![0, lease].contains(&cluster.lease(0)) && cluster.is_at(0, 0));
    // The link goes down, and takes all routes of IPv4 with it.
    let node = &cluster.nodes[0];
    node.namespace.ip(&format!("link set {} down", node.interface)).unwrap();
    node.namespace.ip(&format!("link set {} up", node.interface)).unwrap();
    cluster.clients[0].connect(&cluster.keys);
    cluster.clients[0].reaches_gateway();
    let node = &mut cluster.nodes[0];
    node.stop_agent();
    assert!(node.routes().is_empty());
    assert!(cluster.session(0).is_none(), "both are withdrawn");
}

#[test]
fn a_gateway_that_stands_by_is_told_where_peers_are() {
    let mut cluster = Cluster::new(2);
    let keys = cluster.keys;
    cluster.nodes[1].gateway.take().unwrap().stop().unwrap();
    cluster.nodes[1].start_gateway(&keys, "--passive");
    cluster.nodes.iter_mut().for_each(|node| node.start_agent(""));
    let client = cluster.add_client();
    cluster.put_client(client);
    cluster.clients[0].connect(&keys);
    cluster.clients[0].reaches_gateway();
    let standby = cluster.nodes[1].interface.clone();
    let knows = |name: &str, value: &str| uapi::get(&standby).unwrap().iter().any(|(n, v)| n == name && v == value);
    eventually("it is told", || knows("endpoint", "10.210.0.2:51820") && knows("source", "192.0.2.1"));
    assert_eq!(cluster.nodes[1].status()["gateway"], "passive");
    // It takes over, and asks: the client need not notice by itself.
    cluster.nodes[0].gateway.take().unwrap().kill().unwrap();
    cluster.move_to(1);
    uapi::request(&standby, "role=active\n\n").unwrap();
    let took = cluster.clients[0].reaches_gateway();
    println!("{took:?} from the promotion to the first answer");
    eventually("the claim has moved", || cluster.is_at(0, 1));
}

#[test]
fn what_a_cluster_loses_when_a_part_of_it_fails() {
    let mut demo = Demo::new(6);
    println!("{HEADER}");
    let mut rows = Vec::new();
    demo.all(|row| {
        println!("{row}");
        rows.push((row.what, row.by_itself, row.asked.is_some()));
    });
    assert_eq!(rows.len(), 3);
    for (what, by_itself, is_asked) in rows {
        assert_eq!(by_itself, 0, "{what}: clients are asked before they notice");
        assert!(is_asked || what == "a member of etcd", "{what}: nobody asks");
    }
}
