"""Compares Curfew with other services that answer checks, in one run: oauth2-proxy with its two session stores, and Apache
with mod_auth_openidc.

All programs get the same requests, apart from the path and the session cookie. Each has the same number of sessions. The
sessions of the other services begin with real sign-ins at an OpenID provider. Rounds are interleaved, so that other load on
the machine affects all programs alike. Compares the medians. Writes target/bench/peers.json and .md.
"""

import argparse
import concurrent.futures
import http.client
import json
import os
import random
import subprocess
import urllib.parse
from pathlib import Path

from compare import CONNECTIONS, Target, measure_interleaved, wrk
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
    wait_for_port,
)

INSTALLED = ROOT / "target" / "proxies"
REQUEST = ROOT / "benches" / "load" / "request.txt"
PROVIDER_CLIENT_SECRET = "secret-of-the-benchmark"
CONCURRENT_SIGN_INS = 8

# What a program does for each check, for the documentation.
WORK_PER_CHECK = {
    "bare handler": "nothing: allows every request",
    "Curfew, Redis with the near cache": "as below, with the record from its memory while Redis confirms that no session end is missed",
    "Curfew, Redis without the near cache": (
        "verifies the token, reads the session from Redis, applies the idle and the absolute limit, and stores the activity"
    ),
    "oauth2-proxy, Redis": "verifies the cookie, reads the session from Redis, decrypts it, and applies the lifetime; no idle limit",
    "oauth2-proxy, cookies": (
        "verifies and decrypts the cookie, which contains the session, and applies the lifetime; no idle limit, and no "
        "revocation on the server"
    ),
    "mod_auth_openidc, Redis": (
        "reads the session from Redis, decrypts it, and applies the idle limit and the lifetime; stores the activity"
    ),
}


class Browser:
    """Follows redirects, and stores cookies. It sends each cookie to every server, because all run on one address."""

    def __init__(self):
        self.cookies = {}

    def send(self, method, url, form=None):
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        headers = {"Accept": "text/html"}
        if self.cookies:
            headers["Cookie"] = self.cookie_line(self.cookies)
        body = None
        if form:
            body = urllib.parse.urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body, headers)
        response = connection.getresponse()
        response.read()
        for line in response.headers.get_all("Set-Cookie") or []:
            pair, _, attributes = line.partition(";")
            name, _, value = pair.partition("=")
            if not value or "1970" in attributes or "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        connection.close()
        location = response.headers.get("Location")
        return response.status, location and urllib.parse.urljoin(url, location)

    @staticmethod
    def cookie_line(cookies):
        return "; ".join(f"{name}={value}" for name, value in cookies.items())

    def sign_in(self, url, end, user):
        """Follows the redirects from `url` to `end`, and signs in at the provider's page."""
        for _ in range(20):
            if url == end:
                return
            status, location = self.send("GET", url)
            if status == 200 and "/interaction/" in url:
                status, location = self.send("POST", url, {"prompt": "login", "login": user, "password": "any"})
            if not location:
                raise SystemExit(f"{url}: {status}, and no redirect")
            url = location
        raise SystemExit(f"{url}: too many redirects")


class Provider(Process):
    """The OpenID provider of the tests."""

    def __init__(self, clients):
        ports = {"port": free_port(), "control": free_port()}
        clients = [
            {"client_id": name, "client_secret": PROVIDER_CLIENT_SECRET, "redirect_uris": [address]}
            for name, address in clients.items()
        ]
        settings = json.dumps({**ports, "clients": clients})
        words = [str(INSTALLED / "bin" / "node"), "tests/identity/provider.mjs"]
        environment = {**os.environ, "PROVIDER": settings}
        with open(WORK / "provider.log", "w") as log:
            super().__init__(words, OTHER_CORES, cwd=ROOT, env=environment, stdout=log, stderr=log)
        wait_for_port(ports["port"])
        self.issuer = f"http://127.0.0.1:{ports['port']}"


class OAuth2Proxy(Process):
    path, cookie = "/oauth2/auth", "_oauth2_proxy"

    def __init__(self, name, port, provider, redis=None):
        self.address = f"127.0.0.1:{port}"
        store = {"session_store_type": "cookie"}
        if redis:
            store = {"session_store_type": "redis", "redis_connection_url": redis.url}
        settings = {
            "http_address": self.address,
            "reverse_proxy": True,
            "provider": "oidc",
            "oidc_issuer_url": provider.issuer,
            "client_id": name,
            "client_secret": PROVIDER_CLIENT_SECRET,
            "redirect_url": f"http://{self.address}/oauth2/callback",
            "code_challenge_method": "S256",
            "email_domains": ["*"],
            "skip_provider_button": True,
            "cookie_secret": "0123456789abcdef0123456789abcdef",
            "cookie_secure": False,
            "cookie_expire": "12h",
            # The answer contains the identity, as that of Curfew does.
            "set_xauthrequest": True,
            "request_logging": False,
            "auth_logging": False,
            "standard_logging": False,
            **store,
        }
        file = WORK / f"{name}.cfg"
        file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        with open(WORK / f"{name}.log", "w") as log:
            super().__init__(
                [str(INSTALLED / "oauth2-proxy"), "--config", str(file)], SERVER_CORE, stdout=log, stderr=log
            )
        wait_for_port(port)

    def sign_in(self, browser, user):
        browser.sign_in(f"http://{self.address}/oauth2/start?rd=/done", f"http://{self.address}/done", user)


