#!/usr/bin/env bash
# Updates two replicas from an older version to this version, one after the other, under load. Counts wrong answers.
# Usage: scripts/rolling-update.sh REVISION. REVISION is the Git revision of the older version. Builds both
# programs. Needs redis-server and redis-cli, which scripts/test.sh installs.
set -euo pipefail
cd "$(dirname "$0")/.."

revision=$(git rev-parse --verify "${1:?pass the Git revision of the older version}^{commit}")
old=$PWD/target/older/$revision
if [ ! -x "$old/curfew" ]; then
  tree=$(mktemp -d)
  trap 'git worktree remove --force "$tree"' EXIT
  git worktree add --quiet --detach "$tree" "$revision"
  (cd "$tree" && CARGO_TARGET_DIR=$old/build cargo build --locked --bin curfew)
  cp "$old/build/debug/curfew" "$old/curfew"
fi
cargo build --locked --bin curfew
export PATH="$PATH:/usr/sbin:/sbin"
python3 scripts/bench/rolling_update.py "$old/curfew" target/debug/curfew
