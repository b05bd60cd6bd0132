//! The example runs: whatever is sent to it comes back, from where it was sent to.

use std::thread;

use crate::bench::{LOOPBACKS, far_end, sockets};

#[expect(dead_code, reason = "an example has a `main` of its own")]
#[path = "../../examples/echo.rs"]
mod example;

const DATAGRAMS: u8 = 100;

#[test]
fn the_echo_answers_over_both_families() {
    let sockets = sockets(1);
    let port = sockets.port();
    // It serves until the process ends.
    thread::spawn(move || example::serve(&sockets).map_err(|error| error.to_string()).expect("it serves"));
    for loopback in LOOPBACKS {
        let far = far_end(loopback);
        far.connect((loopback, port)).expect("a port");
        let mut answer = [0; 2_000];
        for number in 1..=DATAGRAMS {
            let datagram = vec![number; 14 * usize::from(number)];
            far.send(&datagram).expect("sent");
            let len = far.recv(&mut answer).expect("the answer arrives");
            assert!(answer[..len] == datagram, "datagram {number} of {loopback}");
        }
    }
}
