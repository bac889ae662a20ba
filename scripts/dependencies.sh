#!/usr/bin/env bash
# Looks at the dependencies: advisories, licences, sources, what is there twice (deny.toml). Installs cargo-deny, into target/.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=target/tools/bin/cargo-deny
[ -x "$tool" ] || cargo install --quiet --locked --root target/tools cargo-deny
"$tool" check "$@"
