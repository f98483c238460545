use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    time::timeout,
};

use super::{Request, Response, TraceCall, envelope, stream::stream};

/// A request and where its response goes.
pub type Call = (Request, oneshot::Sender<Response>);

/// Longest request in bytes.
const LONGEST_REQUEST: u64 = 64 * 1024;

/// Connections served at the same time; more wait.
const CONNECTIONS: usize = 32;

/// How long a client may take to send a request, or to take a response.
pub(super) const CLIENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long the agent may take to answer.
pub(super) const AGENT_PATIENCE: Duration = Duration::from_secs(30);

/// How long a lock that is held is waited for. A process that the agent starts has it, too, for the moment
/// until it becomes another program: the agent may have been killed in that moment.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Why the agent cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Another agent has this socket.
    #[error(
        "another agent answers at {socket} already: stop it first, or give this one its own `socket` in the configuration",
        socket = .0.display()
    )]
    AlreadyRunning(PathBuf),
    /// Something else has this name.
    #[error("{socket} exists and is not a socket: remove it, or name another `socket`", socket = .0.display())]
    NotASocket(PathBuf),
    /// The kernel refused.
    #[error("cannot {action} {path}: {error}", path = path.display())]
    Io {
        /// What failed.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
}

/// The agent's socket, ready to answer. The socket goes away with it.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    socket: PathBuf,
    /// Locked as long as it is open: of two agents that start at once, one gets it.
    _lock: fs::File,
}

/// Listens on the socket: makes its folder, and replaces a socket that an agent has left behind.
///
/// # Errors
/// Another process answers there, something that is no socket has the name, or the kernel refuses.
pub fn bind(socket: &Path) -> Result<Server, ServerError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |error| ServerError::Io { action, path, error }
    };
    if let Some(folder) = socket.parent() {
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
    }
    let lock = lock(socket)?;
    match fs::symlink_metadata(socket) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServerError::NotASocket(socket.to_owned()));
        }
        // Whoever answers is alive, even if it does not know of the lock.
        Ok(_) if net::UnixStream::connect(socket).is_ok() => {
            return Err(ServerError::AlreadyRunning(socket.to_owned()));
        }
        Ok(_) => fs::remove_file(socket).map_err(failed("replace", socket))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("look at", socket)(error)),
    }
    let listener = UnixListener::bind(socket).map_err(failed("listen on", socket))?;
    fs::set_permissions(socket, fs::Permissions::from_mode(0o600))
        .map_err(failed("set the permissions of", socket))?;
    Ok(Server { listener, socket: socket.to_owned(), _lock: lock })
}

/// Takes the lock beside the socket; the kernel gives it back when the process ends, however it ends.
fn lock(socket: &Path) -> Result<fs::File, ServerError> {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    let failed = |error| ServerError::Io { action: "lock", path: path.clone(), error };
    let file = fs::File::options().create(true).write(true).truncate(false).open(&path).map_err(failed)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(10));
            }
            Err(fs::TryLockError::WouldBlock) => return Err(ServerError::AlreadyRunning(socket.to_owned())),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
    }
}

impl Server {
    /// Answers until the future is dropped: every request goes to `calls`, those to trace to `traces`, one
    /// task for each connection.
    pub async fn run(self, calls: mpsc::Sender<Call>, traces: mpsc::Sender<TraceCall>) {
        let connections = Arc::new(Semaphore::new(CONNECTIONS));
        // Kept so that one client can still ask when there are no more file descriptors.
        let keep = || fs::File::open("/dev/null").ok();
        let (mut spare, mut failing) = (keep(), false);
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (calls, traces) = (calls.clone(), traces.clone());
                    tokio::spawn(async move {
                        if let Err(error) = converse(stream, calls, traces).await {
                            tracing::debug!(%error, "a client of the agent's socket went away");
                        }
                        drop(permit);
                    });
                    failing = false;
                }
                // The next attempt gets it: nothing else runs in between.
                Err(error) if is_out_of_descriptors(&error) && spare.take().is_some() => continue,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "cannot accept connections on the agent's socket");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            spare = spare.or_else(keep);
        }
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE))
}

impl Drop for Server {
    fn drop(&mut self) {
        // The lock is still held, so the socket is still ours.
        if let Err(error) = fs::remove_file(&self.socket) {
            tracing::debug!(%error, socket = %self.socket.display(), "the socket was gone already");
        }
    }
}

/// Answers one client until it closes, is too slow, or sends something too long.
async fn converse(
    mut stream: UnixStream,
    calls: mpsc::Sender<Call>,
    traces: mpsc::Sender<TraceCall>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(LONGEST_REQUEST);
        if timeout(CLIENT_PATIENCE, limited.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let complete = line.ends_with(b"\n");
        let response = match complete.then(|| envelope::decode(&line)) {
            None => refuse_incomplete(&line),
            Some(Err(reason)) => error(&reason),
            Some(Ok(Request::Trace(request))) => {
                return self::stream(request, &traces, reader, writer).await;
            }
            Some(Ok(request)) => answer(request, &calls).await,
        };
        let mut bytes = serde_json::to_vec(&response)?;
        bytes.push(b'\n');
        timeout(CLIENT_PATIENCE, writer.write_all(&bytes)).await??;
        if !complete {
            return Ok(());
        }
    }
}

async fn answer(request: Request, calls: &mpsc::Sender<Call>) -> Response {
    let (reply, response) = oneshot::channel();
    let asked = async {
        calls.send((request, reply)).await.ok()?;
        response.await.ok()
    };
    match timeout(AGENT_PATIENCE, asked).await {
        Ok(Some(response)) => response,
        Ok(None) => error("the agent is stopping"),
        Err(_) => error("the agent is too busy to answer: try again, and look into its log"),
    }
}

fn error(message: &str) -> Response {
    Response::Error { message: message.to_owned() }
}

fn refuse_incomplete(line: &[u8]) -> Response {
    let message = if line.len() as u64 >= LONGEST_REQUEST {
        format!("the request is too long; allowed: {LONGEST_REQUEST} bytes")
    } else {
        "the request is cut short; allowed: one line of JSON that ends with a line feed".to_owned()
    };
    Response::Error { message }
}
