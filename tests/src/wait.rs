//! Waiting for a condition instead of sleeping.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Tries until it succeeds, every 10 ms; returns the value and how long it took.
///
/// # Errors
/// After `timeout`: the last error, with what was waited for.
pub fn until_ok<T>(
    what: &str,
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<T>,
) -> Result<(T, Duration)> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok((value, start.elapsed())),
            Err(error) if start.elapsed() >= timeout => {
                return Err(error).with_context(|| format!("waited {timeout:?} for {what}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Waits until the condition holds, tried every 10 ms; returns how long it took.
///
/// # Errors
/// After `timeout`, or when the condition itself cannot be told.
pub fn until(what: &str, timeout: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<Duration> {
    let start = Instant::now();
    while !condition()? {
        if start.elapsed() >= timeout {
            bail!("waited {timeout:?} for {what}, in vain");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(start.elapsed())
}
