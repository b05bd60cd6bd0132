//! The members of etcd.

use std::path::PathBuf;

use ringfort_testbed::{Daemon, Namespace, janitor};

use crate::programs::program;

/// All of them, in the namespace of the router.
pub struct Etcd {
    members: Vec<Option<Daemon>>,
    directory: PathBuf,
}

impl Etcd {
    pub(crate) fn start(router: &Namespace, members: usize) -> Self {
        let directory = janitor::directory().join(janitor::unique_name());
        let mut etcd = Self { members: (0..members).map(|_| None).collect(), directory };
        (0..members).for_each(|member| etcd.run(member, router));
        etcd
    }

    /// Starts a member, with the data that it had.
    pub fn run(&mut self, member: usize, router: &Namespace) {
        let mut command = router.command(program("etcd"));
        let [clients, peers] = [client_port(member), peer_port(member)].map(|port| format!("http://0.0.0.0:{port}"));
        let of = |member| format!("m{member}=http://127.0.0.1:{}", peer_port(member));
        let all = (0..self.members.len()).map(of).collect::<Vec<_>>().join(",");
        command.arg("--data-dir").arg(self.directory.join(member.to_string()));
        command.args([
            "--name",
            &format!("m{member}"),
            "--initial-cluster",
            &all,
            "--logger",
            "zap",
            "--log-level",
            "warn",
        ]);
        command.args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients]);
        command.args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls"]);
        command.arg(format!("http://127.0.0.1:{}", peer_port(member)));
        self.members[member] = Some(Daemon::spawn_command(command, "etcd").unwrap());
    }

    /// As in a crash.
    pub fn kill(&mut self, member: usize) {
        self.members[member].take().unwrap().kill().unwrap();
    }
}

pub(crate) fn client_port(member: usize) -> usize {
    2_379 + 100 * member
}

fn peer_port(member: usize) -> usize {
    2_380 + 100 * member
}
