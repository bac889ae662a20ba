"""Measures the cost of a million cut-offs.

A cut-off ends all sessions of one subject that started before a certain time. The script compares a replica on an empty
Redis with a replica on a Redis with cut-offs. Rounds are interleaved, with requests at a fixed rate. In each round, the
replica also gets new cut-offs. Writes target/bench/cut_offs.json.
"""

import argparse
import hashlib
import json
import socket
import statistics
import threading
import time
import urllib.request

from processes import WORK, Curfew, Keys, Redis, run_load_client, build_programs, start_sessions

KEY = b"curfew:not-before"
BATCH = 10_000


def encode_command(*words):
    """Returns a command in the Redis protocol."""
    parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
    lines = [b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)]
    return b"".join(lines)


def write_cut_offs(redis, count):
    """Writes `count` cut-offs."""
    begin = int(time.time() * 1000) - 3_600_000
    with socket.create_connection(("127.0.0.1", redis.port)) as connection:
        answers = connection.makefile("rb")
        for first in range(0, count, BATCH):
            members = []
            for number in range(first, min(first + BATCH, count)):
                members += [begin + number * 3600 // 1000, hashlib.sha256(b"%d" % number).digest()[:16]]
            connection.sendall(encode_command("ZADD", KEY, *members))
            answers.readline()
        connection.sendall(encode_command("ZADD", KEY, int(time.time() * 1000), b""))
        answers.readline()


def used_memory(redis):
    return int(redis.command("INFO", "memory").split("used_memory:")[1].split()[0])


def wait_until_read(service, count):
    begin = time.monotonic()
    while service.metrics().get("curfew_cut_offs", 0) < count or not service.metrics()["curfew_cut_offs_fresh"]:
        if time.monotonic() - begin > 120:
            raise SystemExit("the replica did not read all cut-offs within 120 s")
        time.sleep(0.1)
    return time.monotonic() - begin


def revoke_at_rate(service, stop, rate):
    """Revokes `rate` subjects per second through the admin API, until `stop` is set."""
    number = 0
    while not stop.wait(1 / rate):
        number += 1
        url = f"http://{service.address('admin')}/api/v1/sessions?subject=nobody-{number}"
        headers = {"Authorization": f"Bearer {service.keys.admin_token}"}
        urllib.request.urlopen(urllib.request.Request(url, method="DELETE", headers=headers)).read()


def compare_replicas(options, programs, near_cache_sessions):
    """Returns the median latencies of both replicas, their ratio, and the memory of the cut-offs."""
    keys = Keys(programs["curfew"])
    redis = {"none": Redis(), "many": Redis()}
    empty = used_memory(redis["many"])
    write_cut_offs(redis["many"], options.entries)
    found = {"redis_bytes_per_entry": (used_memory(redis["many"]) - empty) / options.entries}
    services, tokens = {}, {}
    for name, store in redis.items():
        services[name] = Curfew(
            programs["curfew"], keys, STORE__URL=store.url, STORE__NEAR_CACHE_SESSIONS=near_cache_sessions
        )
    found["seconds_to_read"] = wait_until_read(services["many"], options.entries)
    # Neither replica has sessions yet, so only the cut-offs cause a difference.
    memory = {name: service.memory("VmRSS") for name, service in services.items()}
    found["replica_bytes_per_entry"] = (memory["many"] - memory["none"]) / options.entries
    for name, service in services.items():
        tokens[name] = start_sessions(programs["load"], service, 10_000)
    rounds = {name: [] for name in services}
    for number in range(options.rounds + 1):
        order = list(services) if number % 2 else list(services)[::-1]
        for name in order:
            stop = threading.Event()
            # Both replicas revoke subjects at the same rate.
            revoking = threading.Thread(target=revoke_at_rate, args=(services[name], stop, options.changes))
            revoking.start()
            load = ("http", services[name].address("check"), tokens[name], options.seconds, 32, options.rate)
            one = run_load_client(programs["load"], *load)
            stop.set()
            revoking.join()
            if number:
                rounds[name].append(one)
    for process in (*services.values(), *redis.values()):
        process.stop()
    for field in ("p50_us", "p99_us"):
        for name in rounds:
            found[f"{name}_{field}"] = statistics.median(one[field] for one in rounds[name])
        pairs = zip(rounds["many"], rounds["none"], strict=True)
        found[f"ratio_{field}"] = statistics.median(many[field] / none[field] for many, none in pairs)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rate", type=int, default=8000, help="checks per second")
    parser.add_argument("--changes", type=int, default=10, help="new cut-offs per second")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    found = {
        "with the near cache": compare_replicas(options, programs, "100000"),
        "Redis at each check": compare_replicas(options, programs, "0"),
    }
    (WORK / "cut_offs.json").write_text(json.dumps(found, indent=2))
    print(f"|  | p50 µs with none | with {options.entries:,} | ÷ | p99 µs with none | with {options.entries:,} | ÷ |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, one in found.items():
        cells = []
        for field in ("p50_us", "p99_us"):
            cells += [f"{one[f'none_{field}']:,.0f}", f"{one[f'many_{field}']:,.0f}", f"{one[f'ratio_{field}']:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")
    one = found["with the near cache"]
    print(
        f"\nBytes per entry: {one['replica_bytes_per_entry']:.0f} in a replica, "
        f"{one['redis_bytes_per_entry']:.0f} in Redis. A replica read all of them in {one['seconds_to_read']:.1f} s."
    )


if __name__ == "__main__":
    main()
