//! Messages of the BPF programs (aya-log), into the agent's tracing log.

use std::net::Ipv6Addr;

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Level, Log, Metadata, Record};
use node_ebpf_common::{Hook, Outcome};
use tokio::{io::unix::AsyncFd, task::JoinHandle};
use tracing::{debug, error, info, trace, warn};

/// Starts to read the messages of a freshly loaded object. The task ends when it is aborted; the next
/// load has a ring buffer of its own.
pub fn forward(ebpf: &mut Ebpf) -> Option<JoinHandle<()>> {
    let reader = EbpfLogger::init_with_logger(ebpf, Named)
        .map_err(|error| error.to_string())
        // SAFETY: the logger owns the ring buffer's descriptor and keeps it open as long as it lives.
        .and_then(|logger| unsafe { AsyncFd::register(logger) }.map_err(|error| error.to_string()));
    match reader {
        Ok(mut reader) => Some(tokio::spawn(async move {
            while let Ok(mut ready) = reader.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })),
        Err(error) => {
            warn!("messages of the BPF programs cannot be read: {error}");
            None
        }
    }
}

/// Names what the programs log by number, and hands it to the agent's log under the target `node_ebpf`.
struct Named;

impl Log for Named {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        // The programs are loaded with the level that is asked for.
        true
    }

    fn log(&self, record: &Record<'_>) {
        let message = named(&record.args().to_string());
        match record.level() {
            Level::Error => error!(target: "node_ebpf", "{message}"),
            Level::Warn => warn!(target: "node_ebpf", "{message}"),
            Level::Info => info!(target: "node_ebpf", "{message}"),
            Level::Debug => debug!(target: "node_ebpf", "{message}"),
            Level::Trace => trace!(target: "node_ebpf", "{message}"),
        }
    }

    fn flush(&self) {}
}

/// The message with its first two words, numbers of hook and outcome, turned into their names (unchanged
/// if they are none), and with each address as people write it.
fn named(message: &str) -> String {
    let names = || {
        let (hook, rest) = message.split_once(' ')?;
        let (outcome, rest) = rest.split_once(' ')?;
        let hook = Hook::ALL.get(hook.parse::<usize>().ok()?)?;
        let outcome = Outcome::ALL.get(outcome.parse::<usize>().ok()?)?;
        Some(format!("{} {} {}", hook.label(), outcome.label(), with_canonical_addresses(rest)))
    };
    names().unwrap_or_else(|| message.to_owned())
}

/// The programs send addresses of both families in 16 bytes, IPv4 in its mapped form (`::ffff:10.1.2.3`).
fn with_canonical_addresses(text: &str) -> String {
    let canonical = |word: &str| match word.parse::<Ipv6Addr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => word.to_owned(),
    };
    text.split(' ').map(canonical).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_and_outcome_are_named() {
        assert_eq!(
            named("0 20 ::ffff:10.244.1.10 -> ::ffff:10.244.1.99 98 bytes"),
            "from-pod drop-unassigned 10.244.1.10 -> 10.244.1.99 98 bytes"
        );
        assert_eq!(
            named("3 11 fd00:10:244:1::10 -> ::ffff 98 bytes"),
            "to-pod stack-routed fd00:10:244:1::10 -> ::ffff 98 bytes"
        );
        for message in ["", "hello", "9 1 x", "0 99 x", "0 1"] {
            assert_eq!(named(message), message);
        }
    }
}
