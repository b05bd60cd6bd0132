//! How long a promotion and a demotion take by themselves, before keepalived comes into it.

use std::thread::sleep;
use std::time::Duration;

use ringfort_testbed::Result;

use super::clients::Client;
use super::events::Stage;
use super::wait;

/// Datagrams of the client that tells: an answer is noticed to so much.
const INTERVAL: Duration = Duration::from_millis(1);
/// A peer is asked for a session once in Rekey-Timeout (5 s): in less it would be that which is measured.
const PAUSE: Duration = Duration::from_millis(5_500);

/// What each round took.
#[derive(Debug, Default)]
pub struct Roles {
    /// `ringfort promote` until it has returned.
    pub promote: Vec<Duration>,
    /// From its start until a client's data passed, a new session included.
    pub answers: Vec<Duration>,
    /// `ringfort demote` until it has returned: nothing leaves any more.
    pub demote: Vec<Duration>,
    /// From its start until the last datagram had passed.
    pub silent: Vec<Duration>,
}

/// Promotes and demotes the gateway of machine 0, which has the address.
///
/// # Errors
/// It does not obey, or nothing arrives.
pub fn measure(stage: &Stage, client: &Client, rounds: u32) -> Result<Roles> {
    let mut roles = Roles::default();
    if rounds == 0 {
        return Ok(roles);
    }
    let machine = &stage.machines[0];
    machine.set_address(true)?;
    // The other address of the machine: what the server answers with is not measured.
    let began = machine.command(&["promote"]).map(|_| stage.clock.now())?;
    let flow = client.flow(stage.clock, INTERVAL, &stage.network)?;
    wait("the client's data passes", || Ok(flow.has_since(began)))?;
    for _ in 0..rounds {
        let begin = stage.clock.now();
        roles.demote.push(machine.command(&["demote"])?);
        // Nothing is under way any more.
        sleep(PAUSE);
        roles.silent.push(flow.last().unwrap_or(begin).saturating_sub(begin));
        let begin = stage.clock.now();
        roles.promote.push(machine.command(&["promote"])?);
        wait("the client's data passes", || Ok(flow.last().is_some_and(|last| last >= begin)))?;
        let first = flow.first_since(begin).unwrap_or(begin);
        roles.answers.push(first.saturating_sub(begin));
    }
    machine.command(&["demote"])?;
    machine.set_address(false)?;
    Ok(roles)
}
