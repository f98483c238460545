use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net},
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::mpsc,
    task::JoinHandle,
};

use super::{server::ServerError, *};
use crate::config::ProgramLog;

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("run/agent.sock");
    (folder, socket)
}

/// An agent that answers two requests and drops the others.
fn agent(socket: &Path) -> JoinHandle<()> {
    let server = bind(socket).unwrap();
    let (calls, mut received) = mpsc::channel::<Call>(4);
    tokio::spawn(async move {
        while let Some((request, reply)) = received.recv().await {
            let _ = match request {
                Request::ProgramLog { level: ProgramLog::Debug } => reply.send(Response::Done),
                Request::AgentLog { filter } => {
                    reply.send(Response::Error { message: format!("no {filter}") })
                }
                _ => continue,
            };
        }
    });
    tokio::spawn(server.run(calls, mpsc::channel(1).0))
}

/// What comes back for these bytes, until the agent closes the connection.
async fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn a_request_gets_its_response() {
    let (_folder, socket) = folder();
    let _agent = agent(&socket);
    let done = ask(&socket, &Request::ProgramLog { level: ProgramLog::Debug }).await.unwrap();
    assert_eq!(done, Response::Done);
    let refused = ask(&socket, &Request::AgentLog { filter: "x".to_owned() }).await.unwrap_err();
    assert_eq!(refused.to_string(), "no x");
    let dropped = ask(&socket, &Request::Status).await.unwrap_err();
    assert_eq!(dropped.to_string(), "the agent is stopping");
}

#[tokio::test]
async fn a_connection_may_ask_more_than_once_and_in_any_bytes() {
    let (_folder, socket) = folder();
    let _agent = agent(&socket);
    let text = raw(
        &socket,
        b"{\"version\":1,\"request\":{\"program-log\":{\"level\":\"debug\"}}}\n{\"version\":1,\"request\":\"stat\"}\n\xff\n\
          {\"version\":1,\"request\":{\"lookup\":{\"address\":\"10.1\"}}}\nrest",
    )
    .await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "\"done\"");
    assert!(
        lines[1].contains("not a request the agent knows: unknown variant `stat`, expected one of `status`"),
        "{text}"
    );
    assert!(lines[2].contains("not a request the agent knows"), "{text}");
    assert!(lines[3].contains("invalid IP address syntax"), "{text}");
    assert!(lines[4].contains("the request is cut short"), "{text}");
    assert_eq!(lines.len(), 5);
}

#[tokio::test]
async fn a_request_without_end_is_refused() {
    let (_folder, socket) = folder();
    let _agent = agent(&socket);
    assert!(raw(&socket, &[b'x'; 64 * 1024]).await.contains("the request is too long; allowed: 65536 bytes"));
    let done = ask(&socket, &Request::ProgramLog { level: ProgramLog::Debug }).await.unwrap();
    assert_eq!(done, Response::Done, "the others are still served");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_goes_with_the_server() {
    let (_folder, socket) = folder();
    let agent = agent(&socket);
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    agent.abort();
    assert!(agent.await.unwrap_err().is_cancelled());
    assert!(!socket.exists());
    bind(&socket).unwrap();
}

#[tokio::test]
async fn a_second_agent_is_refused_while_the_first_lives() {
    let (_folder, socket) = folder();
    let first = agent(&socket);
    let error = bind(&socket).unwrap_err();
    assert!(matches!(error, ServerError::AlreadyRunning(_)), "{error}");
    assert_eq!(
        error.to_string(),
        format!(
            "another agent answers at {} already: stop it first, or give this one its own `socket` in the configuration",
            socket.display()
        )
    );
    // It also lives for a client, and its socket is where it was.
    assert!(ask(&socket, &Request::ProgramLog { level: ProgramLog::Debug }).await.is_ok());
    first.abort();
    first.await.unwrap_err();
    bind(&socket).unwrap();
}

/// A process that has the socket but not the lock is another program, and alive all the same.
#[tokio::test]
async fn a_socket_of_another_program_is_left_alone() {
    let (folder, _) = folder();
    let socket = folder.path().join("other.sock");
    let other = net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(bind(&socket).unwrap_err(), ServerError::AlreadyRunning(_)));
    drop(other);
    // Now it is left over, and replaced.
    assert!(socket.exists());
    bind(&socket).unwrap();
    fs::write(&socket, "precious").unwrap();
    assert!(matches!(bind(&socket).unwrap_err(), ServerError::NotASocket(_)));
    assert_eq!(fs::read_to_string(&socket).unwrap(), "precious");
}

