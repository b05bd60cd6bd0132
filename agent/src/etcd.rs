//! etcd: a lease that is kept alive, a list of all keys, and a watch from the revision of that list on.
//!
//! One member is spoken with at a time. Whatever goes wrong ends the whole connection, and the next one begins with a
//! list. So there is one way back from all faults: a member that has died, a lease that has run out, a watch that was
//! cancelled, or whose revisions were compacted. The lease's answers show that the member is alive and has a leader.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use etcd_client::{
    Certificate, Client, ConnectOptions, Error, EventType, GetOptions, Identity, KeyValue, SortOrder, SortTarget,
    TlsOptions, WatchOptions,
};
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::time::{sleep, timeout};

use crate::cli::RunArgs;
use crate::error::AgentError;
use crate::keys::Keys;

/// Keys of a page of the list.
const PAGE: i64 = 1_000;
/// The longest answer, in bytes: a page of peers takes some 300 KiB.
const ANSWER_LEN_MAX: usize = 64 << 20;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Until the next attempt: doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// What etcd says.
pub enum FromEtcd {
    /// A member answers, at this URL: what is written goes through this.
    Open(String, Box<Client>),
    /// Claims are under this lease from now on.
    Lease(i64),
    /// A list begins.
    List,
    /// Some keys of the list.
    Listed(Vec<KeyValue>),
    /// The list was that of this revision.
    ListEnd(i64),
    /// What has happened after it, in order.
    Changes(Vec<Changed>),
    /// Nothing more comes on this connection: why.
    Lost(String),
}

/// A key that was written, or removed (`false`).
pub type Changed = (KeyValue, bool);

/// Why a connection has ended.
enum Lost {
    /// etcd, or the way to it.
    Etcd(String),
    /// Nobody listens to us any more.
    Unheard,
}

/// How etcd is spoken with.
pub struct Etcd {
    args: RunArgs,
    prefix: String,
    /// The last lease: it is taken up again while it lasts.
    lease: Option<i64>,
}

impl Etcd {
    /// As the command line says.
    ///
    /// # Errors
    /// A file cannot be read, or the options do not fit each other.
    pub fn new(args: &RunArgs) -> Result<Self, AgentError> {
        let is_secure = args.etcd.iter().any(|url| url.starts_with("https://"));
        if is_secure != has_files(args) || is_secure && args.etcd.iter().any(|url| url.starts_with("http://")) {
            let text = "https:// needs --etcd-ca, http:// takes none of --etcd-ca, --etcd-cert and --etcd-key, and all \
                        members are of one kind";
            return Err(AgentError::Options(text.to_owned()));
        }
        // A mistake is found at once.
        options(args)?;
        let prefix = Keys::of(&args.network).prefix().to_owned();
        Ok(Self { args: args.clone(), prefix, lease: None })
    }

    /// Follows etcd until nobody listens. Whatever comes through `restart` ends a connection.
    pub async fn follow(mut self, events: Sender<impl From<FromEtcd>>, mut restart: Receiver<String>) {
        let mut backoff = BACKOFF_MIN;
        let mut member = 0;
        loop {
            let url = self.args.etcd[member].clone();
            let mut is_listed = false;
            while restart.try_recv().is_ok() {}
            let why = tokio::select! {
                lost = self.connection(&url, &events, &mut is_listed) => match lost {
                    Lost::Unheard => return,
                    Lost::Etcd(why) => why,
                },
                Some(why) = restart.recv() => why,
            };
            if events.send(FromEtcd::Lost(format!("{url}: {why}")).into()).await.is_err() {
                return;
            }
            // What worked for a while may work again at once.
            backoff = if is_listed { BACKOFF_MIN } else { (backoff * 2).min(BACKOFF_MAX) };
            member = (member + 1) % self.args.etcd.len();
            sleep(jitter(backoff)).await;
        }
    }

    /// One connection, from its beginning to its end.
    async fn connection(&mut self, url: &str, events: &Sender<impl From<FromEtcd>>, is_listed: &mut bool) -> Lost {
        let options = match options(&self.args) {
            Ok(options) => options,
            Err(error) => return Lost::Etcd(error.to_string()),
        };
        let client = match within("connect", Client::connect([url], Some(options))).await {
            Ok(client) => client,
            Err(lost) => return lost,
        };
        let lease = match self.take_lease(&client).await {
            Ok(lease) => lease,
            Err(lost) => return lost,
        };
        for event in [FromEtcd::Open(url.to_owned(), Box::new(client.clone())), FromEtcd::Lease(lease)] {
            if events.send(event.into()).await.is_err() {
                return Lost::Unheard;
            }
        }
        let ended = tokio::select! {
            ended = follow_keys(&client, &self.prefix, events, is_listed) => ended,
            ended = keep_alive(&client, lease, self.args.ttl) => ended,
        };
        ended.err().unwrap_or(Lost::Unheard)
    }

