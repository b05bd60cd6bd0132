//! What happens to the pair, in this order, and what clients see of it.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ringfort_testbed::{Result, janitor};

use super::address::AddressWatch;
use super::flow::{Clock, Flow, Outage};
use super::machine::{Machine, Pair};
use super::network::{Network, OUTER_ADDRESS};
use super::place::Place;
use super::ssh::Ssh;
use super::{POLL, wait};

/// How long clients may take to come back before the next event. Who is not back by then is reported so.
const RETURN_WITHIN: Duration = Duration::from_secs(30);
/// All must be well for so long before an event is over. Linux ignores news about an address for a second after the
/// last (`locktime`), and keepalived tells the network twice, a second apart. No failover comes so soon after another.
const WELL_FOR: Duration = Duration::from_millis(2_500);

/// Everything that takes part, but the clients.
pub struct Stage {
    pub clock: Clock,
    pub machines: [Machine; 2],
    pub network: Network,
    pub pair: Pair,
    pub place: Place,
    pub ssh: Ssh,
    pub keepalived: PathBuf,
}

/// An event, and what came of it.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub name: &'static str,
    /// From then until the address was on the other machine, if it moved.
    pub address_after: Option<Duration>,
    /// What became of each client's flow.
    pub clients: Vec<Seen>,
}

/// What a client saw.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its outage since the event.
    pub outage: Outage,
    /// When the first datagram arrived that was sent after the address was there, from then on.
    pub after_address: Option<Duration>,
    /// It came back.
    pub is_back: bool,
}

/// All of them. In the end machine 0 serves, as in the beginning.
pub fn all(stage: &mut Stage, flows: &[Flow], masters: Duration) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    wait("machine 1 knows where all clients are", || Ok(stage.knows_all_clients()))?;
    events.push(stage.observe("cable pulled", 1, flows, |stage| stage.network.set_cable(0, 0, false))?);
    stage.network.set_cable(0, 0, true)?;
    events.push(stage.fail_back(flows)?);
    events.push(stage.observe("process killed", 1, flows, |stage| stage.machines[0].kill_gateway())?);
    stage.machines[0].start_gateway(&stage.pair)?;
    events.push(stage.fail_back(flows)?);
    events.push(stage.observe("machine gone", 1, flows, Stage::take_machine_away)?);
    stage.bring_machine_back()?;
    events.push(stage.fail_back(flows)?);
    events.extend(stage.two_masters(flows, masters)?);
    Ok(events)
}

impl Stage {
    /// Puts the example's files on both machines, and starts their gateways.
    pub fn install(&mut self) -> Result<()> {
        for number in 0..2 {
            self.machines[number].install(&self.place, &self.ssh.client(&self.place, number))?;
            self.machines[number].start_gateway(&self.pair)?;
        }
        Ok(())
    }

    /// Starts keepalived and the copying of endpoints, and waits until machine 0 serves.
    pub fn begin(&mut self) -> Result<()> {
        for machine in &mut self.machines {
            machine.start_copies(&self.place, &self.ssh)?;
        }
        self.machines[0].start_keepalived(&self.keepalived)?;
        self.settle(0)?;
        self.machines[1].start_keepalived(&self.keepalived)?;
        self.stand_by(1)
    }

