//! Real traffic between network namespaces, against Ringfort itself and against other implementations.
//!
//! ```text
//!        namespace 0                                      namespace 1
//!  ┌───────────────────────────┐                    ┌───────────────────────────┐
//!  │ sockets of the test       │                    │       sockets of the test │
//!  │     │                     │                    │                     │     │
//!  │ [tunnel]  10.77.0.1/24    │                    │    10.77.0.2/24  [tunnel] │
//!  │     │     fd00:77::1/64   │                    │   fd00:77::2/64     │     │
//!  │ ringfort, UDP port 51820  │                    │  its peer, UDP port 51820 │
//!  │     │                     │                    │                     │     │
//!  │ [veth0]   10.200.0.1/24   │        veth        │   10.200.0.2/24   [veth0] │
//!  │           fd00:200::1/64 ─┼────────────────────┼─ fd00:200::2/64           │
//!  └───────────────────────────┘                    └───────────────────────────┘
//! ```
//!
//! They need root, `iproute2`, `wireguard-tools` and the other implementations: `scripts/install-test-peers` installs
//! them. Without these the tests fail; none is skipped. `RINGFORT_BIN` names another program to test than the one
//! that Cargo built.

mod ambient;
mod appliance;
mod back;
mod back_crowd;
mod bound;
mod capture;
mod differential;
mod doctor;
mod first_answers;
mod floods;
mod given;
mod handbook;
mod handover;
mod harness;
mod hostile;
mod link_state;
mod live_changes;
mod log;
mod log_places;
mod loops;
mod matrix;
mod memory;
mod metrics;
mod moved;
mod offload;
mod order;
mod overlays;
mod pair;
mod path_mtu;
mod quiet;
mod refusals;
mod rekey;
mod renamed;
mod restart;
mod roaming;
mod sandbox;
mod secrets;
mod sent;
mod shutdown;
mod sources;
mod steer;
mod suites;
mod supervision;
mod taken_over;
mod top;
mod topologies;
mod udp_gso;
mod unreachable;
mod up;
mod waiting;
mod watch;
mod wg_commands;
mod wg_quick;
mod why;
mod workers;