    /// The last lease, if etcd still has it, or a new one.
    async fn take_lease(&mut self, client: &Client) -> Result<i64, Lost> {
        if let Some(lease) = self.lease {
            // Dropped at once, the stream that asks has asked once.
            match timeout(PATIENCE, client.lease_client().keep_alive(lease)).await {
                Ok(Ok(_)) => return Ok(lease),
                Ok(Err(Error::LeaseKeepAliveError(_))) => self.lease = None,
                Ok(Err(error)) => return Err(lost("ask for the lease", &error)),
                Err(_) => return Err(Lost::Etcd(format!("no answer within {PATIENCE:?}"))),
            }
        }
        let granted = within("grant a lease", client.lease_client().grant(self.args.ttl.into(), None)).await?;
        self.lease = Some(granted.id());
        Ok(granted.id())
    }
}

/// Ends with an error alone, as the other does.
async fn keep_alive(client: &Client, lease: i64, ttl: u16) -> Result<(), Lost> {
    let (mut keeper, mut answers) = within("keep the lease", client.lease_client().keep_alive(lease)).await?;
    let third = Duration::from_secs(ttl.into()) / 3;
    loop {
        sleep(third).await;
        keeper.keep_alive().await.map_err(|error| lost("keep the lease", &error))?;
        let answer = timeout(third, answers.message()).await;
        let answer = answer.map_err(|_| Lost::Etcd("it does not answer in time".to_owned()))?;
        match answer.map_err(|error| lost("keep the lease", &error))? {
            Some(answer) if answer.ttl() > 0 => {}
            _ => return Err(Lost::Etcd("the lease has run out".to_owned())),
        }
    }
}

async fn follow_keys(
    client: &Client,
    prefix: &str,
    events: &Sender<impl From<FromEtcd>>,
    is_listed: &mut bool,
) -> Result<(), Lost> {
    let send = async |event: FromEtcd| events.send(event.into()).await.map_err(|_| Lost::Unheard);
    send(FromEtcd::List).await?;
    let mut kv = client.kv_client().max_decoding_message_size(ANSWER_LEN_MAX);
    let (mut from, mut revision) = (prefix.as_bytes().to_vec(), 0);
    loop {
        // Pages of one revision, whatever happens meanwhile.
        let options = GetOptions::new()
            .with_range(end_of(prefix))
            .with_limit(PAGE)
            .with_revision(revision)
            .with_sort(SortTarget::Key, SortOrder::Ascend);
        let mut page = within("list keys", kv.get(from.clone(), Some(options))).await?;
        if revision == 0 {
            revision = page.header().map_or(0, etcd_client::ResponseHeader::revision);
        }
        let more = page.more();
        let keys = page.take_kvs();
        if let Some(last) = keys.last() {
            from = [last.key(), b"\0"].concat();
        }
        send(FromEtcd::Listed(keys)).await?;
        if !more {
            break;
        }
    }
    let options = WatchOptions::new().with_prefix().with_start_revision(revision + 1).with_fragment();
    let mut watched = client.watch_client().max_decoding_message_size(ANSWER_LEN_MAX);
    let mut changes = within("watch", watched.watch(prefix, Some(options))).await?;
    send(FromEtcd::ListEnd(revision)).await?;
    *is_listed = true;
    loop {
        let answer = changes.message().await.map_err(|error| lost("watch", &error))?;
        let Some(answer) = answer else { return Err(Lost::Etcd("the watch has ended".to_owned())) };
        if answer.canceled() {
            let why = match answer.compact_revision() {
                0 => format!("the watch was cancelled: {}", answer.cancel_reason()),
                revision => format!("changes before revision {revision} were compacted before they were read"),
            };
            return Err(Lost::Etcd(why));
        }
        let changed = |event: &etcd_client::Event| Some((event.kv()?.clone(), event.event_type() == EventType::Put));
        send(FromEtcd::Changes(answer.events().iter().filter_map(changed).collect())).await?;
    }
}

/// The first key behind all that begin with this.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    // It ends in a slash.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// It is for https://, and for that alone.
fn has_files(args: &RunArgs) -> bool {
    args.etcd_ca.is_some() || args.etcd_cert.is_some()
}

/// Files are read for each connection: certificates that do not live long are renewed in place.
fn options(args: &RunArgs) -> Result<ConnectOptions, AgentError> {
    let mut options = ConnectOptions::new().with_connect_timeout(CONNECT_PATIENCE).with_require_leader(true);
    if has_files(args) {
        options = options.with_tls(tls(args)?);
    }
    if let (Some(user), Some(file)) = (&args.etcd_user, &args.etcd_password_file) {
        let password = String::from_utf8_lossy(&read(file)?).trim_end_matches('\n').to_owned();
        options = options.with_user(user, password).with_auto_token_refresh(true);
    }
    Ok(options)
}

