#!/bin/bash
# verify.sh PACKAGE [PREVIOUS]: uses a package of this machine's architecture as an operator would, under a real systemd.
#
# A Debian of its own (mmdebstrap, kept in target/package-image) is booted with systemd-nspawn: install, configure, start, reload,
# watchdog, upgrade and downgrade under load, stop, remove, purge. Its people are tests/package/bot_api.py on loopback. PREVIOUS is the
# package to upgrade from; by default the same program with an older version. Needs root, mmdebstrap, systemd-nspawn, python3; says
# `skip:` and why where it cannot run. With CODEX, the folder with bin/codex and codex-resources/bwrap of Codex's npm package (in
# target/counterparts/npm/node_modules/@openai/codex-linux-*/vendor/*), its sandbox is tried inside that of the units, too.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
package=$(realpath "$1")
previous=${2:-}
target=${CARGO_TARGET_DIR:-$repository/target}
template=$target/package-image
suite=bookworm
mirror=http://deb.debian.org/debian

skip() { echo "skip: $*"; exit 0; }
[ "$(id -u)" = 0 ] || skip "not root"
for tool in mmdebstrap systemd-nspawn nsenter python3; do command -v $tool > /dev/null || skip "no $tool"; done

if [ ! -e "$template/etc/machine-id" ]; then
    rm -rf "$template" "$template.new"
    mmdebstrap --quiet --variant=apt --include=systemd-sysv,dbus,adduser,procps "$suite" "$template.new" "$mirror" || skip "no $suite from $mirror"
    mv "$template.new" "$template"
    : > "$template/etc/machine-id"
fi

work=$(mktemp -d)
image=$work/image
nspawn=
people=
finish() {
    [ -z "$people" ] || kill "$people" || true
    if [ -n "$nspawn" ] && kill "$nspawn" 2> /dev/null; then wait "$nspawn" || true; fi
    rm -rf "$work"
}
trap finish EXIT

