"""Counts the instructions of a whole check with callgrind. Machines of the same kind give the same counts.

Subtracts the count of a shorter run from the count of a longer one, so that the start of the program
is not included. Compares the results with instructions.json; `--record` writes this file.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

from processes import OTHER_CORES, SERVER_CORE, WORK, Curfew, Keys, Process, Redis, build_programs, free_port, start_sessions, wait_for_port

RECORDED_COUNTS = Path(__file__).with_name("instructions.json")
SHORT_RUN_CHECKS, LONG_RUN_CHECKS = 1_000, 3_000
# If the count increases by more than this fraction, it is a regression.
TOLERANCE = 0.03


def read_total(file):
    found = re.findall(r"^(?:totals|summary): (\d+)", file.read_text(), re.MULTILINE)
    return int(found[0])


class CallgrindProgram:
    """A program that runs under callgrind. It starts again for each of the two runs."""

    def __init__(self, start):
        self.start = start

    def per_check(self, send_checks):
        runs = []
        for count in (SHORT_RUN_CHECKS, LONG_RUN_CHECKS):
            file = WORK / "callgrind.out"
            file.unlink(missing_ok=True)
            words = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={file}", "-q"]
            process, target = self.start(words)
            send_checks(target, count)
            process.stop()
            runs.append(read_total(file))
        return round((runs[1] - runs[0]) / (LONG_RUN_CHECKS - SHORT_RUN_CHECKS))


def measure():
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    curfew, load, plain = programs["curfew"], programs["load"], programs["bare"]
    keys = Keys(curfew)
    redis = Redis()

    def bare_program(kind):
        def start(words):
            port = free_port()
            process = Process([*words, plain, f"bare-{kind}", f"127.0.0.1:{port}"], SERVER_CORE)
            wait_for_port(port)
            dummy = WORK / "tokens-none"
            dummy.write_text("none\n")
            return process, (f"127.0.0.1:{port}", str(dummy))

        return CallgrindProgram(start)

    def curfew_program(listener, **settings):
        def start(words):
            service = Curfew(curfew, keys, wrapper=words, **settings)
            tokens = start_sessions(load, service, 10)
            # Sends a request with each session, to fill the near cache.
            send_checks("http", service.address("check"), tokens, 50)
            return service, (service.address(listener), tokens)

        return CallgrindProgram(start)

    def send_checks(kind, address, tokens, count):
        words = [load, f"{kind}-count", address, tokens, str(count)]
        subprocess.run(["taskset", "-c", OTHER_CORES, *words], check=True)

    # Under callgrind, Curfew is too slow for the default timeouts.
    store = {"STORE__URL": redis.url, "STORE__COMMAND_TIMEOUT": "20s", "STORE__CHECK_TIMEOUT": "20s"}
    near = store | {"STORE__NEAR_CACHE_SESSIONS": "1000"}
    cold = store | {"STORE__NEAR_CACHE_SESSIONS": "0"}
    found = {}
    for name, kind, program in (
        ("http bare", "http", bare_program("http")),
        ("http memory", "http", curfew_program("check")),
        ("http near cache", "http", curfew_program("check", **near)),
        ("http redis", "http", curfew_program("check", **cold)),
        ("grpc bare", "grpc", bare_program("grpc")),
        ("grpc memory", "grpc", curfew_program("grpc")),
    ):
        found[name] = program.per_check(lambda target, count: send_checks(kind, *target, count))
        print(f"{name:16} {found[name]:8,}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="record the counts as the new baseline")
    options = parser.parse_args()
    found = measure()
    if options.record:
        RECORDED_COUNTS.write_text(json.dumps(found, indent=1) + "\n")
        return
    recorded = json.loads(RECORDED_COUNTS.read_text())
    worse = [name for name in found if found[name] > recorded[name] * (1 + TOLERANCE)]
    for name in worse:
        print(f"{name}: {found[name]:,} instructions, {recorded[name]:,} were recorded")
    if worse:
        raise SystemExit("a check needs more instructions than instructions.json records")


if __name__ == "__main__":
    main()
