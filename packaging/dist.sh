#!/bin/sh
# dist.sh TARGET: the program that is shipped, static, for x86_64, aarch64, armv7 or armv6 (or the same as a whole triple).
#
# Leaves <target folder>/dist/<triple>/rusty-pinch (stripped), rusty-pinch.debug (its symbols) and BUILD (what it is made from).
# Nothing is installed and no toolchain is downloaded:
# - the standard library for the target that the toolchain has is used, where it has one ('rustup target add', by hand);
# - else, on Debian, a compiler and the sources of the standard library are unpacked from Debian's packages into DIST_CACHE, and the
#   standard library is built with the program. DIST_STD=installed|debian chooses.
# Either way zig, from PyPI into a venv there, links, and compiles the C and assembler of ring.
set -eu

triple_of() {
    case $1 in
        x86_64 | aarch64) echo "$1-unknown-linux-musl" ;;
        armv7) echo armv7-unknown-linux-musleabihf ;;
        armv6) echo arm-unknown-linux-musleabihf ;;
        *-linux-musl*) echo "$1" ;;
        *) echo "dist.sh: no such target: $1 (x86_64, aarch64, armv7, armv6)" >&2; exit 2 ;;
    esac
}

triple=$(triple_of "${1:?dist.sh TARGET}")
here=$(cd "$(dirname "$0")/.." && pwd)
target_folder=${CARGO_TARGET_DIR:-$here/target}
cache=${DIST_CACHE:-$target_folder/dist-tools}
zig_version=0.17.1
zigbuild_version=0.24.0
mkdir -p "$cache"
cd "$here"

# zig and the wrapper that makes it a linker for cargo.
if [ ! -x "$cache/venv/bin/cargo-zigbuild" ]; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check "ziglang==$zig_version" "cargo-zigbuild==$zigbuild_version"
fi
PATH=$cache/venv/bin:$PATH
export PATH

has_installed_std() { ls "$(rustc --print sysroot)/lib/rustlib/$triple/lib/libstd-"*.rlib >/dev/null 2>&1; }

unpack_debian() {
    debian=$cache/debian
    if [ ! -x "$debian/usr/bin/rustc" ]; then
        command -v apt-get >/dev/null || { echo "dist.sh: no standard library for $triple: run 'rustup target add $triple'" >&2; exit 1; }
        rm -rf "$debian.new"
        mkdir -p "$debian.new/debs"
        std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/^ *Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -n 1)
        llvm=$(apt-cache depends "$std" | sed -n 's/^ *Depends: \(libllvm[0-9]*\)$/\1/p' | head -n 1)
        (cd "$debian.new/debs" && apt-get download -q rustc-web rust-web-src libstd-rust-web-dev "$std" "$llvm")
        for package in "$debian.new"/debs/*.deb; do dpkg-deb -x "$package" "$debian.new"; done
        rm -rf "$debian.new/debs"
        mv "$debian.new" "$debian"
    fi
    libraries=$(dirname "$(find "$debian/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$debian/usr/bin/rustc" > "$cache/rustc"
    chmod +x "$cache/rustc"
}

mode=${DIST_STD:-}
[ -n "$mode" ] || { if has_installed_std; then mode=installed; else mode=debian; fi; }
if [ "$mode" = debian ]; then
    unpack_debian
    # Without tables for unwinding, as a release of this program ends at a panic: they would be a tenth of the file.
    flags="-Cforce-unwind-tables=no -Clink-self-contained=no"
    library=$cache/debian/usr/lib/rustlib/src/rust/library
    RUSTC=$cache/rustc
    RUSTC_BOOTSTRAP=1
    export RUSTC RUSTC_BOOTSTRAP
    set -- -Z build-std=std,panic_abort
else
    flags=
    library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
    set --
fi
echo "dist.sh: $triple, standard library: $mode, $("${RUSTC:-rustc}" --version)" >&2

# No path of this machine is in the program, so the same sources give the same bytes anywhere. -pie: static and position
# independent, which zig does not make when asked with -static-pie. Frame pointers as in .cargo/config.toml.
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
flags="$flags -Cforce-frame-pointers=yes -Clink-arg=-pie"
flags="$flags --remap-path-prefix=$registry=/registry --remap-path-prefix=$library=/std --remap-path-prefix=$here=/rusty-pinch"
upper=$(echo "$triple" | tr 'a-z-' 'A-Z_')
lower=$(echo "$triple" | tr - _)
export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
export "CFLAGS_$lower=-fno-asynchronous-unwind-tables -fno-unwind-tables -ffile-prefix-map=$registry=/registry"
CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none \
    CARGO_TARGET_DIR=$target_folder cargo-zigbuild zigbuild --locked --release --bin rusty-pinch --target "$triple" "$@"
