"""Compares libraries for forwarding: bare reverse proxies with hyper-util and with pingora, in interleaved rounds.

Both proxies check nothing. Writes target/bench/forwarding.md.
"""

import argparse
import os
import statistics
import subprocess
from pathlib import Path

from processes import ROOT, SERVER_CORE, WORK, Keys, Process, build_programs, free_port, start_sessions, wait_for_port
from streams import CONNECTIONS, MESSAGES, REQUEST_RATE, REQUESTS, compare, run_load_client, spent, start_application
from streams import start_curfew

# The messages on the way at a time. Without such a limit, pingora stalls when both directions are full.
WINDOW = 4

PACKAGE = ROOT / "benches" / "forwarding"


def build_forwarders():
    command = ["cargo", "build", "--release", "--locked"]
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "forwarding"
    environment = {**os.environ, "CARGO_TARGET_DIR": str(target)}
    subprocess.run(command, cwd=PACKAGE, check=True, env=environment)
    return {name: target / "release" / f"forward-{name}" for name in ("hyper", "pingora")}


def start_forwarder(program, application):
    port = free_port()
    process = Process([program, f"127.0.0.1:{port}", application], SERVER_CORE, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    process.address = f"127.0.0.1:{port}"
    return process


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    WORK.mkdir(parents=True, exist_ok=True)
    forwarders = build_forwarders()
    programs = build_programs()
    load, keys = programs["load"], Keys(programs["curfew"])
    application = start_application(load)
    # The load client reads its requests' tokens from a file, which the bare proxies ignore.
    curfew = start_curfew(programs["curfew"], keys, application.address)
    tokens = start_sessions(load, curfew, 500)
    curfew.stop()
    targets = {name: start_forwarder(program, application.address) for name, program in forwarders.items()}

    def cpu_per_gb(target):
        words = ["stream-relay", target.address, tokens, MESSAGES, WINDOW]
        cpu, result = spent([target], lambda: run_load_client(load, *words))
        return cpu / (result["bytes"] / 1e9)

    def cpu_per_request(target):
        words = ["proxied", target.address, tokens, 8, CONNECTIONS, REQUEST_RATE]
        cpu, result = spent([target], lambda: run_load_client(load, *words))
        return cpu / result["requests"] * 1e6

    def p99(target):
        return run_load_client(load, "proxied-count", target.address, tokens, REQUESTS)["p99_us"]

    figures = (
        ("CPU per GB relayed inside WebSockets, 64 KiB messages", "s", cpu_per_gb),
        ("CPU per plain request", "µs", cpu_per_request),
        ("p99 of one request after the other", "µs", p99),
    )
    lines = ["| figure | hyper-util | pingora | hyper-util ÷ pingora |", "|---|--:|--:|--:|"]
    for title, unit, measure in figures:
        values = compare(rounds, targets, measure)
        hyper, pingora = (statistics.median(values[name]) for name in ("hyper", "pingora"))
        lines.append(f"| {title} ({unit}) | {hyper:.2f} | {pingora:.2f} | {hyper / pingora:.2f} |")
        print(lines[-1], flush=True)
    memory = {name: target.memory("VmRSS") / 2**20 for name, target in targets.items()}
    lines.append(
        f"| memory after the run (MiB) | {memory['hyper']:.1f} | {memory['pingora']:.1f} "
        f"| {memory['hyper'] / memory['pingora']:.2f} |"
    )
    text = "\n".join(lines) + "\n"
    (WORK / "forwarding.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
