#!/bin/sh
# Every integration test by itself, ROUNDS times, AT_ONCE of them side by side, in another order each round: what fails
# only on a busy machine shows here and not once a month in CI. Left out is what is long by itself.
#
# Usage: crowd.sh [ROUNDS] [AT_ONCE]        12 and 12 by default: about twenty minutes on two cores
set -eu

# Longer than any test takes in a crowd.
SECONDS_MAX=300
LONG='^soak::\|^campaign::\|^faults::\|^controls::every\|the_worker_passes_its_checklist\|docs::shells'

if [ "${1:-}" = --one ]; then
    binary=$2 folder=$3 test=$4 round=$5
    output="$folder/$round.$test"
    if timeout "$SECONDS_MAX" "$binary" --exact "$test" >"$output" 2>&1; then
        rm "$output"
    else
        echo "failed: $test (see $output)"
    fi
    exit 0
fi

cd "$(dirname "$0")/../.."
rounds=${1:-12}
at_once=${2:-12}
binary=$(cargo test --locked --test it --no-run --message-format=json | sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -1)
folder=$(mktemp -d)
tests=$("$binary" --list | sed -n 's/: test$//p' | grep -v "$LONG")
for round in $(seq "$rounds"); do
    echo "$tests" | shuf | sed "s/$/ $round/"
done | xargs -P "$at_once" -L 1 "tests/tools/crowd.sh" --one "$binary" "$folder"
failed=$(find "$folder" -type f | wc -l)
echo "$(echo "$tests" | wc -l) tests, $rounds rounds, $at_once at once: $failed failed"
[ "$failed" -eq 0 ] && rmdir "$folder"
