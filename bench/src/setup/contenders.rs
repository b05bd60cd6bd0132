//! Who takes part: what is installed, what was named, and the cable without any tunnel.

use std::path::Path;

use clap::Args;
use ringfort_testbed::daemon::{INTERFACE, Program, find_in_path};
use ringfort_testbed::{Context, Error, Implementation, Result};

use crate::Gateway;
use crate::results::model;
use crate::results::stamp::{sha256_of, version_of};

/// The name of the contender without a gateway.
pub const BARE: &str = "bare-veth";
/// The name of the contender that is in the kernel.
pub const KERNEL: &str = "kernel-wireguard";

/// Those that are looked for, by name, in the order of the first round.
const KNOWN: [(&str, Implementation); 5] = [
    ("ringfort", Implementation::Ringfort),
    ("wireguard-go", Implementation::WireguardGo),
    ("boringtun", Implementation::Boringtun),
    ("gotatun", Implementation::Gotatun),
    (KERNEL, Implementation::Kernel),
];

/// Who takes part.
#[derive(Args, Debug)]
pub struct Choice {
    /// Who takes part, of ringfort, wireguard-go, boringtun, gotatun, kernel-wireguard, and bare-veth, which is the
    /// cable without any tunnel: the ceiling; all that are there unless given
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    contenders: Vec<String>,
    /// One more: any command that stays in the foreground, split at spaces. May be given several times
    #[arg(long, value_name = "NAME=COMMAND {interface}")]
    other: Vec<String>,
    /// Whom the others are compared with; wireguard-go unless given, if it takes part
    #[arg(long, value_name = "NAME")]
    reference: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// One that takes part.
#[derive(Clone, Debug)]
pub struct Contender {
    /// Unique.
    pub name: String,
    /// What is at both ends.
    pub means: Means,
}

/// What carries the packets of a contender.
#[derive(Clone, Debug)]
pub enum Means {
    /// The cable alone.
    Bare,
    /// A gateway in user space, or the kernel.
    Program(Program),
}

impl Choice {
    /// Finds everybody; says on standard error who of those that nobody named is not there.
    ///
    /// # Errors
    /// Somebody who was named is not known or not installed, or a name is given twice.
    pub fn resolve(&self) -> Result<Vec<Contender>> {
        let mut contenders = if self.contenders.is_empty() {
            self.all_installed()?
        } else {
            self.contenders.iter().map(|name| self.named(name.trim())).collect::<Result<_>>()?
        };
        let others: Vec<Contender> = self.other.iter().map(|text| Contender::other(text)).collect::<Result<_>>()?;
        // The ceiling stays last.
        let end = contenders.iter().position(|contender| contender.name == BARE).unwrap_or(contenders.len());
        contenders.splice(end..end, others);
        for (position, contender) in contenders.iter().enumerate() {
            if contenders[..position].iter().any(|earlier| earlier.name == contender.name) {
                return Err(Error::new(format!("{} takes part twice: give each a name of its own", contender.name)));
            }
        }
        Ok(contenders)
    }

    fn all_installed(&self) -> Result<Vec<Contender>> {
        let mut found = vec![self.named("ringfort")?];
        for (name, _) in &KNOWN[1..] {
            match self.named(name) {
                Ok(contender) => found.push(contender),
                Err(error) => eprintln!("without {name}: {error}"),
            }
        }
        found.push(self.named(BARE)?);
        Ok(found)
    }

    fn named(&self, name: &str) -> Result<Contender> {
        Contender::known(name, &self.gateway)
    }

    /// Whom the others are compared with: who was named, or wireguard-go, or the first that is not ours.
    ///
    /// # Errors
    /// Who was named does not take part.
    pub fn reference(&self, contenders: &[Contender]) -> Result<Option<String>> {
        let takes_part = |name: &str| contenders.iter().any(|contender| contender.name == name);
        match &self.reference {
            Some(name) if takes_part(name) => Ok(Some(name.clone())),
            Some(name) => Err(Error::new(format!("the reference {name} does not take part"))),
            None if takes_part("wireguard-go") => Ok(Some("wireguard-go".to_owned())),
            None => {
                let somebody =
                    contenders.iter().find(|contender| !["ringfort", BARE].contains(&contender.name.as_str()));
                Ok(somebody.map(|contender| contender.name.clone()))
            }
        }
    }
}

impl Contender {
    /// By a name that is known.
    ///
    /// # Errors
    /// Nobody has that name, or it is not installed.
    pub fn known(name: &str, gateway: &Gateway) -> Result<Self> {
        if name == BARE {
            return Ok(Self { name: name.to_owned(), means: Means::Bare });
        }
        // As the packages and programs are called, too.
        let short = name.strip_suffix("-cli").unwrap_or(name);
        let Some((name, implementation)) = KNOWN.iter().find(|(known, _)| *known == short) else {
            let names = KNOWN.map(|(known, _)| known).join(", ");
            return Err(Error::new(format!(
                "there is no contender {name}: {names} and {BARE} are known, and \
                 --other '{name}=COMMAND {INTERFACE}' takes any program"
            )));
        };
        let program = match implementation {
            Implementation::Ringfort => gateway.program(),
            implementation => Program::peer(*implementation),
        };
        Ok(Self { name: (*name).to_owned(), means: Means::Program(program?) })
    }

