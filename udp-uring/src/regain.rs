//! Sockets that another process had as well, and has changed.

use crate::error::BindError;
use crate::reuseport;
use crate::socket::SocketGroup;

impl SocketGroup {
    /// Steers datagrams to these sockets again, after a process that had [resumed](Self::resume) the group, and
    /// [grown](Self::grow) it, has ended: all who have the sockets share the program.
    ///
    /// # Errors
    /// [`BindError::Option`].
    pub fn steer(&self) -> Result<(), BindError> {
        // A lone socket gets all there is.
        match u8::try_from(self.workers()) {
            Ok(workers @ 2..) => self.pair(0).sockets().try_for_each(|first| reuseport::attach(&first, workers)),
            _ => Ok(()),
        }
    }
}
