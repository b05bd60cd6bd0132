//! What the load goes through: two gateways of one kind, or nothing but the wire.

use clap::Args;
use ringfort_testbed::{Error, Result};
use ringfort_traffic::{Imix, Size};

use super::contenders::Contender;
use super::{Conditions, SetUp};
use crate::Gateway;

/// What a person may choose.
#[derive(Args, Clone, Debug)]
pub struct Device {
    /// What is at both ends: ringfort, wireguard-go, boringtun, gotatun, kernel-wireguard; or bare-veth, the cable
    /// without any tunnel, which shows what the generator itself can do
    #[arg(long, value_name = "NAME", default_value = "ringfort")]
    implementation: String,
    /// Any other: a command that stays in the foreground, split at spaces
    #[arg(long, value_name = "NAME=COMMAND {interface}", conflicts_with = "implementation")]
    other: Option<String>,
    #[command(flatten)]
    conditions: Conditions,
    #[command(flatten)]
    gateway: Gateway,
}

impl Device {
    /// Who was chosen.
    ///
    /// # Errors
    /// It is not known, or not installed.
    pub fn contender(&self) -> Result<Contender> {
        match &self.other {
            Some(text) => Contender::other(text),
            None => Contender::known(self.implementation.trim(), &self.gateway),
        }
    }

    /// What both ends have besides.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// Both ends, ready for traffic.
    ///
    /// # Errors
    /// As [`SetUp::new`].
    pub fn set_up(&self, contender: &Contender) -> Result<SetUp> {
        SetUp::new(contender, &self.conditions)
    }

    /// Refuses packets that are too long for the tunnel.
    ///
    /// # Errors
    /// One of these sizes is.
    pub fn check_sizes(&self, sizes: &[Size]) -> Result<()> {
        let mtu = self.conditions.mtu();
        let largest = |size: &Size| match *size {
            Size::Fixed { bytes } => u32::from(bytes),
            Size::Imix(Imix { largest_bytes }) => u32::from(largest_bytes),
        };
        match sizes.iter().map(largest).max() {
            Some(bytes) if bytes > mtu => Err(Error::new(format!(
                "packets of {bytes} bytes in a tunnel that takes {mtu}: --mtu {bytes} makes it longer"
            ))),
            _ => Ok(()),
        }
    }
}

/// For a person.
pub fn sentence(contender: &Contender, set_up: &SetUp) -> String {
    match (set_up, contender.program()) {
        (SetUp::Gateways(_), Some(program)) => {
            format!("Through a tunnel between two gateways: {} ({})", contender.name, program.path.display())
        }
        (SetUp::Gateways(_), None) => "Through a tunnel of the kernel's own WireGuard".to_owned(),
        (SetUp::Bare(_), _) => "Over the cable, without any tunnel".to_owned(),
    }
}
