#!/bin/sh
# supply-chain.sh: what `cargo deny` says about the packages, by packaging/deny.toml, and whether faults of them are known.
#
# Nothing is installed. Without cargo-deny (`cargo install --locked cargo-deny`), or without the list of known faults, which is a repository
# of GitHub, the part that needs it is skipped, and said; licences, bans and sources have a test of their own besides.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
if ! cargo deny --version > /dev/null 2>&1; then
    echo "skip: cargo-deny is not installed"
    exit 0
fi
cargo deny --config "$here/deny.toml" --locked check --hide-inclusion-graph licenses bans sources
said=$(mktemp)
trap 'rm -f "$said"' EXIT
if timeout 120 cargo deny --config "$here/deny.toml" --locked fetch db > "$said" 2>&1; then
    cargo deny --config "$here/deny.toml" --locked --offline check advisories
else
    echo "skip: the list of known faults cannot be fetched: $(grep . "$said" | tail -n 1 | cut -c 1-200)"
fi
