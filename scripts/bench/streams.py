"""Measures the proxy listener: the end of streams, their memory and throughput, and the cost of plain requests.

Each comparison with NGINX is one run with interleaved rounds. Writes target/bench/streams.json and .md.
"""

import argparse
import json
import signal
import statistics
import subprocess
import time
from pathlib import Path

from processes import (
    OTHER_CORES,
    ROOT,
    SERVER_CORE,
    WORK,
    Curfew,
    Keys,
    Process,
    Redis,
    build_programs,
    free_port,
    run_load_client,
    start_sessions,
    wait_for_port,
)

HOST = "app.example.com"
PROXIES = ROOT / "target" / "proxies"
MESSAGES = 8192
CONNECTIONS = 16
REQUEST_RATE = 2500
REQUESTS = 10_000


def start_application(load):
    port = free_port()
    process = Process([load, "stream-application", f"127.0.0.1:{port}"], OTHER_CORES)
    wait_for_port(port)
    process.address = f"127.0.0.1:{port}"
    return process


def start_curfew(program, keys, application, **settings):
    """Starts Curfew with the proxy listener before the application."""
    port = free_port()
    file = WORK / f"streams-{port}.yaml"
    file.write_text(
        f"listen: {{proxy: '127.0.0.1:{port}'}}\n"
        f"proxy: {{trusted_proxies: [127.0.0.1], upstreams: [{{host: {HOST}, target: 'http://{application}'}}]}}\n"
    )
    settings = {"STREAMS__MAX_OPEN_PER_SESSION": "20000", "LISTEN__MAX_CONNECTIONS": "19000", **settings}
    curfew = Curfew(program, keys, arguments=["--config", str(file)], **settings)
    wait_for_port(port)
    curfew.ports["proxy"] = port
    return curfew


