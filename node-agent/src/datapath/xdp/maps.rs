use aya::{
    Ebpf,
    maps::{DevMapHash, HashMap, MapData, MapError, xdp::XdpMapError},
};
use node_ebpf_common::{Uplink, map_name};

use super::{Device, entry};
use crate::datapath::{
    DatapathError,
    maps::{failed, gone_is_fine},
};

/// The two maps of the XDP program.
pub(super) struct Maps<'e>(pub(super) &'e mut Ebpf);

impl Maps<'_> {
    fn uplinks(&mut self) -> Result<HashMap<&mut MapData, u32, Uplink>, DatapathError> {
        let name = map_name::UPLINKS;
        let map = self.0.map_mut(name).ok_or(DatapathError::Missing(name))?;
        map.try_into().map_err(failed(name, "find a hash"))
    }

    fn devices(&mut self) -> Result<DevMapHash<&mut MapData>, DatapathError> {
        let name = map_name::DEVICES;
        let map = self.0.map_mut(name).ok_or(DatapathError::Missing(name))?;
        map.try_into().map_err(failed(name, "find a device map"))
    }

    /// Writes what fits this interface.
    pub(super) fn set(&mut self, link: u32, device: &Device) -> Result<(), DatapathError> {
        if device.sends() {
            let error = |error| match error {
                XdpMapError::MapError(error) => error,
                other => MapError::InvalidName { name: other.to_string() },
            };
            let written = self.devices()?.insert(link, link, None, 0).map_err(error);
            written.map_err(failed(map_name::DEVICES, format!("set interface {link}")))?;
        } else {
            self.remove_device(link)?;
        }
        let written = self.uplinks()?.insert(link, entry(device), 0);
        written.map_err(failed(map_name::UPLINKS, format!("set interface {link}")))
    }

    /// Removes an interface.
    pub(super) fn remove(&mut self, link: u32) -> Result<(), DatapathError> {
        gone_is_fine(self.uplinks()?.remove(&link))
            .map_err(failed(map_name::UPLINKS, format!("delete interface {link}")))?;
        self.remove_device(link)
    }

    fn remove_device(&mut self, link: u32) -> Result<(), DatapathError> {
        gone_is_fine(self.devices()?.remove(link))
            .map_err(failed(map_name::DEVICES, format!("delete interface {link}")))
    }

    /// Whether what is written fits this interface.
    pub(super) fn fit(&mut self, link: u32, device: &Device) -> Result<bool, DatapathError> {
        let known = match self.uplinks()?.get(&link, 0) {
            Ok(known) => Some(known),
            Err(MapError::KeyNotFound) => None,
            Err(error) => return Err(failed(map_name::UPLINKS, format!("read interface {link}"))(error)),
        };
        let sends = match self.devices()?.get(link, 0) {
            Ok(_) => true,
            Err(MapError::KeyNotFound) => false,
            Err(error) => return Err(failed(map_name::DEVICES, format!("read interface {link}"))(error)),
        };
        Ok(known == Some(entry(device)) && sends == device.sends())
    }
}
