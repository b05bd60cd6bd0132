//! Two hosts, each in a namespace: a generator that directs, a reflector that trusts nobody.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::Duration;

use ringfort_testbed::netns::{outer_v4, outer_v6};
use ringfort_testbed::{Namespace, Result, Wire};
use ringfort_traffic::hosts::{Generator, Reflector, ReflectorPlan};
use ringfort_traffic::rrul::Rrul;
use ringfort_traffic::tcp::Bulk;
use ringfort_traffic::{Direction, Imix, Load, Outcome, Placement, Route, Size};

use crate::{assert_adds_up, assert_flawless, load, must, nft_counter, until_it_says_something};

const PATIENCE: Duration = Duration::from_secs(60);

fn plan() -> ReflectorPlan {
    ReflectorPlan {
        addresses: vec![outer_v4(1), outer_v6(1)],
        placement: Placement::default(),
        lab: "test".to_owned(),
        host: serde_json::json!({ "kernel": "of the other host" }),
    }
}

/// A reflector on the second host of a wire, as long as `during` runs on the first. Returns what the reflector said,
/// too.
fn with_reflector<T: Send>(wire: &Wire, during: impl FnOnce(SocketAddr) -> T + Send) -> (T, Vec<String>) {
    let said = Mutex::new(Vec::new());
    let reflector = wire.ends[1].enter(|| Reflector::bind(SocketAddr::new(outer_v4(1), 0), plan()).unwrap());
    let control = reflector.control().unwrap();
    let say = |line: &str| said.lock().unwrap().push(line.to_owned());
    let outcome = thread::scope(|scope| {
        let served = scope.spawn(|| wire.ends[1].enter(|| reflector.serve(true, &say)));
        let outcome = wire.ends[0].enter(|| during(control));
        served.join().unwrap().unwrap();
        outcome
    });
    (outcome, said.into_inner().unwrap())
}

fn connect(control: SocketAddr, address: fn(usize) -> IpAddr) -> Result<Generator> {
    Generator::connect(control, address(0), address(1), "test")
}

/// Carries a load until something was sent both here and there, and checks what must hold of every outcome.
fn carry(generator: &Mutex<Generator>, load: &Load) -> Outcome {
    let attempt = || generator.lock().unwrap().udp(load, &AtomicU64::new(0)).unwrap();
    let outcome = until_it_says_something(attempt, |outcome| outcome.legs.iter().all(|leg| leg.traffic.sent > 0));
    outcome.legs.iter().for_each(|leg| assert_adds_up(&leg.traffic));
    assert_adds_up(&outcome.total);
    outcome
}

#[test]
fn two_hosts_count_as_one_does_and_state_the_error_of_their_clocks() {
    let wire = Wire::new().unwrap();
    let ((), said) = with_reflector(&wire, |control| {
        let generator = connect(control, outer_v6).unwrap();
        assert_eq!(generator.host()["kernel"], "of the other host");
        let generator = Mutex::new(generator);
        let mix = Load { size: Size::Imix(Imix::default()), flows: 24, ..load() };
        for direction in [Direction::OneWay, Direction::BothWays, Direction::RoundTrip] {
            let placement = Placement { lanes: 2, ..Placement::default() };
            let outcome = carry(&generator, &Load { direction, placement, ..mix.clone() });
            assert_flawless(&outcome.total);
            let both_ways = direction == Direction::BothWays;
            assert_eq!(outcome.total.planned, if both_ways { 20_000 } else { 10_000 });
            let routes: Vec<Route> = outcome.legs.iter().map(|leg| leg.route).collect();
            assert_eq!(both_ways, routes == [Route::Forward, Route::Backward], "{routes:?}");
            if direction == Direction::RoundTrip {
                assert_eq!((outcome.reflected, outcome.clocks), (Some(outcome.total.sent), None));
            } else {
                // Both namespaces have one clock in truth.
                let clocks = outcome.clocks.unwrap();
                assert!(clocks.offset_ns.unsigned_abs() <= clocks.error_ns, "{clocks:?}");
                assert!(clocks.round_trip_ns > 0 && clocks.error_ns >= clocks.round_trip_ns / 2, "{clocks:?}");
            }
        }
        let [ramp_up, sustain] = [200, 500].map(Duration::from_millis);
        let placement = Placement { lanes: 2, ..Placement::default() };
        let bulk = Bulk { streams: 5, ramp_up, sustain, placement, ..Bulk::default() };
        let attempt = || generator.lock().unwrap().tcp(&bulk).unwrap();
        let outcome = until_it_says_something(attempt, |outcome| outcome.received_bytes > 0);
        assert_eq!(outcome.stream_bytes.len(), 5);
        assert_eq!(outcome.stream_bytes.iter().sum::<u64>(), outcome.received_bytes);
        assert_eq!(outcome.interval_bytes.iter().sum::<u64>(), outcome.received_bytes);
    });
    assert!(said.last().unwrap().ends_with("has finished"), "{said:?}");
}

