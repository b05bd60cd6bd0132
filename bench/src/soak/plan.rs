//! What is asked of a soak.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    /// How many turns there are in all.
    pub turns: u64,
    /// How long the traffic of each takes, in seconds.
    pub every_s: u64,
    /// TCP connections in each direction.
    pub streams: u16,
    /// UDP packets per second in each direction.
    pub rate_pps: u64,
    /// The longest packet inside of the tunnel, in bytes.
    pub mtu: u32,
    /// How many peers each gateway knows; absent where the lab has started none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<u32>,
}
