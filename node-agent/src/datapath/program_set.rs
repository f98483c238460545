//! The embedded object, loaded: maps from their pins, programs at one log level.

use std::path::Path;

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapInfo, MapType},
    programs::{ProgramError, SchedClassifier, Xdp},
};
use node_ebpf_common::{
    COUNTERS, Counter, Endpoint, Flow, Hook, LOOKUP_CHUNKS, LookupChunk, MAX_ENDPOINTS, MAX_NEXT_HOP_GROUPS,
    MAX_NEXT_HOPS, MAX_TRANSLATED_FLOWS, MAX_UPLINKS, NextHop, NextHopGroup, Route, Settings, TRACE_ON,
    TRANSLATED_PAIRS, TRANSLATED_PAIRS_CHUNK, Uplink, XDP_DECAP, map_name,
};
use tracing::warn;

use super::{DatapathError, Pins, error::told};
use crate::{
    config::{ProgramLog, XdpMode},
    fault::max_routes,
};

/// Aligns the object's bytes, which the loader reads as structures.
#[repr(C, align(32))]
pub(super) struct Aligned<T: ?Sized>(pub(super) T);

/// The BPF object, built by the build script: the agent is one file.
pub(super) static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(env!("PODROUTE_EBPF_OBJECT")));

/// The programs of one load of the object. The maps behind them are the pinned ones, whichever load
/// made them.
pub struct ProgramSet {
    pub(super) ebpf: Ebpf,
    ids: [u32; Hook::ALL.len()],
    xdp_mode: XdpMode,
    /// Why there is no XDP program. The others do without.
    no_xdp: Option<String>,
}

impl ProgramSet {
    /// Loads the object. Maps that are pinned are used, others are made and pinned. The log level, whether
    /// packets are traced and whether XDP decapsulates are constants to the verifier, which removes what they
    /// switch off.
    ///
    /// # Errors
    /// A pinned map has another shape, or the kernel refuses a part other than the XDP program.
    pub fn load(pins: &Pins, log: ProgramLog, trace: bool, xdp_mode: XdpMode) -> Result<Self, DatapathError> {
        let (level, tracing, decap) = (log as u8, u8::from(trace), u8::from(xdp_mode == XdpMode::Decap));
        let mut loader = EbpfLoader::new();
        // Nothing is relocated against the kernel's types: their BTF need not be read.
        loader.btf(None).override_global(aya_log::LEVEL, &level, true);
        loader.override_global(TRACE_ON, &tracing, true).override_global(XDP_DECAP, &decap, true);
        if !trace {
            // Not used: one page, the least there is.
            loader.map_max_entries(map_name::TRACE_EVENTS, 4096);
        }
        for name in map_name::ALL {
            let pin = pins.map(name);
            check_shape(name, &pin)?;
            loader.map_pin_path(name, pin);
            if matches!(name, map_name::ROUTES_V4 | map_name::ROUTES_V6) {
                loader.map_max_entries(name, max_routes());
            }
        }
        let mut ebpf = loader.load(&OBJECT.0).map_err(|error| DatapathError::Load(Box::new(error)))?;
        let mut ids = [0; Hook::ALL.len()];
        for hook in Hook::CLASSIFIERS {
            let failed = |error| DatapathError::Program { hook: hook.label(), error: Box::new(error) };
            let program = classifier(&mut ebpf, hook)?;
            program.load().map_err(failed)?;
            ids[hook as usize] = program.info().map_err(failed)?.id();
        }
        let mut set = Self { ebpf, ids, xdp_mode, no_xdp: None };
        if xdp_mode != XdpMode::Off {
            match set.load_xdp() {
                Ok(id) => set.ids[Hook::Xdp as usize] = id,
                Err(error) => {
                    let text = "the kernel does not take the program (it must be 5.18 or newer)";
                    set.no_xdp = Some(format!("{text}: {error:?}"));
                }
            }
        }
        Ok(set)
    }

    fn load_xdp(&mut self) -> Result<u32, ProgramError> {
        let program: &mut Xdp =
            self.ebpf.program_mut(Hook::Xdp.program()).ok_or(ProgramError::NotLoaded)?.try_into()?;
        program.load()?;
        Ok(program.info()?.id())
    }

