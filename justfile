# The daily commands. `just` alone lists them. If just is not installed, run the lines by hand.

default:
    @just --list --unsorted

# Unit and property tests of all crates, which need no servers and no other programs
quick *words:
    cargo test --locked --lib {{ words }}

# The black-box tests through one proxy, for example: just proxy Envoy
proxy name:
    scripts/test.sh --test proxies -- {{ name }}

# One scenario of the fault suite, for example: just scenario sentinel
scenario name:
    scripts/test.sh --test chaos -- {{ name }}

# Format and lints
lint:
    cargo fmt --all --check
    cargo clippy --locked --all-targets --all-features -- -D warnings

# API documentation and the book
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    scripts/book.sh

# All tests; installs the programs that they need
test:
    scripts/test.sh

# The tests with a real Kubernetes API server and real ingress controllers
cluster *words:
    scripts/cluster.sh {{ words }}

# The stack of docker-compose.yml in a real Docker
compose:
    scripts/compose.sh

# Sign-ins with a real Keycloak
keycloak *words:
    scripts/keycloak.sh {{ words }}

# All lints, builds and tests that must pass before a merge
ci:
    .ci/run

# Benchmark: compares Curfew with servers that do no work, and with Redis alone
bench *words:
    scripts/bench.sh {{ words }}
