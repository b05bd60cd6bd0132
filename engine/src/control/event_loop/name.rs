//! The name of the interface, which may change while it is served.

use super::Control;
use crate::control::logging;
use crate::control::server::Server;
use crate::metrics::MetricsPlace;
use crate::panics;

impl Control {
    /// Whoever renames the interface looks for us under its new name.
    pub(super) fn follow_name(&mut self, server: &mut Server) {
        let Some(name) = self.interface.take_name() else { return };
        match server.rename(&name) {
            Ok(()) => {
                log::info!("the interface is called {name} from now on, and so is the control socket");
                self.rename_files(&name);
            }
            Err(error) => log::warn!(
                "the interface is called {name} from now on, and the control socket keeps its name, by which wg(8) \
                 finds us: {error}"
            ),
        }
        if let Some(steward) = &self.steward {
            steward.rename(&name);
        }
        panics::remove_socket(server.place().clone());
        logging::rename(&name);
    }

    /// What else has the name: labels and the socket of metrics, and the file of endpoints. All of it keeps the former
    /// name where the control socket does, since another daemon has the new one.
    fn rename_files(&mut self, name: &str) {
        self.source.interface.set(name);
        self.endpoints.rename(name);
        if let Some(Err(error)) = self.metrics_place.as_ref().map(|place| place.rename(name)) {
            log::warn!("the socket of metrics keeps its name: {error}");
        }
    }

    /// What the interface is called now.
    pub fn interface_name(&self) -> &str {
        self.interface.name()
    }

    /// Where the socket of metrics is. It is renamed with the interface.
    pub fn show_at(&mut self, place: Option<MetricsPlace>) {
        self.metrics_place = place;
    }
}
