#!/bin/bash
# verify-container.sh [codex]: builds the image with packaging/container/image.sh and uses it through docker-compose.rpi.yml as an operator would.
#
# Compose is docker-compose 1.29. Where no docker daemon answers, podman's service takes its place, with its images in a folder of this run; its people
# are tests/package/bot_api.py. With `codex`, the image with Codex is built and used, too: its base images come from a registry, or, where
# there is none, are stood in for by a Debian of mmdebstrap (kept in target/container-base.tar) and the node of this machine. Needs root,
# docker-compose, python3 and either a daemon or podman, buildah and runc; says `skip:` and why where it cannot run.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
with_codex=${1:-}
stop_seconds_max=20

skip() { echo "skip: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "not root"
for tool in docker-compose python3; do command -v $tool > /dev/null || skip "no $tool"; done

work=$(mktemp -d)
service=
people=
finish() {
    docker-compose down --volumes --timeout 1 > /dev/null 2>&1 || true
    [ -z "$people" ] || kill "$people" || true
    [ -z "$service" ] || kill "$service" || true
    # The store of podman is a mount of its own for as long as it is used.
    umount -R "$work/storage/overlay" 2> /dev/null || true
    rm -rf "$work"
}
trap finish EXIT
# shellcheck source=tests/package/steps.sh
. "$here/../tests/package/steps.sh"

if docker version > /dev/null 2>&1; then
    engine=docker
else
    for tool in podman buildah runc; do command -v $tool > /dev/null || skip "no docker daemon and no $tool"; done
    engine=podman
    printf '[storage]\ndriver = "overlay"\nrunroot = "%s/run"\ngraphroot = "%s/storage"\n' "$work" "$work" > "$work/storage.conf"
    # What systemd would do is done without it; limits that any machine allows.
    printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n' \
        > "$work/containers.conf"
    export CONTAINERS_STORAGE_CONF=$work/storage.conf CONTAINERS_CONF=$work/containers.conf
    podman system service --time 0 "unix://$work/socket" > "$work/service.log" 2>&1 &
    service=$!
    export DOCKER_HOST=unix://$work/socket
    within 20 test -S "$work/socket"
    docker-compose --version > /dev/null
    $engine info > "$work/said" 2>&1 || { cat "$work/said"; skip "podman does not work here"; }
fi

"$here/container/image.sh" "$(uname -m)" plain > "$work/build" 2>&1 || { cat "$work/build"; exit 1; }
echo "ok    image: the program alone, $($engine image inspect --format '{{.Size}}' localhost/rusty-pinch:latest) bytes, by $engine"

# The folder of an operator.
python3 "$repository/tests/package/bot_api.py" serve "$work/port" &
people=$!
within 20 test -s "$work/port"
port=$(cat "$work/port")
ask() { python3 "$repository/tests/package/bot_api.py" ask "$port" "$@"; }
token=$(sed -n 's/^TOKEN = "\(.*\)"$/\1/p' "$repository/tests/package/bot_api.py")
mkdir "$work/operator"
cd "$work/operator"
cp "$here/container/docker-compose.rpi.yml" .
cat > here.yml << 'END'
# The people of this check are on the loopback of the machine.
services:
  rusty-pinch-telegram:
    network_mode: host
  rusty-pinch-whatsapp:
    network_mode: host
END
export COMPOSE_FILE=docker-compose.rpi.yml:here.yml COMPOSE_PROJECT_NAME=rp$$ RUSTY_PINCH_IMAGE=localhost/rusty-pinch:latest
settings() {
    cp "$here/container/rusty-pinch.rpi.env.example" rusty-pinch.rpi.env
    # Later lines win.
    cat >> rusty-pinch.rpi.env << END
RUSTY_PINCH_PROVIDER=local
RUSTY_PINCH_TURNS_PER_MINUTE=0
RUSTY_PINCH_TURNS_PER_DAY=0
RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true
RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN=$1
RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM=*
RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE=http://127.0.0.1:$port
END
    chmod 600 rusty-pinch.rpi.env
}
fresh_folders() {
    rm -rf data workspace codex-home
    mkdir data workspace codex-home
    chown -R 10001:10001 data workspace codex-home
}
settings "$token"
fresh_folders

telegram=rusty-pinch-telegram
container() {
    $engine ps -aq --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" --filter "label=com.docker.compose.service=$telegram" \
        --filter label=com.docker.compose.oneoff=False
}
inspect() { $engine inspect --format "$1" "$(container)"; }
process() { inspect '{{.State.Pid}}'; }
running() { [ "$(inspect '{{.State.Running}}')" = true ]; }
says() { $engine logs "$(container)" 2>&1 | grep -- "$1" > /dev/null; }
inside() { $engine exec "$(container)" "$@"; }
healthy() { inside rusty-pinch health --channel telegram; }

show_failure() { $engine logs "$(container)" 2>&1 | grep -v '"event":"turn"' | tail -n 10 | cut -c 1-300; }

nothing_else() { # What a program in the image could use: nothing but ours can be run, nothing belongs to who is not us.
    local files
    $engine create --name "files$$" $RUSTY_PINCH_IMAGE > /dev/null
    files=$($engine export "files$$" | tar -tv)
    $engine rm "files$$" > /dev/null
    [ "$(echo "$files" | grep -c '^-..x')" = 1 ]
    [ "$(echo "$files" | grep -c '^-..s')" = 0 ]
    [ "$($engine image inspect --format '{{.Config.User}}' $RUSTY_PINCH_IMAGE)" = 10001:10001 ]
}
commands() {
    docker-compose run --rm -T $telegram doctor
    docker-compose run --rm -T $telegram run --message 'hello' > reply
    grep -q hello reply
    [ "$(stat -c '%u %a' data/sessions/default.jsonl)" = '10001 600' ]
}
start() {
    docker-compose up -d $telegram
    within 20 healthy
    # As docker asks.
    [ "$(inspect '{{json .Config.Healthcheck.Test}}')" = '["CMD","rusty-pinch","health","--channel","telegram"]' ]
    ask say 'a first message'
    ask settle 60
}
restricted() {
    local status
    status=/proc/$(process)/status
    grep -q '^Uid:.10001.10001' "$status"
    grep -q '^Gid:.10001.10001' "$status"
    grep -q '^CapEff:.0*$' "$status"
    grep -q '^CapBnd:.0*$' "$status"
    grep -q '^NoNewPrivs:.1$' "$status"
    grep -q '^Seccomp:.2$' "$status"
    grep -q ' / / ro[, ]' "/proc/$(process)/mountinfo" || grep -q '^[0-9]* [0-9]* [0-9:]* [^ ]* / ro[, ]' "/proc/$(process)/mountinfo"
    [ "$(stat -f -c %T "/proc/$(process)/root/run/rusty-pinch/worker")" = tmpfs ]
    [ "$(stat -c '%u %a' "/proc/$(process)/root/run/rusty-pinch/worker")" = '10001 700' ]
}
reload() {
    docker-compose kill -s HUP $telegram
    within 20 says '"event":"reload"'
    running
    ask say 'after a reload'
    ask settle 60
}
stop() {
    ask load 10 20
    sleep 3
    local start=$SECONDS
    docker-compose stop $telegram
    [ $((SECONDS - start)) -le $stop_seconds_max ]
    [ "$(inspect '{{.State.ExitCode}}')" = 0 ]
    docker-compose start $telegram
    ask settle 90
}
killed() {
    ask load 10 20
    for _ in 1 2; do
        within 20 running
        sleep 2
        kill -KILL "$(process)"
        # Where there is no daemon, nobody keeps to the policy of restarts.
        if [ $engine = podman ]; then within 20 docker-compose start $telegram; fi
    done
    ask settle 90
}
recreated() { # As after a new image.
    ask load 8 20
    sleep 2
    docker-compose up -d --force-recreate $telegram
    ask settle 90
}
parked() {
    settings 'no token'
    docker-compose up -d --force-recreate $telegram
    within 20 says 'parked: RUSTY_PINCH_CHANNELS_TELEGRAM_TOKEN'
    sleep 5
    running
    [ "$(inspect '{{.RestartCount}}')" = 0 ]
    settings "$token"
    docker-compose up -d --force-recreate $telegram
    ask say 'after the token was mended'
    ask settle 60
}
owners() { # Folders that root made, as in docs/upgrade.md.
    docker-compose stop $telegram
    chown -R 0:0 data
    docker-compose up -d $telegram
    within 20 says 'rusty-pinch/data belong to root'
    chown -R 10001:10001 data
    docker-compose restart $telegram
    ask say 'after the owner was changed'
    ask settle 60
}
down() {
    docker-compose down --timeout $stop_seconds_max
    [ -z "$($engine ps -aq --filter "name=rp$$")" ]
}

# Bases for where no registry is: a Debian, and the node of this machine upon it.
stand_in() { # NAME COMMAND...
    $engine pull -q "docker.io/library/$1" > /dev/null 2>&1 && return
    [ $engine = podman ] || return 1
    local name=$1
    shift
    mkdir -p "$work/base"
    "$@" "$work/base"
    buildah bud --isolation chroot -q -t "docker.io/library/$name" "$work/base" > /dev/null
    rm -rf "$work/base"
    echo "      the base $name is stood in for"
}
debian_base() {
    [ -e "$target/container-base.tar" ] || mmdebstrap --quiet --variant=minbase bookworm "$target/container-base.tar" http://deb.debian.org/debian
    ln "$target/container-base.tar" "$1/base.tar" || cp "$target/container-base.tar" "$1/base.tar"
    printf 'FROM scratch\nADD base.tar /\nCMD ["bash"]\n' > "$1/Dockerfile"
}
node_base() {
    mkdir "$1/modules"
    cp "$(command -v node)" "$1/node"
    cp -r "$(dirname "$(dirname "$(realpath "$(command -v npm)")")")" "$1/modules/npm"
    cp /etc/ssl/certs/ca-certificates.crt "$1/"
    printf 'FROM docker.io/library/debian:bookworm-slim\nCOPY node /usr/bin/node\nCOPY modules/ /usr/lib/node_modules/\n' > "$1/Dockerfile"
    printf 'COPY ca-certificates.crt /etc/ssl/certs/\nENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt\n' >> "$1/Dockerfile"
    printf 'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/bin/npm\n' >> "$1/Dockerfile"
}
codex_image() {
    "$here/container/image.sh" "$(uname -m)" codex
    $engine run --rm --entrypoint codex localhost/rusty-pinch:codex --version
}
log_in() {
    RUSTY_PINCH_IMAGE=localhost/rusty-pinch:codex
    fresh_folders
    settings "$token"
    cat >> rusty-pinch.rpi.env << 'END'
RUSTY_PINCH_CODEX_AUTO_LOGIN_MODE=api_key
RUSTY_PINCH_OPENAI_API_KEY=sk-of-this-check
END
    docker-compose up -d $telegram
    within 60 says 'Codex is logged in'
    ! says sk-of-this-check || false
    [ "$(stat -c '%u %a' codex-home)" = '10001 700' ]
    [ "$(stat -c '%u %a' codex-home/auth.json)" = '10001 600' ]
    within 30 healthy
    inside codex login status
    ask say 'with codex beside it'
    ask settle 60
}
reaps() { # A process that nobody waits for, and that ends after its parent.
    inside sh -c '(sleep 1 &)'
    sleep 3
    [ "$(inside cat /proc/1/comm)" = tini ]
    inside sh -c 'cat /proc/[0-9]*/stat' > processes
    [ "$(grep -c ') Z ' processes)" = 0 ]
}
stops() {
    local start=$SECONDS
    docker-compose stop $telegram
    [ $((SECONDS - start)) -le $stop_seconds_max ]
    [ "$(inspect '{{.State.ExitCode}}')" = 0 ]
}
codex_steps() {
    stand_in debian:bookworm-slim debian_base
    stand_in node:22-bookworm-slim node_base
    step 'codex: image' codex_image
    step 'codex: logged in by the entry point, folders private, a message is answered' log_in
    step 'codex: what nobody waits for is taken away' reaps
    step 'codex: the order to stop arrives' stops
    step 'codex: down' down
}

step 'image: one program, one user' nothing_else
step 'doctor and a turn in containers of their own' commands
step 'start: alive by the health check, a message is answered' start
step 'restricted: user, no capabilities, filter, nothing writable but three folders and memory' restricted
step 'reload by SIGHUP' reload
step "stop within $stop_seconds_max s under load, exit 0, nothing lost" stop
step 'kill -9 twice under load' killed
step 'recreated under load' recreated
step 'a bad token parks' parked
step 'a folder of another owner is named' owners
step 'down' down
[ "$with_codex" != codex ] || codex_steps
ask settle 10 | sed 's/^/judgement: /'
[ "$failures" = 0 ]
