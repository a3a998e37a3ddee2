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
program_bytes_max=2900000
instructions_max=50000
mkdir -p "$cache"
cd "$here"

# zig and the wrapper that makes it a linker for cargo.
if [ ! -x "$cache/venv/bin/cargo-zigbuild" ]; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install -q --disable-pip-version-check "ziglang==$zig_version" "cargo-zigbuild==$zigbuild_version"
fi
PATH=$cache/venv/bin:$PATH
export PATH

# The toolchain brings one that knows every machine.
sysroot=$(rustc --print sysroot)
objcopy=$(find "$sysroot/lib/rustlib" -name rust-objcopy | head -n 1)
[ -n "$objcopy" ] || objcopy=$(command -v llvm-objcopy) || { echo "dist.sh: no rust-objcopy and no llvm-objcopy (Debian: llvm)" >&2; exit 1; }

has_installed_std() { ls "$sysroot/lib/rustlib/$triple/lib/libstd-"*.rlib >/dev/null 2>&1; }

mode=${DIST_STD:-}
[ -n "$mode" ] || { if has_installed_std; then mode=installed; else mode=debian; fi; }
if [ "$mode" = debian ]; then
    debian=$(packaging/debian-rust.sh "$cache/debian") || { echo "dist.sh: no standard library for $triple: run 'rustup target add $triple'" >&2; exit 1; }
    libraries=$(dirname "$(find "$debian/usr/lib" -name 'librustc_driver-*.so' | head -n 1)")
    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$libraries" "$debian/usr/bin/rustc" > "$cache/rustc"
    chmod +x "$cache/rustc"
    # Without tables for unwinding, as a release of this program ends at a panic: they would be a tenth of the file.
    flags="-Cforce-unwind-tables=no -Clink-self-contained=no"
    library=$cache/debian/usr/lib/rustlib/src/rust/library
    RUSTC=$cache/rustc
    RUSTC_BOOTSTRAP=1
    export RUSTC RUSTC_BOOTSTRAP
    # For size, and without the default feature that reads symbols at a panic: there are none in what is shipped.
    set -- -Z build-std=std,panic_abort -Z build-std-features=optimize_for_size
else
    flags=
    library=$sysroot/lib/rustlib/src/rust/library
    set --
fi
echo "dist.sh: $triple, standard library: $mode, $("${RUSTC:-rustc}" --version)" >&2

# No path of this machine is in the program, so the same sources give the same bytes anywhere. Not position independent: zig's linker
# cannot pack relocations, and 4,700 of them took 110 kB and half of the instructions of --version; stack, heap and what is mapped
# are at random places all the same. Frame pointers as in .cargo/config.toml.
registry=${CARGO_HOME:-$HOME/.cargo}/registry/src
flags="$flags -Cforce-frame-pointers=yes -Crelocation-model=static"
flags="$flags --remap-path-prefix=$registry=/registry --remap-path-prefix=$library=/std --remap-path-prefix=$here=/rusty-pinch"
upper=$(echo "$triple" | tr 'a-z-' 'A-Z_')
lower=$(echo "$triple" | tr - _)
export "CARGO_TARGET_${upper}_RUSTFLAGS=$flags"
export "CFLAGS_$lower=-fno-asynchronous-unwind-tables -fno-unwind-tables -ffile-prefix-map=$registry=/registry"
CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none \
    CARGO_TARGET_DIR=$target_folder cargo-zigbuild zigbuild --locked --release --bin rusty-pinch --target "$triple" "$@"

# What a debugger needs is kept beside the program, which names it and holds no symbols itself.
dist=$target_folder/dist/$triple
rm -rf "$dist"
mkdir -p "$dist"
built=$target_folder/$triple/release/rusty-pinch
(
    cd "$dist"
    LD_LIBRARY_PATH=$sysroot/lib
    export LD_LIBRARY_PATH
    "$objcopy" --only-keep-debug --compress-debug-sections=zlib "$built" rusty-pinch.debug
    "$objcopy" --strip-all --add-gnu-debuglink=rusty-pinch.debug "$built" rusty-pinch
)
chmod 0755 "$dist/rusty-pinch"

# Promises about the program itself.
fail() { echo "dist.sh: $*" >&2; exit 1; }
bytes=$(stat -c %s "$dist/rusty-pinch")
[ "$bytes" -le "$program_bytes_max" ] || fail "$dist/rusty-pinch has $bytes bytes, more than $program_bytes_max"
if command -v readelf > /dev/null; then
    LC_ALL=C readelf -lW "$dist/rusty-pinch" | grep -q INTERP && fail "it wants a dynamic loader"
    LC_ALL=C readelf -dW "$dist/rusty-pinch" | grep -q NEEDED && fail "it wants shared libraries"
fi
if [ "$triple" = "$(uname -m)-unknown-linux-musl" ] && [ "$(uname -m)" = x86_64 ] && command -v valgrind > /dev/null; then
    counted=$(env -i PATH=/usr/bin valgrind --tool=callgrind --callgrind-out-file=/dev/null "$dist/rusty-pinch" --version 2>&1 |
        sed -n 's/.*Collected : \([0-9]*\).*/\1/p')
    [ "$counted" -le "$instructions_max" ] || fail "--version takes $counted instructions, more than $instructions_max"
    echo "dist.sh: --version takes $counted instructions" >&2
fi
{
    echo "target $triple"
    echo "commit $(git rev-parse HEAD 2> /dev/null || echo unknown)"
    echo "compiler $("${RUSTC:-rustc}" --version)"
    echo "zig $zig_version"
    echo "bytes $bytes"
    echo "sha256 $(sha256sum "$dist/rusty-pinch" | cut -d ' ' -f 1)"
} | tee "$dist/BUILD" >&2