fn tls(args: &RunArgs) -> Result<TlsOptions, AgentError> {
    let mut tls = TlsOptions::new();
    if let Some(file) = &args.etcd_ca {
        tls = tls.ca_certificate(Certificate::from_pem(read(file)?));
    }
    if let (Some(certificate), Some(key)) = (&args.etcd_cert, &args.etcd_key) {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    Ok(tls)
}

fn read(path: &Path) -> Result<Vec<u8>, AgentError> {
    fs::read(path).map_err(|source| AgentError::File { path: path.to_owned(), source })
}

async fn within<T>(what: &str, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Lost> {
    match timeout(PATIENCE, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(lost(what, &error)),
        Err(_) => Err(Lost::Etcd(format!("cannot {what}: no answer within {PATIENCE:?}"))),
    }
}

fn lost(what: &str, error: &Error) -> Lost {
    // A status of gRPC has details that nobody can read.
    let text = match error {
        Error::GRpcStatus(status) => format!("{:?}: {}", status.code(), status.message()),
        error => error.to_string(),
    };
    Lost::Etcd(format!("cannot {what}: {text}"))
}

/// Between half of it and all of it: agents that have lost the same member do not come back in the same moment.
fn jitter(backoff: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    backoff / 2 + backoff / 2 * (nanos % 1_024) / 1_024
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    /// Of nobody: `openssl req -x509 -newkey ed25519 -nodes -subj /CN=a -days 36500`.
    const CA: &str = "\
-----BEGIN CERTIFICATE-----
MIIBLjCB4aADAgECAhQvQue6jz/F1LhuNhXj87OEau3LFTAFBgMrZXAwDDEKMAgG
A1UEAwwBYTAgFw0yNjEyMDEwMTMyMTNaGA8yMTI2MTEwNzAxMzIxM1owDDEKMAgG
A1UEAwwBYTAqMAUGAytlcAMhAAJ6pF8PBJ0aKWi+m1kpOZbbz8nwpIkMdG+HnG60
l3aIo1MwUTAdBgNVHQ4EFgQU9I1Mf0fPan+jj4R1kM4u+lC0XmIwHwYDVR0jBBgw
FoAU9I1Mf0fPan+jj4R1kM4u+lC0XmIwDwYDVR0TAQH/BAUwAwEB/zAFBgMrZXAD
QQCHvkqPzuqW9aZ97IyjI2R4/YUDabQPKiVsYSlCofgG7sne8zXiF6s9/82kgab/
ukBPTfN8H/iWlucganNJdrAF
-----END CERTIFICATE-----
";

    /// Attempts to connect end like this, after a while.
    async fn fails(events: &mut Receiver<FromEtcd>, like: &str) {
        let like_this = async {
            while let Some(FromEtcd::Lost(why)) = events.recv().await {
                if why.contains(like) {
                    return;
                }
            }
            panic!("it has connected");
        };
        timeout(Duration::from_secs(60), like_this).await.expect(like);
    }

    #[tokio::test]
    async fn files_are_read_for_each_connection() {
        let path = std::env::temp_dir().join(format!("ringfort-agent-{}.pem", std::process::id()));
        let words = ["ringfort-agent", "run", "wg0", "--network", "a", "--etcd", "https://127.0.0.1:1", "--etcd-ca"];
        let words = words.into_iter().map(std::ffi::OsString::from).chain([path.clone().into()]);
        let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        assert!(Etcd::new(&args).is_err(), "it is not there");
        fs::write(&path, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
        let etcd = Etcd::new(&args).unwrap();
        let (sender, mut events) = tokio::sync::mpsc::channel(1);
        let (_restart, restarts) = tokio::sync::mpsc::channel(1);
        let following = tokio::spawn(etcd.follow(sender, restarts));
        fails(&mut events, "cannot connect: ").await;
        fs::write(&path, CA).unwrap();
        // As far as to the port, where nobody listens.
        fails(&mut events, "tcp connect error").await;
        fs::remove_file(&path).unwrap();
        fails(&mut events, &format!("cannot read {}", path.display())).await;
        following.abort();
    }

    #[test]
    fn pages_end_behind_the_last_key_of_the_network() {
        let keys = Keys::of("a");
        let end = end_of(keys.prefix());
        assert!(end.as_slice() > b"/ringfort/a/\xff\xff".as_slice());
        assert!(end.as_slice() < Keys::of("ab").prefix().as_bytes());
    }
}
