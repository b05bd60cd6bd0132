//! The agent as it runs: what comes from all sides goes into the state, one thing after the other, and what the state
//! wants done goes out. All of it is on one thread.

mod act;
mod status;

use std::io;
use std::time::Duration;

use etcd_client::Client;
use ringfort_core::allowed_ips::Prefix;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::cli::RunArgs;
use crate::control::server::{Asked, Server};
use crate::control::{Request, Totals};
use crate::error::AgentError;
use crate::etcd::{Etcd, FromEtcd};
use crate::gateway::{self, FromGateway};
use crate::kernel::{self, FromKernel, Kernel};
use crate::keys::Keys;
use crate::state::{ClaimOp, GatewayOp, Rules, State};
use crate::uapi::{self, News};
use crate::{logging, state};

/// What may wait to be looked at. Whoever has more to say waits.
const EVENTS_MAX: usize = 64;
/// How long the claims may take that are withdrawn at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Something that has happened.
pub enum Event {
    /// At the gateway.
    Gateway(FromGateway),
    /// In etcd.
    Etcd(FromEtcd),
    /// In the kernel.
    Kernel(FromKernel),
    /// The gateway has answered to changes that were made of the connection of this number: what it has done, and
    /// whether it answered to all.
    Set(u64, Vec<(Vec<GatewayOp>, bool)>, io::Result<()>),
    /// The gateway recovers sessions of others, or refuses (`false`), on the connection of this number.
    Recovered(u64, io::Result<bool>),
    /// etcd has answered to claims that went through the connection of this number.
    Claimed(u64, Result<Vec<(ClaimOp, Option<i64>)>, String>),
    /// A command.
    Asked(Asked),
}

impl From<FromGateway> for Event {
    fn from(event: FromGateway) -> Self {
        Self::Gateway(event)
    }
}

impl From<FromEtcd> for Event {
    fn from(event: FromEtcd) -> Self {
        Self::Etcd(event)
    }
}

impl From<FromKernel> for Event {
    fn from(event: FromKernel) -> Self {
        Self::Kernel(event)
    }
}

impl From<Asked> for Event {
    fn from(asked: Asked) -> Self {
        Self::Asked(asked)
    }
}

/// Runs until a signal.
///
/// # Errors
/// It cannot begin.
pub fn run(args: Box<RunArgs>) -> Result<(), AgentError> {
    logging::install(&args.interface, args.log_level);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(AgentError::system("start"))?;
    runtime.block_on(serve(*args))
}

async fn serve(args: RunArgs) -> Result<(), AgentError> {
    let node = match args.node.clone() {
        Some(node) => node,
        None => nix::unistd::gethostname().map_err(AgentError::Node)?.to_string_lossy().into_owned(),
    };
    let announce = announced(&args, &node)?;
    let etcd = Etcd::new(&args)?;
    let server = Server::listen(&args.interface)?;
    let kernel = Kernel::open(&args.interface, args.table, args.protocol).map_err(AgentError::system("read routes"))?;
    let (events, arrivals) = mpsc::channel(EVENTS_MAX);
    let (restart_etcd, restarts) = mpsc::channel(1);
    let (left, watched) = watch::channel(0);
    log::info!(
        "node {node} of network {}; routes are in table {} with protocol {}",
        args.network,
        args.table,
        args.protocol
    );
    kernel::watch_links(args.interface.clone(), events.clone()).map_err(AgentError::system("hear of interfaces"))?;
    if !args.nodes.is_empty() {
        kernel::watch_routes(events.clone()).map_err(AgentError::system("hear of routes"))?;
    }
    let (restart_gateway, gateway_restarts) = mpsc::channel(1);
    tokio::spawn(gateway::follow(args.interface.clone(), events.clone(), gateway_restarts));
    tokio::spawn(etcd.follow(events.clone(), restarts));
    let answers = events.clone();
    tokio::spawn(async move { server.serve(answers, watched).await });
    let rules = Rules { node: node.clone(), network: args.network.clone(), keep_others: args.keep_others, announce };
    let agent = Agent {
        keys: Keys::of(&args.network),
        state: State::new(rules),
        node,
        kernel,
        client: None,
        member: None,
        lease: 0,
        connection: 0,
        gateway_connection: 0,
        is_setting: false,
        is_claiming: false,
        totals: Totals::default(),
        events,
        restart_etcd,
        restart_gateway,
        left,
        args,
    };
    agent.run(arrivals).await
}

