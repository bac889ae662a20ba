"""Measures how the cost of a check grows with sessions, rules, replicas, and servers of a Redis Cluster.

Writes target/bench/scale.json.
"""

import argparse
import json
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.request import Request, urlopen

from compare import Target, wrk
from processes import WORK, Curfew, Keys, Redis, run_load_client, build_programs, free_port, start_sessions

NEAR_CACHE_SESSIONS = "100000"
# Requests per second to each replica, in the measurements with several replicas.
CHECKS_PER_SECOND = 2000


class Benchmark:
    def __init__(self, options):
        programs = build_programs()
        self.curfew, self.load = programs["curfew"], programs["load"]
        self.keys, self.options = Keys(self.curfew), options

    def start(self, **settings):
        return Curfew(self.curfew, self.keys, **settings)

    def cost(self, service, tokens, redis=None):
        """Returns the cost of a check, in CPU seconds per million checks."""
        target = Target("", service, service.address("check"), tokens, redis)
        for _ in range(self.options.rounds):
            target.measure(lambda it: wrk(it, self.options.seconds))
        found = target.summary()
        return {name: found[name] for name in found if "cpu" in name or name == "rps"}

    def sessions(self):
        """Measures memory and CPU with a growing number of sessions."""
        found = {"memory": {}, "near cache": {}}
        redis = Redis()
        services = {
            "memory": (self.start(), None),
            "near cache": (
                self.start(STORE__URL=redis.url, STORE__NEAR_CACHE_SESSIONS=NEAR_CACHE_SESSIONS),
                redis,
            ),
        }
        for name, (service, redis) in services.items():
            idle, started_count = service.memory("VmRSS"), 0
            empty = int(redis.command("INFO", "memory").split("used_memory:")[1].split()[0]) if redis else 0
            for count in (1_000, 10_000, 100_000, 1_000_000):
                if count > self.options.max_sessions:
                    break
                tokens = start_sessions(self.load, service, count - started_count)
                started_count = count
                one = self.cost(service, tokens, redis)
                one["bytes_per_session"] = (service.memory("VmRSS") - idle) / count
                if redis:
                    used = int(redis.command("INFO", "memory").split("used_memory:")[1].split()[0])
                    one["redis_bytes_per_session"] = (used - empty) / count
                    cached_sessions = service.metrics()["curfew_near_cache_entries"]
                    one["cached"] = cached_sessions
                    one["bytes_per_cached_session"] = (service.memory("VmRSS") - idle) / max(cached_sessions, 1)
                found[name][count] = one | {"idle_memory": idle}
                print_result(f"{name}, {count} sessions", one)
            service.stop()
        return found

    def rules(self):
        """Measures CPU with a growing number of rules for the requested host."""
        found = {}
        for count in (0, 1, 10, 100, 1_000):
            file = WORK / f"rules-{count}.yaml"
            rules = [
                {"host": "app.example.com", "path": f"/section-{number}/", "activity": "passive"}
                for number in range(count)
            ]
            file.write_text(json.dumps({"rules": rules}))
            service = Curfew(self.curfew, self.keys, arguments=("--config", str(file)))
            found[count] = self.cost(service, start_sessions(self.load, service, 1_000))
            print_result(f"{count} rules", found[count])
            service.stop()
        return found

    def replicas(self):
        """Measures the invalidation delay and the cost of a check with a growing number of replicas."""
        found = {}
        for count in (1, 2, 3, 4):
            redis = Redis()
            replicas = [
                self.start(STORE__URL=redis.url, STORE__NEAR_CACHE_SESSIONS=NEAR_CACHE_SESSIONS)
                for _ in range(count)
            ]
            tokens = start_sessions(self.load, replicas[0], 10_000)
            before = [one.cpu() for one in replicas]
            with ThreadPoolExecutor() as pool:
                loads = [
                    pool.submit(run_load_client, self.load, "http", one.address("check"), tokens, 10, 16, CHECKS_PER_SECOND)
                    for one in replicas
                ]
                time.sleep(2)
                self.start_and_end_sessions(replicas[0])
                loads = [load.result() for load in loads]
            spent = [one.cpu() - cpu for one, cpu in zip(replicas, before, strict=True)]
            delays = [read_invalidation_delays(one.metrics()) for one in replicas]
            found[count] = {
                "cpu_per_million": statistics.mean(
                    cpu / load["requests"] * 1e6 for cpu, load in zip(spent, loads, strict=True)
                ),
                "ends_heard": [delay["count"] for delay in delays],
                "end_delay_mean_ms": max(delay["mean"] for delay in delays) * 1000,
                "end_delay_p99_ms_at_most": max(delay["p99"] for delay in delays) * 1000,
            }
            print_result(f"{count} replicas", found[count])
            for process in (*replicas, redis):
                process.stop()
        return found

    def start_and_end_sessions(self, service):
        """Starts and ends 300 sessions while the other replicas answer checks."""
        for number in range(300):
            started = self.api(service, "POST", "sessions", {"subject": f"ended-{number}"})
            self.api(service, "DELETE", f"sessions/{started['session']['id']}")
            time.sleep(0.01)

    def api(self, service, method, path, body=None):
        headers = {
            "Authorization": f"Bearer {self.keys.admin_token}",
            "Content-Type": "application/json",
        }
        url = f"http://{service.address('admin')}/api/v1/{path}"
        data = json.dumps(body).encode() if body else None
        with urlopen(Request(url, data, headers, method=method)) as response:
            return json.loads(response.read() or b"null")

    def cluster(self):
        """Measures CPU with a growing number of cluster nodes."""
        found = {}
        for count in (3, 5):
            servers = [
                Redis("--cluster-enabled", "yes", "--cluster-config-file", f"nodes-{free_port()}.conf",
                      "--cluster-port", str(free_port()))
                for _ in range(count)
            ]
            addresses = [f"127.0.0.1:{server.port}" for server in servers]
            words = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            while any("cluster_state:ok" not in one.command("CLUSTER", "INFO") for one in servers):
                time.sleep(0.1)
            url = f"redis+cluster://{','.join(addresses)}/"
            found[count] = {}
            for name, near_cache_sessions in (("redis", "0"), ("near cache", NEAR_CACHE_SESSIONS)):
                service = self.start(STORE__URL=url, STORE__NEAR_CACHE_SESSIONS=near_cache_sessions)
                found[count][name] = self.cost(service, start_sessions(self.load, service, 10_000))
                print_result(f"{count} servers, {name}", found[count][name])
                service.stop()
            for server in servers:
                server.stop()
        return found


