#!/bin/sh
# Installs the real counterparts that tests/it/counterparts.rs talks to: the codex program and the libraries of our
# WhatsApp bridge from npm, and LiteLLM's OpenAI-compatible proxy from PyPI, all pinned; and Prometheus' promtool from Debian.
#
# Usage: counterparts.sh [DIR]        DIR defaults to target/counterparts
#
# Layout: DIR/npm/node_modules/.bin/codex, DIR/bridge/node_modules, DIR/python/bin/python, DIR/promtool/usr/bin/promtool. A stamp beside each says which
# set is complete, so a second run does nothing. A counterpart that cannot be had prints one "skip:" line and is not an error: the tests
# skip it likewise, unless RP_COUNTERPARTS_REQUIRED=1.
set -eu

codex_version=0.169.0
here=$(cd "$(dirname "$0")" && pwd)
requirements=$here/counterparts-requirements.txt
folder=${1:-$here/../../target/counterparts}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# True when the stamp exists and names exactly this set.
is_installed() { # STAMP SET
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

run_logged() { # LOG COMMAND...
    log=$1
    shift
    "$@" >"$log" 2>&1
}

install_codex() {
    stamp=$folder/npm.stamp
    if is_installed "$stamp" "$codex_version"; then
        echo "codex $codex_version: already in $folder/npm"
        return
    fi
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        echo "skip: codex: node and npm are not both here"
        return
    fi
    rm -rf "$folder/npm" "$stamp"
    mkdir -p "$folder/npm"
    # The program ships inside the package: no install script is needed, so none is run.
    if ! run_logged "$folder/npm.log" npm install --prefix "$folder/npm" --ignore-scripts --no-audit --no-fund \
        --no-update-notifier --fetch-retries 1 --fetch-timeout 60000 "@openai/codex@$codex_version"; then
        echo "skip: codex: npm could not install it (see $folder/npm.log)"
        return
    fi
    if ! "$folder/npm/node_modules/.bin/codex" --version >"$folder/npm.log" 2>&1; then
        echo "skip: codex: there is no program for this machine in the package (see $folder/npm.log)"
        return
    fi
    printf '%s' "$codex_version" >"$stamp"
    echo "codex $codex_version: installed in $folder/npm"
}

install_bridge() {
    stamp=$folder/bridge.stamp
    source=$here/../../packaging/whatsapp-bridge
    set_sum=$(cat "$source/package.json" "$source/package-lock.json" "$source/.npmrc" | cksum)
    if is_installed "$stamp" "$set_sum"; then
        echo "whatsapp bridge: already in $folder/bridge"
        return
    fi
    if ! command -v npm >/dev/null || ! node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null; then
        echo "skip: whatsapp bridge: node 20 or newer and npm are not both here"
        return
    fi
    rm -rf "$folder/bridge" "$stamp"
    mkdir -p "$folder/bridge"
    cp "$source/package.json" "$source/package-lock.json" "$source/.npmrc" "$folder/bridge"
    # A minute at most: the libraries are 30 MB.
    if ! (cd "$folder/bridge" && run_logged "$folder/bridge.log" timeout 60 npm ci --omit=optional --no-update-notifier \
        --fetch-retries 1 --fetch-timeout 30000); then
        echo "skip: whatsapp bridge: npm could not install it (see $folder/bridge.log)"
        return
    fi
    printf '%s' "$set_sum" >"$stamp"
    echo "whatsapp bridge: installed in $folder/bridge"
}

install_litellm() {
    stamp=$folder/python.stamp
    set_sum=$(cksum <"$requirements")
    name=$(grep '^litellm==' "$requirements")
    if is_installed "$stamp" "$set_sum"; then
        echo "$name: already in $folder/python"
        return
    fi
    if ! command -v python3 >/dev/null; then
        echo "skip: litellm: python3 is not here"
        return
    fi
    rm -rf "$folder/python" "$stamp"
    if ! run_logged "$folder/python.log" python3 -m venv "$folder/python"; then
        echo "skip: litellm: python3 cannot make a virtual environment with pip (see $folder/python.log)"
        return
    fi
    if ! run_logged "$folder/python.log" "$folder/python/bin/python" -m pip install --no-input --quiet \
        --disable-pip-version-check --no-deps --only-binary :all: --retries 1 --timeout 60 -r "$requirements"; then
        echo "skip: litellm: pip could not install it (see $folder/python.log)"
        return
    fi
    printf '%s' "$set_sum" >"$stamp"
    echo "$name: installed in $folder/python"
}

install_promtool() {
    stamp=$folder/promtool.stamp
    if [ -f "$stamp" ]; then
        echo "promtool $(cat "$stamp"): already in $folder/promtool"
        return
    fi
    if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
        echo "skip: promtool: this is no Debian"
        return
    fi
    rm -rf "$folder/promtool"
    mkdir -p "$folder/promtool"
    # Unpacked and not installed: that would start a server.
    if ! (cd "$folder/promtool" && run_logged "$folder/promtool.log" apt-get download prometheus && dpkg-deb -x prometheus_*.deb .); then
        echo "skip: promtool: apt-get could not download prometheus (see $folder/promtool.log)"
        return
    fi
    rm -f "$folder"/promtool/prometheus_*.deb
    if ! "$folder/promtool/usr/bin/promtool" --version >"$folder/promtool.log" 2>&1; then
        echo "skip: promtool: it does not run here (see $folder/promtool.log)"
        return
    fi
    sed -n 's/^promtool, version \([^ ]*\).*/\1/p' "$folder/promtool.log" >"$stamp"
    echo "promtool $(cat "$stamp"): installed in $folder/promtool"
}

install_codex
install_bridge
install_litellm
install_promtool