/// What this node announces: what all of them do, and its own prefix.
fn announced(args: &RunArgs, node: &str) -> Result<Vec<Prefix>, AgentError> {
    let mut announced = args.announce.clone();
    let own = args.nodes.iter().find(|(name, _)| name == node);
    if own.is_none() && !args.nodes.is_empty() {
        return Err(AgentError::Options(format!("--nodes names other nodes, and not this one: add {node}=PREFIX")));
    }
    announced.extend(own.map(|(_, prefix)| *prefix).filter(|prefix| !args.announce.contains(prefix)));
    Ok(announced)
}

struct Agent {
    args: RunArgs,
    node: String,
    keys: Keys,
    state: State,
    kernel: Kernel,
    /// What claims are written through.
    client: Option<Client>,
    member: Option<String>,
    lease: i64,
    /// Counts connections to etcd: what was written through an earlier one does not count.
    connection: u64,
    /// Counts connections to the gateway, likewise.
    gateway_connection: u64,
    is_setting: bool,
    is_claiming: bool,
    /// Those that the state does not count.
    totals: Totals,
    events: mpsc::Sender<Event>,
    restart_etcd: mpsc::Sender<String>,
    restart_gateway: mpsc::Sender<io::Error>,
    left: watch::Sender<usize>,
}

