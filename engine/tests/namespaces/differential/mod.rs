//! The same script for Ringfort and for other implementations: every difference stands in a table with its reason,
//! see [`page::PATH`]. A difference that is not there fails, and so does a row that is not true any more.
//!
//! * **On the wire** ([`steps`]): a peer by hand sends what is bent, old, or sent twice. What comes back is compared,
//!   what is delivered, and where the gateway thinks that the peer is.
//! * **On the control socket** ([`requests`]): each key with values of all kinds, and requests that are no requests.
//!   The answer is compared, and what `get=1` says before and after. The reference is wireguard-go. gotatun is not
//!   asked: it has error numbers of its own, hangs up at most mistakes, and shows other lines.
//!
//! What is not compared: cookies under load, since each has another idea of load; what takes a timer of the protocol;
//! and Reject-After-Messages of the gateway's own counter. These have tests of their own, see `ROBUSTNESS.md`.

mod control;
mod noise;
mod packets;
mod page;
mod player;
mod requests;
mod stage;
mod steps;
mod watcher;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::thread;

use ringfort_testbed::Implementation::{self, Gotatun, Ringfort, WireguardGo};
use ringfort_testbed::command::output;

use self::control::Control;
use self::page::Told;
use self::stage::Stage;
use crate::harness::peer;

/// Why a step cannot go on: unwinds from it.
pub struct Ended(pub &'static str);

/// What a step says that tells nothing with an implementation.
const NOT_COMPARED: &str = "not compared";

/// Has each implementation play all of it, at the same time.
fn everybody(
    implementations: &[Implementation],
    play: impl Fn(Implementation) -> Vec<(String, String)> + Sync,
) -> Vec<(String, Told)> {
    let play = &play;
    let each: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = implementations.iter().map(|other| scope.spawn(move || play(*other))).collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let told = |step: usize| {
        let all = each.iter().map(|told| &told[step].1);
        all.map(|words| if words == NOT_COMPARED { &each[0][step].1 } else { words }).cloned().collect()
    };
    each[0].iter().enumerate().map(|(step, (name, _))| (name.clone(), told(step))).collect()
}

/// What `act` does with a gateway. If that cannot go on, the next step has a new gateway.
fn attempt<T>(gateway: &mut T, renew: impl Fn() -> T, act: impl FnOnce(&mut T) -> String) -> String {
    catch_unwind(AssertUnwindSafe(|| act(gateway))).unwrap_or_else(|panic| {
        let ended = panic.downcast::<Ended>().unwrap_or_else(|panic| resume_unwind(panic));
        *gateway = renew();
        ended.0.to_owned()
    })
}

fn assert_as_listed(chapter: &str, told: &[(String, Told)]) {
    let problems = page::problems(chapter, told);
    let text = problems.join("\n");
    assert!(problems.is_empty(), "{} of {}, in {chapter:?}:\n{text}\n{}", problems.len(), page::PATH, versions());
}

/// The page is about certain versions of the others, and says which.
fn versions() -> String {
    let version = |implementation| {
        let path = peer(implementation).path;
        let told = output(Command::new(&path).arg("--version")).map(|told| told.stdout).unwrap_or_default();
        format!("{}: {}", path.display(), String::from_utf8_lossy(&told).lines().next().unwrap_or("no version"))
    };
    format!("The others are {}, {}.", version(WireguardGo), version(Gotatun))
}

#[test]
fn on_the_wire() {
    let told = everybody(&[Ringfort, WireguardGo, Gotatun], |implementation| {
        let new = || Stage::new(implementation);
        let mut stage = new();
        let play = |step: &steps::Step| {
            let words = attempt(&mut stage, new, |stage| {
                let words = (step.run)(stage);
                stage.clear();
                words
            });
            (step.name.to_owned(), words)
        };
        steps::all().map(play).collect()
    });
    assert_as_listed("On the wire", &told);
}

#[test]
fn on_the_control_socket() {
    let told = everybody(&[Ringfort, WireguardGo], |implementation| {
        let new = || Control::new(implementation);
        let mut control = new();
        let ask = |request| (control::name_of(request), attempt(&mut control, new, |control| control.ask(request)));
        requests::all().map(ask).collect()
    });
    assert_as_listed("On the control socket", &told);
}
