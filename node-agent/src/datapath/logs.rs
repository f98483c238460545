//! Messages of the BPF programs (aya-log), into the agent's tracing log.

use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::{io::unix::AsyncFd, task::JoinHandle};
use tracing::warn;

/// Starts to read the messages of a freshly loaded object. The task ends when it is aborted; the next
/// load has a ring buffer of its own.
pub fn forward(ebpf: &mut Ebpf) -> Option<JoinHandle<()>> {
    let reader = EbpfLogger::init(ebpf)
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
