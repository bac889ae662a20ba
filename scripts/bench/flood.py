"""Measures how a flood of forged tokens affects honest clients and Redis.

The forged tokens have the right form and the ID of an existing key. The script sends honest requests at a
steady rate, in alternating rounds with and without the flood. Writes target/bench/flood.md.
"""

import argparse
import statistics
import subprocess
from pathlib import Path

from compare import CONNECTIONS, REQUEST
from processes import OTHER_CORES, WORK, Curfew, Keys, Redis, run_load_client, build_programs, start_sessions

BENCH_DIRECTORY = Path(__file__).parent
HONEST_REQUESTS_PER_SECOND = 2000


def write_forged_tokens(tokens):
    """Returns a file with the tokens, each with one changed character in the middle."""
    lines = Path(tokens).read_text().splitlines()
    file = WORK / "forged"
    swap = lambda line: line[:30] + ("A" if line[30] != "A" else "B") + line[31:]
    file.write_text("\n".join(swap(line) for line in lines[:10_000]) + "\n")
    return str(file)


def start_flood(address, tokens, seconds):
    """Starts `wrk` at the maximum rate, with a lower priority than the other processes."""
    words = ["nice", "-n", "15", "taskset", "-c", OTHER_CORES, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    words += ["-s", str(BENCH_DIRECTORY / "wrk.lua"), f"http://{address}/", "--", tokens, str(REQUEST), "/auth-request"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def read_session_read_count(redis):
    """Returns the number of session reads in Redis. Each read of a session also reads its expiry."""
    stats = redis.command("INFO", "commandstats").splitlines()
    lines = (line for line in stats if line.startswith("cmdstat_pexpiretime:"))
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


def read_refused_count(curfew):
    return sum(
        number
        for name, number in curfew.metrics().items()
        if name.startswith("curfew_checks_total") and 'verdict="invalid_credential"' in name
    )


def run(options):
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    keys = Keys(programs["curfew"])
    lines = [
        "| | forged tokens refused per second | Redis queries for them | honest requests alone, p50 / p99 (µs) | during the flood, p50 / p99 (µs) | memory before / after (MiB) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, near_cache_sessions in (("with the near cache", "100000"), ("without it", "0")):
        redis = Redis()
        curfew = Curfew(programs["curfew"], keys, STORE__URL=redis.url, STORE__NEAR_CACHE_SESSIONS=near_cache_sessions)
        address = curfew.address("check")
        tokens = start_sessions(programs["load"], curfew, 10_000)
        forged_tokens = write_forged_tokens(tokens)
        honest = lambda: run_load_client(programs["load"], "http", address, tokens, options.seconds, 64, HONEST_REQUESTS_PER_SECOND)
        honest()
        memory = curfew.memory("VmRSS")
        # In this round, the script sends only forged tokens, so they cause all session reads.
        before = read_session_read_count(redis), read_refused_count(curfew)
        forged_only_flood = start_flood(address, forged_tokens, options.seconds)
        forged_only_flood.communicate()
        redis_queries, count = read_session_read_count(redis) - before[0], read_refused_count(curfew) - before[1]
        if redis_queries or not count:
            raise SystemExit(f"{count} forged tokens were refused, and caused {redis_queries} Redis queries")
        without_flood, during_flood, rates = [], [], []
        for _ in range(options.rounds):
            without_flood.append(honest())
            before = read_refused_count(curfew)
            flood_process = start_flood(address, forged_tokens, options.seconds)
            during_flood.append(honest())
            flood_process.communicate()
            rates.append((read_refused_count(curfew) - before) / options.seconds)
        median = lambda rounds, key: statistics.median(one[key] for one in rounds)
        cell = lambda rounds: f"{median(rounds, 'p50_us'):,.0f} / {median(rounds, 'p99_us'):,.0f}"
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} | {redis_queries} | {cell(without_flood)} | {cell(during_flood)} "
            f"| {memory / 2**20:.0f} / {curfew.memory('VmRSS') / 2**20:.0f} |"
        )
        print(lines[-1], flush=True)
        curfew.stop()
        redis.stop()
    table = "\n".join(lines) + "\n"
    (WORK / "flood.md").write_text(table)
    print(f"\n{table}\nwritten: target/bench/flood.md")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="duration of each measurement")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