def start_nginx(application, check=None):
    """Starts NGINX before the application. With `check`, it asks Curfew before each request."""
    port = free_port()
    directory = WORK / f"nginx-{port}"
    directory.mkdir(parents=True, exist_ok=True)
    location = "auth_request /_check;" if check else ""
    check_location = (
        f"""location = /_check {{
            internal;
            proxy_pass http://curfew/auth-request;
            proxy_set_header X-Original-URL $scheme://$host$request_uri;
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Forwarded-Method "";
            proxy_set_header X-Forwarded-Uri "";
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Content-Length "";
            proxy_pass_request_body off;
        }}"""
        if check
        else ""
    )
    upstream = f"upstream curfew {{ server {check}; keepalive 32; }}" if check else ""
    (directory / "nginx.conf").write_text(
        f"""daemon off;
        master_process off;
        pid nginx.pid;
        error_log stderr error;
        events {{ worker_connections 4096; }}
        http {{
            access_log off;
            client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi; scgi_temp_path scgi;
            upstream application {{ server {application}; keepalive 32; }}
            {upstream}
            map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
            server {{
                listen 127.0.0.1:{port};
                keepalive_requests 1000000000;
                location / {{
                    {location}
                    proxy_pass http://application;
                    proxy_http_version 1.1;
                    proxy_set_header Host $host;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                    proxy_set_header X-Forwarded-Proto $scheme;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                }}
                {check_location}
            }}
        }}"""
    )
    words = ["nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    process = Process(words, SERVER_CORE, stderr=subprocess.DEVNULL)
    wait_for_port(port)
    process.address = f"127.0.0.1:{port}"
    return process


def spent(processes, work):
    """Returns the CPU seconds that the processes need for the function `work`, and its result."""
    before = sum(process.cpu() for process in processes)
    result = work()
    return sum(process.cpu() for process in processes) - before, result


def compare(rounds, targets, work):
    """Measures the targets in turn. Returns the values of `work` for each name."""
    values = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            values[name].append(work(target))
    return values


def measure_relay(load, curfew, tokens, nginx, rounds):
    def relay(target):
        process, address = target
        cpu, result = spent(
            [process], lambda: run_load_client(load, "stream-relay", address, tokens, MESSAGES, MESSAGES)
        )
        return cpu / (result["bytes"] / 1e9)

    targets = {"curfew": (curfew, curfew.address("proxy")), "nginx": (nginx, nginx.address)}
    values = compare(rounds, targets, relay)
    return {f"{name}_cpu_per_gb": statistics.median(it) for name, it in values.items()}


def measure_requests(load, curfew, tokens, guarded, rounds):
    def ask(target):
        processes, address = target
        words = ["proxied", address, tokens, 8, CONNECTIONS, REQUEST_RATE]
        cpu, result = spent(processes, lambda: run_load_client(load, *words))
        return cpu / result["requests"] * 1e6

    targets = {
        "curfew": ([curfew], curfew.address("proxy")),
        "nginx_and_curfew": ([guarded, curfew], guarded.address),
    }
    values = compare(rounds, targets, ask)
    return {f"{name}_cpu_us_per_request": statistics.median(it) for name, it in values.items()}


def measure_latency(load, addresses, tokens, rounds):
    def ask(address):
        # One request after the other: a timer between requests would add its own error.
        return run_load_client(load, "proxied-count", address, tokens, REQUESTS)["p99_us"]

    values = compare(rounds, addresses, ask)
    return {f"{name}_p99_us": statistics.median(it) for name, it in values.items()}


def measure_memory(load, program, keys, application, count):
    curfew = start_curfew(program, keys, application)
    tokens = start_sessions(load, curfew, 500)
    # One stream first, so that the buffers that all streams share already exist.
    for number in (1, count):
        before = curfew.memory("VmRSS")
        words = [load, "stream-hold", curfew.address("proxy"), tokens, str(number)]
        holder = Process(words, OTHER_CORES, stdout=subprocess.PIPE, text=True)
        if holder.popen.stdout.readline() != "open\n":
            raise SystemExit("could not open the WebSockets")
        time.sleep(2)
        after = curfew.memory("VmRSS")
        open_streams = curfew.metrics()['curfew_streams_open{kind="websocket"}']
        holder.stop()
        time.sleep(2)
    curfew.stop()
    return {"streams": int(open_streams), "bytes_per_websocket": (after - before) / count}


def render(program, proxy, listen, replica, application):
    """Writes the files of `curfew render --streams` for a proxy, and returns the directory."""
    directory = WORK / f"rendered-{listen.rpartition(':')[2]}"
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        if old.is_file():
            old.unlink()
    words = [program, "render", proxy, "--listen", listen, "--directory", str(directory)]
    for name in ("check", "grpc", "spoe"):
        words += [f"--{name}", replica.address(name)]
    # The measurement does not use the listener `browser`, which is off.
    words += ["--browser", replica.address("check"), "--application", application]
    words += ["--streams", replica.address("proxy")]
    environment = {"CURFEW__POLICIES__DEFAULT__IDLE": "15m"}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
    return directory


NGINX_MAIN = """daemon off; master_process off; pid nginx.pid; error_log stderr error;
events { worker_connections 8192; }
http { access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi; scgi_temp_path scgi; include curfew.conf; include streams.conf; }
"""


def start_rendered(program, proxy, replica, application):
    """Starts a proxy that sends streams to a replica. Returns the address of the proxy."""
    listen = f"127.0.0.1:{free_port()}"
    directory = render(program, proxy, listen, replica, application)
    if proxy == "nginx":
        (directory / "nginx.conf").write_text(NGINX_MAIN)
        words = ["nginx", "-p", str(directory), "-c", "nginx.conf", "-e", "stderr"]
    elif proxy == "haproxy":
        words = ["haproxy", "-db", "-f", "haproxy.cfg"]
    elif proxy == "traefik":
        words = [str(PROXIES / "bin" / "traefik"), "--configFile=traefik.yaml"]
    elif proxy == "caddy":
        file = directory / "Caddyfile"
        file.write_text(file.read_text().replace("\tservers {", "\tadmin off\n\tservers {", 1))
        words = [str(PROXIES / "bin" / "caddy"), "run", "--config", "Caddyfile"]
    else:
        name = "http.yaml" if proxy == "envoy-http" else "grpc.yaml"
        words = [str(PROXIES / "envoy"), "--config-path", name, "--use-dynamic-base-id"]
        words += ["--concurrency", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    Process(words, OTHER_CORES, cwd=directory, **quiet)
    wait_for_port(int(listen.rpartition(":")[2]))
    time.sleep(2)
    return listen


def measure_cuts(load, program, keys, application, count):
    """Measures the time from the acknowledged end of a session to the end of its stream, through each proxy, with two
    replicas."""
    redis = Redis("--maxmemory-policy", "noeviction")
    settings = {
        "STORE__URL": redis.url,
    }
    replicas = [start_curfew(program, keys, application, **settings) for _ in range(2)]
    time.sleep(2)
    results = {}
    for proxy in ("nginx", "haproxy", "traefik", "caddy", "envoy-http", "envoy-grpc"):
        addresses = [start_rendered(program, proxy, it, application) for it in replicas]
        words = ["stream-cut", replicas[0].address("admin"), keys.admin_token, count, *addresses]
        result = run_load_client(load, *words)
        results[proxy] = {name: result[name] / 1e6 for name in ("p50_us", "p99_us", "max_us")}
        print(proxy, results[proxy], flush=True)
    for replica in replicas:
        replica.stop()
    redis.stop()
    return results


def count_streams(curfew):
    """Returns the number of open WebSockets, and of streams that were cut."""
    metrics = curfew.metrics()
    cut = sum(it for name, it in metrics.items() if name.startswith("curfew_streams_cut_total"))
    return int(metrics['curfew_streams_open{kind="websocket"}']), int(cut)


def measure_survival(load, program, keys, application, count):
    """Opens WebSockets over two replicas. Reloads the configuration, and then stops Redis for ten seconds, as in a
    fail-over. Returns how many streams were open and cut after each."""
    redis = Redis("--maxmemory-policy", "noeviction")
    replicas = [start_curfew(program, keys, application, STORE__URL=redis.url) for _ in range(2)]
    time.sleep(2)
    tokens = start_sessions(load, replicas[0], 500)
    holders = []
    for replica in replicas:
        words = [load, "stream-hold", replica.address("proxy"), tokens, str(count // 2)]
        holders.append(Process(words, OTHER_CORES, stdout=subprocess.PIPE, text=True))
    for holder in holders:
        if holder.popen.stdout.readline() != "open\n":
            raise SystemExit("could not open the WebSockets")

    def total():
        counts = [count_streams(replica) for replica in replicas]
        return {"open": sum(it[0] for it in counts), "cut": sum(it[1] for it in counts)}

    results = {"before": total()}
    for replica in replicas:
        replica.popen.send_signal(signal.SIGHUP)
    time.sleep(5)
    results["reload"] = total()
    redis.popen.send_signal(signal.SIGSTOP)
    time.sleep(10)
    redis.popen.send_signal(signal.SIGCONT)
    time.sleep(5)
    results["fail_over"] = total()
    for process in [*holders, *replicas, redis]:
        process.stop()
    return results


def table(results):
    rows = []
    for proxy, cut in results.get("cuts", {}).items():
        values = ", ".join(f"{cut[name] * 1000:.1f} ms" for name in ("p50_us", "p99_us", "max_us"))
        rows.append((f"acknowledged end to cut, {proxy}: median, p99, maximum", values))
    memory = results.get("memory")
    if memory:
        rows.append(
            (f"memory per idle WebSocket ({memory['streams']} open)", f"{memory['bytes_per_websocket'] / 1024:.1f} KiB")
        )
    survival = results.get("survival")
    if survival:
        for name, what in (("reload", "a reload"), ("fail_over", "10 s without Redis")):
            values = f"{survival[name]['open']} of {survival['before']['open']} open, {survival[name]['cut']} cut"
            rows.append((f"streams after {what}, two replicas", values))
    relay = results.get("relay")
    if relay:
        ratio = relay["curfew_cpu_per_gb"] / relay["nginx_cpu_per_gb"]
        rows.append(("CPU per GB relayed, Curfew ÷ NGINX", f"{ratio:.2f}"))
    requests = results.get("requests")
    if requests:
        ratio = requests["curfew_cpu_us_per_request"] / requests["nginx_and_curfew_cpu_us_per_request"]
        rows.append(("CPU per plain request, Curfew ÷ (NGINX with auth_request + Curfew)", f"{ratio:.2f}"))
    latency = results.get("latency")
    if latency:
        direct = latency["direct_p99_us"]
        ratio = (latency["curfew_p99_us"] - direct) / (latency["nginx_p99_us"] - direct)
        rows.append(("(p99 through Curfew − p99 direct) ÷ (p99 through NGINX − p99 direct)", f"{ratio:.2f}"))
        ratio = (latency["curfew_p99_us"] - direct) / (latency["guarded_p99_us"] - direct)
        rows.append(("the same, with NGINX that asks Curfew", f"{ratio:.2f}"))
    lines = ["| figure | value |", "|---|--:|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--websockets", type=int, default=9000)
    parser.add_argument("--cut-streams", type=int, default=1000)
    parser.add_argument("--only", nargs="*", default=["relay", "requests", "latency", "memory", "survival", "cuts"])
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    load, program = programs["load"], programs["curfew"]
    keys = Keys(program)
    application = start_application(load)
    results = {}
    curfew = start_curfew(program, keys, application.address)
    tokens = start_sessions(load, curfew, 500)
    nginx = start_nginx(application.address)
    guarded = start_nginx(application.address, check=curfew.address("check"))
    if "relay" in options.only:
        results["relay"] = measure_relay(load, curfew, tokens, nginx, options.rounds)
        print(results["relay"], flush=True)
    if "requests" in options.only:
        results["requests"] = measure_requests(load, curfew, tokens, guarded, options.rounds)
        print(results["requests"], flush=True)
    if "latency" in options.only:
        addresses = {
            "direct": application.address,
            "nginx": nginx.address,
            "guarded": guarded.address,
            "curfew": curfew.address("proxy"),
        }
        results["latency"] = measure_latency(load, addresses, tokens, options.rounds)
        print(results["latency"], flush=True)
    curfew.stop()
    if "memory" in options.only:
        results["memory"] = measure_memory(load, program, keys, application.address, options.websockets)
        print(results["memory"], flush=True)
    if "survival" in options.only:
        results["survival"] = measure_survival(load, program, keys, application.address, options.cut_streams)
        print(results["survival"], flush=True)
    if "cuts" in options.only:
        results["cuts"] = measure_cuts(load, program, keys, application.address, options.cut_streams)
    (WORK / "streams.json").write_text(json.dumps(results, indent=2) + "\n")
    (WORK / "streams.md").write_text(table(results))
    print(table(results))


if __name__ == "__main__":
    main()