#[test]
fn both_directions_are_loaded_between_two_hosts_beside_probes_and_datagrams() {
    let wire = Wire::new().unwrap();
    with_reflector(&wire, |control| {
        let generator = Mutex::new(connect(control, outer_v6).unwrap());
        let short = Duration::from_millis(400);
        let ramp_up = Duration::from_millis(100);
        let placement = Placement { lanes: 2, ..Placement::default() };
        let rrul = Rrul { quiet: short, ramp_up, sustain: short, placement, ..Rrul::default() };
        let datagrams = Load { direction: Direction::BothWays, duration: short, flows: 3, ..load() };
        let attempt = || {
            let mut generator = generator.lock().unwrap();
            let alone = generator.rrul(&rrul).unwrap();
            let (mixed, load) = generator.mixed(&rrul, &datagrams).unwrap();
            (alone, mixed, load)
        };
        let (alone, mixed, load) = until_it_says_something(attempt, |(alone, mixed, load)| {
            let answered = [alone, mixed].into_iter().flat_map(|outcome| [&outcome.udp, &outcome.icmp]);
            let mut answered = answered.flat_map(|probed| [&probed.quiet, &probed.loaded]);
            // The echo stays until the last probe has its answer.
            answered.all(|answers| answers.times_ns.is_some() && answers.lost == 0)
                && load.legs.iter().all(|leg| leg.traffic.sent > 0)
        });
        for outcome in [&alone, &mixed] {
            assert_eq!((outcome.forth.stream_bytes.len(), outcome.back.stream_bytes.len()), (4, 4));
            assert!(outcome.bytes_all >= outcome.forth.received_bytes + outcome.back.received_bytes);
            assert!(outcome.measured_from_s >= 0.5, "{}", outcome.measured_from_s);
            // Two hundred a second, whether they leave in time or not.
            assert_eq!([outcome.udp.quiet.sent, outcome.icmp.quiet.sent], [80, 80]);
        }
        load.legs.iter().for_each(|leg| assert_adds_up(&leg.traffic));
        assert_eq!(load.legs.len(), 2);
        assert!(load.clocks.is_some());
    });
}

#[test]
fn what_is_lost_between_two_hosts_is_lost_once() {
    let wire = Wire::new().unwrap();
    let to = &wire.ends[1];
    must(to, "nft add table inet lab");
    must(to, "nft add chain inet lab in { type filter hook input priority 0 ; }");
    must(to, "nft add rule inet lab in udp length 44 numgen inc mod 10 3 counter drop");
    with_reflector(&wire, |control| {
        let generator = Mutex::new(connect(control, outer_v4).unwrap());
        let before = nft_counter(to);
        let load = Load { flows: 7, settle: crate::SETTLE, ..load() };
        let outcome = generator.lock().unwrap().udp(&load, &AtomicU64::new(0)).unwrap();
        assert_eq!(outcome.total.lost, nft_counter(to) - before);
        assert_eq!([outcome.total.duplicated, outcome.total.reordered, outcome.total.damaged], [0; 3]);
    });
}

