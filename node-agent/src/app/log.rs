//! The agent's own log, to standard error, with a filter that can be changed while it runs.

use tracing_subscriber::{
    EnvFilter, Registry, fmt, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use super::panic;
use crate::config::{LogFilterError, LogFormat, log_filter};

/// Target of the BPF programs' messages. What they send is decided where they are loaded, so the agent's
/// own filter lets all of it through.
const PROGRAMS: &str = "node_ebpf=trace";
/// The loader tells of every relocation, thousands of lines: only to who asks for it by name.
const LOADER: &str = "aya_obj=info";

/// Changes the filter of the running log.
pub struct LogHandle {
    handle: reload::Handle<EnvFilter, Registry>,
    filter: String,
}

fn filter(text: &str) -> Result<EnvFilter, LogFilterError> {
    log_filter(&format!("{LOADER},{text},{PROGRAMS}"))
}

/// Starts the log; panics are written into it, too.
///
/// # Errors
/// The filter is none, or a log has been started already.
pub fn start(text: &str, format: LogFormat) -> anyhow::Result<LogHandle> {
    let (filter, handle) = reload::Layer::new(filter(text)?);
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => registry.with(layer).try_init()?,
        LogFormat::Json => registry.with(layer.json().flatten_event(true)).try_init()?,
    }
    panic::into_log();
    Ok(LogHandle { handle, filter: text.to_owned() })
}

impl LogHandle {
    /// Sets another filter.
    ///
    /// # Errors
    /// It is none; the old one stays.
    pub fn set(&mut self, text: &str) -> Result<(), String> {
        let filter = filter(text).map_err(|error| error.to_string())?;
        self.handle.reload(filter).map_err(|error| error.to_string())?;
        self.filter = text.to_owned();
        Ok(())
    }

    /// The filter that is set.
    #[must_use]
    pub fn filter(&self) -> &str {
        &self.filter
    }
}
