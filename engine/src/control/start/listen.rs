//! What a daemon is asked on: the control socket, and the sockets of metrics.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::sys::signalfd::SignalFd;

use crate::cli::Serve;
use crate::control::error::DaemonError;
use crate::control::handover::{Offer, Possessions};
use crate::control::server::Listener;
use crate::metrics::{Exchange, Listening, Metrics, Options, Registry};

/// Serves metrics. The addresses were asked for and must work. The unix socket is there if it can be had; if not, the
/// reason comes back.
pub fn show(
    options: &Options,
    source: Arc<Registry>,
    exchange: Arc<Exchange>,
    offer: Option<&mut Offer>,
    possessions: &mut Possessions,
    signals: &SignalFd,
) -> Result<(Option<Metrics>, Option<DaemonError>), DaemonError> {
    let waits = offer.is_some();
    let (socket, listeners) = offer.map_or_else(Default::default, Offer::take_metrics);
    let mut listening = Listening::inherit(options, listeners)?;
    let interface = source.interface.get();
    let unshown = match socket {
        Some(socket) => listening.inherit_locally(&interface, socket),
        None => listening.listen_locally(&interface, signals),
    };
    let unshown = match unshown {
        Err(error @ DaemonError::Interrupted(_)) => return Err(error),
        result => result.err(),
    };
    if listening.is_nowhere() {
        return Ok((None, unshown));
    }
    let copies = listening.copies().map_err(|error| DaemonError::system("keep the sockets of metrics", error))?;
    (possessions.metrics_socket, possessions.metrics_listeners) = copies;
    let start = if waits { Metrics::start_later } else { Metrics::start };
    let metrics = start(listening, source, exchange, options);
    Ok((Some(metrics.map_err(|error| DaemonError::system("start a thread for metrics", error))?), unshown))
}

/// The control socket: made, inherited from whoever started us, or from whoever serves.
pub fn listener(
    cli: &Serve,
    inherited: Option<OwnedFd>,
    offer: Option<&mut Offer>,
    signals: &SignalFd,
) -> Result<Listener, DaemonError> {
    match (offer.and_then(|offer| offer.possessions.control.take()), inherited) {
        (Some(socket), _) => Listener::inherit(socket, &cli.name),
        (None, Some(socket)) => Listener::adopt(socket),
        (None, None) => Listener::open(&cli.name, signals),
    }
}
