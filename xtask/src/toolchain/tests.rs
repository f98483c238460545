//! Which toolchain is taken, and what people are told if there is none.

use super::*;

fn compiler(origin: Origin, release: &str, llvm: u32, core: Core) -> Compiler {
    Compiler { origin, rustc: PathBuf::from("/x/rustc"), release: release.to_owned(), llvm, core }
}

fn linker(path: &str, llvm: Option<u32>) -> Linker {
    Linker { path: PathBuf::from(path), llvm }
}

fn nightly() -> Compiler {
    compiler(Origin::Nightly, "1.99.0-nightly", 23, Core::Source)
}

fn distribution() -> Compiler {
    compiler(Origin::Distribution, "1.96.0", 22, Core::Prebuilt)
}

#[test]
fn the_first_compiler_that_qualifies_is_taken() {
    let any = [linker("/l", None)];
    let origin = |compilers| choose(compilers, &any, None, true).map(|toolchain| toolchain.compiler.origin);
    assert_eq!(origin(vec![nightly(), distribution()]), Ok(Origin::Nightly));
    let no_source = compiler(Origin::Nightly, "1.99.0-nightly", 23, Core::Absent);
    assert_eq!(origin(vec![no_source, distribution()]), Ok(Origin::Distribution));
    let old = compiler(Origin::Distribution, "1.85.0", 19, Core::Prebuilt);
    let unpacked = compiler(Origin::Unpacked, "1.96.0", 22, Core::Prebuilt);
    assert_eq!(origin(vec![old, unpacked]), Ok(Origin::Unpacked));
}

#[test]
fn an_older_linker_is_not_given_a_newer_compilers_output() {
    let older = [linker("/22", Some(22))];
    let taken = choose(vec![nightly(), distribution()], &older, None, true).unwrap();
    assert_eq!(taken.compiler, distribution());
    let both = [linker("/22", Some(22)), linker("/23", Some(23))];
    let taken = choose(vec![nightly(), distribution()], &both, None, true).unwrap();
    assert_eq!((taken.compiler, taken.linker.path), (nightly(), PathBuf::from("/23")));
    let missing = choose(vec![nightly()], &older, None, true).unwrap_err();
    assert_eq!((missing.compiler, missing.linker), (false, Some(23)));
    assert!(missing.to_string().contains("/22 with LLVM 22: older than the compiler's"), "{missing}");
}

#[test]
fn the_environment_can_name_the_origin() {
    let any = [linker("/l", None)];
    let taken = choose(vec![nightly(), distribution()], &any, Some("distribution"), true).unwrap();
    assert_eq!(taken.compiler.origin, Origin::Distribution);
    let missing = choose(vec![nightly()], &any, Some("distribution"), true).unwrap_err();
    assert!(missing.to_string().contains("PODROUTE_BPF_TOOLCHAIN=distribution"), "{missing}");
}

#[test]
fn what_is_missing_is_named_with_the_commands_that_install_it() {
    let nothing = choose(vec![], &[], None, true).unwrap_err();
    let text = nothing.to_string();
    for part in [
        "cargo xtask setup",
        "sudo apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf llvm-22-dev\n",
        "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0 --locked \
         --no-default-features --features llvm-22\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    let no_linker = choose(vec![nightly(), distribution()], &[], None, true).unwrap_err();
    assert_eq!((no_linker.compiler, no_linker.linker), (false, Some(22)));
    assert!(!no_linker.to_string().contains("rustc-web"), "{no_linker}");
    let elsewhere = choose(vec![], &[], None, false).unwrap_err().to_string();
    assert!(elsewhere.contains("--component rust-src") && !elsewhere.contains("apt-get"), "{elsewhere}");
}

#[test]
fn versions_are_compared_as_numbers() {
    for (text, expected) in [
        ("1.96.0", (1, 96)),
        ("1.100.0-nightly", (1, 100)),
        ("22.1.8", (22, 1)),
        ("unknown", (0, 0)),
        ("", (0, 0)),
    ] {
        assert_eq!(numbers(text), expected, "{text:?}");
    }
}

#[test]
fn the_linkers_llvm_is_read_from_the_library_it_loads() {
    for (bytes, expected) in [
        (&b"\0libc.so.6\0libLLVM.so.22.1\0"[..], Some(22)),
        (b"\0libLLVM-19.so.1\0", Some(19)),
        (b"libLLVM is nice; libLLVM.so.23.0", Some(23)),
        (b"static", None),
        (b"libLLVM", None),
    ] {
        assert_eq!(discover::linked_llvm(bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn debian_is_recognised_by_its_os_release() {
    assert!(discover::is_debian("NAME=\"Debian GNU/Linux\"\nID=debian\n"));
    assert!(discover::is_debian("ID=\"debian\"\n"));
    assert!(!discover::is_debian("ID=ubuntu\nID_LIKE=debian\n"));
    assert!(!discover::is_debian("ID=fedora\nVERSION_ID=43\nHOME_URL=\"https://debian.example\"\n"));
}

#[test]
fn the_nested_cargo_does_not_inherit_what_the_outer_one_was_told() {
    for removed in [
        "CARGO",
        "CARGO_MANIFEST_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_TARGET",
        "CARGO_TARGET_DIR",
        "CARGO_PROFILE_BPF_DEBUG",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTFLAGS",
        "HOST",
        "RUSTUP_TOOLCHAIN",
    ] {
        assert!(!compile::is_kept(removed), "{removed}");
    }
    for kept in [
        "PATH",
        "HOME",
        "HOSTNAME",
        "RUSTUP_HOME",
        "CARGO_HOME",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_OFFLINE",
        "HTTPS_PROXY",
    ] {
        assert!(compile::is_kept(kept), "{kept}");
    }
}

#[test]
fn an_unchanged_object_keeps_its_time() {
    let folder = std::env::temp_dir().join(format!("podroute-xtask-{}", std::process::id()));
    let path = folder.join("object.o");
    compile::write_if_changed(&path, b"one").unwrap();
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    compile::write_if_changed(&path, b"one").unwrap();
    let unchanged = std::fs::metadata(&path).unwrap().modified().unwrap();
    compile::write_if_changed(&path, b"two").unwrap();
    let after = std::fs::metadata(&path).unwrap().modified().unwrap();
    let (content, files) = (std::fs::read(&path).unwrap(), std::fs::read_dir(&folder).unwrap().count());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(unchanged, before);
    assert!(after > before);
    assert_eq!((content.as_slice(), files), (&b"two"[..], 1));
}
