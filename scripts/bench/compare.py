"""Compares Curfew with servers that do no work, and with Redis alone, in one run.

Rounds are interleaved, so that other load on the machine affects all servers alike. Compares the
medians. Writes target/bench/results.json, .md and .svg.
"""

import argparse
import json
import re
import shlex
import statistics
import subprocess
from pathlib import Path

import plot
from processes import (
    OTHER_CORES,
    ROOT,
    SERVER_CORE,
    WORK,
    Curfew,
    Keys,
    Process,
    Redis,
    run_load_client,
    build_programs,
    free_port,
    start_sessions,
    wait_for_port,
)
from spoe import HaProxy

CONNECTIONS = 32
GRPC_CONNECTIONS_AND_STREAMS = (4, 16)
BENCH_DIRECTORY = Path(__file__).parent
REQUEST = ROOT / "benches" / "load" / "request.txt"


class Target:
    """A server under test, and the measurements of each round."""

    def __init__(self, name, process, address, tokens, redis=None, path="/auth-request"):
        self.name, self.process, self.address = name, process, address
        self.tokens, self.redis, self.path = tokens, redis, path
        self.rounds = []

    def measure(self, ask):
        """Calls the function `ask`, which sends requests, twice. The first call fills the caches. Records the result
        of the second call, and the CPU seconds that each process needed for it."""
        ask(self)
        watched = {"cpu": self.process} | ({"redis_cpu": self.redis} if self.redis else {})
        before = {name: process.cpu() for name, process in watched.items()}
        result = ask(self)
        if result.get("failed"):
            raise SystemExit(f"{self.name}: {result['failed']} requests failed")
        for name, process in watched.items():
            spent = process.cpu() - before[name]
            result[name + "_per_million"] = spent / result["requests"] * 1e6
        self.rounds.append(result)

    def summary(self):
        names = self.rounds[0].keys() - {"requests", "failed"}
        medians = {
            name: statistics.median(one[name] for one in self.rounds) for name in sorted(names)
        }
        return medians | {"peak_memory": self.process.memory()}


def measure_interleaved(targets, rounds, ask):
    for _ in range(rounds):
        for target in targets:
            target.measure(ask)
    return {target.name: target.summary() for target in targets}


