//! Sysctls, by their files.

use std::{fs, path::PathBuf};

use super::HostError;
use crate::model::Setting;

/// Where sysctls are. `/proc/sys/net` follows the network namespace of the thread that opens a file, so
/// files are opened by the calling thread, not by tokio's pool.
#[derive(Debug, Clone)]
pub(super) struct Sysctls {
    root: PathBuf,
}

impl Sysctls {
    pub(super) fn system() -> Self {
        Self { root: PathBuf::from("/proc/sys") }
    }

    pub(super) fn is_on(&self, setting: &Setting) -> Result<bool, HostError> {
        let path = self.root.join(setting.path());
        let text =
            fs::read_to_string(&path).map_err(|reason| HostError::Sysctl { action: "read", path, reason })?;
        Ok(!matches!(text.trim(), "0" | ""))
    }

    /// Turns it on, unless it is: writing `ip_forward` resets other sysctls even where it does not change.
    pub(super) fn enable(&self, setting: &Setting) -> Result<(), HostError> {
        if self.is_on(setting)? {
            return Ok(());
        }
        let path = self.root.join(setting.path());
        fs::write(&path, "1\n").map_err(|reason| HostError::Sysctl { action: "set", path, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sysctls() -> (tempfile::TempDir, Sysctls) {
        let folder = tempfile::tempdir().unwrap();
        let interface = folder.path().join("net/ipv4/conf/veth.1");
        fs::create_dir_all(&interface).unwrap();
        fs::write(folder.path().join("net/ipv4/ip_forward"), "0\n").unwrap();
        fs::write(interface.join("forwarding"), "1\n").unwrap();
        fs::write(interface.join("proxy_arp"), "0\n").unwrap();
        let sysctls = Sysctls { root: folder.path().to_owned() };
        (folder, sysctls)
    }

    #[test]
    fn turned_on_by_its_file() {
        let (folder, sysctls) = sysctls();
        for (setting, file) in [
            (Setting::ForwardingV4, "net/ipv4/ip_forward"),
            (Setting::ProxyArp("veth.1".to_owned()), "net/ipv4/conf/veth.1/proxy_arp"),
        ] {
            assert!(!sysctls.is_on(&setting).unwrap());
            sysctls.enable(&setting).unwrap();
            assert!(sysctls.is_on(&setting).unwrap());
            assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), "1\n");
        }
    }

    #[test]
    fn not_written_when_already_on() {
        let (folder, sysctls) = sysctls();
        let file = folder.path().join("net/ipv4/conf/veth.1/forwarding");
        // Any value but 0 is on: if it were written, it would be 1.
        fs::write(&file, "2\n").unwrap();
        sysctls.enable(&Setting::InterfaceForwardingV4("veth.1".to_owned())).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2\n");
    }

    #[test]
    fn missing_interface_is_named() {
        let (_folder, sysctls) = sysctls();
        let error = sysctls.enable(&Setting::ProxyArp("veth-gone".to_owned())).unwrap_err().to_string();
        assert!(error.contains("net/ipv4/conf/veth-gone/proxy_arp"), "{error}");
    }
}
