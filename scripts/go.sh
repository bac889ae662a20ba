# Functions for programs and files in Go modules. Source this file in a directory for temporary files, with the variable
# `python`: a Python interpreter.

export GOTOOLCHAIN=local GOFLAGS=-modcacherw GOMODCACHE="$PWD/module" GOCACHE="$PWD/module/build" GOPATH="$PWD/module"
mkdir -p module

# Fetches a module with this checksum, and prints the path of its archive.
fetch_module() {
  # If Go is older than the module requires, this command fails. It has fetched the module before, so ignore the failure.
  go mod download -json "$1" >module.json || true
  "$python" -c 'import json, sys
module = json.load(open("module.json"))
sys.exit(sys.argv[1] + ": wrong checksum") if module.get("Sum") != sys.argv[2] else print(module["Zip"])' "$1" "$2"
  rm -f module.json
}

# Unpacks a module with this checksum into `module/files`.
unpack_module() {
  local zip
  zip=$(fetch_module "$1" "$2")
  "$python" -m zipfile -e "$zip" module/files
}

# Sets `go` to a Go of version 1.26 or newer. If the Go of the distribution is older, fetches one, also as a module.
find_go() {
  go=go
  if ! printf '%s\n' go1.26.0 "$(go env GOVERSION)" | sort --check=silent --version-sort; then
    local machine toolchain
    machine=$(go env GOARCH)
    declare -A sums=(
      [amd64]=h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM=
      [arm64]=h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc=
    )
    toolchain=golang.org/toolchain@v0.0.1-go1.26.8.linux-$machine
    unpack_module "$toolchain" "${sums[$machine]}"
    go=$PWD/module/files/$toolchain/bin/go
    chmod +x "$go" "module/files/$toolchain/pkg/tool"/*/*
  fi
}
