#!/bin/sh
# deploy-check.sh BINARY: whether what is deployed fits together: units, Compose files, templates of settings, scripts, documents.
#
# A tool that is not installed is skipped, and said; the documents are checked by the tests of `docs` and `deployment`.
set -eu
binary=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
repository=$here/..
exposure_max=20
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
has() { command -v "$1" > /dev/null || { echo "skip: $1 is not installed"; return 1; }; }

if has systemd-analyze; then
    for unit in "$here"/systemd/*.service "$here"/systemd/*.timer; do
        sed "s,/usr/bin/rusty-pinch,$binary," "$unit" > "$work/$(basename "$unit")"
    done
    # It says what is wrong and exits 0.
    (cd "$work" && systemd-analyze verify --man=no ./*.service ./*.timer) > "$work/said" 2>&1 || true
    if grep -q rusty-pinch "$work/said"; then cat "$work/said"; exit 1; fi
    for unit in "$work"/*.service; do
        systemd-analyze security --offline=true --threshold=$exposure_max "$unit" | tail -n 1
    done
fi

if has shellcheck; then
    find "$repository/packaging" "$repository/tests" "$repository/.ci" -type f \( -name '*.sh' -o -name postinst -o -name prerm -o -name postrm \
        -o -path '*/.ci/run' \) -not -path '*/node_modules/*' -exec shellcheck -x -P "$repository" {} +
    echo "ok    scripts"
fi

# Both ways to call Compose, as operators have one or the other; next to the settings and the folder that they name.
mkdir -p "$work/packaging" "$work/target/container"
cp -r "$here/container" "$work/packaging/"
cp "$here/container/Dockerfile" "$work/target/container/"
for name in rusty-pinch.rpi.env rusty-pinch.env; do cp "$here/container/rusty-pinch.rpi.env.example" "$work/packaging/container/$name"; done
check_compose() { # COMMAND...
    for compose in "$work"/packaging/container/docker-compose.*.yml; do
        "$@" -f "$compose" --profile updates config > "$work/said" 2>&1 || { cat "$work/said"; exit 1; }
        if grep -qi warn "$work/said"; then cat "$work/said"; exit 1; fi
        echo "ok    $(basename "$compose"), $*"
    done
}
if has docker-compose; then check_compose docker-compose; fi
if docker compose version > /dev/null 2>&1; then check_compose docker compose; else echo "skip: the plugin of docker is not installed"; fi

for template in "$here/debian/rusty-pinch.env" "$here/env.example" "$here"/container/*.env.example; do
    [ -e "$template" ] || continue
    install -m 600 "$template" "$work/settings.env"
    env -i PATH=/usr/bin:/bin HOME="$work" RUSTY_PINCH_ENV_FILE="$work/settings.env" RUSTY_PINCH_PROVIDER=local RUSTY_PINCH_DATA_DIR="$work/data" \
        RUSTY_PINCH_WORKSPACE="$work/workspace" RUSTY_PINCH_TELEMETRY_FILE="$work/latest.json" "$binary" run --message hello > /dev/null 2> "$work/said" ||
        { cat "$work/said"; exit 1; }
    echo "ok    $(basename "$template")"
done
