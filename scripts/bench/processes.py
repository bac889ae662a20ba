"""Starts the processes under test, pins them to cores, reads their use of CPU and memory, and stops them."""

import atexit
import json
import os
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "target" / "bench"
TICKS = os.sysconf("SC_CLK_TCK")

CORES = sorted(os.sched_getaffinity(0))
# The process under test has its own core. The load generator and Redis share the other cores.
SERVER_CORE = str(CORES[0])
OTHER_CORES = ",".join(str(core) for core in CORES[1:]) or SERVER_CORE


def build_programs():
    """Builds the programs with the same profile: `curfew`, benches/load and benches/bare."""
    command = ["cargo", "bench", "--locked", "--no-run", "--message-format=json"]
    command += ["--bench", "load", "--bench", "bare"]
    out = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = {}
    for line in out.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    found.setdefault("curfew", str(ROOT / "target" / "release" / "curfew"))
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port):
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


class Process:
    """A process under test. The kernel reports its use of CPU and memory."""

    def __init__(self, words, cores, **options):
        pinned = ["taskset", "-c", cores, *words]
        self.popen = subprocess.Popen(pinned, **options)
        atexit.register(self.stop)

    def cpu(self):
        """Returns the CPU seconds on all cores, in user and kernel mode."""
        stat = Path(f"/proc/{self.popen.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self, field="VmHWM"):
        """Returns the memory in bytes: by default the peak, and with `VmRSS` the current value."""
        status = Path(f"/proc/{self.popen.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field + ":"))
        return int(line.split()[1]) * 1024

    def stop(self):
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(10)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()


class Redis(Process):
    def __init__(self, *options):
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/"
        words = ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no"]
        words += ["--bind", "127.0.0.1", "--dir", str(WORK), *options]
        super().__init__(words, OTHER_CORES, stdout=subprocess.DEVNULL)
        wait_for_port(self.port)

    def command(self, *words):
        out = subprocess.run(
            ["redis-cli", "-p", str(self.port), *words], check=True, stdout=subprocess.PIPE, text=True
        )
        return out.stdout.strip()


class Curfew(Process):
    """A process of Curfew. `settings` are environment variables without the prefix `CURFEW__`."""

    def __init__(self, program, keys, wrapper=(), arguments=(), **settings):
        ports = {name: free_port() for name in ("check", "grpc", "spoe", "admin", "ops")}
        listen = {f"LISTEN__{name.upper()}": f"127.0.0.1:{port}" for name, port in ports.items()}
        common = {
            # The benchmarks do not use this listener. With this listener, two replicas would need the same port.
            "LISTEN__BROWSER": "off",
            "ADMIN__TOKEN_HASHES": keys.admin_hash,
            "TOKEN__KEYS": keys.token_key,
            "STORE__MAX_SESSIONS": "10000000",
            "LOG__FILTER": "error",
        }
        environment = {f"CURFEW__{k}": v for k, v in {**common, **listen, **settings}.items()}
        self.ports, self.keys = ports, keys
        words = [*wrapper, program, "serve", *arguments]
        super().__init__(words, SERVER_CORE, env=environment, stdout=subprocess.DEVNULL)
        wait_for_port(ports["ops"])

    def address(self, listener):
        return f"127.0.0.1:{self.ports[listener]}"

    def metrics(self):
        """Returns the samples of Curfew's metrics."""
        import urllib.request

        with urllib.request.urlopen(f"http://{self.address('ops')}/metrics") as response:
            lines = response.read().decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


class Keys:
    """Generates an admin token and a signing key with the program."""

    def __init__(self, program):
        def keygen(*words):
            out = subprocess.run(
                [program, "keygen", *words], check=True, stdout=subprocess.PIPE, text=True
            )
            return out.stdout.split()

        (self.token_key,) = keygen()
        _, self.admin_token, _, self.admin_hash = keygen("--admin")


def start_sessions(load, curfew, count):
    """Starts sessions, and returns the file with their tokens."""
    file = WORK / f"tokens-{curfew.popen.pid}-{count}"
    words = [load, "seed", curfew.address("admin"), curfew.keys.admin_token, str(count), str(file)]
    subprocess.run(["taskset", "-c", OTHER_CORES, *words], check=True)
    return str(file)


def run_load_client(load, *words):
    """Runs one of the clients in `load`, and returns its measurements."""
    command = ["taskset", "-c", OTHER_CORES, load, *map(str, words)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(out)