class Apache(Process):
    path, cookie = "/auth/check", "mod_auth_openidc_session"

    def __init__(self, name, port, provider, redis):
        self.address = f"127.0.0.1:{port}"
        directory = WORK / name
        directory.mkdir(exist_ok=True)
        for page in ("check", "sign-in"):
            (directory / page).write_text("")
        modules = "mpm_event authn_core authz_core authz_user alias headers auth_openidc".split()
        lines = [f"LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so" for module in modules]
        lines += [
            "ServerName localhost",
            f"Listen {self.address}",
            "PidFile apache2.pid",
            "ErrorLog error.log",
            "ThreadsPerChild 64",
            "MaxRequestWorkers 64",
            # The load generator keeps its connections.
            "MaxKeepAliveRequests 0",
            "Alias /auth/check check",
            "Alias /auth/sign-in sign-in",
            f"OIDCProviderMetadataURL {provider.issuer}/.well-known/openid-configuration",
            f"OIDCClientID {name}",
            f"OIDCClientSecret {PROVIDER_CLIENT_SECRET}",
            f"OIDCRedirectURI http://{self.address}/auth/callback",
            "OIDCCryptoPassphrase for-a-benchmark",
            "OIDCPKCEMethod S256",
            'OIDCScope "openid email"',
            "OIDCCacheType redis",
            f"OIDCRedisCacheServer 127.0.0.1:{redis.port}",
            # The limits that Curfew has in this run.
            "OIDCSessionInactivityTimeout 900",
            "OIDCSessionMaxDuration 43200",
            "<Directory />",
            "Require all granted",
            "</Directory>",
            "<Location /auth>",
            "AuthType openid-connect",
            "Require valid-user",
            "</Location>",
            "<Location /auth/check>",
            "OIDCUnAuthAction 401",
            'Header always set X-User "expr=%{REMOTE_USER}"',
            "</Location>",
        ]
        (directory / "apache2.conf").write_text("\n".join(lines) + "\n")
        # One process in the foreground, with many threads.
        words = ["apache2", "-X", "-d", ".", "-f", "apache2.conf"]
        with open(directory / "output.log", "w") as log:
            super().__init__(words, SERVER_CORE, cwd=directory, stdout=log, stderr=log)
        wait_for_port(port)

    def sign_in(self, browser, user):
        browser.sign_in(*2 * [f"http://{self.address}/auth/sign-in"], user)


def start_curfew_sessions(curfew, count):
    """Starts sessions with the attributes that the provider has, and returns their cookies."""
    connection = http.client.HTTPConnection(curfew.address("admin"))
    headers = {"Authorization": f"Bearer {curfew.keys.admin_token}", "Content-Type": "application/json"}
    cookies = []
    for number in range(count):
        subject = f"user-{number}"
        attributes = {"email": [f"{subject}@example.com"], "groups": ["staff"]}
        body = json.dumps({"subject": subject, "attributes": attributes})
        connection.request("POST", "/api/v1/sessions", body, headers)
        response = connection.getresponse()
        started = json.loads(response.read())
        cookies.append(f"__Host-session={started['token']}")
    return cookies


def sign_everybody_in(service, count):
    """Signs people in at a service, and returns the session cookies."""

    def session_cookie(number):
        browser = Browser()
        service.sign_in(browser, f"user-{number}")
        # oauth2-proxy divides a long cookie.
        is_part = lambda name: name == service.cookie or name.removeprefix(f"{service.cookie}_").isdigit()
        return Browser.cookie_line({name: value for name, value in browser.cookies.items() if is_part(name)})

    with concurrent.futures.ThreadPoolExecutor(CONCURRENT_SIGN_INS) as pool:
        return list(pool.map(session_cookie, range(count)))


