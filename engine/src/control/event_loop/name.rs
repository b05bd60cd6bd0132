//! The name of the interface, which may change while it is served.

use super::Control;
use crate::control::logging;
use crate::control::server::Server;
use crate::panics;

impl Control {
    /// Whoever renames the interface looks for us under its new name.
    pub(super) fn follow_name(&mut self, server: &mut Server) {
        let Some(name) = self.interface.take_name() else { return };
        match server.rename(&name) {
            Ok(()) => log::info!("the interface is called {name} from now on, and so is the control socket"),
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
}
