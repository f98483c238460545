//! Events of programs that trace: out of the ring buffer, in batches, to whoever wants them.

use std::time::{Duration, SystemTime};

use aya::{
    Ebpf,
    maps::{Array, MapData, MapError, PerCpuArray, RingBuf},
};
use nix::time::{ClockId, clock_gettime};
use node_ebpf_common::{TraceEvent, TraceFilter, TraceState, map_name};
use tokio::{io::unix::AsyncFd, sync::mpsc, task::JoinHandle};
use tracing::warn;

use super::DatapathError;

/// Events that came together.
pub type TraceBatch = Vec<TraceEvent>;

/// Most events in a batch.
const BATCH: usize = 256;

/// What is traced, and who gets the events.
#[derive(Clone)]
pub struct TraceOrder {
    /// Which packets.
    pub filter: TraceFilter,
    /// Takes the events. While it is full the ring buffer fills, and the programs count what is lost.
    pub events: mpsc::Sender<TraceBatch>,
}

/// Packets that got no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// The rate was reached.
    pub limited: u64,
    /// The ring buffer was full.
    pub lost: u64,
}

/// The moment that events count their time from.
#[must_use]
pub fn boot_time() -> SystemTime {
    let since_boot = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    SystemTime::now().checked_sub(since_boot).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Sets what the loaded programs trace.
pub fn set_filter(ebpf: &mut Ebpf, filter: TraceFilter) -> Result<(), DatapathError> {
    let name = map_name::TRACE_FILTER;
    let set = |mut map: Array<&mut MapData, TraceFilter>| map.set(0, filter, 0);
    let map = ebpf.map_mut(name).ok_or(DatapathError::Missing(name))?;
    map.try_into().and_then(set).map_err(failed(name, "set entry 0"))
}

/// What the loaded programs have left out so far, on all CPUs.
pub fn left_out(ebpf: &Ebpf) -> Result<LeftOut, DatapathError> {
    let name = map_name::TRACE_STATE;
    let map = ebpf.map(name).ok_or(DatapathError::Missing(name))?;
    let get = |map: PerCpuArray<&MapData, TraceState>| map.get(&0, 0);
    let each = map.try_into().and_then(get).map_err(failed(name, "read entry 0"))?;
    Ok(each.iter().fold(LeftOut::default(), |sum, cpu| LeftOut {
        limited: sum.limited + cpu.limited,
        lost: sum.lost + cpu.lost,
    }))
}

fn failed(map: &'static str, action: &str) -> impl FnOnce(MapError) -> DatapathError {
    let action = action.to_owned();
    move |error| DatapathError::Map { action, map, error }
}

/// Starts to read the ring buffer of a freshly loaded object. The task ends when it is aborted; the next
/// load has a ring buffer of its own.
pub fn read(ebpf: &mut Ebpf, events: mpsc::Sender<TraceBatch>) -> Result<JoinHandle<()>, DatapathError> {
    let name = map_name::TRACE_EVENTS;
    let map = ebpf.take_map(name).ok_or(DatapathError::Missing(name))?;
    let ring = RingBuf::try_from(map).map_err(failed(name, "find a ring buffer"))?;
    // SAFETY: the ring buffer owns its descriptor and keeps it open as long as it lives.
    let ring = unsafe { AsyncFd::register(ring) }
        .map_err(|error| DatapathError::pin("wait for", name)(error.into()))?;
    Ok(tokio::spawn(forward(ring, events)))
}

async fn forward(mut ring: AsyncFd<RingBuf<MapData>>, events: mpsc::Sender<TraceBatch>) {
    while let Ok(mut ready) = ring.readable_mut().await {
        loop {
            let batch = take(ready.get_inner_mut());
            if batch.is_empty() {
                break;
            }
            if events.send(batch).await.is_err() {
                return;
            }
        }
        ready.clear_ready();
    }
}

fn take(ring: &mut RingBuf<MapData>) -> TraceBatch {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let Some(entry) = ring.next() else { break };
        match TraceEvent::from_entry(&entry) {
            Some(event) => batch.push(event),
            None => warn!("an event of {} bytes is too short and left out", entry.len()),
        }
    }
    batch
}
