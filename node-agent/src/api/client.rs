use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

use super::{Request, Response, envelope};

/// How long to wait for the agent: a little longer than it gives itself.
pub(super) const PATIENCE: Duration = Duration::from_secs(35);

/// Why there is no answer from the agent.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no socket.
    #[error(
        "no agent at {socket}: is it running? Start it with `node-agent run --config FILE`, or name its socket with --socket",
        socket = .0.display()
    )]
    NoSocket(PathBuf),
    /// There is a socket, but nobody listens.
    #[error(
        "the agent at {socket} is not running any more (forwarding goes on without it): start it again with `node-agent run --config FILE`",
        socket = .0.display()
    )]
    NotRunning(PathBuf),
    /// The socket is not for this user.
    #[error("no permission to use {socket}: ask as root", socket = .0.display())]
    NoPermission(PathBuf),
    /// The agent does not answer.
    #[error("the agent at {socket} has not answered within {PATIENCE:?}: look into its log", socket = .0.display())]
    Timeout(PathBuf),
    /// The connection broke.
    #[error("the connection to the agent at {socket} broke: {error}", socket = socket.display())]
    Io {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The answer cannot be read, or belongs to another question.
    #[error(
        "the agent at {socket} answered something this program does not know ({reason}): are the two of different versions?",
        socket = socket.display()
    )]
    Unknown {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent says no.
    #[error("{0}")]
    Refused(String),
}

/// Asks the agent and waits for its answer, which is never [`Response::Error`]: that is an error here.
///
/// # Errors
/// The agent is not there, does not answer, answers something unknown, or refuses.
pub async fn ask(socket: &Path, request: &Request) -> Result<Response, AskError> {
    let line = match timeout(PATIENCE, exchange(socket, request)).await {
        Err(_) => return Err(AskError::Timeout(socket.to_owned())),
        Ok(result) => result.map_err(|error| explain(socket, error))?,
    };
    match serde_json::from_slice(&line) {
        Ok(Response::Error { message }) => Err(AskError::Refused(message)),
        Ok(response) => Ok(response),
        Err(error) => Err(AskError::Unknown { socket: socket.to_owned(), reason: error.to_string() }),
    }
}

async fn exchange(socket: &Path, request: &Request) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = envelope::encode(request)?;
    stream.write_all(&line).await?;
    line.clear();
    BufReader::new(stream).read_until(b'\n', &mut line).await?;
    if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

pub(super) fn explain(socket: &Path, error: io::Error) -> AskError {
    let socket = socket.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound => AskError::NoSocket(socket),
        io::ErrorKind::ConnectionRefused => AskError::NotRunning(socket),
        io::ErrorKind::PermissionDenied => AskError::NoPermission(socket),
        _ => AskError::Io { socket, error },
    }
}
