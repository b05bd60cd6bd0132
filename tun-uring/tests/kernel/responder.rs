//! The example runs: ping(8) gets its answers.

use std::process::Command;
use std::thread;

use tun_uring::{Offloads, Tun};

use crate::namespace::{in_namespace, ip};

#[expect(dead_code, reason = "an example has a `main` of its own")]
#[path = "../../examples/responder.rs"]
mod example;

#[test]
fn the_responder_answers_ping() {
    in_namespace(|| {
        let tun = Tun::create("ping0", 1, Offloads::NONE).expect("create");
        ip("address add 10.9.0.1/24 dev ping0");
        ip("link set ping0 up");
        // This thread inherits the namespace.
        let serving = thread::spawn(|| example::serve(tun).map_err(|error| error.to_string()));
        for size in ["0", "56", "1300"] {
            let ping = ["-c", "5", "-i", "0.01", "-W", "30", "-s", size, "10.9.0.77"];
            let output = Command::new("ping").args(ping).output().expect("ping(8) of iputils is installed");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && text.contains(" 5 received, 0% packet loss"), "{text}");
        }
        ip("link delete ping0");
        assert_eq!(serving.join().expect("no panic"), Ok(()));
    });
}
