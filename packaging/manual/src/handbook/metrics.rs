//! The names of the metrics, of the list that the writer takes them from.

use ringfort::metrics::{About, families};
use ringfort_core::device::PeerState;
use ringfort_core::drops::DropReason;
use ringfort_path::Stage;

use super::paragraph::{item, plain};

/// A list for each subject, then the reasons for drops and the values of other labels.
pub fn text() -> String {
    let families = families();
    let has = |about: &&About, label: &str| about.labels.contains(&label);
    let of_peers = |about: &&About| has(about, "peer");
    let of_workers = |about: &&About| has(about, "worker");
    let of_gateway = |about: &&About| !of_peers(about) && !of_workers(about);
    let list = |wanted: &dyn Fn(&&About) -> bool| families.iter().filter(wanted).map(family).collect::<String>();
    let mut text = format!("### Of the gateway\n\n{}", list(&of_gateway));
    text += "\n### Of threads\n\nThe label `worker` is the number of a worker, or `control`.\n\n";
    text += &list(&of_workers);
    text += "\n### Of peers\n\nThe label `peer` is the public key.\n\n";
    text += &list(&of_peers);
    text += "\n### Reasons for drops\n\nValues of the label `reason`. `ringfort stats` has them behind `drop_`.\n\n";
    for &reason in DropReason::ALL {
        text += &item(&format!("`{}`: {}", reason.name(), plain(reason.meaning())));
    }
    text += "\n### Other labels\n\n";
    text += &values("state", "of `ringfort_peers_in_state`", PeerState::ALL.map(PeerState::name).as_slice());
    text += &values("stage", "the way of a packet", Stage::ALL.map(Stage::name).as_slice());
    text
}

fn family(about: &About) -> String {
    let mut kind = about.ty.name().to_owned();
    let labels: Vec<_> = about.labels.iter().map(|label| format!("`{label}`")).collect();
    if !labels.is_empty() {
        kind += &format!("; {}", labels.join(", "));
    }
    item(&format!("`{}` ({kind}): {}", about.full_name(), plain(about.help)))
}

fn values(label: &str, what: &str, values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    item(&format!("`{label}`, {what}: {}.", values.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_listed_once() {
        let text = text();
        for about in families() {
            assert_eq!(text.matches(&format!("* `{}` (", about.full_name())).count(), 1, "{}", about.name);
        }
    }
}