#[test]
fn one_generator_at_a_time_and_only_what_was_given() {
    let wire = Wire::new().unwrap();
    let ((), said) = with_reflector(&wire, |control| {
        let mut first = connect(control, outer_v4).unwrap();
        let second = connect(control, outer_v4).unwrap_err().to_string();
        assert!(second.contains("one at a time"), "{second}");
        let elsewhere = Load { rate_pps: 100_000_000, duration: Duration::from_secs(50), ..load() };
        let refused = first.udp(&elsewhere, &AtomicU64::new(0)).unwrap_err().to_string();
        assert!(refused.contains("2^32"), "{refused}");
        let long = Load { settle: Duration::from_secs(61), ..load() };
        let refused = first.udp(&long, &AtomicU64::new(0)).unwrap_err().to_string();
        assert!(refused.contains("the reflector") && refused.contains("60 s at the most"), "{refused}");
    });
    assert!(said.iter().any(|line| line.contains("is being served")), "{said:?}");
    let bind = |control: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        let plan = ReflectorPlan { addresses, ..plan() };
        wire.ends[1].enter(|| Reflector::bind(control.parse().unwrap(), plan)).unwrap_err().to_string()
    };
    assert!(bind("0.0.0.0:0", &["10.200.0.2"]).contains("all addresses"));
    assert!(bind("10.200.0.2:0", &["::"]).contains("all addresses"));
    assert!(bind("10.200.0.2:0", &["192.0.2.7"]).contains("192.0.2.7"));
    assert!(bind("10.200.0.2:0", &[]).contains("needs an address"));
}

#[test]
fn an_address_that_the_reflector_was_not_given_is_refused_with_those_that_it_was() {
    let wire = Wire::new().unwrap();
    must(&wire.ends[1], "ip address add 10.200.0.9/24 dev veth0");
    with_reflector(&wire, |control| {
        let elsewhere = Generator::connect(control, outer_v4(0), IpAddr::from([10, 200, 0, 9]), "test");
        let refused = elsewhere.unwrap_err().to_string();
        assert!(refused.contains("10.200.0.2, fd00:200::2 only"), "{refused}");
    });
}

const HELLO: &str = "{\"ask\":\"hello\",\"version\":2,\"lab\":\"1\"}\n";