    /// By a name and a command line: `name=/path/to/program -f {interface}`.
    ///
    /// # Errors
    /// The name has unusual characters, the program is not there, or nothing stands for the interface.
    pub fn other(text: &str) -> Result<Self> {
        let (name, template) = text
            .split_once('=')
            .ok_or_else(|| Error::new(format!("--other '{text}': write 'NAME=COMMAND {INTERFACE}'")))?;
        let name = name.trim();
        let usual = |character: char| character.is_ascii_alphanumeric() || "-_.+".contains(character);
        if name.is_empty() || !name.chars().all(usual) {
            return Err(Error::new(format!("--other '{text}': a name has letters, digits and -_.+ only")));
        }
        let mut program = Program::template(template).context(format_args!("--other {name}"))?;
        program.path = find_in_path(&program.path, Path::new("/nonexistent"))
            .ok_or_else(|| Error::new(format!("--other {name}: {} is not a program", program.path.display())))?;
        Ok(Self { name: name.to_owned(), means: Means::Program(program) })
    }

    /// The program of its gateways, if there is one: the kernel needs none.
    pub fn program(&self) -> Option<&Program> {
        match &self.means {
            Means::Program(program) if !self.is_kernel() => Some(program),
            Means::Program(_) | Means::Bare => None,
        }
    }

    /// Whether the kernel is the gateway.
    pub fn is_kernel(&self) -> bool {
        matches!(&self.means, Means::Program(program) if program.implementation == Implementation::Kernel)
    }

    /// As the file of results has it; the interfaces come later.
    pub fn describe(&self) -> model::Contender {
        let name = self.name.clone();
        let program = match &self.means {
            Means::Bare => return model::Contender { name, ceiling: true, ..model::Contender::default() },
            Means::Program(_) if self.is_kernel() => {
                let command = ["ip", "link", "add", INTERFACE, "type", "wireguard"].map(str::to_owned).to_vec();
                let version = std::fs::read_to_string("/sys/module/wireguard/version").ok();
                let version = version.map(|version| version.trim().to_owned());
                return model::Contender { name, command, version, ..model::Contender::default() };
            }
            Means::Program(program) => program,
        };
        let path = program.path.to_string_lossy().into_owned();
        model::Contender {
            name,
            ceiling: false,
            version: version_of(&program.path),
            command: std::iter::once(path).chain(program.arguments(INTERFACE)).collect(),
            sha256: sha256_of(&program.path),
            interfaces: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        choice: Choice,
    }

    fn resolve(words: &[&str]) -> Result<Vec<String>> {
        // Any program will do for ringfort: nothing is started.
        let line = ["test", "--binary", "/bin/sh"].iter().chain(words);
        let contenders = Line::parse_from(line).choice.resolve()?;
        Ok(contenders.into_iter().map(|contender| contender.name).collect())
    }

    fn refusal(words: &[&str]) -> String {
        resolve(words).unwrap_err().to_string()
    }

    #[test]
    fn the_ceiling_is_last_and_others_are_before_it() {
        let names = resolve(&["--contenders", "ringfort,bare-veth", "--other", "new=/bin/sh -f {interface}"]).unwrap();
        assert_eq!(names, ["ringfort", "new", "bare-veth"]);
    }

    #[test]
    fn bad_choices_are_refused_with_the_remedy() {
        assert!(refusal(&["--contenders", "openvpn"]).contains("--other 'openvpn=COMMAND {interface}'"));
        assert!(refusal(&["--contenders", "ringfort", "--other", "new=/bin/sh"]).contains("{interface}"));
        assert!(refusal(&["--contenders", "ringfort", "--other", "/bin/sh {interface}"]).contains("NAME=COMMAND"));
        assert!(refusal(&["--contenders", "ringfort", "--other", "a b=/bin/sh {interface}"]).contains("letters"));
        let missing = refusal(&["--contenders", "ringfort", "--other", "new=/nonexistent/go {interface}"]);
        assert!(missing.contains("/nonexistent/go is not a program"), "{missing}");
        assert!(refusal(&["--contenders", "ringfort,ringfort"]).contains("twice"));
        assert!(refusal(&["--contenders", "ringfort", "--other", "ringfort=/bin/sh {interface}"]).contains("twice"));
    }

    #[test]
    fn the_reference_takes_part() {
        let choose = |words: &[&str]| {
            let choice = Line::parse_from(["test", "--binary", "/bin/sh"].iter().chain(words)).choice;
            choice.reference(&choice.resolve().unwrap())
        };
        let two = ["--contenders", "ringfort,bare-veth"];
        assert_eq!(choose(&two).unwrap(), None);
        let with_other = [&two[..], &["--other", "new=/bin/sh {interface}"]].concat();
        assert_eq!(choose(&with_other).unwrap().as_deref(), Some("new"));
        assert!(choose(&[&two[..], &["--reference", "new"]].concat()).is_err());
        let ours = [&two[..], &["--reference", "ringfort"]].concat();
        assert_eq!(choose(&ours).unwrap().as_deref(), Some("ringfort"));
    }
}
