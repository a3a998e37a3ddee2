#!/bin/sh
# debian-rust.sh FOLDER: a Rust compiler with the sources of its standard library, unpacked from Debian's packages into FOLDER and
# not installed; nothing is done where it is there already. Prints FOLDER. For what a toolchain without these sources cannot do:
# a standard library for another target (dist.sh), or one that watches its memory (tests/it/sanitizer.rs).
set -eu
folder=${1:?debian-rust.sh FOLDER}
if [ ! -x "$folder/usr/bin/rustc" ]; then
    command -v apt-get > /dev/null || { echo "debian-rust.sh: this is not Debian" >&2; exit 1; }
    rm -rf "$folder.new"
    mkdir -p "$folder.new/debs"
    std=$(apt-cache depends libstd-rust-web-dev | sed -n 's/^ *Depends: \(libstd-rust-web-[0-9.]*\)$/\1/p' | head -n 1)
    [ -n "$std" ] || { echo "debian-rust.sh: this Debian has no rustc-web (apt-get update?)" >&2; exit 1; }
    llvm=$(apt-cache depends "$std" | sed -n 's/^ *Depends: \(libllvm[0-9]*\)$/\1/p' | head -n 1)
    (cd "$folder.new/debs" && apt-get download -q rustc-web rust-web-src libstd-rust-web-dev "$std" "$llvm") >&2
    for package in "$folder.new"/debs/*.deb; do dpkg-deb -x "$package" "$folder.new"; done
    rm -rf "$folder.new/debs"
    mv "$folder.new" "$folder"
fi
echo "$folder"
