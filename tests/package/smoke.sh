#!/bin/bash
# smoke.sh BINARY [RUNNER...]: the program as it is shipped, on this machine or under an emulator (qemu-aarch64, qemu-arm).
#
# version, doctor, a turn, a Telegram turn over TLS against tests/package/bot_api.py (which needs the arithmetic of ring, in assembler on most
# machines, and a private authority), and one look of the monitor. Everything happens in a folder of its own, on loopback.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
binary=$(realpath "$1")
shift
for tool in python3 openssl; do command -v $tool > /dev/null || { echo "skip: no $tool"; exit 0; }; done

work=$(mktemp -d)
people=
finish() {
    [ -z "$people" ] || kill "$people" || true
    rm -rf "$work"
}
trap finish EXIT
cd "$work"
mkdir data workspace
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1 -addext 'subjectAltName=IP:127.0.0.1' \
    -addext 'basicConstraints=critical,CA:FALSE' -keyout key.pem -out certificate.pem 2> /dev/null
python3 "$here/bot_api.py" serve port certificate.pem key.pem &
people=$!
for _ in $(seq 100); do [ -s port ] || sleep 0.2; done

token=$(sed -n 's/^TOKEN = "\(.*\)"$/\1/p' "$here/bot_api.py")
pinch() {
    timeout 120 env -i PATH=/usr/bin:/bin HOME="$work" SSL_CERT_FILE="$work/certificate.pem" RUSTY_PINCH_PROVIDER=local \
        RUSTY_PINCH_DATA_DIR=data RUSTY_PINCH_WORKSPACE=workspace RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true \
        RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM=9001 RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN="$token" \
        RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE="https://127.0.0.1:$(cat port)" "$@"
}
check() { # NAME COMMAND...
    local name=$1
    shift
    if "$@" > out 2> err; then echo "ok    $name"; else
        echo "FAIL  $name"
        cat out err
        exit 1
    fi
}
check version pinch "$@" "$binary" --version
check doctor pinch "$@" "$binary" doctor
check 'a turn' pinch "$@" "$binary" run --message hello
grep -q hello out
check 'a Telegram turn over TLS' pinch "$@" "$binary" channels telegram --max-messages 1
grep -q '"event":"turn".*"delivery":"sent"' err
check 'one look of the monitor' pinch "$@" "$binary" monitor --once