def read_invalidation_delays(metrics):
    """Returns the mean and the 99th percentile of the invalidation delay, in seconds."""
    name = "curfew_near_cache_end_delay_seconds"
    count = metrics[f"{name}_count"]
    bounds = [
        (float(key.split('"')[1].replace("+Inf", "inf")), value)
        for key, value in metrics.items()
        if key.startswith(f"{name}_bucket")
    ]
    p99 = min((bound for bound, value in bounds if value >= 0.99 * count), default=0)
    return {"count": count, "mean": metrics[f"{name}_sum"] / max(count, 1), "p99": p99}


def print_result(what, found):
    shown = {name: round(value, 2) if isinstance(value, float) else value for name, value in found.items()}
    print(f"  {what}: {shown}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=2, help="duration of each measurement")
    parser.add_argument("--max-sessions", type=int, default=1_000_000, help="largest number of sessions")
    parser.add_argument("--only", choices=("sessions", "rules", "replicas", "cluster"))
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    benchmark, file = Benchmark(options), WORK / "scale.json"
    results = json.loads(file.read_text()) if file.exists() and options.only else {}
    for name in (options.only,) if options.only else ("sessions", "rules", "replicas", "cluster"):
        print(name, flush=True)
        results[name] = getattr(benchmark, name)()
        file.write_text(json.dumps(results, indent=1) + "\n")
    print("written: target/bench/scale.json")


if __name__ == "__main__":
    main()
