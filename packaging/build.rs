//! Build script: makes the binary smaller. The relocations of a position-independent program are packed (DT_RELR, which
//! glibc reads since 2.36 and musl since 1.2.4); they would be a thirtieth of the file otherwise.

fn main() {
    println!("cargo::rerun-if-changed=packaging/build.rs");
    println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
}