impl Agent {
    async fn run(mut self, mut arrivals: mpsc::Receiver<Event>) -> Result<(), AgentError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(AgentError::system("wait for signals"))?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(AgentError::system("wait for signals"))?;
        self.read_routes();
        self.find_nodes();
        loop {
            let has_routes_left = self.act();
            tokio::select! {
                Some(event) = arrivals.recv() => {
                    self.take(event);
                    // What is there already is one with it.
                    for _ in 0..EVENTS_MAX {
                        let Ok(event) = arrivals.try_recv() else { break };
                        self.take(event);
                    }
                }
                () = std::future::ready(()), if has_routes_left => {}
                _ = terminated.recv() => break,
                _ = interrupted.recv() => break,
            }
        }
        self.end().await;
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Gateway(event) => self.take_gateway(event),
            Event::Etcd(event) => self.take_etcd(event),
            Event::Kernel(FromKernel::Link) => {
                self.read_routes();
                self.miss_gateway();
            }
            Event::Kernel(FromKernel::Routes) => self.find_nodes(),
            Event::Recovered(connection, result) => self.take_recovery(connection, result),
            Event::Set(connection, done, result) => {
                // Another gateway may have been asked, and its peers are read in any case.
                if connection != self.gateway_connection {
                    return;
                }
                self.is_setting = false;
                for (ops, is_done) in done {
                    self.state.gateway_did(&ops, is_done);
                }
                if let Err(error) = result {
                    // It is not known what it has done, so all of its peers are read again.
                    let _ = self.restart_gateway.try_send(error);
                }
            }
            Event::Claimed(connection, result) => {
                if connection != self.connection {
                    return;
                }
                self.is_claiming = false;
                match result {
                    Ok(done) => done.iter().for_each(|(op, revision)| self.state.claim_done(op, *revision)),
                    Err(error) => {
                        let _ = self.restart_etcd.try_send(format!("cannot write claims: {error}"));
                    }
                }
            }
            Event::Asked(Asked { request, answer }) => {
                match request {
                    Request::Status => {}
                    Request::Drain | Request::Resume if self.state.is_draining() == (request == Request::Drain) => {}
                    Request::Drain => {
                        log::info!("drained: routes and claims are withdrawn");
                        self.state.drain(true);
                    }
                    Request::Resume => {
                        log::info!("peers are taken again");
                        self.state.drain(false);
                    }
                }
                // Whoever asked may be gone.
                let _ = answer.send(self.status());
            }
        }
    }

    fn take_gateway(&mut self, event: FromGateway) {
        match event {
            FromGateway::Opened => {
                log::info!("the gateway is there");
                self.gateway_connection += 1;
                self.is_setting = false;
                self.state.gateway_opened();
                self.read_routes();
            }
            FromGateway::Had(peers) => self.state.gateway_has(peers),
            FromGateway::HadAll => self.state.gateway_has_no_more(),
            FromGateway::News(all) => {
                for news in all {
                    match news {
                        News::Role(is_active) => self.state.gateway_role(is_active),
                        News::Session(heard) => self.state.session(&heard),
                        News::Complete => self.state.sessions_complete(),
                        News::Removed(peer) => self.state.peer_removed(peer),
                        News::Resync => self.state.sessions_resync(),
                        News::Refused(_) | News::Unknown => {}
                    }
                }
            }
            FromGateway::Closed(why) => {
                log::warn!("the gateway is away: {why}");
                self.state.gateway_closed();
                self.read_routes();
                self.miss_gateway();
            }
            FromGateway::Absent(why) => self.lose_gateway(&why),
            FromGateway::Denied(why) => log::error!(
                "the socket {} belongs to another user ({why}): gateway and agent must be the same one; as services, \
                 both have a drop-in user.conf, or none has",
                uapi::socket_path(&self.args.interface).display()
            ),
        }
    }

    /// A gateway that is replaced by a new binary hands its interface over. If that is gone as well, nobody comes back.
    fn miss_gateway(&mut self) {
        let (was_there, ..) = self.state.links();
        if was_there && !self.state.is_gateway_open() && !self.kernel.has_interface() {
            self.lose_gateway("its interface is gone");
        }
    }

    fn lose_gateway(&mut self, why: &str) {
        let (has_gateway, ..) = self.state.links();
        if has_gateway {
            log::warn!("no gateway answers on {} ({why}): claims and routes are withdrawn", self.args.interface);
        }
        self.state.gateway_lost();
        self.read_routes();
    }

    fn take_recovery(&mut self, connection: u64, result: io::Result<bool>) {
        if connection == self.gateway_connection {
            self.is_setting = false;
        }
        self.state.recovered(result.as_ref().ok().copied());
        match result {
            Ok(true) => log::info!("the gateway asks peers for sessions that send under those of others"),
            Ok(false) => {
                log::warn!(
                    "the gateway does not ask for sessions of others: it is down, or stands by, or is an older one"
                );
            }
            Err(error) => {
                let _ = self.restart_gateway.try_send(error);
            }
        }
    }

    fn take_etcd(&mut self, event: FromEtcd) {
        match event {
            FromEtcd::Open(member, client) => {
                self.connection += 1;
                self.is_claiming = false;
                (self.member, self.client) = (Some(member), Some(*client));
            }
            FromEtcd::Lease(lease) => {
                self.lease = lease;
                self.state.lease(Some(lease));
            }
            FromEtcd::List => self.state.etcd_list(),
            FromEtcd::Listed(keys) => {
                for key in keys {
                    self.state.etcd_listed(key.key(), key.value(), key.mod_revision(), key.lease());
                }
            }
            FromEtcd::ListEnd(revision) => {
                self.state.etcd_list_ended(revision);
                let state::Counts { listed, .. } = self.state.counts();
                let member = self.member.as_deref().unwrap_or_default();
                log::info!("{member} has {listed} peers; changes after revision {revision} are followed");
            }
            FromEtcd::Changes(changes) => {
                self.state.etcd_changes();
                for (key, is_put) in changes {
                    if is_put {
                        self.state.etcd_put(key.key(), key.value(), key.mod_revision(), key.lease());
                    } else {
                        self.state.etcd_deleted(key.key(), key.mod_revision());
                    }
                }
            }
            FromEtcd::Lost(why) => {
                log::warn!("etcd is away, and peers and routes stay as they are: {why}");
                self.totals.etcd_losses += 1;
                (self.member, self.client) = (None, None);
                self.state.etcd_lost();
            }
        }
    }

    /// A signal came.
    async fn end(mut self) {
        if !self.args.withdraw {
            log::info!("ended; routes stay, and claims for {} s", self.args.ttl);
            return;
        }
        self.state.drain(true);
        while self.change_routes() {}
        // All claims are under it.
        if let Some(mut client) = self.client.take()
            && !matches!(timeout(LAST_WORDS, client.lease_revoke(self.lease)).await, Ok(Ok(_)))
        {
            log::warn!("claims could not be withdrawn: etcd forgets them after {} s", self.args.ttl);
        }
        log::info!("ended; routes and claims are withdrawn");
    }
}
