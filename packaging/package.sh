#!/bin/sh
# package.sh [ARCHITECTURE...]: the packages of Debian for amd64, arm64 and armhf, or some of them, with the bill of materials
# (rusty-pinch.cdx.json) and SHA256SUMS beside them.
#
# Programs come from dist.sh. armhf gets the one for ARMv6, which every 32-bit Raspberry Pi OS runs. Each package is made twice, under
# another umask, and has to have the same bytes. PACKAGES is the folder they go to. lintian looks at each, where it is installed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target_folder=${CARGO_TARGET_DIR:-$here/../target}
packages=${PACKAGES:-$target_folder/packages}
[ $# -gt 0 ] || set -- amd64 arm64 armhf

rm -rf "$packages"
mkdir -p "$packages"
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
for architecture in "$@"; do
    case $architecture in
        amd64) target=x86_64 triple=x86_64-unknown-linux-musl ;;
        arm64) target=aarch64 triple=aarch64-unknown-linux-musl ;;
        armhf) target=armv6 triple=arm-unknown-linux-musleabihf ;;
        *) echo "package.sh: no such architecture: $architecture (amd64, arm64, armhf)" >&2; exit 2 ;;
    esac
    "$here/dist.sh" "$target"
    program=$target_folder/dist/$triple/rusty-pinch
    "$here/debian/build-deb.sh" "$program" "$architecture" "$packages"
    (umask 077 && "$here/debian/build-deb.sh" "$program" "$architecture" "$again" > /dev/null)
    cmp "$packages"/*"_$architecture.deb" "$again"/*"_$architecture.deb"
done
if command -v lintian > /dev/null; then
    lintian --fail-on error,warning --allow-root "$packages"/*.deb
else
    echo "skip: lintian is not installed"
fi
"$here/supply.py" sbom > "$packages/rusty-pinch.cdx.json"
"$here/supply.py" sbom | cmp - "$packages/rusty-pinch.cdx.json"
(cd "$packages" && sha256sum -- *.deb rusty-pinch.cdx.json > SHA256SUMS && cat SHA256SUMS)
