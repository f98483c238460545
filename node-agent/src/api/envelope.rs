//! The version of the interface, which every request carries: an agent and a program of different builds tell each other
//! so instead of misunderstanding each other.

use serde::{Deserialize, Serialize};

use super::Request;

/// The version of requests and responses. It goes up when an older program would misunderstand a newer agent, or the other
/// way round; not when there is something more to ask for.
pub const VERSION: u32 = 1;

/// A request as it is sent.
#[derive(Debug, Serialize)]
struct Sent<'r> {
    version: u32,
    request: &'r Request,
}

/// A request as it comes, before anybody looks at what it asks for.
#[derive(Debug, Deserialize)]
struct Received {
    version: u32,
    request: serde_json::Value,
}

/// The line for a request.
///
/// # Errors
/// It is no JSON, which no request is.
pub(super) fn encode(request: &Request) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Sent { version: VERSION, request })?;
    line.push(b'\n');
    Ok(line)
}

/// The request in a line.
///
/// # Errors
/// Why there is none, for the person at the other end.
pub(super) fn decode(line: &[u8]) -> Result<Request, String> {
    let unknown = |reason: serde_json::Error| format!("this is not a request the agent knows: {reason}");
    let Received { version, request } = serde_json::from_slice(line).map_err(unknown)?;
    if version != VERSION {
        return Err(format!(
            "the request has version {version} of the agent's interface, and this agent ({}) has version {VERSION}: \
             use the program that it was installed with",
            env!("CARGO_PKG_VERSION")
        ));
    }
    serde_json::from_value(request).map_err(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_can_be_read() {
        let line = encode(&Request::Status).unwrap();
        assert_eq!(line, b"{\"version\":1,\"request\":\"status\"}\n");
        assert!(matches!(decode(&line), Ok(Request::Status)));
    }

    #[test]
    fn another_version_is_refused_whatever_it_asks_for() {
        let refused = decode(b"{\"version\":2,\"request\":{\"something\":\"new\"}}").unwrap_err();
        assert!(refused.contains("has version 2") && refused.contains("has version 1"), "{refused}");
        let before = decode(b"\"status\"").unwrap_err();
        assert!(before.contains("not a request the agent knows"), "{before}");
    }
}
