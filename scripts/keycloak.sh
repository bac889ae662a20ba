#!/usr/bin/env bash
# Installs Keycloak from Maven Central in a fixed version, starts it, and runs the tests in tests/keycloak.
#
#   scripts/keycloak.sh            all these tests
#   scripts/keycloak.sh ARGUMENTS  only these tests, such as `nginx`
#   scripts/keycloak.sh --install  only installs Keycloak
#
# The first run downloads 177 MB, and prepares Keycloak for about 20 seconds. Keycloak starts in about 15 seconds.
set -euo pipefail
cd "$(dirname "$0")/.."

version=26.7.3
checksum=77657f30b7e90d70f727712ce1c967f430fd6a5e9f458d32d8c6df0635345f47

source scripts/packages.sh
install_packages curl=curl java=default-jre-headless mvn=maven
scripts/test.sh --install

directory=target/keycloak
if ! cmp -s scripts/keycloak.sh "$directory/installed"; then
  echo "installing: Keycloak $version"
  rm -rf "$directory"
  mkdir -p "$directory"
  mvn --quiet --batch-mode dependency:copy -Dartifact="org.keycloak:keycloak-quarkus-dist:$version:tar.gz" \
    -DoutputDirectory="$PWD/$directory"
  archive=$directory/keycloak-quarkus-dist-$version.tar.gz
  echo "$checksum  $archive" | sha256sum --check --quiet
  tar -xzf "$archive" -C "$directory" --strip-components=1
  rm "$archive"
  "$directory/bin/kc.sh" build --db=dev-mem
  cp scripts/keycloak.sh "$directory/installed"
fi
[ "${1-}" != --install ] || exit 0

cargo test --locked --features kubernetes --test keycloak --no-run

# Keycloak stores nothing on disk: with `dev-mem`, it forgets its realms when it ends.
export CURFEW_TEST_KEYCLOAK_URL=http://127.0.0.1:18180
export KC_BOOTSTRAP_ADMIN_USERNAME=admin KC_BOOTSTRAP_ADMIN_PASSWORD=admin
log=$directory/log
"$directory/bin/kc.sh" start --optimized --http-enabled=true --http-host=127.0.0.1 --http-port=18180 \
  --hostname="$CURFEW_TEST_KEYCLOAK_URL" --db=dev-mem --cache=local >"$log" 2>&1 &
keycloak=$!
trap 'kill "$keycloak" 2>/dev/null; wait "$keycloak" 2>/dev/null || true' EXIT
until curl -fs "$CURFEW_TEST_KEYCLOAK_URL/realms/master" >/dev/null; do
  kill -0 "$keycloak" 2>/dev/null || {
    cat "$log"
    exit 1
  }
  sleep 0.2
done
cargo test --locked --features kubernetes --test keycloak -- --test-threads 4 "$@"
