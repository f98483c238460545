//! A panic is written into the log as anything else is: where, in which task, and why.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{self, PanicHookInfo},
    thread,
};

use tracing::{Level, enabled, error};

use super::tasks;

/// Has panics written into the log from now on, each in one message. Where the log takes none, as it is turned off or
/// panicked itself, a panic goes to standard error as before.
pub(super) fn into_log() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if enabled!(Level::ERROR) {
            write(info);
        } else {
            before(info);
        }
    }));
}

fn write(info: &PanicHookInfo<'_>) {
    let why = info.payload_as_str().unwrap_or("no message");
    let location = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let task = tasks::current().unwrap_or_else(|| "none".to_owned());
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(%task, thread, location, %backtrace, "panicked: {why}");
    } else {
        error!(%task, thread, location, "panicked: {why}");
    }
}
