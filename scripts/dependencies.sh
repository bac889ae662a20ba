#!/usr/bin/env bash
# Checks the dependencies: advisories, licences, registries, duplicates (deny.toml). Installs cargo-deny into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=target/tools/bin/cargo-deny
[ -x "$tool" ] || cargo install --quiet --locked --root target/tools cargo-deny
"$tool" check "$@"
