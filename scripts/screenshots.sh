#!/usr/bin/env bash
# Makes the pictures of docs/images anew, by the tests that show what is in them.
set -euo pipefail
cd "$(dirname "$0")/.."

CURFEW_PICTURES="$PWD/docs/images" scripts/test.sh --test browser -- --nocapture
