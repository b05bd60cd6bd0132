//! What the load goes through: two gateways of one kind, or nothing but the wire.

use clap::Args;
use ringfort_testbed::Result;

use crate::Gateway;
use crate::compare::contenders::Contender;
use crate::compare::setup::SetUp;

/// What a person may choose.
#[derive(Args, Clone, Debug)]
pub struct Device {
    /// What both gateways are: ringfort, wireguard-go, boringtun, gotatun; or bare-veth, the cable without any tunnel,
    /// which shows what the generator itself can do
    #[arg(long, value_name = "NAME", default_value = "ringfort")]
    implementation: String,
    /// Any other: a command that stays in the foreground, split at spaces
    #[arg(long, value_name = "NAME=COMMAND {interface}", conflicts_with = "implementation")]
    other: Option<String>,
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
}

/// For a person.
pub fn sentence(contender: &Contender, set_up: &SetUp) -> String {
    match (set_up, &contender.program) {
        (SetUp::Gateways(_), Some(program)) => {
            format!("Through a tunnel between two gateways: {} ({})", contender.name, program.path.display())
        }
        _ => "Over the cable, without any tunnel".to_owned(),
    }
}
