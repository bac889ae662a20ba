"""Tests a rolling update under load: rolling_update.py OLD NEW. The arguments are the paths of the old and new program.

Two replicas of the old version share one Redis, and start and end sessions. Clients send checks all the time, as
proxies do. A replica of the new version replaces each old replica, one after the other. Then the new version upgrades
the records. The script compares every answer with the expected answer. The exit status is 1 if an answer is wrong.
"""

import collections
import http.client
import json
import sys
import threading
import time
import urllib.error
import urllib.request

from processes import WORK, Curfew, Keys, Redis

CLIENTS = 4
SESSIONS = 200
SHORT_IDLE_SECONDS = 8
# The script waits this long after the idle limit, so that the unused sessions have ended.
MARGIN_SECONDS = 1.5
UPGRADE_SECONDS = 120
LIMITS = {
    "POLICIES__DEFAULT__IDLE": "1h",
    "POLICIES__DEFAULT__ABSOLUTE": "8h",
    "POLICIES__SHORT__IDLE": f"{SHORT_IDLE_SECONDS}s",
    "POLICIES__SHORT__ABSOLUTE": "1h",
    "POLICIES__SHORT__TOUCH_INTERVAL": "1s",
    # The timeouts are long, because a busy machine answers slowly.
    "STORE__CHECK_TIMEOUT": "5s",
    "STORE__COMMAND_TIMEOUT": "2s",
}
ALLOWED = (200, None)


class Replica(Curfew):
    """A replica, with calls of its admin API."""

    def call(self, method, path, body=None):
        request = urllib.request.Request(f"http://{self.address('admin')}/api/v1/{path}", method=method)
        request.add_header("Authorization", f"Bearer {self.keys.admin_token}")
        if body is not None:
            request.add_header("Content-Type", "application/json")
            body = json.dumps(body).encode()
        with urllib.request.urlopen(request, body, timeout=30) as response:
            text = response.read()
            return json.loads(text) if text else None

    def sign_in(self, subject, policy="default"):
        return self.call("POST", "sessions", {"subject": subject, "policy": policy})

    def end(self, session):
        self.call("DELETE", f"sessions/{session['session']['id']}")

    def readiness(self):
        with urllib.request.urlopen(f"http://{self.address('ops')}/readyz?verbose") as response:
            return response.read().decode()


class Client(threading.Thread):
    """Sends checks to the replicas in service. If a replica is unreachable, asks another replica."""

    def __init__(self, service, expected, seed):
        super().__init__(daemon=True)
        self.service, self.expected, self.seed = service, expected, seed
        self.connections, self.stopped = {}, threading.Event()
        self.count, self.wrong, self.retry_count = 0, collections.Counter(), 0

    def check(self, replica, session):
        """Returns the status and the reason, or None if the replica is unreachable."""
        token = session["token"]
        headers = {
            "Cookie": f"__Host-session={token}",
            "X-Original-URL": "https://app.example.com/",
            "X-Original-Method": "GET",
        }
        for attempt in range(2):
            port = replica.ports["check"]
            connection = self.connections.setdefault(port, http.client.HTTPConnection("127.0.0.1", port, timeout=30))
            try:
                connection.request("GET", "/auth-request", headers=headers)
                response = connection.getresponse()
                response.read()
                return response.status, response.getheader("x-session-reason")
            except (http.client.HTTPException, OSError):
                # The server may have closed an idle connection, so retry with a new connection, as a proxy
                # does.
                connection.close()
        return None

    def run(self):
        number = self.seed
        while not self.stopped.is_set():
            number += 1
            session, expectation = self.expected[number % len(self.expected)]
            for replica in self.service.in_turn(number):
                begun = time.monotonic()
                found = self.check(replica, session)
                if found is not None:
                    break
                self.retry_count += 1
            else:
                found = "no replica answered"
            self.count += 1
            if not expectation.allows(found, begun):
                self.wrong[(found, str(expectation))] += 1


class Service:
    """The replicas in service."""

    def __init__(self, replicas):
        self.replicas = replicas

    def in_turn(self, number):
        """Returns the replicas in the order in which a client tries them for its request with this number."""
        replicas = list(self.replicas)
        start = number % len(replicas)
        return replicas[start:] + replicas[:start]


