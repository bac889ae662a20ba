"""Measures how a flood of forged tokens affects honest clients and Redis.

The forged tokens have the right form and the ID of an existing key. Honest requests come at a
steady rate, in rounds with and without the flood, interleaved. Writes target/bench/flood.md.
"""

import argparse
import statistics
import subprocess
from pathlib import Path

from compare import CONNECTIONS, REQUEST
from processes import OTHER_CORES, WORK, Curfew, Keys, Redis, asked, built, seed

BENCH = Path(__file__).parent
# Requests of honest clients per second.
HONEST = 2000


def forged(tokens):
    """Returns a file with the tokens, each with one changed character in the middle."""
    lines = Path(tokens).read_text().splitlines()
    file = WORK / "forged"
    swap = lambda line: line[:30] + ("A" if line[30] != "A" else "B") + line[31:]
    file.write_text("\n".join(swap(line) for line in lines[:10_000]) + "\n")
    return str(file)


def flood(address, tokens, seconds):
    """Starts `wrk` at the maximum rate, with the lowest priority on its core."""
    words = ["nice", "-n", "15", "taskset", "-c", OTHER_CORES, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    words += ["-s", str(BENCH / "wrk.lua"), f"http://{address}/", "--", tokens, str(REQUEST), "/auth-request"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def looked_up(redis):
    """Returns the number of session reads in Redis. Each read of a session also reads its expiry."""
    stats = redis.command("INFO", "commandstats").splitlines()
    lines = (line for line in stats if line.startswith("cmdstat_pexpiretime:"))
    return sum(int(line.split("calls=")[1].split(",")[0]) for line in lines)


def refused(curfew):
    return sum(
        number
        for name, number in curfew.metrics().items()
        if name.startswith("curfew_checks_total") and 'verdict="invalid_credential"' in name
    )


def run(options):
    WORK.mkdir(parents=True, exist_ok=True)
    programs = built()
    keys = Keys(programs["curfew"])
    lines = [
        "| | forged tokens refused per second | Redis queries for them | honest requests alone, p50 / p99 (µs) | during the flood, p50 / p99 (µs) | memory before / after (MiB) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, near in (("with the near cache", "100000"), ("without it", "0")):
        redis = Redis()
        curfew = Curfew(programs["curfew"], keys, STORE__URL=redis.url, STORE__NEAR_CACHE_SESSIONS=near)
        address = curfew.address("check")
        tokens = seed(programs["load"], curfew, 10_000)
        bad = forged(tokens)
        honest = lambda: asked(programs["load"], "http", address, tokens, options.seconds, 64, HONEST)
        honest()
        memory = curfew.memory("VmRSS")
        # In this round, there are only forged tokens.
        before = looked_up(redis), refused(curfew)
        alone = flood(address, bad, options.seconds)
        alone.communicate()
        questions, count = looked_up(redis) - before[0], refused(curfew) - before[1]
        if questions or not count:
            raise SystemExit(f"{count} forged tokens caused {questions} Redis queries")
        calm, stormy, rates = [], [], []
        for _ in range(options.rounds):
            calm.append(honest())
            before = refused(curfew)
            storm = flood(address, bad, options.seconds)
            stormy.append(honest())
            storm.communicate()
            rates.append((refused(curfew) - before) / options.seconds)
        middle = lambda rounds, key: statistics.median(one[key] for one in rounds)
        cell = lambda rounds: f"{middle(rounds, 'p50_us'):,.0f} / {middle(rounds, 'p99_us'):,.0f}"
        lines.append(
            f"| {name} | {statistics.median(rates):,.0f} | {questions} | {cell(calm)} | {cell(stormy)} "
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
