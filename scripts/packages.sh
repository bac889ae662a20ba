# Installs packages of Debian or Ubuntu. Source this file.

# Installs what is missing. Each argument is a required program or file, and the package that contains it:
# `PROGRAM=PACKAGE`. The function runs in a shell of its own, so its trap runs before it returns.
install_packages() (
  missing=()
  for need in "$@"; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${need%%=*}" >/dev/null ||
      [ -e "${need%%=*}" ] || missing+=("${need##*=}")
  done
  [ "${#missing[@]}" -gt 0 ] || exit 0
  echo "installing: ${missing[*]}"
  sudo=""
  [ "$(id -u)" -eq 0 ] || sudo=sudo
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -q
  # The scripts start their own servers, so do not start the services of the packages.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod +x "$policy"
    trap '$sudo rm -f "$policy"' EXIT
  fi
  $sudo apt-get install -q -y --no-install-recommends "${missing[@]}"
)