class Always:
    """Expects the same answer at any time."""

    def __init__(self, answer):
        self.answer = answer

    def allows(self, found, _begun):
        return found == self.answer

    def __str__(self):
        return str(self.answer)


def start_expected_sessions(replicas):
    """Starts sessions. Returns the sessions with their expected answers, and sessions that stay unused."""
    expected, unused = [], []
    for number in range(SESSIONS):
        replica = replicas[number % 2]
        session = replica.sign_in(f"user-{number}")
        if number % 4 == 3:
            replicas[number // 4 % 2].end(session)
            expected.append((session, Always((401, "revoked"))))
        else:
            expected.append((session, Always(ALLOWED)))
    for number in range(20):
        # The clients use these sessions at intervals shorter than the idle limit, so the sessions stay live.
        expected.append((replicas[number % 2].sign_in(f"busy-{number}", "short"), Always(ALLOWED)))
    for number in range(20):
        unused.append(replicas[number % 2].sign_in(f"idle-{number}", "short"))
    return expected, unused


def main():
    old, new = sys.argv[1:]
    WORK.mkdir(parents=True, exist_ok=True)
    redis, keys = Redis(), Keys(old)
    settings = {"STORE__URL": redis.url, **LIMITS}
    replicas = [Replica(old, keys, **settings) for _ in range(2)]
    service = Service(replicas)
    expected, unused = start_expected_sessions(replicas)
    schema = redis.command("GET", "curfew:schema")
    clients = [Client(service, expected, seed * 37) for seed in range(CLIENTS)]
    for client in clients:
        client.start()
    report = []

    def report_step(text):
        report.append(text)
        checks = sum(client.count for client in clients)
        print(f"{checks:7} checks: {text}", flush=True)

    wrong = collections.Counter()

    def check_all(sessions, expectation, what):
        for number, session in enumerate(sessions):
            found = Client(service, [], 0).check(service.in_turn(number)[0], session)
            if found != expectation:
                wrong[(found, what)] += 1

    report_step(f"two replicas of the older version, schema {schema}")
    time.sleep(SHORT_IDLE_SECONDS + MARGIN_SECONDS)
    check_all(unused[:10], (401, "idle_timeout"), "unused for longer than its idle limit, older version")
    for index in range(2):
        leaving = service.replicas[0]
        joining = Replica(new, keys, **settings)
        # As in Kubernetes, the new replica is ready before the old one stops.
        service.replicas = [*service.replicas, joining]
        time.sleep(3)
        started = joining.sign_in(f"joined-{index}")
        expected.append((started, Always(ALLOWED)))
        ended = joining.sign_in(f"left-{index}")
        joining.end(ended)
        expected.append((ended, Always((401, "revoked"))))
        time.sleep(3)
        service.replicas = [replica for replica in service.replicas if replica is not leaving]
        leaving.stop()
        report_step(f"{index + 1} of 2 replicas updated, schema {redis.command('GET', 'curfew:schema')}")
        time.sleep(3)
    begun = time.monotonic()
    while redis.command("GET", "curfew:schema") == schema or redis.command("EXISTS", "curfew:progress:record-3") == "1":
        if time.monotonic() - begun > UPGRADE_SECONDS:
            wrong[("the records were not upgraded", service.replicas[0].readiness())] += 1
            break
        time.sleep(1)
    report_step(f"records upgraded to schema {redis.command('GET', 'curfew:schema')}")
    check_all(unused, (401, "idle_timeout"), "unused for longer than its idle limit, newer version")
    time.sleep(3)
    for client in clients:
        client.stopped.set()
    for client in clients:
        client.join()
        wrong += client.wrong
    checks = sum(client.count for client in clients)
    refused = sum(client.retry_count for client in clients)
    unavailable = sum(count for (found, _), count in wrong.items() if found and found[0] == 503)
    print(f"{checks} checks, {sum(wrong.values())} wrong answers, {unavailable} of them 503; {refused} checks went to another replica")
    for (found, expectation), count in wrong.most_common():
        print(f"  {count} × {found}, expected {expectation}")
    if wrong or checks < 1000:
        sys.exit(1)


if __name__ == "__main__":
    main()
