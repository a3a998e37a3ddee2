# shellcheck shell=bash
# What verify.sh and packaging/verify-container.sh do one after the other, for bash: a step is a function or a command, told as
# ok with its time, or as FAIL with its last words and what `show_failure` knows. `within` waits for something to become true.
# Wants $work, a folder; leaves $failures.
: "${work:?a folder for what steps say}"
failures=0

within() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        if [ "$SECONDS" -ge "$end" ]; then return 1; fi
        sleep 0.3
    done
}

step() { # NAME COMMAND...
    local name=$1 start=$SECONDS
    shift
    # Not as a condition, within which nothing would end at its first error.
    set +e
    (set -ex; "$@") > "$work/step" 2>&1
    local code=$?
    set -e
    if [ "$code" = 0 ]; then
        echo "ok    $name ($((SECONDS - start)) s)"
        return
    fi
    echo "FAIL  $name"
    { tail -n 25 "$work/step"; show_failure || true; } | sed 's/^/      /'
    failures=$((failures + 1))
}
