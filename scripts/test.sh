#!/usr/bin/env bash
# Installs what the tests need, by package name (Debian, Ubuntu), and runs all of them.
set -euo pipefail
cd "$(dirname "$0")/.."

# program=package
needed=(curl=curl nginx=nginx-light redis-server=redis-server)

missing=()
for need in "${needed[@]}"; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%=*}" >/dev/null || missing+=("${need##*=}")
done
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}"
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -q
  # The tests start servers of their own; the packages' services are not wanted.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap "$sudo rm -f $policy" EXIT
  fi
  $sudo apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

cargo test --locked "$@"
