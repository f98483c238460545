/// Why a string cannot be the name of a network interface (the kernel's rules).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an interface's name; allowed: 1 to 15 bytes without '/', ':' and blanks, not \".\" or \"..\""
)]
pub struct InterfaceNameError(pub String);

/// Checks the name of a network interface.
///
/// # Errors
/// The kernel would not accept it.
pub fn check_interface_name(name: &str) -> Result<(), InterfaceNameError> {
    // IFNAMSIZ is 16, with the terminating zero.
    let fits = (1..16).contains(&name.len());
    let forbidden = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
    if fits && name != "." && name != ".." && !name.contains(forbidden) {
        Ok(())
    } else {
        Err(InterfaceNameError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_kernel_takes() {
        for name in ["eth0", "a", "veth-web-0.1_23", "enp0s31f6"] {
            assert_eq!(check_interface_name(name), Ok(()));
        }
        for name in ["", ".", "..", "a/b", "a b", "a\tb", "a:1", "0123456789abcdef"] {
            assert_eq!(check_interface_name(name), Err(InterfaceNameError(name.to_owned())));
        }
    }
}