    /// Lets something happen after which this machine serves, and looks on until all clients are well again.
    fn observe(
        &mut self,
        name: &'static str,
        holder: usize,
        flows: &[Flow],
        happen: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Event> {
        let watch = AddressWatch::start(self.clock, &self.machines[holder].namespace, OUTER_ADDRESS)?;
        let began = self.clock.now();
        happen(self)?;
        self.settle(holder)?;
        Ok(self.look_on(name, flows, began, watch.seen()))
    }

    /// Waits until all clients are well, if they will be, and says what they saw.
    fn look_on(&self, name: &'static str, flows: &[Flow], began: Duration, address: Option<Duration>) -> Event {
        let since = self.clock.now() + WELL_FOR;
        let deadline = Instant::now() + WELL_FOR + RETURN_WITHIN;
        while !flows.iter().all(|flow| flow.has_since(since)) && Instant::now() < deadline {
            sleep(POLL);
        }
        let now = self.clock.now();
        let clients = flows.iter().map(|flow| {
            let after_address = address.and_then(|at| Some(flow.first_sent_since(at)?.saturating_sub(at)));
            Seen { outage: flow.outage(began, now), after_address, is_back: flow.has_since(since) }
        });
        Event { name, address_after: address.map(|at| at.saturating_sub(began)), clients: clients.collect() }
    }

    /// The operator stops keepalived on machine 1, so machine 0 serves again, and starts it again.
    fn fail_back(&mut self, flows: &[Flow]) -> Result<Event> {
        self.stand_by(0)?;
        let event = self.observe("failed back", 0, flows, |stage| stage.machines[1].stop_keepalived(&stage.place))?;
        self.machines[1].start_keepalived(&self.keepalived)?;
        self.stand_by(1)?;
        Ok(event)
    }

    fn take_machine_away(&mut self) -> Result<()> {
        for side in 0..2 {
            self.network.set_cable(0, side, false)?;
        }
        self.machines[0].take_away()
    }

    fn bring_machine_back(&mut self) -> Result<()> {
        for side in 0..2 {
            self.network.set_cable(0, side, true)?;
        }
        let machine = &mut self.machines[0];
        machine.start_gateway(&self.pair)?;
        machine.start_copies(&self.place, &self.ssh)?;
        machine.start_keepalived(&self.keepalived)
    }

    /// The machines do not hear each other for a while, and then do again.
    fn two_masters(&self, flows: &[Flow], time: Duration) -> Result<[Event; 2]> {
        let began = self.clock.now();
        self.machines.iter().try_for_each(|machine| machine.set_deaf(true))?;
        wait("both machines serve", || {
            let active = self.machines.iter().all(|machine| machine.is_active() == Some(true));
            Ok(active && self.machines[0].has_address()? && self.machines[1].has_address()?)
        })?;
        sleep(time);
        let both = self.look_on("two masters", flows, began, None);
        let heals = self.clock.now();
        self.machines.iter().try_for_each(|machine| machine.set_deaf(false))?;
        self.settle(0)?;
        let one = self.look_on("one again", flows, heals, None);
        Ok([both, one])
    }

    /// Waits until this machine serves, has the address, and the other one does neither.
    fn settle(&self, holder: usize) -> Result<()> {
        let [this, that] = [&self.machines[holder], &self.machines[1 - holder]];
        wait(&format!("machine {holder} serves alone"), || {
            let roles = (this.is_active(), that.is_active() == Some(true));
            Ok(roles == (Some(true), false) && this.has_address()? && !that.has_address()?)
        })
    }

    /// Waits until this machine could take over: keepalived says so, and the gateway has the other one's endpoints.
    fn stand_by(&self, number: usize) -> Result<()> {
        let machine = &self.machines[number];
        wait(&format!("machine {number} stands by"), || {
            Ok(machine.is_active() == Some(false) && machine.is_backup() && self.has_same_endpoints())
        })
    }

    fn has_same_endpoints(&self) -> bool {
        endpoints(&self.machines[0]) == endpoints(&self.machines[1])
    }

    fn knows_all_clients(&self) -> bool {
        let end = format!("end {} ", self.pair.peer_count);
        self.has_same_endpoints() && endpoints(&self.machines[1]).lines().any(|line| line.starts_with(&end))
    }
}

/// The file of endpoints of a machine's gateway.
fn endpoints(machine: &Machine) -> String {
    let path = janitor::directory().join(format!("{}.endpoints", machine.interface()));
    fs::read_to_string(path).unwrap_or_default()
}
