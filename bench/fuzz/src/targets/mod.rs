//! The targets, and their list.

mod allowed_ips;
mod batch;
mod coalesce;
mod config;
mod control_messages;
mod cookie;
mod handover;
mod handshake;
mod open_train;
mod packet;
mod path;
mod replay;
mod seal_train;
mod uapi;
mod views;
mod virtio;
mod wire;

use crate::Target;

/// Lists modules, each of which is a target of that name.
macro_rules! targets {
    ($($module:ident, $len_max:literal;)+) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[
            $(Target {
                name: stringify!($module),
                len_max: $len_max,
                run: $module::run,
                seeds: $module::seeds,
            },)+
        ];
    };
}

targets! {
    wire, 256;
    handshake, 256;
    cookie, 256;
    handover, 2048;
    replay, 512;
    open_train, 256;
    seal_train, 256;
    batch, 512;
    packet, 256;
    allowed_ips, 512;
    config, 2048;
    control_messages, 512;
    virtio, 1024;
    coalesce, 512;
    uapi, 4096;
    views, 256;
    path, 1024;
}