    /// Pins the maps again whose pins are gone, as if the bpffs had been mounted anew.
    ///
    /// # Errors
    /// There is no bpffs, or a map cannot be pinned: then nothing of the datapath outlives the agent.
    pub fn keep_pinned(&self, pins: &Pins) -> Result<(), DatapathError> {
        pins.create()?;
        for name in map_name::ALL {
            let pin = pins.map(name);
            if pin.exists() {
                continue;
            }
            let map = self.ebpf.map(name).ok_or(DatapathError::Missing(name))?;
            map.pin(&pin).map_err(|error| DatapathError::Repin { map: name, error: told(&error) })?;
            warn!("map {name} was not pinned any more and is again, at {}", pin.display());
        }
        Ok(())
    }

    /// What the XDP program is to do.
    pub fn xdp_mode(&self) -> XdpMode {
        self.xdp_mode
    }

    /// This set's XDP program.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub fn xdp(&mut self) -> Result<&mut Xdp, String> {
        if let Some(reason) = &self.no_xdp {
            return Err(reason.clone());
        }
        let program = self.ebpf.program_mut(Hook::Xdp.program()).and_then(|program| program.try_into().ok());
        program.ok_or_else(|| DatapathError::Missing(Hook::Xdp.program()).to_string())
    }

    /// The kernel's number of this set's program.
    pub fn id(&self, hook: Hook) -> u32 {
        self.ids[hook as usize]
    }

    /// This set's program.
    ///
    /// # Errors
    /// The object has none.
    pub fn program(&mut self, hook: Hook) -> Result<&mut SchedClassifier, DatapathError> {
        classifier(&mut self.ebpf, hook)
    }
}

fn classifier(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier, DatapathError> {
    ebpf.program_mut(hook.program())
        .and_then(|program| program.try_into().ok())
        .ok_or(DatapathError::Missing(hook.program()))
}

/// Type, key size, value size and capacity of a map.
type Shape = (MapType, u32, u32, u32);

/// The shape that each map has in this layout.
pub(super) fn shape(name: &str) -> Shape {
    let size = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    match name {
        map_name::ROUTES_V4 => (MapType::LpmTrie, 4 + 4, size(size_of::<Route>()), max_routes()),
        map_name::ROUTES_V6 => (MapType::LpmTrie, 4 + 16, size(size_of::<Route>()), max_routes()),
        map_name::LOOKUP_V4 => (MapType::Array, 4, size(size_of::<LookupChunk>()), LOOKUP_CHUNKS),
        map_name::TRANSLATED_V4 => {
            (MapType::LruHash, size(size_of::<Flow<[u8; 4]>>()), 8, MAX_TRANSLATED_FLOWS)
        }
        map_name::TRANSLATED_V6 => {
            (MapType::LruHash, size(size_of::<Flow<[u8; 16]>>()), 8, MAX_TRANSLATED_FLOWS)
        }
        map_name::TRANSLATED_PAIRS => {
            (MapType::Array, 4, TRANSLATED_PAIRS_CHUNK, TRANSLATED_PAIRS / TRANSLATED_PAIRS_CHUNK)
        }
        map_name::NEXT_HOPS => (MapType::Array, 4, size(size_of::<NextHop>()), MAX_NEXT_HOPS),
        map_name::NEXT_HOP_GROUPS => {
            (MapType::Array, 4, size(size_of::<NextHopGroup>()), MAX_NEXT_HOP_GROUPS)
        }
        map_name::ENDPOINTS => (MapType::Hash, 4, size(size_of::<Endpoint>()), MAX_ENDPOINTS),
        map_name::SETTINGS => (MapType::Array, 4, size(size_of::<Settings>()), 1),
        map_name::UPLINKS => (MapType::Hash, 4, size(size_of::<Uplink>()), MAX_UPLINKS),
        map_name::DEVICES => (MapType::DevMapHash, 4, 8, MAX_UPLINKS),
        _ => (MapType::PerCpuArray, 4, size(size_of::<Counter>()), COUNTERS),
    }
}

/// Refuses a pinned map that is not ours (the loader would use it unseen).
fn check_shape(name: &str, pin: &Path) -> Result<(), DatapathError> {
    if !pin.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(pin).map_err(|error| DatapathError::ForeignMap {
        path: pin.to_owned(),
        found: format!("something else ({error})"),
        expected: text(shape(name)),
    })?;
    let found = (
        info.map_type().unwrap_or(MapType::Unspecified),
        info.key_size(),
        info.value_size(),
        info.max_entries(),
    );
    if found == shape(name) {
        return Ok(());
    }
    Err(DatapathError::ForeignMap { path: pin.to_owned(), found: text(found), expected: text(shape(name)) })
}

fn text((kind, key, value, entries): Shape) -> String {
    format!("type {kind:?}, {key} bytes of key, {value} of value, room for {entries}")
}
