//! Maps that go from one layout to the next, because they did not change with it.
//!
//! Flows that netfilter translates are known only from packets that have been: with empty maps, programs that take over
//! would forward the connections of Services past netfilter. So the very maps of the layout before are pinned for this
//! one too, and programs of both share them until the old pins go.

use aya::maps::{MapData, MapInfo, MapType};
use node_ebpf_common::map_name;
use tracing::{info, warn};

use super::{Pins, program_set::shape};

/// What may be adopted: these have had one layout from version 2 on.
const LASTING: [&str; 3] = [map_name::TRANSLATED_V4, map_name::TRANSLATED_V6, map_name::TRANSLATED_PAIRS];

/// Pins what another layout left, the newest first, where this one has no map yet. What cannot be adopted is made anew.
pub(super) fn adopt(pins: &Pins) {
    let versions = match pins.other_layouts() {
        Ok(versions) => versions,
        Err(error) => return warn!("no map of another layout is adopted: {error}"),
    };
    for name in LASTING.into_iter().filter(|name| !pins.map(name).exists()) {
        for version in versions.iter().rev() {
            match adopt_from(pins, *version, name) {
                Ok(true) => {
                    info!("adopted the map {name} of layout {version}");
                    break;
                }
                Ok(false) => {}
                Err(error) => warn!("cannot adopt the map {name} of layout {version}: {error}"),
            }
        }
    }
}

/// Whether there was one of the same type, sizes and flags, and it is this layout's now.
fn adopt_from(pins: &Pins, version: u32, name: &str) -> Result<bool, Box<dyn std::error::Error>> {
    let pin = pins.layout(version).join(name);
    if !pin.exists() {
        return Ok(false);
    }
    let info = MapInfo::from_pin(&pin)?;
    let kind = info.map_type().unwrap_or(MapType::Unspecified);
    let found = (kind, info.key_size(), info.value_size(), info.max_entries());
    if found != shape(name) || info.map_flags() != 0 {
        return Ok(false);
    }
    MapData::from_pin(&pin)?.pin(pins.map(name))?;
    Ok(true)
}
