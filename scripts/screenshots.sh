#!/usr/bin/env bash
# Updates the screenshots in docs/images. The browser tests take these screenshots.
set -euo pipefail
cd "$(dirname "$0")/.."

CURFEW_PICTURES="$PWD/docs/images" scripts/test.sh --test browser -- --nocapture
