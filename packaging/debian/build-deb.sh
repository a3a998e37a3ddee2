#!/bin/sh
# build-deb.sh BINARY ARCHITECTURE FOLDER: makes FOLDER/rusty-pinch_<version>_<architecture>.deb of a program of `dist.sh`.
#
# Needs dpkg-dev, xz, gzip, python3 and cargo (for the words of other authors), and not root. The same input gives the same bytes: all times are SOURCE_DATE_EPOCH, by
# default that of the entry in the changelog. PACKAGE_VERSION replaces its version, for tests of upgrades.
set -eu
binary=$1 architecture=$2 folder=$3
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
package_bytes_max=1400000

field() { dpkg-parsechangelog -l "$here/changelog" -S "$1"; }
version=${PACKAGE_VERSION:-$(field Version)}
program=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/Cargo.toml" | head -n 1)
case $(field Version) in
    "$program"-*) ;;
    *) echo "build-deb.sh: packaging/debian/changelog has no entry for $program of Cargo.toml" >&2; exit 1 ;;
esac
: "${SOURCE_DATE_EPOCH:=$(field Timestamp)}"
export SOURCE_DATE_EPOCH LC_ALL=C TZ=UTC
umask 022

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 0755 "$work"
root=$work/root
share=$root/usr/share
documents=$share/doc/rusty-pinch
put() { install -D -m 0644 "$1" "$2"; }

mkdir -m 0755 "$root"
install -D -m 0755 "$binary" "$root/usr/bin/rusty-pinch"
for unit in "$repository"/packaging/systemd/*.service "$repository"/packaging/systemd/*.timer; do
    put "$unit" "$root/usr/lib/systemd/system/$(basename "$unit")"
done
put "$here/rusty-pinch.env" "$share/rusty-pinch/rusty-pinch.env"
put "$here/README.Debian" "$documents/README.Debian"
put "$repository/packaging/env.example" "$documents/examples/env.example"
put "$here/lintian-overrides" "$share/lintian/overrides/rusty-pinch"
put "$repository/packaging/completions/rusty-pinch.bash" "$share/bash-completion/completions/rusty-pinch"
put "$repository/packaging/completions/_rusty-pinch" "$share/zsh/vendor-completions/_rusty-pinch"
put "$repository/packaging/completions/rusty-pinch.fish" "$share/fish/vendor_completions.d/rusty-pinch.fish"
install -d "$share/man/man1"
gzip -9nc "$repository/docs/rusty-pinch.1" > "$share/man/man1/rusty-pinch.1.gz"
gzip -9nc "$here/changelog" > "$documents/changelog.Debian.gz"
{
    printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n'
    printf 'Upstream-Name: rusty-pinch\n\nFiles: *\nCopyright: 2026 the rusty-pinch contributors\nLicense: Rusty-Pinch-Personal-Use\n'
    sed 's/^$/./; s/^/ /' "$repository/LICENSE"
    printf '\n'
    "$repository/packaging/supply.py" notices --debian
} > "$documents/copyright"

install -d "$root/DEBIAN"
install -m 0755 "$here/postinst" "$here/prerm" "$here/postrm" "$root/DEBIAN/"
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum > DEBIAN/md5sums)
kibibytes=$(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%s\n' | awk '{ sum += int(($1 + 1023) / 1024) } END { print sum + 20 }')
sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$kibibytes/" "$here/control.in" > "$root/DEBIAN/control"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$folder"
package=$folder/rusty-pinch_${version}_$architecture.deb
dpkg-deb --root-owner-group -Zxz -z9 --build "$root" "$package"
bytes=$(stat -c %s "$package")
if [ "$bytes" -gt "$package_bytes_max" ]; then
    echo "build-deb.sh: $package has $bytes bytes, more than $package_bytes_max" >&2
    exit 1
fi
