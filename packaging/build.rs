//! Build script: makes the binary smaller.
//!
//! - The relocations of a position-independent program are packed (DT_RELR, which glibc reads since 2.36); they would be a thirtieth of
//!   the file otherwise. Not for musl: the linker of `dist.sh` cannot.
//! - A release (the only profile with `opt-level = "z"`) does not unwind, so the tables for it, a tenth of the file, are left out where the linker is the
//!   GNU one. Debuggers follow the frame pointers that `.cargo/config.toml` keeps.
//!
//! And tells the program which platform it was built for.

use std::env::var;

#[expect(clippy::disallowed_methods, reason = "the environment is how cargo talks to a build script")]
fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rerun-if-changed=packaging/no-unwind-tables.ld");
    println!("cargo::rustc-env=RUSTY_PINCH_TARGET={}", var("TARGET").unwrap_or_default());
    let is = |name: &str, wanted: &str| var(name).is_ok_and(|value| value == wanted);
    if !is("CARGO_CFG_TARGET_ENV", "gnu") {
        return;
    }
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    if is("OPT_LEVEL", "z") {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{folder}/packaging/no-unwind-tables.ld");
    }
}
