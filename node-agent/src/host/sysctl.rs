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

    /// Whether the kernel has IPv6: no, where it is left out or was booted with `ipv6.disable=1`.
    pub(super) fn has_ipv6(&self) -> bool {
        self.root.join("net/ipv6").is_dir()
    }

    /// `net.ipv4.conf.all.rp_filter`.
    pub(super) fn reverse_path_all(&self) -> Result<u8, HostError> {
        let path = self.root.join("net/ipv4/conf/all/rp_filter");
        let text =
            fs::read_to_string(&path).map_err(|reason| HostError::Sysctl { action: "read", path, reason })?;
        Ok(text.trim().parse().unwrap_or_default())
    }

    pub(super) fn is_met(&self, setting: &Setting) -> Result<bool, HostError> {
        let path = self.root.join(setting.path());
        let text =
            fs::read_to_string(&path).map_err(|reason| HostError::Sysctl { action: "read", path, reason })?;
        Ok(setting.is_met_by(text.trim()))
    }

    /// Sets it, unless it is met: writing `ip_forward` resets other sysctls even where it does not change.
    pub(super) fn set(&self, setting: &Setting) -> Result<(), HostError> {
        if self.is_met(setting)? {
            return Ok(());
        }
        let path = self.root.join(setting.path());
        fs::write(&path, format!("{}\n", setting.value())).map_err(|reason| HostError::Sysctl {
            action: "set",
            path,
            reason,
        })
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
        for (file, content) in [("all/forwarding", "0\n"), ("eth0/accept_ra", "1\n")] {
            let file = folder.path().join("net/ipv6/conf").join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content).unwrap();
        }
        let sysctls = Sysctls { root: folder.path().to_owned() };
        (folder, sysctls)
    }

    #[test]
    fn set_by_its_file() {
        let (folder, sysctls) = sysctls();
        for (setting, file, content) in [
            (Setting::ForwardingV4, "net/ipv4/ip_forward", "1\n"),
            (Setting::ProxyArp("veth.1".to_owned()), "net/ipv4/conf/veth.1/proxy_arp", "1\n"),
            (Setting::ForwardingV6, "net/ipv6/conf/all/forwarding", "1\n"),
            (Setting::AcceptRa("eth0".to_owned()), "net/ipv6/conf/eth0/accept_ra", "2\n"),
        ] {
            assert!(!sysctls.is_met(&setting).unwrap(), "{setting}");
            sysctls.set(&setting).unwrap();
            assert!(sysctls.is_met(&setting).unwrap(), "{setting}");
            assert_eq!(fs::read_to_string(folder.path().join(file)).unwrap(), content);
        }
    }

    #[test]
    fn a_host_that_takes_no_router_advertisements_goes_on_taking_none() {
        let (folder, sysctls) = sysctls();
        let file = folder.path().join("net/ipv6/conf/eth0/accept_ra");
        fs::write(&file, "0\n").unwrap();
        sysctls.set(&Setting::AcceptRa("eth0".to_owned())).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "0\n");
    }

    #[test]
    fn a_kernel_without_ipv6_is_told_by_its_folder() {
        let (folder, sysctls) = sysctls();
        assert!(sysctls.has_ipv6());
        fs::remove_dir_all(folder.path().join("net/ipv6")).unwrap();
        assert!(!sysctls.has_ipv6());
    }

    #[test]
    fn not_written_when_already_on() {
        let (folder, sysctls) = sysctls();
        let file = folder.path().join("net/ipv4/conf/veth.1/forwarding");
        // Any value but 0 is on: if it were written, it would be 1.
        fs::write(&file, "2\n").unwrap();
        sysctls.set(&Setting::InterfaceForwardingV4("veth.1".to_owned())).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2\n");
    }

    #[test]
    fn missing_interface_is_named() {
        let (_folder, sysctls) = sysctls();
        let error = sysctls.set(&Setting::ProxyArp("veth-gone".to_owned())).unwrap_err().to_string();
        assert!(error.contains("net/ipv4/conf/veth-gone/proxy_arp"), "{error}");
    }
}
