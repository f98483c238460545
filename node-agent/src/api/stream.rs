//! A trace over the agent's socket, the agent's side: after the response to the request one line for each
//! packet, until the client says that it has enough by closing its sending side, or goes away.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    Response, TraceEnd, TraceLine, TraceRequest, TraceRow,
    server::{AGENT_PATIENCE, CLIENT_PATIENCE},
};

/// Packets that wait for a client. What comes while there are so many is missed.
const WAITING: usize = 1024;

/// A client that wants to trace.
#[derive(Debug)]
pub struct TraceCall {
    /// What it wants.
    pub request: TraceRequest,
    /// Takes its packets; closed when it wants no more.
    pub rows: mpsc::Sender<TraceRow>,
    /// Takes the response, once tracing has begun or is refused.
    pub reply: oneshot::Sender<Response>,
    /// Takes what it has not seen, after the end.
    pub end: oneshot::Sender<TraceEnd>,
}

/// Serves one client until it has enough.
pub(super) async fn stream(
    request: TraceRequest,
    calls: &mpsc::Sender<TraceCall>,
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (sender, mut rows) = mpsc::channel(WAITING);
    let (reply, response) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let asked = async {
        calls.send(TraceCall { request, rows: sender, reply, end }).await.ok()?;
        response.await.ok()
    };
    let response = match timeout(AGENT_PATIENCE, asked).await {
        Ok(Some(response)) => response,
        Ok(None) => Response::Error { message: "the agent is stopping".to_owned() },
        Err(_) => Response::Error { message: "the agent is too busy to begin a trace".to_owned() },
    };
    write(&mut writer, &response).await?;
    if response != Response::Done {
        return Ok(());
    }
    let mut byte = [0];
    loop {
        tokio::select! {
            // Whatever it says, it has enough.
            _ = reader.read(&mut byte) => break,
            row = rows.recv() => match row {
                Some(row) => write(&mut writer, &TraceLine::Packet(Box::new(row))).await?,
                None => break,
            },
        }
    }
    rows.close();
    while let Ok(row) = rows.try_recv() {
        write(&mut writer, &TraceLine::Packet(Box::new(row))).await?;
    }
    if let Ok(Ok(end)) = timeout(AGENT_PATIENCE, ended).await {
        write(&mut writer, &TraceLine::End(end)).await?;
    }
    Ok(())
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), line: &impl serde::Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    timeout(CLIENT_PATIENCE, writer.write_all(&bytes)).await?
}
