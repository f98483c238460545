use std::{
    io,
    path::{Path, PathBuf},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};

use super::{
    AskError, Request, Response, TraceLine, TraceRequest,
    client::{PATIENCE, explain},
    envelope,
};

/// A trace over the agent's socket, the client's side.
#[derive(Debug)]
pub struct Trace {
    socket: PathBuf,
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// Open as long as more packets are wanted.
    writer: Option<OwnedWriteHalf>,
}

impl Trace {
    /// Asks the agent to trace; when this returns, it does.
    ///
    /// # Errors
    /// The agent is not there, does not answer, answers something unknown, or refuses.
    pub async fn begin(socket: &Path, request: &TraceRequest) -> Result<Self, AskError> {
        let (mut trace, line) = match timeout(PATIENCE, open(socket, request)).await {
            Err(_) => return Err(AskError::Timeout(socket.to_owned())),
            Ok(opened) => opened.map_err(|error| explain(socket, error))?,
        };
        match trace.parse(&line)? {
            Response::Done => Ok(trace),
            Response::Error { message } => Err(AskError::Refused(message)),
            _ => Err(trace.unknown("an answer to another question")),
        }
    }

    /// The next line; none once the agent has closed the connection.
    ///
    /// # Errors
    /// The connection breaks, or the line is none that this program knows.
    pub async fn next(&mut self) -> Result<Option<TraceLine>, AskError> {
        match self.lines.next_line().await {
            Ok(Some(line)) => self.parse(&line).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(explain(&self.socket, error)),
        }
    }

    /// Asks for no more packets. What is on its way still comes, and then the end.
    pub fn enough(&mut self) {
        // Dropping this half shuts it down.
        self.writer = None;
    }

    fn parse<T: serde::de::DeserializeOwned>(&mut self, line: &str) -> Result<T, AskError> {
        serde_json::from_str(line).map_err(|error| self.unknown(&error.to_string()))
    }

    fn unknown(&self, reason: &str) -> AskError {
        AskError::Unknown { socket: self.socket.clone(), reason: reason.to_owned() }
    }
}

async fn open(socket: &Path, request: &TraceRequest) -> io::Result<(Trace, String)> {
    let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
    let line = envelope::encode(&Request::Trace(request.clone()))?;
    writer.write_all(&line).await?;
    let mut lines = BufReader::new(reader).lines();
    let first = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((Trace { socket: socket.to_owned(), lines, writer: Some(writer) }, first))
}
