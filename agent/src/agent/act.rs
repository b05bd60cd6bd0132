//! What the state wants done goes out. Each kind of it is one request at a time, whose answer comes back as an event.

use super::{Agent, Event};
use crate::{claims, gateway, kernel};

/// Changes of one `set=1`. A change takes the gateway some microseconds.
const CHANGES_MAX: usize = 256;
/// Batches of routes in one turn: others have theirs in between.
const ROUTE_BATCHES_MAX: usize = 8;

impl Agent {
    /// Has done what is to do. True: there are more routes.
    pub(super) fn act(&mut self) -> bool {
        let has_more = self.change_routes();
        self.change_gateway();
        self.change_claims();
        let owned = self.state.counts().owned;
        self.left.send_if_modified(|left| std::mem::replace(left, owned) != owned);
        has_more
    }

    fn change_gateway(&mut self) {
        if self.is_setting {
            return;
        }
        let ops = self.state.poll_gateway(CHANGES_MAX);
        // First it hears where peers are.
        let must_recover = ops.is_empty() && self.state.poll_recovery();
        if ops.is_empty() && !must_recover {
            return;
        }
        self.is_setting = true;
        let (interface, events) = (self.args.interface.clone(), self.events.clone());
        let connection = self.gateway_connection;
        tokio::spawn(async move {
            let event = if must_recover {
                Event::Recovered(connection, gateway::recover(&interface).await)
            } else {
                let (done, result) = gateway::set(&interface, ops).await;
                Event::Set(connection, done, result)
            };
            events.send(event).await
        });
    }

    fn change_claims(&mut self) {
        let Some(client) = self.client.as_ref().filter(|_| !self.is_claiming) else { return };
        let ops = self.state.poll_claims(claims::BATCH);
        if !ops.is_empty() {
            self.is_claiming = true;
            let (kv, keys, events, connection) =
                (client.kv_client(), self.keys.clone(), self.events.clone(), self.connection);
            tokio::spawn(async move {
                let written = claims::write(kv, &keys, ops).await.map_err(|error| error.to_string());
                events.send(Event::Claimed(connection, written)).await
            });
        }
    }

    pub(super) fn change_routes(&mut self) -> bool {
        for _ in 0..ROUTE_BATCHES_MAX {
            let ops = self.state.routes.poll(kernel::BATCH);
            if ops.is_empty() {
                return false;
            }
            match self.kernel.apply(&ops, &mut self.state.routes) {
                Ok(refused) => self.totals.route_refusals += refused as u64,
                Err(error) => {
                    log::warn!("routes cannot be changed, and are read again when the interface changes: {error}");
                    return false;
                }
            }
        }
        true
    }

    pub(super) fn read_routes(&mut self) {
        if let Err(error) = self.kernel.read(&mut self.state.routes) {
            log::warn!("routes cannot be read: {error}");
        }
    }

    /// Looks for the routes to other nodes.
    pub(super) fn find_nodes(&mut self) {
        for (node, prefix) in self.args.nodes.iter().filter(|(node, _)| *node != self.node) {
            match self.kernel.has_route(*prefix) {
                Ok(is_there) => self.state.node_route(node, is_there),
                Err(error) => log::warn!("the kernel does not say whether there is a route to {prefix}: {error}"),
            }
        }
    }
}
