# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the tests of this directory on every host of a policy file, and writes down what each one saw.

rampart.hardening.verify makes the policy file and runs this. By hand:
    pytest -n 8 --rampart-policy policy.json --rampart-results results.jsonl
Nothing here is shared with the roles: what they got wrong must not be wrong here as well.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import pathlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest
import ssh_logins
import testinfra
import testinfra.host

TEST_TIMEOUT = 120  # seconds for one test; a command that hangs is an error, and the others go on
CONNECT_TRIES = 3
CONNECT_PATIENCE = 15  # seconds after which there is no further try
HOPELESS = ("Permission denied", "Host key verification failed", "timed out", "No route", "Could not resolve")
FACTS = r"""
. /etc/os-release 2>/dev/null
printf 'os\t%s\n' "${PRETTY_NAME:-unknown}"
printf 'kernel\t%s\n' "$(uname -sr)"
printf 'architecture\t%s\n' "$(uname -m)"
printf 'container\t%s\n' "$(systemd-detect-virt --container 2>/dev/null)"
printf 'virtualization\t%s\n' "$(systemd-detect-virt 2>/dev/null)"
printf 'booted\t%s\n' "$(stat -c %y /proc/1 2>/dev/null | cut -c1-19)"
printf 'user\t%s\n' "$(id -un)"
ip -o addr show scope global 2>/dev/null | awk '{sub("/.*", "", $4); print "address\t" $4}'
"""


class Unreachable(Exception):
    """The host could not be asked."""


