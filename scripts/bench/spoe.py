"""Starts HAProxy with the configuration of deploy/haproxy, with and without SPOE checks."""

import re
import subprocess

from processes import OTHER_CORES, ROOT, WORK, Process, free_port, wait_for_port

DEPLOYED = ROOT / "deploy" / "haproxy"


class HaProxy(Process):
    """A HAProxy that has no backend, and answers each allowed request with 200."""

    def __init__(self, curfew):
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        text = (DEPLOYED / "haproxy.cfg").read_text()
        lines = [line for line in text.splitlines() if curfew or not is_for_checks(line)]
        text = "\n".join(lines) + "\n"
        text = re.sub(r"bind \S+", f"bind {self.address}", text)
        spoe = WORK / f"spoe-{port}.conf"
        spoe.write_text((DEPLOYED / "curfew-spoe.conf").read_text())
        text = text.replace("config curfew-spoe.conf", f"config {spoe}")
        if curfew:
            text = re.sub(r"(server curfew) \S+", rf"\1 {curfew.address('spoe')}", text)
        text = text.replace("    default_backend", "    http-request return status 200\n    default_backend")
        file = WORK / f"haproxy-{port}.cfg"
        file.write_text(text)
        check = subprocess.run(["haproxy", "-c", "-f", str(file)], capture_output=True, text=True)
        if check.returncode:
            raise SystemExit(check.stderr)
        super().__init__(["haproxy", "-q", "-f", str(file)], OTHER_CORES)
        wait_for_port(port)


def is_for_checks(line):
    """Returns whether a line of the configuration is for checks."""
    return any(word in line for word in ("spoe", "txn.curfew", "allowed", "denied"))