def check_answers(target, cookies, path):
    """Stops the run unless the service allows each session, and denies forged cookies and requests without one."""
    connection = http.client.HTTPConnection(target)
    lines = REQUEST.read_text().splitlines()[1:]
    headers = dict(line.split(": ", 1) for line in lines if line)

    def status(cookie):
        connection.request("GET", path, headers={**headers, "Cookie": cookie})
        response = connection.getresponse()
        response.read()
        return response.status

    # A change in the middle, because the last character of Base64 can be unused.
    forge = lambda cookie: cookie[: len(cookie) // 2] + ("A" if cookie[len(cookie) // 2] != "A" else "B") + cookie[len(cookie) // 2 + 1 :]
    allowed = {status(cookie) for cookie in cookies}
    denied = {status(cookie) for cookie in ["theme=dark", *map(forge, cookies[:20])]}
    if not allowed <= {200, 202} or denied != {401}:
        raise SystemExit(f"{target}: sessions get {allowed}, forged sessions get {denied}")


def run(options):
    if len(set(OTHER_CORES.split(",")) - {SERVER_CORE}) == 0:
        raise SystemExit("this measurement needs two cores")
    load_at_start = os.getloadavg()[0]
    WORK.mkdir(parents=True, exist_ok=True)
    programs = build_programs()
    keys = Keys(programs["curfew"])
    services = {}
    bare = f"127.0.0.1:{free_port()}"
    process = Process([programs["bare"], "bare-http", bare], SERVER_CORE)
    wait_for_port(int(bare.rpartition(":")[2]))
    targets = []

    def add(name, process, address, path, cookies, redis=None):
        file = WORK / f"cookies-{len(targets)}"
        file.write_text("".join(f"{cookie}\n" for cookie in random.Random(1).sample(cookies, len(cookies))))
        target = Target(name, process, address, str(file), redis, path)
        target.cookie_bytes = round(sum(map(len, cookies)) / len(cookies))
        targets.append(target)

    print(f"starting {options.sessions} sessions in each program", flush=True)
    for name, sessions in (
        ("Curfew, Redis with the near cache", "100000"),
        ("Curfew, Redis without the near cache", "0"),
    ):
        redis = Redis()
        curfew = Curfew(programs["curfew"], keys, STORE__URL=redis.url, STORE__NEAR_CACHE_SESSIONS=sessions)
        cookies = start_curfew_sessions(curfew, options.sessions)
        if not targets:
            add("bare handler", process, bare, "/auth-request", cookies)
        add(name, curfew, curfew.address("check"), "/auth-request", cookies, redis)
        check_answers(curfew.address("check"), cookies, "/auth-request")
    peers = {
        "oauth2-proxy, Redis": (OAuth2Proxy, "oauth2-proxy-redis", "/oauth2/callback", True),
        "oauth2-proxy, cookies": (OAuth2Proxy, "oauth2-proxy-cookies", "/oauth2/callback", False),
        "mod_auth_openidc, Redis": (Apache, "apache", "/auth/callback", True),
    }
    ports = {name: free_port() for name in peers}
    clients = {peer[1]: f"http://127.0.0.1:{ports[name]}{peer[2]}" for name, peer in peers.items()}
    provider = Provider(clients)
    for name, (service, client, _, has_redis) in peers.items():
        redis = Redis() if has_redis else None
        started = service(client, ports[name], provider, *[redis] if redis else [])
        services[name] = started
        cookies = sign_everybody_in(started, options.sessions)
        check_answers(started.address, cookies, started.path)
        add(name, started, started.address, started.path, cookies, redis)
        print(f"  {name}: {options.sessions} sign-ins", flush=True)
    provider.stop()
    found = measure_interleaved(
        targets, options.rounds, lambda target: wrk(target, options.seconds, "whole cookies")
    )
    for target in targets:
        found[target.name]["cookie_bytes"] = target.cookie_bytes
    return {
        "sessions": options.sessions,
        "connections": CONNECTIONS,
        "rounds": options.rounds,
        "load_at_start": load_at_start,
        "programs": found,
    }


def table(results):
    programs = results["programs"]
    first, own = programs["bare handler"], programs["Curfew, Redis without the near cache"]
    lines = [
        "| | requests/s | ÷ bare | CPU µs per check | ÷ bare | ÷ Curfew | Redis, CPU µs per check | p99 µs | memory MiB "
        "| cookie bytes | what it does for each check |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, one in programs.items():
        # Seconds per million checks are microseconds per check.
        cpu, redis_cpu = one["cpu_per_million"], one.get("redis_cpu_per_million")
        cells = [
            name,
            f"{one['rps']:,.0f}",
            f"{one['rps'] / first['rps']:.2f}",
            f"{cpu:.1f}",
            f"{cpu / first['cpu_per_million']:.2f}",
            f"{cpu / own['cpu_per_million']:.2f}",
            f"{redis_cpu:.1f}" if redis_cpu is not None else "",
            f"{one['p99_us']:,.0f}",
            f"{one['peak_memory'] / 2**20:.0f}",
            f"{one['cookie_bytes']:,}",
            WORK_PER_CHECK[name],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=3, help="duration of each measurement")
    parser.add_argument("--sessions", type=int, default=2_000)
    results = run(parser.parse_args())
    (WORK / "peers.json").write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (WORK / "peers.md").write_text(text)
    load = results["load_at_start"]
    print(f"\n{text}\nload average of the machine before the run: {load:.2f}\nwritten: target/bench/peers.json, .md")


if __name__ == "__main__":
    main()
