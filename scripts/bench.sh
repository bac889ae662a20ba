#!/usr/bin/env bash
# Compares Curfew with servers that do no work, and with Redis alone, in one run on this machine.
# Options for other measurements:
#   --scale     the cost of a check with a growing number of sessions, rules, replicas and Redis nodes
#   --flood     the effect of a flood of forged tokens
#   --cut-offs  the cost of a million revoked subjects
#   --streams   the proxy listener: the end of streams, memory, throughput, latency (after scripts/test.sh --install)
#   --peers     oauth2-proxy and mod_auth_openidc (after scripts/test.sh --install)
#   --cluster   a large Kubernetes cluster: memory, CPU, time until a change is in force
#   --forwarding  two libraries for forwarding, in bare proxies without checks
# Installs the required packages (Debian, Ubuntu).
set -euo pipefail
cd "$(dirname "$0")/.."

source scripts/packages.sh
install_packages wrk=wrk redis-server=redis-server redis-benchmark=redis-tools haproxy=haproxy python3=python3

export PATH="$PATH:/usr/sbin:/sbin"
script=compare
case "${1:-}" in
  --scale | --flood | --streams | --peers | --forwarding)
    script=${1#--}
    shift
    ;;
  --cluster)
    exec cargo bench --locked --features kubernetes --bench cluster
    ;;
  --cut-offs)
    script=cut_offs
    shift
    ;;
esac
exec python3 "scripts/bench/$script.py" "$@"
