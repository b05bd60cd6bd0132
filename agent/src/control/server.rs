//! The agent's side.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};

use super::{Request, Status, socket_path};
use crate::error::AgentError;

/// The longest request, in bytes.
const WORD_LEN_MAX: usize = 16;
/// Until the next attempt to take a client.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A request, and where its answer goes.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// To whom.
    pub answer: oneshot::Sender<Status>,
}

/// The socket. It is removed when this is dropped.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Listens for commands about this interface.
    ///
    /// # Errors
    /// Another agent does, or the system refuses.
    pub fn listen(interface: &str) -> Result<Self, AgentError> {
        let path = socket_path(interface);
        if BlockingStream::connect(&path).is_ok() {
            return Err(AgentError::RunsAlready(interface.to_owned()));
        }
        let listen = || -> io::Result<UnixListener> {
            if let Some(directory) = path.parent() {
                DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            }
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            Ok(listener)
        };
        let listener = listen().map_err(AgentError::system("listen for commands in /run/ringfort"))?;
        Ok(Self { listener, path })
    }

    /// Answers whoever connects, for ever. `left` is how many peers are still ours.
    pub async fn serve(&self, events: Sender<impl From<Asked> + Send + 'static>, left: watch::Receiver<usize>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(answer(stream, events.clone(), left.clone()))),
                // Too many open files, for example: later it may work.
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A client that does not read its answer has only itself to blame: nobody waits for it.
async fn answer(
    mut stream: UnixStream,
    events: Sender<impl From<Asked>>,
    mut left: watch::Receiver<usize>,
) -> Option<()> {
    let mut word = Vec::new();
    let request = loop {
        let mut piece = [0; WORD_LEN_MAX];
        let len = timeout(PATIENCE, stream.read(&mut piece)).await.ok()?.ok()?;
        word.extend_from_slice(&piece[..len]);
        if let Some(end) = word.iter().position(|&byte| byte == b'\n') {
            break Request::parse(std::str::from_utf8(&word[..end]).ok()?)?;
        }
        if len == 0 || word.len() > WORD_LEN_MAX {
            return None;
        }
    };
    left.mark_unchanged();
    tell(&mut stream, &events, request).await?;
    if request != Request::Drain {
        return Some(());
    }
    loop {
        left.changed().await.ok()?;
        tell(&mut stream, &events, Request::Status).await?;
    }
}

async fn tell(stream: &mut UnixStream, events: &Sender<impl From<Asked>>, request: Request) -> Option<()> {
    let (answer, status) = oneshot::channel();
    events.send(Asked { request, answer }.into()).await.ok()?;
    let mut line = serde_json::to_vec(&status.await.ok()?).ok()?;
    line.push(b'\n');
    timeout(PATIENCE, stream.write_all(&line)).await.ok()?.ok()
}
