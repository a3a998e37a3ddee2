#!/bin/sh
# verify-package.sh: what `make package` made, looked at and used as an operator would.
#
# Sums; contents; the program of each package, under an emulator where it is for another machine; then tests/package/verify.sh boots a
# Debian with the package for this machine. What this machine lacks is skipped, and said.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target_folder=${CARGO_TARGET_DIR:-$here/../target}
packages=${PACKAGES:-$target_folder/packages}
wanted='./usr/bin/rusty-pinch ./usr/lib/systemd/system/rusty-pinch.service ./usr/lib/systemd/system/rusty-pinch-telegram.service
./usr/lib/systemd/system/rusty-pinch-whatsapp.service ./usr/lib/systemd/system/rusty-pinch-doctor.service
./usr/lib/systemd/system/rusty-pinch-doctor.timer ./usr/share/man/man1/rusty-pinch.1.gz ./usr/share/rusty-pinch/rusty-pinch.env
./usr/share/bash-completion/completions/rusty-pinch ./usr/share/zsh/vendor-completions/_rusty-pinch
./usr/share/fish/vendor_completions.d/rusty-pinch.fish ./usr/share/doc/rusty-pinch/copyright
./usr/share/doc/rusty-pinch/changelog.Debian.gz ./usr/share/doc/rusty-pinch/README.Debian'

(cd "$packages" && sha256sum --check --strict SHA256SUMS)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for package in "$packages"/*.deb; do
    architecture=$(dpkg-deb -f "$package" Architecture)
    names=$(dpkg-deb --fsys-tarfile "$package" | tar -t)
    for name in $wanted; do
        echo "$names" | grep -qxF "$name" || { echo "$package: no $name" >&2; exit 1; }
    done
    if echo "$names" | grep -q '^\./\(etc\|var\)/.*[^/]$'; then echo "$package: an operator's file is in it" >&2; exit 1; fi
    rm -rf "$work/root"
    dpkg-deb -x "$package" "$work/root"
    grep -q '^Files: third-party/' "$work/root/usr/share/doc/rusty-pinch/copyright" || { echo "$package: no words of other authors" >&2; exit 1; }
    case $architecture in
        "$(dpkg --print-architecture)") set -- ;;
        arm64) set -- qemu-aarch64 ;;
        # The processor of the first Pi and of the Zero.
        armhf) set -- qemu-arm -cpu arm1176 ;;
        *) set -- no-emulator ;;
    esac
    if [ $# -gt 0 ] && ! command -v "$1" > /dev/null; then
        echo "skip: the program of $architecture needs qemu-user"
        continue
    fi
    echo "$architecture:"
    "$here/../tests/package/smoke.sh" "$work/root/usr/bin/rusty-pinch" "$@"
done
if [ -z "${CODEX:-}" ]; then
    CODEX=$(find "$here"/../target/counterparts/npm/node_modules/@openai/*/vendor -path '*/bin/codex' 2> /dev/null | head -n 1)
    CODEX=${CODEX%/bin/codex}
    export CODEX
fi
for package in "$packages"/*_"$(dpkg --print-architecture)".deb; do
    [ ! -e "$package" ] || "$here/../tests/package/verify.sh" "$package"
done
