//! What generator and reflector say to each other.
//!
//! ```text
//!   reflector  ► greeting (or failed, if it is busy)
//!   generator  ► hello                                   reflector ► welcome
//!              ► clock, again and again                            ► clock
//!              ► prepare: load, connections, its ports             ► prepared: ports
//!                learning datagrams, answered from the same socket; connections are made
//!              ► open: what an answer held                         ► opened: all connections are there
//!                probes begin, if there are any
//!              ► begin                                             ► begun
//!              ► sent                                              ► sent
//!              ► finish                                            ► counted: counts and times
//! ```
//!
//! The generator asks, the reflector answers. Whoever fails says so and closes the connection.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Load;
use crate::crew::Done;
use crate::receiver::Arrivals;
use crate::reflector::Reflection;
use crate::sender::Sending;
use crate::tcp::Bulk;
use crate::tcp::ends::Drained;

/// What a reflector calls the language: nobody takes another server for one.
pub(crate) const PROTOCOL: &str = "ringfort-bench-control";
/// Raised when a message changes. Both ends must have the same.
pub(crate) const VERSION: u32 = 2;
/// The longest message of a generator, in bytes. The ports of 10,000 flows in 64 lanes, both ways, need a fifth of it.
pub(crate) const REQUEST_LEN_MAX: usize = 64 << 10;
/// The longest of a reflector: the times of 64 lanes, to three digits each.
pub(crate) const ANSWER_LEN_MAX: usize = 64 << 20;

/// What a generator asks for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub(crate) enum Request {
    /// The first message.
    Hello {
        /// [`VERSION`].
        version: u32,
        /// The version of the generator's program, for a person.
        lab: String,
    },
    /// What does your clock show?
    Clock,
    /// Make ready.
    Prepare(Box<Ask>),
    /// All connections are made.
    Open {
        /// The number that only answers to learning datagrams hold.
        #[serde(default)]
        proof: Option<u64>,
    },
    /// Begin with what was made ready.
    Begin,
    /// The senders of the generator have ended, and its time of receiving over connections is over. How many packets
    /// each lane has sent, 0 where it does not send.
    Sent { packets: Vec<u64> },
    /// Nothing more is waited for.
    Finish,
}

/// What both hosts carry.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// The generator's address.
    pub(crate) from: IpAddr,
    /// The reflector's.
    pub(crate) to: IpAddr,
    /// Datagrams.
    pub(crate) udp: Option<UdpAsk>,
    /// Connections.
    pub(crate) tcp: Option<TcpAsk>,
    /// Whether probes are sent back.
    #[serde(default)]
    pub(crate) echo: bool,
}

/// A load of datagrams.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct UdpAsk {
    pub(crate) load: Load,
    /// What the reflector's clock shows beyond the generator's.
    pub(crate) offset_ns: i64,
    /// Of each lane, in the order of [`numbered_routes`](crate::udp::numbered_routes).
    pub(crate) lanes: Vec<LaneAsk>,
}

/// One lane of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LaneAsk {
    pub(crate) tag: u32,
    /// The ports of the generator's sockets.
    pub(crate) ports: Vec<u16>,
}

/// A transfer. The generator makes all connections: so both ends have proved where they are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TcpAsk {
    pub(crate) bulk: Bulk,
    /// Whether the reflector sends the same to the generator, over connections of their own.
    pub(crate) both_ways: bool,
}

/// What a reflector answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub(crate) enum Answer {
    /// Said at once, before anything is asked.
    Greeting {
        protocol: String,
        version: u32,
        lab: String,
    },
    /// To a hello.
    Welcome {
        /// The addresses that it binds.
        addresses: Vec<IpAddr>,
        /// About the machine, for the file of results.
        host: Value,
    },
    Clock {
        received_ns: u64,
        answered_ns: u64,
    },
    /// Sockets are bound.
    Prepared(Prepared),
    /// The way is open, and all connections are there.
    Opened,
    Begun,
    /// The senders of the reflector have ended, as in [`Request::Sent`].
    Sent {
        packets: Vec<u64>,
    },
    /// What came of it here.
    Counted(Counted),
    /// It is over.
    Failed {
        why: String,
    },
}

/// The ports of a reflector.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Prepared {
    /// The one to which learning datagrams are sent, and what they must hold.
    pub(crate) port: u16,
    pub(crate) nonce: u64,
    /// Those of each lane.
    pub(crate) lanes: Vec<Vec<u16>>,
    /// Those that listen: for connections over which the generator sends, and for those over which the reflector does.
    pub(crate) tcp: Vec<u16>,
    /// That of the echo.
    pub(crate) echo: Option<u16>,
}

/// What the threads of one host counted.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Of each lane of datagrams.
    pub(crate) lanes: Vec<Part>,
    /// Of connections.
    pub(crate) tcp: TcpPart,
}

/// Of a lane of datagrams.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) sending: Option<Done<Sending>>,
    pub(crate) arrivals: Option<Done<Arrivals>>,
    pub(crate) reflection: Option<Done<Reflection>>,
}

/// Of connections, there and back.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct TcpPart {
    /// What arrived in the measured time.
    pub(crate) drained: Drained,
    /// What arrived in all.
    pub(crate) bytes_all: u64,
    /// Segments that were sent again from here.
    pub(crate) retransmits: u64,
    /// CPU time of the threads that send, and of those that receive, in nanoseconds.
    pub(crate) cpu_ns: [u64; 2],
}

impl Part {
    /// Packets that were sent here.
    pub(crate) fn sent(&self) -> u64 {
        self.sending.as_ref().map_or(0, |done| done.value.sent)
    }
}