#[tokio::test]
async fn a_client_is_told_why_nobody_answers() {
    let (folder, socket) = folder();
    let message = async |socket: &Path| {
        let error = ask(socket, &Request::Status).await.unwrap_err().to_string();
        error.replace(&folder.path().display().to_string(), "")
    };
    assert_eq!(
        message(&socket).await,
        "no agent at /run/agent.sock: is it running? Start it with `node-agent run --config FILE`, or name its \
         socket with --socket"
    );
    let left = folder.path().join("left.sock");
    drop(net::UnixListener::bind(&left).unwrap());
    assert_eq!(
        message(&left).await,
        "the agent at /left.sock is not running any more (forwarding goes on without it): start it again with \
         `node-agent run --config FILE`"
    );
    let other = folder.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&other).unwrap();
    tokio::spawn(async move {
        for reply in ["\"hello\"\n", ""] {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Read before closing: closing with unread bytes would reset the connection.
            let mut request = [0; 64];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    let unknown = message(&other).await;
    assert!(
        unknown.starts_with("the agent at /other.sock answered something this program does not know"),
        "{unknown}"
    );
    assert!(unknown.ends_with("are the two of different versions?"), "{unknown}");
    assert!(message(&other).await.starts_with("the connection to the agent at /other.sock broke"));
}

/// The calls of one client do not wait for those of another.
#[tokio::test]
async fn a_silent_client_does_not_block_others() {
    let (_folder, socket) = folder();
    let _agent = agent(&socket);
    let _silent = UnixStream::connect(&socket).await.unwrap();
    let answered = ask(&socket, &Request::ProgramLog { level: ProgramLog::Debug });
    assert!(tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().is_ok());
}

#[test]
fn requests_and_responses_survive_the_way() {
    let requests = [
        Request::Status,
        Request::Routes,
        Request::Counters,
        Request::Lookup { address: "fd00::1".parse().unwrap() },
        Request::ProgramLog { level: ProgramLog::Off },
        Request::AgentLog { filter: "info".to_owned() },
    ];
    for request in requests {
        let text = serde_json::to_string(&request).unwrap();
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request, "{text}");
    }
    let rows = CounterRow::all(|_, _| node_ebpf_common::Counter { packets: 1, bytes: 98 });
    let text = serde_json::to_string(&Response::Counters(rows.clone())).unwrap();
    assert!(
        text.contains(
            r#"{"hook":"from-pod","outcome":"direct","ending":"forwarded","packets":1,"bytes":98,"#
        )
    );
    assert_eq!(serde_json::from_str::<Response>(&text).unwrap(), Response::Counters(rows));
}

#[test]
fn counters_have_every_outcome_of_every_hook() {
    use node_ebpf_common::{Counter, Hook, Outcome, counter_index};
    let rows =
        CounterRow::all(|hook, outcome| Counter { packets: counter_index(hook, outcome).into(), bytes: 0 });
    assert_eq!(rows.len(), Hook::ALL.len() * Outcome::ALL.len());
    let last = rows.last().unwrap();
    let (hook, outcome) = (*Hook::ALL.last().unwrap(), *Outcome::ALL.last().unwrap());
    assert_eq!((last.hook.as_str(), last.outcome.as_str()), (hook.label(), outcome.label()));
    assert_eq!(last.packets, u64::from(counter_index(hook, outcome)));
}
