//! Just enough of HTTP/1.1 to ask an agent.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::netns::Netns;

/// How long an answer may take: longer than the agent gives itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Its header `content-type`, if there is one.
    pub content_type: Option<String>,
    /// What follows the headers.
    pub body: String,
}

/// Asks for a path, inside of the namespace.
///
/// # Errors
/// Nobody listens there, it takes too long, or the answer is no HTTP.
pub fn get(netns: &Netns, server: SocketAddr, path: &str) -> Result<Reply> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    parse(&exchange(netns, server, request.as_bytes())?)
}

/// Sends these bytes, inside of the namespace, and returns all that comes back until the server closes.
///
/// # Errors
/// Nobody listens there, or it takes too long.
pub fn exchange(netns: &Netns, server: SocketAddr, request: &[u8]) -> Result<String> {
    let mut stream = netns
        .run(|| TcpStream::connect_timeout(&server, PATIENCE))?
        .with_context(|| format!("connecting to {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request).with_context(|| format!("asking {server}"))?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(|| format!("reading what {server} answers"))?;
    Ok(String::from_utf8(answer)?)
}

fn parse(answer: &str) -> Result<Reply> {
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP: {answer:?}"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
    let status = status.and_then(|code| code.parse().ok()).with_context(|| format!("no status: {head:?}"))?;
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    let header = |name: &str| headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|row| row.1);
    let length: Option<usize> = header("content-length").map(str::parse).transpose()?;
    anyhow::ensure!(length == Some(body.len()), "{length:?} bytes were announced, {} came", body.len());
    Ok(Reply { status, content_type: header("content-type").map(ToOwned::to_owned), body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer =
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\ncontent-length: 3\r\n\r\nno\n";
        let reply = parse(answer).unwrap();
        assert_eq!((reply.status, reply.content_type.as_deref()), (503, Some("text/plain")));
        assert_eq!(reply.body, "no\n");
    }

    #[test]
    fn what_is_cut_short_or_no_http_is_an_error() {
        for answer in ["", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nno\n"] {
            assert!(parse(answer).is_err(), "{answer:?}");
        }
    }
}
