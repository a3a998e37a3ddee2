#!/bin/sh
# image.sh [ARCHITECTURE [plain|codex]]: the image of one variant for amd64, arm64 or arm (ARMv6), from a program of dist.sh.
#
# Gathers what the Dockerfile wants in <target folder>/container, then builds it with docker where a daemon answers, else with buildah. Tags it
# IMAGE, by default localhost/rusty-pinch:latest, or :codex; nobody else's registry is ever asked for such a name. Codex exists for amd64 and arm64.
# With IMAGE_ARCHIVE, the image is written to that file, too, for `docker load`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target_folder=${CARGO_TARGET_DIR:-$here/../../target}
architecture=${1:-$(uname -m)}
variant=${2:-plain}
case $variant in
    plain) with_codex=false tag=latest ;;
    codex) with_codex=true tag=codex ;;
    *) echo "image.sh: no such variant: $variant (plain, codex)" >&2; exit 2 ;;
esac
image=${IMAGE:-localhost/rusty-pinch:$tag}
case $architecture in
    amd64 | x86_64) target=x86_64 triple=x86_64-unknown-linux-musl platform=linux/amd64 ;;
    arm64 | aarch64) target=aarch64 triple=aarch64-unknown-linux-musl platform=linux/arm64 ;;
    arm | armhf | armv6l | armv7l) target=armv6 triple=arm-unknown-linux-musleabihf platform=linux/arm/v6 ;;
    *) echo "image.sh: no such architecture: $architecture (amd64, arm64, arm)" >&2; exit 2 ;;
esac
program=$target_folder/dist/$triple/rusty-pinch
[ -x "$program" ] || "$here/../dist.sh" "$target"

context=$target_folder/container
rm -rf "$context"
mkdir -p "$context/etc" "$context/state"
for folder in data workspace codex-home; do mkdir -m 0700 "$context/state/$folder"; done
# Where Codex looks when nobody tells it, such as a shell in the container.
ln -s codex-home "$context/state/.codex"
printf 'root:x:0:0:root:/:/nonexistent\nrusty-pinch:x:10001:10001:rusty-pinch:/var/lib/rusty-pinch:/nonexistent\n' > "$context/etc/passwd"
printf 'root:x:0:\nrusty-pinch:x:10001:\n' > "$context/etc/group"
install -m 0755 "$program" "$context/rusty-pinch"
install -m 0755 "$here/entrypoint.sh" "$context/entrypoint.sh"
install -m 0644 "$here/Dockerfile" "$context/Dockerfile"
{ cat "$here/../../LICENSE"; printf '\n'; "$here/../supply.py" notices; } > "$context/copyright"
cp -r "$here/codex" "$context/codex"
chmod -R go+rX,go-w "$context/etc" "$context/codex" "$context/copyright"

[ -z "${IMAGE_ARCHIVE:-}" ] || mkdir -p "$(dirname "$IMAGE_ARCHIVE")"
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$here/../../Cargo.toml" | head -n 1)
set -- --platform "$platform" --build-arg "INSTALL_CODEX_CLI=$with_codex" --label "org.opencontainers.image.title=rusty-pinch" \
    --label "org.opencontainers.image.version=$version" --tag "$image"
if docker version > /dev/null 2>&1; then
    docker build "$@" "$context"
    [ -z "${IMAGE_ARCHIVE:-}" ] || docker save --output "$IMAGE_ARCHIVE" "$image"
elif command -v buildah > /dev/null; then
    # The base images that are there already are taken, and no other program is run than those of the Dockerfile.
    buildah bud --isolation chroot "$@" "$context"
    [ -z "${IMAGE_ARCHIVE:-}" ] || buildah push "$image" "docker-archive:$IMAGE_ARCHIVE:$image"
else
    echo "image.sh: neither a docker daemon nor buildah is here" >&2
    exit 1
fi
echo "image.sh: $image for $platform" >&2