def wrk(target, seconds, *options):
    words = ["taskset", "-c", OTHER_CORES, "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s"]
    words += ["-s", str(BENCH_DIRECTORY / "wrk.lua"), f"http://{target.address}/", "--", target.tokens]
    out = subprocess.run(
        [*words, str(REQUEST), target.path, *options], check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(out.stdout.splitlines()[-1])


def redis_benchmark(redis, label, rounds, requests, *words):
    """Returns requests per second, and CPU seconds of Redis per million requests."""
    command = ["redis-benchmark", "-p", str(redis.port), "-c", str(CONNECTIONS), "-r", "100000"]
    command += ["-n", str(requests), "--csv", *words]
    results = []
    for _ in range(rounds):
        before = redis.cpu()
        out = subprocess.run(
            ["taskset", "-c", SERVER_CORE, *command], check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        rps = float(re.findall(r'"([0-9.]+)"', out.splitlines()[-1])[0])
        results.append((rps, (redis.cpu() - before) / requests * 1e6))
    rps, cpu = (statistics.median(values) for values in zip(*results, strict=True))
    print(f"  {label}: {rps:,.0f}/s, {cpu:.1f} CPU s of Redis per million", flush=True)
    return {"rps": rps, "redis_cpu_per_million": cpu}


def measure_redis_alone(rounds):
    redis = Redis()
    script = redis.command("SCRIPT", "LOAD", (BENCH_DIRECTORY / "touch.lua").read_text())
    key = "bench:__rand_int__"
    quiet = {"stdout": subprocess.DEVNULL, "check": True}
    fill = ["redis-benchmark", "-p", str(redis.port), "-r", "100000", "-n", "1000000", "-P", "32"]
    value = "x" * 90
    subprocess.run([*fill, "SET", key, value, "PX", "3600000"], **quiet)
    touch = ["EVALSHA", script, "1", key, "3600000", "900000"]
    found = {
        "get": redis_benchmark(redis, "GET", rounds, 150_000, "GET", key),
        "touch": redis_benchmark(redis, "touch", rounds, 100_000, *touch),
        "get_pipelined": redis_benchmark(redis, "GET, 16 at once", rounds, 800_000, "-P", "16", "GET", key),
        "touch_pipelined": redis_benchmark(redis, "touch, 16 at once", rounds, 200_000, "-P", "16", *touch),
    }
    redis.stop()
    return found


def start_bare_servers(programs, kind):
    """Starts the servers that do no work, and returns the name, the process and the address of each."""
    found = []
    for name, program in (("bare", "bare"), ("bare, mimalloc", "load")):
        address = f"127.0.0.1:{free_port()}"
        process = Process([programs[program], f"bare-{kind}", address], SERVER_CORE)
        wait_for_port(int(address.rpartition(":")[2]))
        found.append((name, process, address))
    return found


def start_other_service(text, tokens):
    """Starts another service from the text `NAME=URL=COMMAND`. Requests use the path of the URL."""
    name, url, command = text.split("=", 2)
    address, _, path = url.removeprefix("http://").partition("/")
    process = Process(shlex.split(command), SERVER_CORE)
    wait_for_port(int(address.rsplit(":", 1)[1]))
    return Target(name, process, address, tokens, path=f"/{path}")


def run(options):
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    curfew, load = programs["curfew"], programs["load"]
    keys = Keys(curfew)
    rounds, seconds = options.rounds, options.seconds
    print("redis-benchmark", flush=True)
    results = {"redis": measure_redis_alone(rounds)}
    bare = {kind: start_bare_servers(programs, kind) for kind in ("http", "grpc")}
    print(f"starting {options.sessions} sessions in each store", flush=True)
    services = {"memory": (Curfew(curfew, keys), None)}
    for name, sessions in (("near cache", "100000"), ("redis", "0")):
        redis = Redis()
        settings = {"STORE__URL": redis.url, "STORE__NEAR_CACHE_SESSIONS": sessions}
        services[name] = (Curfew(curfew, keys, **settings), redis)
    tokens = {
        name: start_sessions(load, service, options.sessions) for name, (service, _) in services.items()
    }

    def targets_of_listener(listener):
        kind = "grpc" if listener == "grpc" else "http"
        first = [Target(*one, tokens["memory"]) for one in bare[kind]]
        ours = [
            Target(name, service, service.address(listener), tokens[name], redis)
            for name, (service, redis) in services.items()
        ]
        return [*first, *ours]

    print("HTTP at the maximum rate", flush=True)
    other_services = [start_other_service(text, tokens["memory"]) for text in options.other]
    max_rate_targets = [*targets_of_listener("check"), *other_services]
    results["http"] = measure_interleaved(max_rate_targets, rounds, lambda target: wrk(target, seconds))
    print_results(results["http"])
    print("HTTP at half of that rate", flush=True)
    rates = {name: found["rps"] / 2 for name, found in results["http"].items()}
    half_rate_targets = targets_of_listener("check")
    half = lambda target: run_load_client(
        load, "http", target.address, target.tokens, seconds, 2 * CONNECTIONS, rates[target.name]
    )
    results["http_half"] = measure_interleaved(half_rate_targets, rounds, half)
    print_results(results["http_half"])
    print("gRPC", flush=True)
    grpc = lambda target: run_load_client(load, "grpc", target.address, target.tokens, seconds, *GRPC_CONNECTIONS_AND_STREAMS)
    results["grpc"] = measure_interleaved(targets_of_listener("grpc"), rounds, grpc)
    print_results(results["grpc"])
    print("SPOE through HAProxy", flush=True)
    proxies = {"not asking": HaProxy(None)}
    proxies |= {name: HaProxy(service) for name, (service, _) in services.items()}
    spoe_targets = []
    for name, proxy in proxies.items():
        service, redis = services.get(name, (proxy, None))
        spoe_targets.append(
            Target(name, service, proxy.address, tokens.get(name, tokens["memory"]), redis, "/orders")
        )
    results["spoe"] = measure_interleaved(spoe_targets, rounds, lambda target: wrk(target, seconds))
    print_results(results["spoe"])
    results["run"] = {"sessions": options.sessions, "connections": CONNECTIONS, "rounds": rounds}
    return results


def print_results(found):
    for name, one in found.items():
        cpu = one["cpu_per_million"]
        print(f"  {name:12} {one['rps']:9,.0f}/s  {cpu:6.2f} CPU s per million  p99 {one['p99_us']} µs")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="duration of each measurement")
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=URL=COMMAND",
        help="another authorization service: COMMAND starts it, and URL receives the requests",
    )
    results = run(parser.parse_args())
    (WORK / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    table = plot.table(results)
    (WORK / "results.md").write_text(table)
    (WORK / "results.svg").write_text(plot.svg(results))
    print(f"\n{table}\nwritten: target/bench/results.json, .md, .svg")


if __name__ == "__main__":
    main()