if [ -z "$previous" ]; then
    mkdir "$work/previous"
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$work/previous" ./usr/bin/rusty-pinch
    PACKAGE_VERSION=0.0.1-1 "$repository/packaging/debian/build-deb.sh" "$work/previous/usr/bin/rusty-pinch" \
        "$(dpkg-deb -f "$package" Architecture)" "$work/previous" > /dev/null
    previous=$(ls "$work"/previous/*.deb)
fi

cp -a "$template" "$image"
cp "$package" "$image/root/new.deb"
cp "$previous" "$image/root/old.deb"
if [ -n "${CODEX:-}" ]; then
    install -D -m 0755 "$CODEX/bin/codex" "$image/opt/codex/bin/codex"
    install -D -m 0755 "$CODEX/codex-resources/bwrap" "$image/opt/codex/codex-resources/bwrap"
fi

# Neither machined nor a host's systemd is needed: the leader's namespaces are entered directly.
systemd-nspawn -q -D "$image" --machine="rp-package-$$" --boot --register=no --keep-unit --resolv-conf=off --timezone=off \
    --link-journal=no --console=pipe < /dev/null > "$work/console" 2>&1 &
nspawn=$!
box() { nsenter -t "$(pgrep -P "$nspawn" | head -n 1)" -m -u -i -p -C -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
# shellcheck source=tests/package/steps.sh
. "$here/steps.sh"
python3 "$here/bot_api.py" serve "$work/port" &
people=$!
within 20 test -s "$work/port"
port=$(cat "$work/port")
ask() { python3 "$here/bot_api.py" ask "$port" "$@"; }
token=$(sed -n 's/^TOKEN = "\(.*\)"$/\1/p' "$here/bot_api.py")
within 120 box systemctl is-active --quiet multi-user.target || { tail -n 20 "$work/console"; skip "no systemd boots here"; }

show_failure() { box journalctl --no-pager -n 200 -u 'rusty-pinch*' | grep -v '"event":"turn"' | tail -n 25; }
# Reads to the end, so that nobody's pipe breaks.
says() { grep -- "$1" > /dev/null; }
show() { box systemctl show --value -p "$2" "$1"; }
unit=rusty-pinch-telegram
env=/etc/rusty-pinch/rusty-pinch.env
install_package() { box dpkg -i "/root/$1.deb" < /dev/null; }
settings() { # PROVIDER
    box tee "$env" << END
# An operator's file.
RUSTY_PINCH_PROVIDER=$1
RUSTY_PINCH_DATA_DIR=/var/lib/rusty-pinch/data
RUSTY_PINCH_WORKSPACE=/var/lib/rusty-pinch/workspace
RUSTY_PINCH_METRICS_FILE=/var/lib/rusty-pinch-metrics/rusty_pinch.prom
RUSTY_PINCH_TURNS_PER_MINUTE=0
RUSTY_PINCH_TURNS_PER_DAY=0
RUSTY_PINCH_CHANNELS_TELEGRAM_ENABLED=true
RUSTY_PINCH_CHANNELS_TELEGRAM_ALLOW_FROM=*
RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE=http://127.0.0.1:$port
END
}
# Five starts within ten minutes are a crash loop, which the worker slows down, and systemd has a limit of its own: steps begin with
# another data folder and a clean slate.
afresh() {
    box sed -i "s,^RUSTY_PINCH_DATA_DIR=.*,RUSTY_PINCH_DATA_DIR=/var/lib/rusty-pinch/data-$(date +%s%N)," $env
    box systemctl reset-failed $unit
    box systemctl restart $unit
}
answered() { ask say "$1" && ask settle 60; }

fresh_install() {
    install_package old | tee "$work/told"
    grep -q 'Next: edit' "$work/told"
    [ "$(box stat -c '%a %U:%G' $env)" = '640 root:rusty-pinch' ]
    [ "$(box stat -c '%a %U:%G' /etc/rusty-pinch/secrets.d)" = '750 root:rusty-pinch' ]
    [ "$(box stat -c '%a %U:%G' /var/lib/rusty-pinch)" = '700 rusty-pinch:rusty-pinch' ]
    for one in rusty-pinch rusty-pinch-telegram rusty-pinch-whatsapp rusty-pinch-doctor.timer; do
        [ "$(show $one ActiveState)" = inactive ]
        [ "$(show $one UnitFileState)" = disabled ]
    done
    box rusty-pinch --version
}
configure() {
    settings local
    printf '%s\n' "$token" | box install -m 0640 -g rusty-pinch /dev/stdin /etc/rusty-pinch/secrets.d/CHANNELS_TELEGRAM_TOKEN
    box systemctl start rusty-pinch-doctor
}
start() {
    box systemctl enable --now $unit
    [ "$(show $unit ActiveState)" = active ]
    [ "$(show $unit Type)" = notify ]
    answered 'a first message'
}
sandboxed() {
    local status
    status=/proc/$(show $unit MainPID)/status
    box grep -q '^NoNewPrivs:.1$' "$status"
    box grep -q '^Seccomp:.2$' "$status"
    box grep -q '^CapEff:.0*$' "$status"
    [ "$(box stat -c %U "$status")" = rusty-pinch ]
    box systemd-analyze security $unit rusty-pinch rusty-pinch-whatsapp rusty-pinch-doctor --threshold=20 > /dev/null
}
metrics() { box setpriv --reuid nobody --clear-groups cat /var/lib/rusty-pinch-metrics/rusty_pinch.prom | says '^rusty_pinch_channel_'; }
by_hand() { box setpriv --reuid rusty-pinch --regid rusty-pinch --init-groups env HOME=/var/lib/rusty-pinch rusty-pinch stats; }
reload() {
    local pid
    pid=$(show $unit MainPID)
    box systemctl reload $unit
    within 20 box sh -c "journalctl -u $unit --no-pager | grep -q '\"event\":\"reload\"'"
    [ "$(show $unit MainPID)" = "$pid" ]
    [ "$(show $unit ActiveState)" = active ]
    answered 'after a reload'
}
watchdog() {
    afresh
    box mkdir -p /run/systemd/system/$unit.service.d
    printf '[Service]\nWatchdogSec=10\nTimeoutAbortSec=2\n' | box tee /run/systemd/system/$unit.service.d/short.conf
    box systemctl daemon-reload
    box systemctl restart $unit
    local pid
    pid=$(show $unit MainPID)
    box kill -STOP "$pid"
    ask say 'while nobody pings'
    within 60 test_restarted "$pid"
    ask settle 60
    box journalctl -u $unit --no-pager | says 'Watchdog timeout'
    box rm -r /run/systemd/system/$unit.service.d
    box systemctl daemon-reload
    box systemctl restart $unit
}
test_restarted() { [ "$(show $unit NRestarts)" -ge 1 ] && [ "$(show $unit ActiveState)" = active ] && [ "$(show $unit MainPID)" != "$1" ]; }
killed() {
    afresh
    ask load 20 20
    for _ in 1 2 3; do
        within 20 test_active
        sleep 1
        box systemctl kill -s KILL --kill-whom=main $unit
    done
    ask settle 90
}
test_active() { [ "$(show $unit ActiveState)" = active ]; }
replaced() { # PACKAGE
    local before pid
    [ "$1" != new ] || afresh
    before=$(box sha256sum $env)
    pid=$(show $unit MainPID)
    ask load 12 20
    sleep 3
    install_package "$1" | tee "$work/told"
    # shellcheck disable=SC2016 # a format of dpkg-query
    [ "$(box dpkg-query -W -f '${Version}' rusty-pinch)" = "$(dpkg-deb -f "$2" Version)" ]
    [ "$(show $unit MainPID)" != "$pid" ]
    ask settle 90 | tee "$work/judged"
    [ "$(box sha256sum $env)" = "$before" ]
    [ "$(box stat -c '%a %U:%G' $env)" = '640 root:rusty-pinch' ]
    [ "$(show $unit ActiveState)" = active ]
    [ "$(show rusty-pinch-whatsapp ActiveState)" = inactive ]
}
all_channels() {
    afresh
    box systemctl start rusty-pinch
    [ "$(show $unit ActiveState)" = inactive ]
    answered 'all channels'
    box systemctl start $unit
    [ "$(show rusty-pinch ActiveState)" = inactive ]
    answered 'one channel'
}
no_loop() {
    afresh
    printf 'not a token\n' | box install -m 0640 -g rusty-pinch /dev/stdin /etc/rusty-pinch/secrets.d/CHANNELS_TELEGRAM_TOKEN
    box systemctl restart $unit || true
    within 20 test_failed
    [ "$(show $unit ExecMainStatus)" = 78 ]
    sleep 8
    [ "$(show $unit NRestarts)" = 0 ]
    printf '%s\n' "$token" | box install -m 0640 -g rusty-pinch /dev/stdin /etc/rusty-pinch/secrets.d/CHANNELS_TELEGRAM_TOKEN
    box systemctl start $unit
    answered 'after the token was mended'
}
test_failed() { [ "$(show $unit ActiveState)" = failed ]; }
shadowed() {
    afresh
    box cp /usr/lib/systemd/system/$unit.service /etc/systemd/system/$unit.service
    install_package new | says "/etc/systemd/system/$unit.service.*hides"
    box rm /etc/systemd/system/$unit.service
    box systemctl daemon-reload
}
unreadable() {
    box chmod 600 $env
    install_package new | says 'cannot read'
    [ "$(box stat -c %a $env)" = 600 ]
    box chmod 640 $env
    box systemctl restart $unit
}
stop() {
    local start=$SECONDS
    box systemctl stop $unit
    [ $((SECONDS - start)) -le 20 ]
    [ "$(show $unit Result)" = success ]
}
removed() {
    afresh
    box apt-get remove -q -y rusty-pinch < /dev/null
    [ -z "$(box pgrep -x rusty-pinch)" ]
    box test -e $env
    box test -d /var/lib/rusty-pinch/data/sessions
    install_package new
    box systemctl start $unit
    answered 'installed again'
    box systemctl stop $unit
}
purged() {
    box apt-get purge -q -y rusty-pinch < /dev/null
    [ -z "$(box getent passwd rusty-pinch)" ]
    [ -z "$(box find / -xdev -name '*rusty-pinch*' -not -path '/proc/*' -not -path '/tmp/*' -not -path '/root/*')" ]
}
set_up() { # The runbook's way, on a machine that knows nothing of us.
    purged
    install_package new
    printf 'RUSTY_PINCH_CHANNELS_TELEGRAM_API_BASE=http://127.0.0.1:%s\n' "$port" | box tee -a $env > /dev/null
    printf '%s\n' "$token" | box tee /root/token > /dev/null
    box rusty-pinch setup --provider local --bot-token-file /root/token --allow-from '*'
    box setpriv --reuid rusty-pinch --regid rusty-pinch --init-groups env HOME=/var/lib/rusty-pinch rusty-pinch doctor
    box systemctl enable --now $unit
    answered 'set up by setup'
    box systemctl stop $unit
}

codex_sandbox() { # The units' own sandbox, with another program in it: one that Codex runs a command with.
    box mkdir -p /run/systemd/system/rusty-pinch-doctor.service.d
    box tee /run/systemd/system/rusty-pinch-doctor.service.d/codex.conf << 'END'
[Service]
ExecStart=
ExecStart=/opt/codex/bin/codex sandbox /bin/sh -c 'echo from within; ! touch /etc/made 2> /dev/null'
END
    box systemctl daemon-reload
    box systemctl start rusty-pinch-doctor
    box journalctl --no-pager -u rusty-pinch-doctor | grep 'from within'
    box rm -r /run/systemd/system/rusty-pinch-doctor.service.d
    box systemctl daemon-reload
}

step 'install: nothing runs, rights, what to do next' fresh_install
step 'configure: credential, doctor content' configure
step 'start: ready, a message is answered' start
step 'sandbox: user, no privileges, filter, score at most 2.0' sandboxed
step 'metrics: another user reads the text file' metrics
step 'by hand: the settings of the units' by_hand
step 'reload: same process, sources read again' reload
step 'watchdog: a process that stands still is killed and its successor answers' watchdog
step 'kill -9 three times under load' killed
step 'upgrade under load: nothing lost, settings untouched' replaced new "$package"
step 'downgrade under load' replaced old "$previous"
step 'upgrade again' replaced new "$package"
step 'all channels and one channel exclude each other' all_channels
step 'a bad token: exit 78, no restarts' no_loop
step 'a unit of an earlier installation is reported' shadowed
step 'settings that cannot be read are reported and left alone' unreadable
[ -z "${CODEX:-}" ] || step 'the sandbox of codex works in that of the units' codex_sandbox
step 'stop within 20 s' stop
step 'remove keeps settings and data; install again goes on' removed
step 'set up by setup: doctor by hand content, a message is answered' set_up
step 'purge leaves nothing' purged
ask settle 10 | sed 's/^/judgement: /'
[ "$failures" = 0 ]
