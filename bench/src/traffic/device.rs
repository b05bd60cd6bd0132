//! What the load goes through: two gateways of one kind, or nothing but the wire.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ringfort_testbed::daemon::Program;
use ringfort_testbed::netns::{outer_v4, outer_v6};
use ringfort_testbed::tunnel::Peering;
use ringfort_testbed::{Error, Family, Implementation, Result, Tunnel, Wire};
use ringfort_traffic::Endpoint;
use serde::Serialize;

use crate::built_beside;

const PATIENCE: Duration = Duration::from_secs(15);

/// What a person may choose.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// What the load goes through: two gateways of this kind, or `none` for the bare wire, which shows what the generator
    /// itself can do
    #[arg(long, value_enum, default_value_t = Kind::Ringfort)]
    implementation: Kind,
    /// The program to run as gateway, instead of the one that was built beside this program or installed
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Workers of each gateway (Ringfort only); as many as it chooses itself unless given
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    workers: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Ringfort,
    WireguardGo,
    Boringtun,
    Gotatun,
    None,
}

/// As it is named in results.
#[derive(Clone, Debug, Serialize)]
pub struct Description {
    implementation: Kind,
    /// The program, unless the wire is bare.
    program: Option<PathBuf>,
    /// Its options but for the interface.
    options: Vec<String>,
}

/// Namespaces that are ready for traffic.
pub enum Device {
    Tunnel(Box<Tunnel>),
    Bare(Wire),
}

impl Options {
    fn program(&self) -> Result<Option<Program>> {
        if self.workers.is_some() && self.implementation != Kind::Ringfort {
            return Err(Error::new("--workers is an option of Ringfort; the others choose by themselves"));
        }
        let peer = |implementation| match &self.binary {
            Some(path) => Ok(Program { implementation, path: path.clone(), options: Vec::new() }),
            None => Program::peer(implementation),
        };
        let program = match self.implementation {
            Kind::None if self.binary.is_some() => return Err(Error::new("--binary, but no gateway to run")),
            Kind::None => return Ok(None),
            Kind::Ringfort => Program::ringfort(self.binary.clone().map_or_else(built_beside, Ok)?),
            Kind::WireguardGo => peer(Implementation::WireguardGo)?,
            Kind::Boringtun => peer(Implementation::Boringtun)?,
            Kind::Gotatun => peer(Implementation::Gotatun)?,
        };
        Ok(Some(match self.workers {
            Some(workers) => program.with_options(&format!("--workers {workers}")),
            None => program,
        }))
    }

    /// Makes the namespaces, starts the gateways, and waits until the tunnel is open.
    pub fn start(&self) -> Result<(Device, Description)> {
        let program = self.program()?;
        let description = Description {
            implementation: self.implementation,
            program: program.as_ref().map(|program| program.path.clone()),
            options: program.as_ref().map_or_else(Vec::new, |program| program.options.clone()),
        };
        let device = match program {
            None => Device::Bare(Wire::new()?),
            Some(program) => {
                let tunnel = Tunnel::connected([&program, &program], &Peering::default())?;
                tunnel.wait_until_open(0, PATIENCE)?;
                Device::Tunnel(Box::new(tunnel))
            }
        };
        Ok((device, description))
    }
}

impl Description {
    /// For a person.
    pub fn sentence(&self) -> String {
        match &self.program {
            Some(program) => format!("Through a tunnel between two gateways ({})", program.display()),
            None => "Over the bare wire, without a gateway".to_owned(),
        }
    }
}

impl Device {
    /// The two ends of the traffic.
    pub fn ends(&self, family: Family) -> [Endpoint<'_>; 2] {
        [0, 1].map(|index| match (self, family) {
            (Self::Tunnel(tunnel), family) => {
                Endpoint { namespace: tunnel.namespace(index), address: tunnel.sides[index].inner(family) }
            }
            (Self::Bare(wire), Family::V4) => Endpoint { namespace: &wire.ends[index], address: outer_v4(index) },
            (Self::Bare(wire), Family::V6) => Endpoint { namespace: &wire.ends[index], address: outer_v6(index) },
        })
    }
}
