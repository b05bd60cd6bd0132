//! `ringfort check FILE|NAME`: all that is wrong with a configuration, without touching anything.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use ringfort_config::{KeyFiles, Loaded, load};

use super::print;
use crate::app::exit;
use crate::control::file::{Target, disk};
use crate::control::inherited::is_descriptor;

/// Its arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The configuration, or the interface that it is for: /etc/ringfort/NAME.conf, or else /etc/wireguard/NAME.conf
    #[arg(value_name = "FILE|NAME")]
    target: String,
}

/// Reads, and prints what is wrong: the status is 0 if nothing is, else 2.
pub fn run(args: &Args) -> ExitCode {
    let target = match Target::of(&args.target) {
        Ok(target) => target,
        Err(error) => return exit(Err(error.into())),
    };
    match load(&target.path, &disk(), KeyFiles::IfReadable) {
        Ok(loaded) => print(Ok(findings(&loaded, &target))),
        Err(mistakes) => {
            let _ = writeln!(std::io::stderr(), "{mistakes}");
            ExitCode::from(2)
        }
    }
}

/// What there is to say of a configuration that is right, a line each.
fn findings(loaded: &Loaded, target: &Target) -> String {
    let (config, files, path) = (&loaded.config, loaded.files.len(), target.path.display());
    let mut lines: Vec<String> = loaded.warnings.iter().map(|warning| format!("{warning} (warning)")).collect();
    if !config.has_key() && config.interface.private_key_file.is_none() {
        let text = "there is no PrivateKey: a gateway without one neither sends nor receives (warning)";
        lines.push(format!("{path}: {text}"));
    }
    if let Some(key_file) = &config.interface.private_key_file
        && is_read_once(key_file, &target.path)
    {
        lines.push(format!(
            "{path}: PrivateKeyFile {} can be read once: ringfort reload is refused, and SaveConfig saves nothing \
             (warning)",
            key_file.display()
        ));
    }
    if let Some(node) = config.interface.start.node {
        lines.push(format!("{path}: node {node}, which has {} receiver indices", node.indices()));
    }
    let (peers, prefixes) = (config.peers.len(), config.allowed_ips().count());
    lines.push(format!("{path}: right: {peers} peers, {prefixes} allowed IPs, {files} files"));
    lines.into_iter().map(|line| line + "\n").collect()
}

/// Whether a file that the one at `path` names is gone for a running gateway: a pipe, or an open descriptor.
fn is_read_once(named: &Path, path: &Path) -> bool {
    let place = path.parent().unwrap_or(Path::new("")).join(named);
    is_descriptor(named) || place.metadata().is_ok_and(|meta| !meta.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_be_read_once() {
        let path = Path::new("/etc/ringfort/wg0.conf");
        for (named, is) in [("/dev/fd/8", true), ("/dev/null", true), ("/etc/hosts", false), ("../hosts", false)] {
            assert_eq!(is_read_once(Path::new(named), path), is, "{named}");
        }
    }
}