class TookTooLong(Exception):
    """A test took too long."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rampart")
    group.addoption("--rampart-policy", metavar="FILE", help="JSON: hosts, how to reach them, their policy")
    group.addoption("--rampart-results", metavar="FILE", help="where to write one JSON line per test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "control(id): the control that this test verifies")
    path = config.getoption("rampart_policy")
    config.rampart_policy = json.loads(pathlib.Path(path).read_text(encoding="utf-8")) if path else {"hosts": {}}
    if not hasattr(config, "workerinput") and config.getoption("rampart_results"):
        config.pluginmanager.register(Results(config.getoption("rampart_results")))


# --- which tests run where


def control_of(node: pytest.Item | pytest.FunctionDefinition) -> str:
    marker = node.get_closest_marker("control")
    if marker is None or len(marker.args) != 1:
        raise pytest.UsageError(f"{node.nodeid} has no mark control(id)")
    return marker.args[0]


def host_of(item: pytest.Item) -> object:
    return item.callspec.params.get("rampart_host") if hasattr(item, "callspec") else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "rampart_host" not in metafunc.fixturenames:
        return
    control = control_of(metafunc.definition)
    hosts = metafunc.config.rampart_policy["hosts"]
    names = [name for name, entry in hosts.items() if control in entry["test"]]
    metafunc.parametrize("rampart_host", names, ids=names, scope="session")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """One worker a host: it has one connection, and its tests do not disturb each other."""
    from xdist.scheduler import LoadScopeScheduling

    class ByHost(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.rpartition("[")[2]

    return ByHost(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # nothing to test on any host leaves one item without a host: no result, and not a skipped one
    items[:] = [item for item in items if isinstance(host_of(item), str)]
    # host by host, so that a host's connection is made once and then used
    items.sort(key=host_of)


# --- the connection


class Connections:
    """One checked connection per host; what a host refused once it is not asked again."""

    def __init__(self, hosts: dict[str, dict]) -> None:
        self.hosts = hosts
        self.opened: dict[str, testinfra.host.Host] = {}
        self.refused: dict[str, str] = {}
        self.facts: dict[str, dict] = {}
        self.sockets = tempfile.mkdtemp(prefix="rampart-")

    def get(self, name: str) -> testinfra.host.Host:
        if name in self.refused:
            raise Unreachable(self.refused[name])
        if name not in self.opened:
            try:
                self.opened[name], self.facts[name] = self.open(self.hosts[name]["connection"])
            except Unreachable as error:
                self.refused[name] = str(error)
                raise
        return self.opened[name]

    def open(self, connection: dict) -> tuple[testinfra.host.Host, dict]:
        if "problem" in connection:
            raise Unreachable(connection["problem"])
        problems: list[str] = []
        for login in connection["logins"]:
            host, problem = self.backend(connection, login), ""
            began = time.monotonic()
            for attempt in range(CONNECT_TRIES):
                if attempt:
                    if time.monotonic() - began > CONNECT_PATIENCE:
                        break
                    time.sleep(attempt)  # a jump server may drop some of many logins at once (MaxStartups)
                try:
                    seen = host.run(FACTS)
                except RuntimeError as error:  # ssh's own failure, in testinfra's words
                    problem = getattr(error.args[0], "stderr_bytes", b"").decode(errors="replace").strip()
                    if any(word in problem for word in HOPELESS):
                        break
                    continue
                facts = self.read_facts(seen.stdout)
                if seen.rc == 0 and facts.pop("user", None) == "root":
                    return host, facts
                problem = f"cannot become root: {seen.stderr.strip() or seen.stdout.strip()}"
                break
            problems.append(f"login as {login.get('user') or 'the default user'}: {problem}")
            if "Permission denied" not in problem:
                break  # another login would not get further
        raise Unreachable("not reachable, " + "; ".join(problems))

    def backend(self, connection: dict, login: dict) -> testinfra.host.Host:
        sudo = login.get("user") != "root"
        if connection["type"] == "local":
            return testinfra.get_host("local://", sudo=sudo)
        # ssh keeps the first value it is given: what must hold comes before the user's own arguments
        options = ["-o", "BatchMode=yes", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]
        options += ["-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR"]
        options += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60", "-o", f"ControlPath={self.sockets}/%C"]
        for option, key in (("User", "user"), ("Port", "port")):
            if login.get(key) or connection.get(key):
                options += ["-o", f"{option}={login.get(key) or connection[key]}"]
        if login.get("key"):
            options += ["-o", f"IdentityFile={login['key']}"]
        spec = connection["host"].replace("%", "%25").replace(":", "%3A").replace("@", "%40")
        return testinfra.get_host(f"ssh://{spec}", sudo=sudo, ssh_extra_args=shlex.join(options + connection["args"]))

    @staticmethod
    def read_facts(text: str) -> dict:
        facts: dict = {"addresses": []}
        for line in text.splitlines():
            key, value = (*line.split("\t", 1), "")[:2]
            if key == "address":
                facts["addresses"].append(value)
            elif value:
                facts[key] = value
        return facts

    def close(self) -> None:
        for socket in pathlib.Path(self.sockets).iterdir():
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "-"], check=False, capture_output=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture(scope="session")
def rampart_connections(request: pytest.FixtureRequest) -> Iterator[Connections]:
    connections = request.config.rampart_connections = Connections(request.config.rampart_policy["hosts"])
    yield connections
    connections.close()


# --- what the tests use: all but evidence last longer than one test, so that a fixture of a test file which reads
# something large can have scope="module" and read it once a host


@pytest.fixture(scope="session")
def host(rampart_host: str, rampart_connections: Connections) -> testinfra.host.Host:
    """The live host, as root."""
    return rampart_connections.get(rampart_host)


@pytest.fixture(scope="session")
def policy(rampart_host: str, request: pytest.FixtureRequest) -> dict:
    """The host's policy: hardening_* variables, name, groups, controls in force, connection, all_hosts.

    Of secret variables it has no more than the names, under `set`.
    """
    document = request.config.rampart_policy
    entry = document["hosts"][rampart_host]
    return {**entry["policy"], "connection": entry["connection"], "all_hosts": document["all_hosts"]}


@pytest.fixture
def evidence(request: pytest.FixtureRequest):
    """evidence(text or object): write down what was seen on the host."""

    def record(seen: object) -> None:
        text = seen if isinstance(seen, str) else json.dumps(seen, indent=1, sort_keys=True, default=str)
        request.node.user_properties.append(("seen", text))

    return record


@pytest.fixture(scope="session")
def not_applicable():
    """not_applicable(reason): end the test, the control does not apply to this host."""

    def leave(reason: str) -> None:
        pytest.skip(reason)

    return leave


@pytest.fixture
def sshd(host, not_applicable):
    """The host, where it has an SSH server."""
    if not ssh_logins.command(host):
        not_applicable("no SSH server is installed")
    return host


@pytest.fixture
def logins(sshd, policy):
    """Every kind of login that the configuration tells apart: those of Match blocks, of root and of our people."""
    users, addresses = ssh_logins.special(sshd)
    people = [admin["name"] for admin in policy.get("hardening_admins", [])]
    people += [one["name"] for one in policy.get("hardening_mfa_exempt", [])] + [ssh_logins.automation_name(policy)]
    everyone = dict.fromkeys(["root", *sorted(users), *people, "nobody"])
    anywhere = dict.fromkeys([*ssh_logins.ELSEWHERE, "127.0.0.1", *sorted(addresses)])
    return ssh_logins.ask(
        sshd, [pair for pair in itertools.product(everyone, anywhere) if pair[0]][: ssh_logins.MAX_LOGINS]
    )


# --- results


@contextlib.contextmanager
def deadline(seconds: int) -> Iterator[None]:
    def stop(_number: int, _frame: object) -> None:
        raise TookTooLong(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item):
    with deadline(TEST_TIMEOUT):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    with deadline(TEST_TIMEOUT):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    if call.when == "teardown" and call.excinfo is None:
        return report
    if call.when == "setup" and call.excinfo is None:
        return report
    name = host_of(item)
    connections = getattr(item.config, "rampart_connections", None)
    result = {
        "host": name,
        "control": control_of(item),
        "test": item.nodeid,
        "observed": "pass",
        "message": "",
        "seen": [value for key, value in item.user_properties if key == "seen"],
        "duration": round(call.duration, 3),
        "reachable": connections is not None and name in connections.opened,
        "facts": connections.facts.get(name, {}) if connections else {},
    }
    if call.excinfo is not None:
        error = call.excinfo.value
        result["message"] = str(error).strip() or call.excinfo.typename
        if isinstance(error, pytest.skip.Exception):
            result["observed"] = "na"
        elif isinstance(error, (AssertionError, pytest.fail.Exception)) and call.when == "call":
            result["observed"] = "fail"
            result["message"] = result["message"].split("\nassert ", maxsplit=1)[
                0
            ]  # the test's own words, where it has some
        else:
            result["observed"] = "error"
            if not isinstance(error, (Unreachable, TookTooLong)):
                result["message"] = f"the test itself failed: {call.excinfo.exconly(tryshort=True)}"
    report.rampart = result
    return report


class Results:
    """Writes results as they arrive; with xdist only the first process does."""

    def __init__(self, path: str) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "rampart"):
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(report.rampart) + "\n")