/// Says these lines to a reflector and returns the last of its answers.
fn say_to(wire: &Wire, lines: &str) -> String {
    let (answer, _) = with_reflector(wire, |control| {
        let mut stream = TcpStream::connect(control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(stream.try_clone().unwrap()).lines().map_while(std::io::Result::ok);
        let greeting = answers.next().unwrap();
        assert!(greeting.contains("ringfort-bench-control"), "{greeting}");
        stream.write_all(lines.as_bytes()).unwrap();
        let answer = answers.last().unwrap();
        if !lines.starts_with(HELLO) {
            // That was no generator, so the reflector still waits for the first. It may need a moment to do so.
            while connect(control, outer_v4).is_err() {}
        }
        answer
    });
    answer
}

#[test]
fn who_speaks_otherwise_is_told_so() {
    let wire = Wire::new().unwrap();
    let other = say_to(&wire, "{\"ask\":\"hello\",\"version\":7,\"lab\":\"9.9\"}\n");
    assert!(other.contains("speaks version 7") && other.contains("version 2"), "{other}");
    assert!(say_to(&wire, "GET / HTTP/1.1\r\n").contains("not understood"));
    assert!(say_to(&wire, "{\"ask\":\"begin\"}\n").contains("no place there"));
    let offset = format!("{HELLO}{{\"ask\":\"sent\",\"packets\":[1]}}\n");
    assert!(say_to(&wire, &offset).contains("no place there"));
    let tcp = "{\"ask\":\"prepare\",\"from\":\"10.200.0.1\",\"to\":\"10.200.0.1\",\"tcp\":{\"bulk\":{\"streams\":1,\
               \"ramp_up_s\":0,\"sustain_s\":1,\"verify\":true,\"placement\":{\"cpus\":\"last\",\"lanes\":1,\
               \"realtime\":false,\"spin\":false}},\"both_ways\":true}}\n";
    assert!(say_to(&wire, &format!("{HELLO}{tcp}")).contains("none of the addresses"));
}

/// A conversation, line by line.
struct Talk {
    stream: TcpStream,
    answers: std::io::Lines<BufReader<TcpStream>>,
}

impl Talk {
    fn begin(control: SocketAddr) -> Self {
        let stream = TcpStream::connect(control).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut talk = Self { answers: BufReader::new(stream.try_clone().unwrap()).lines(), stream };
        talk.answers.next().unwrap().unwrap();
        assert_eq!(talk.ask(HELLO)["answer"], "welcome");
        talk
    }

    fn ask(&mut self, line: &str) -> serde_json::Value {
        self.stream.write_all(line.as_bytes()).unwrap();
        serde_json::from_str(&self.answers.next().unwrap().unwrap()).unwrap()
    }

    /// Asks for ten minutes' packets of the reflector.
    fn prepare(&mut self) -> (SocketAddr, u64) {
        let direction = Direction::BothWays;
        let load = Load { direction, rate_pps: 1_000, duration: Duration::from_secs(600), ..load() };
        let lane = |tag: u32| serde_json::json!({ "tag": tag, "ports": [9] });
        let ask = serde_json::json!({
            "ask": "prepare", "from": outer_v4(0), "to": outer_v4(1), "echo": true,
            "udp": { "load": load, "offset_ns": 0, "lanes": [lane(1), lane(2)] },
        });
        let prepared = self.ask(&format!("{ask}\n"));
        let port = prepared["port"].as_u64().unwrap_or_else(|| panic!("{prepared}"));
        let nonce = prepared["nonce"].as_u64().unwrap();
        (SocketAddr::new(outer_v4(1), port.try_into().unwrap()), nonce)
    }
}

/// What a reflector answers to the first of two numbers.
fn learned(target: SocketAddr, nonce: u64) -> u64 {
    let socket = UdpSocket::bind((outer_v4(0), 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(&nonce.to_le_bytes(), target).unwrap();
    let mut answer = [0; 16];
    assert_eq!(socket.recv(&mut answer).unwrap(), 16);
    assert_eq!(answer[..8], nonce.to_le_bytes());
    u64::from_le_bytes(answer[8..].try_into().unwrap())
}

#[test]
fn who_only_claims_an_address_gets_nothing_sent_there() {
    let wire = Wire::new().unwrap();
    // With a forged source nobody reads the answer: neither no proof nor that of the control connection will do.
    for guess in [|_| "null".to_owned(), |nonce: u64| nonce.to_string()] {
        with_reflector(&wire, |control| {
            let mut talk = Talk::begin(control);
            let (target, nonce) = talk.prepare();
            assert_ne!(learned(target, nonce), nonce);
            let refused = talk.ask(&format!("{{\"ask\":\"open\",\"proof\":{}}}\n", guess(nonce)));
            assert!(refused["why"].as_str().unwrap().contains("no answer comes back"), "{refused}");
        });
    }
}

#[test]
fn who_leaves_a_reflector_that_sends_ends_it() {
    let wire = Wire::new().unwrap();
    let ((), said) = with_reflector(&wire, |control| {
        let mut talk = Talk::begin(control);
        let (target, nonce) = talk.prepare();
        let proof = learned(target, nonce);
        assert_eq!(talk.ask(&format!("{{\"ask\":\"open\",\"proof\":{proof}}}\n"))["answer"], "opened");
        assert_eq!(talk.ask("{\"ask\":\"begin\"}\n")["answer"], "begun");
        // It would send for ten minutes. The test ends when it does.
        talk.stream.write_all(b"{\"ask\":\"sent\",\"packets\":[0,0]}\n").unwrap();
    });
    assert!(said.last().unwrap().contains("has closed the control connection"), "{said:?}");
}

#[test]
fn a_server_that_is_no_reflector_is_said_to_be_none() {
    let namespace = Namespace::new().unwrap();
    let refusal = |greeting: &'static str| {
        namespace.enter(|| {
            let server = TcpListener::bind("127.0.0.1:0").unwrap();
            let control = server.local_addr().unwrap();
            thread::scope(|scope| {
                scope.spawn(move || server.accept().unwrap().0.write_all(greeting.as_bytes()).unwrap());
                let home = IpAddr::from([127, 0, 0, 1]);
                Generator::connect(control, home, home, "test").unwrap_err().to_string()
            })
        })
    };
    assert!(refusal("SSH-2.0-OpenSSH_10.0\r\n").contains("is no reflector"));
    assert!(refusal("").contains("is no reflector"));
    let of_version = |version| {
        let greeting = "{\"answer\":\"greeting\",\"protocol\":\"ringfort-bench-control\",\"version\":VERSION,\
                        \"lab\":\"8.8\"}\n";
        refusal(String::leak(greeting.replace("VERSION", version)))
    };
    assert!(of_version("1").contains("(ringfort-bench 8.8) speaks version 1"));
}
