# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH as it answers: the running daemon's own view of each kind of login, what it says on the wire, a real attempt."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import ipaddress
import itertools
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
from testinfra.host import Host

ELSEWHERE = ("192.0.2.77", "2001:db8::77")  # addresses of nobody (RFC 5737, RFC 3849)
MAX_LOGINS = 40
# How the listening daemon was started: its options count before every file
LISTENER = r"""
for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm" 2>/dev/null)" = sshd ] && tr '\0' ' ' <"$process/cmdline" 2>/dev/null && echo
done | sed -n 's/^sshd: \(.*\) \[listener\].*/\1/p' | head -n 1
"""
# Carries a connection to the host's own SSH port through the session that tests already have
RELAY = """
import socket, sys, threading
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
def pump():
    while True:
        data = sys.stdin.buffer.raw.read(65536)
        if not data:
            break
        peer.sendall(data)
    peer.shutdown(socket.SHUT_WR)
threading.Thread(target=pump, daemon=True).start()
while True:
    data = peer.recv(65536)
    if not data:
        break
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""


@dataclasses.dataclass(frozen=True)
class Login:
    """One kind of login, and what sshd grants it."""

    user: str
    address: str
    port: int
    settings: dict[str, str]

    def __str__(self) -> str:
        return f"{self.user} from {self.address}" + (f" at port {self.port}" if self.port != 22 else "")


@functools.cache
def command(host: Host) -> str:
    """sshd with the options under which it listens; empty where there is none."""
    found = host.run("command -v /usr/sbin/sshd || command -v sshd")
    words = host.check_output(LISTENER).split()[1:]
    options = [f"{flag} {shlex.quote(value)}" for flag, value in itertools.pairwise(words) if flag in ("-o", "-f")]
    return " ".join([found.stdout.strip(), *options]) if found.rc == 0 else ""


def parse(text: str) -> dict[str, str]:
    """What sshd -T or ssh -G says; values of a repeated keyword are joined by blanks."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        keyword, __, value = line.strip().partition(" ")
        settings[keyword] = f"{settings[keyword]} {value}" if keyword in settings else value
    return settings


@functools.cache
def server(host: Host) -> dict[str, str]:
    """The settings that hold before anybody is known."""
    # where a Match block names a LocalPort, sshd -T wants to be told one
    return parse(host.check_output(f"{command(host)} -T -C lport=65535"))


@functools.cache
def special(host: Host) -> tuple[set[str], set[str]]:
    """Users (those of groups too) and addresses that Match lines anywhere under /etc/ssh tell apart."""
    lines = host.run(r"grep -rhiE '^[[:space:]]*match[[:space:]]' /etc/ssh --include='*.conf' --include='sshd_config*'")
    users, groups, addresses = set(), set(), set()
    for attribute, pattern in re.findall(r"(?i)\b(user|group|address)[\s=]+(\S+)", lines.stdout):
        for value in pattern.split(","):
            if attribute.lower() == "address":
                with contextlib.suppress(ValueError):
                    addresses.add(str(ipaddress.ip_network(value.lstrip("!"), strict=False)[0]))
            elif re.fullmatch(r"[\w.-]+", value):
                (users if attribute.lower() == "user" else groups).add(value)
    if groups:
        for line in host.run(f"getent group {shlex.join(sorted(groups))}").stdout.splitlines():
            users.update(filter(None, line.rpartition(":")[2].split(",")[:3]))
    return users, addresses


def ask(host: Host, pairs: Iterable[tuple[str, str]]) -> list[Login]:
    """What sshd would grant these users from these addresses at each of its ports, in one round trip."""
    ports = sorted({port for _address, port in own_addresses(host)})
    asked = [(user, address, port) for user, address in dict.fromkeys(pairs) for port in ports]
    script = "; ".join(
        f"echo '== {user}'; {command(host)} -T -C user={user},host={address},addr={address},lport={port}"
        for user, address, port in asked
    )
    blocks = host.check_output(script).split("== ")[1:]
    return [Login(*one, parse(block.partition("\n")[2])) for one, block in zip(asked, blocks, strict=True)]


@pytest.fixture
def sshd(host, not_applicable):
    """The host, where it has an SSH server."""
    if not command(host):
        not_applicable("no SSH server is installed")
    return host


@pytest.fixture
def logins(sshd, policy):
    """Every kind of login that the configuration tells apart: those of Match blocks, of root and of our people."""
    users, addresses = special(sshd)
    people = [admin["name"] for admin in policy.get("hardening_admins", [])] + [automation_name(policy)]
    everyone = dict.fromkeys(["root", *sorted(users), *people, "nobody"])
    anywhere = dict.fromkeys([*ELSEWHERE, "127.0.0.1", *sorted(addresses)])
    return ask(sshd, [pair for pair in itertools.product(everyone, anywhere) if pair[0]][:MAX_LOGINS])


def automation_name(policy: dict) -> str:
    return (policy.get("hardening_automation") or {}).get("name", "")


def jump_server(policy: dict) -> bool:
    return not set(policy["groups"]).isdisjoint(policy.get("hardening_jump_groups", ["jump"]))


def check(evidence, logins: list[Login], **wanted: str | set[str]) -> None:
    """Every login has one of the wanted values for each keyword."""
    allowed = {keyword: {value} if isinstance(value, str) else value for keyword, value in wanted.items()}
    seen: dict[str, dict[str, list[str]]] = {keyword: {} for keyword in wanted}
    for login, keyword in itertools.product(logins, wanted):
        seen[keyword].setdefault(login.settings.get(keyword, "(not known)"), []).append(str(login))
    evidence({keyword: {value: len(who) for value, who in values.items()} for keyword, values in seen.items()})
    wrong = [
        f"{keyword} is {value} for {', '.join(who[:5])}"
        for keyword, values in seen.items()
        for value, who in values.items()
        if value not in allowed[keyword]
    ]
    assert not wrong, "; ".join(wrong)


# --- on the wire


def own_addresses(host: Host) -> list[tuple[str, int]]:
    """Where the host reaches its own SSH server."""
    found = []
    for text, port in re.findall(r"(\S+):(\d+)(?:\s|$)", server(host)["listenaddress"]):
        address = ipaddress.ip_address(text.strip("[]"))
        loopback = {4: "127.0.0.1", 6: "::1"}[address.version]
        found.append((loopback if address.is_unspecified else str(address), int(port)))
    assert found, f"sshd names no address: {server(host)['listenaddress']}"
    return found


@contextlib.contextmanager
def tunnel(host: Host) -> Iterator[int]:
    """A local port behind which the host's SSH server answers; nothing is forwarded or installed there."""
    address, port = own_addresses(host)[0]
    relay = shlex.join(["python3", "-c", RELAY, address, str(port)])
    backend = host.backend
    if backend.NAME == "local":
        argv = ["sh", "-c", relay]
    else:
        argv = ["ssh", *shlex.split(backend.ssh_extra_args or ""), backend.host.name, relay]

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection:
                    subprocess.run(argv, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL, check=False)

    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        for __ in range(4):
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


@functools.cache
def audit(host: Host) -> dict:
    """What ssh-audit says of the running server."""
    with tunnel(host) as port:
        done = subprocess.run(
            [sys.executable, "-m", "ssh_audit", "--json", "--skip-rate-test", "--port", str(port), "127.0.0.1"],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise RuntimeError(f"ssh-audit: {done.stdout.strip()} {done.stderr.strip()}") from None


def complaints(host: Host, *parts: str) -> list[str]:
    """Failures and warnings of ssh-audit about these parts: kex, key, enc, mac."""
    return [
        f"{one['algorithm']}: {level}: {text}"
        for part in parts
        for one in audit(host)[part]
        for level in ("fail", "warn")
        for text in one["notes"].get(level, [])
    ]


def offered(host: Host, *parts: str) -> dict[str, list[str]]:
    return {part: [one["algorithm"] for one in audit(host)[part]] for part in parts}


def quantum(complaint: str) -> bool:
    return "post-quantum" in complaint


# --- who gets in, and how


@pytest.mark.control("ssh.root_login")
def test_root_login(logins, evidence):
    check(evidence, logins, permitrootlogin="no")


@pytest.mark.control("ssh.password_authentication")
def test_password_authentication(sshd, logins, evidence):
    # what keyboard-interactive asks for must come after a key
    alone = [
        str(login)
        for login in logins
        if login.settings["kbdinteractiveauthentication"] != "no"
        and not all("publickey" in chain.split(",") for chain in login.settings["authenticationmethods"].split())
    ]
    assert not alone, f"keyboard-interactive alone is enough for {', '.join(alone[:5])}"
    check(evidence, logins, passwordauthentication="no")
    said = attempt(sshd)
    evidence(f"a login without a key: {said}")
    methods = re.search(r"Permission denied \(([^)]*)\)", said)
    assert methods, said
    assert "password" not in methods.group(1).split(",")
    assert methods.group(1).split(",")[0] == "publickey"


def attempt(host: Host) -> str:
    """The running server's answer to a login of root, from the host itself, that has nothing to show."""
    address, port = own_addresses(host)[0]
    if host.run("command -v ssh").rc != 0:
        pytest.fail("no SSH client on the host to try a login with")
    said = ""
    for pause in (0, 5, 15, 30):  # OpenSSH 9.8 refuses an address for a while after failed logins
        time.sleep(pause)
        said = host.run(
            "ssh -F /dev/null -o BatchMode=yes -o PreferredAuthentications=none -o StrictHostKeyChecking=no "
            f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=5 -p {port} root@{address} "
            "echo let in 2>&1 | tail -n 1"
        ).stdout.strip()
        if "let in" in said or "Permission denied" in said:
            break
    return said


@pytest.mark.control("ssh.empty_passwords")
def test_empty_passwords(logins, evidence):
    check(evidence, logins, permitemptypasswords="no")


@pytest.mark.control("ssh.host_based_authentication")
def test_host_based_authentication(logins, evidence):
    check(evidence, logins, hostbasedauthentication="no", ignorerhosts="yes")


@pytest.mark.control("ssh.gssapi")
def test_gssapi(logins, evidence):
    check(evidence, logins, gssapiauthentication={"no", "(not known)"}, kerberosauthentication={"no", "(not known)"})


@pytest.mark.control("ssh.user_environment")
def test_user_environment(logins, evidence):
    check(evidence, logins, permituserenvironment="no")


@pytest.mark.control("ssh.pam")
def test_pam(logins, evidence):
    check(evidence, logins, usepam="yes")


@pytest.mark.control("ssh.strict_modes")
def test_strict_modes(logins, evidence):
    check(evidence, logins, strictmodes="yes")


@pytest.mark.control("ssh.login_group")
def test_login_group(sshd, policy, logins, evidence):
    group = policy.get("hardening_login_group", "ssh-login")
    evidence(f"members of {group}: {sshd.run(f'getent group {shlex.quote(group)}').stdout.strip().rpartition(':')[2]}")
    open_to_all = [str(login) for login in logins if group not in login.settings.get("allowgroups", "").split()]
    evidence({"AllowGroups": sorted({login.settings.get("allowgroups", "(none)") for login in logins})})
    assert not open_to_all, f"AllowGroups does not name {group} for {', '.join(open_to_all[:5])}"


@pytest.mark.control("ssh.automation_source")
def test_automation_source(sshd, policy, evidence, not_applicable):
    name = automation_name(policy)
    if not name:
        not_applicable("the inventory names no automation account")
    sources = declared_sources(policy)
    evidence({"may come from": sources})
    assert sources, "nobody has said from where it may come"
    networks = [ipaddress.ip_network(source, strict=False) for source in sources]
    strangers = [*ELSEWHERE, "127.0.0.1"]
    for entry in policy["all_hosts"].values():
        with contextlib.suppress(ValueError):  # a name instead of an address
            strangers += [str(ipaddress.ip_address(address)) for address in entry["addresses"]]
    outside = [text for text in dict.fromkeys(strangers) if not inside(text, networks)]
    found = ask(sshd, [(name, address) for address in outside[:MAX_LOGINS]])
    ways_in = (
        "pubkeyauthentication", "passwordauthentication", "kbdinteractiveauthentication", "hostbasedauthentication",
        "gssapiauthentication", "kerberosauthentication",
    )  # fmt: skip
    check(evidence, found, **dict.fromkeys(ways_in, {"no", "(not known)"}))
    check(evidence, ask(sshd, [(name, str(network[0])) for network in networks]), pubkeyauthentication="yes")


def inside(address: str, networks: list) -> bool:
    one = ipaddress.ip_address(address)
    return any(one.version == network.version and one in network for network in networks)


def declared_sources(policy: dict) -> list[str]:
    """The networks from which the policy lets the automation account come to this host."""
    if declared := policy.get("ssh_automation_from") or policy["hardening_automation"].get("from"):
        return [str(source) for source in declared]
    jumps = [
        address
        for name, entry in policy["all_hosts"].items()
        if name != policy["name"] and not set(entry["groups"]).isdisjoint(policy.get("hardening_jump_groups", ["jump"]))
        for address in entry["addresses"]
    ]
    controllers = [str(source) for source in policy.get("hardening_controllers", [])]
    return controllers if controllers and jump_server(policy) else controllers + jumps


# --- what a login may do


@pytest.mark.control("ssh.forwarding")
def test_forwarding(policy, logins, evidence):
    shut = dict.fromkeys(("allowagentforwarding", "x11forwarding", "gatewayports", "permittunnel"), "no")
    check(evidence, logins, allowstreamlocalforwarding="no", **shut)
    if not jump_server(policy):
        check(evidence, logins, disableforwarding="yes", allowtcpforwarding="no")
        return
    # a jump server opens connections for its clients, and listens for nobody
    listens = [
        str(login)
        for login in logins
        if login.settings["allowtcpforwarding"] not in ("no", "local") and login.settings["permitlisten"] != "none"
    ]
    evidence({"AllowTcpForwarding": sorted({login.settings["allowtcpforwarding"] for login in logins})})
    assert not listens, f"remote ports are forwarded for {', '.join(listens[:5])}"


def between(login: Login, keyword: str, lowest: int, highest: int) -> bool:
    value = login.settings[keyword]
    return value.isdigit() and lowest <= int(value) <= highest


@pytest.mark.control("ssh.session_limits")
def test_session_limits(logins, evidence):
    keywords = ("maxsessions", "clientaliveinterval", "clientalivecountmax")
    evidence({keyword: sorted({login.settings[keyword] for login in logins}) for keyword in keywords})
    many = [str(login) for login in logins if not between(login, "maxsessions", 0, 10)]
    assert not many, f"more than 10 sessions for {', '.join(many[:5])}"
    for keyword in keywords[1:]:
        never = [str(login) for login in logins if not between(login, keyword, 1, 900)]
        assert not never, f"{keyword} lets dead connections stay for {', '.join(never[:5])}"


@pytest.mark.control("ssh.login_limits")
def test_login_limits(sshd, policy, logins, evidence):
    settings = server(sshd)
    keywords = ("maxauthtries", "logingracetime", "maxstartups")
    evidence({keyword: settings[keyword] for keyword in keywords})
    tries = [str(login) for login in logins if not between(login, "maxauthtries", 1, 4)]
    assert not tries, f"more than 4 tries for {', '.join(tries[:5])}"
    assert 1 <= int(settings["logingracetime"]) <= 60, f"a login may take {settings['logingracetime']} s"
    start, rate, full = (int(part) for part in settings["maxstartups"].split(":"))
    # a jump server meets the connections to the whole fleet
    most = (100, 200) if jump_server(policy) else (10, 60)
    assert start <= most[0] and full <= most[1] and rate >= 30, f"too many at once: {settings['maxstartups']}"


@pytest.mark.control("ssh.logging")
def test_logging(logins, evidence):
    check(evidence, logins, loglevel={"VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3"})


@pytest.mark.control("ssh.banner")
def test_banner(sshd, evidence):
    path = server(sshd)["banner"]
    text = sshd.run(f"cat {shlex.quote(path)}").stdout.strip()
    evidence({"shown before the login": text, "version": audit(sshd)["banner"]["raw"]})
    assert path != "none", "no banner is shown"
    assert text, f"{path} is empty or not there"
    assert not audit(sshd)["banner"]["comments"], "the version names the package"


# --- algorithms and keys


@pytest.mark.control("ssh.algorithms")
def test_algorithms(sshd, evidence):
    evidence(offered(sshd, "kex", "enc", "mac"))
    found = [text for text in complaints(sshd, "kex", "enc", "mac") if not quantum(text)]
    assert not found, "; ".join(found)


@pytest.mark.control("ssh.algorithms")
def test_public_key_algorithms(logins, evidence):
    accepted = {name for login in logins for name in login.settings["pubkeyacceptedalgorithms"].split(",")}
    evidence({"keys of people": sorted(accepted)})
    broken = sorted(name for name in accepted if name.startswith(("ssh-rsa", "ssh-dss")))
    assert not broken, f"SHA-1 or DSA signatures are accepted: {', '.join(broken)}"


@pytest.mark.control("ssh.post_quantum")
def test_post_quantum(sshd, evidence, not_applicable):
    known = sshd.run("ssh -Q kex").stdout.split()
    if known and not any(name.startswith(("mlkem", "sntrup761")) for name in known):
        not_applicable("its OpenSSH knows no such key exchange")
    evidence(offered(sshd, "kex"))
    found = [text for text in complaints(sshd, "kex") if quantum(text)]
    assert not found, "; ".join(found)


@pytest.mark.control("ssh.host_keys")
def test_host_keys(sshd, evidence):
    evidence(audit(sshd)["fingerprints"] or offered(sshd, "key"))
    assert audit(sshd)["key"], "no host key is offered"
    found = complaints(sshd, "key")
    assert not found, "; ".join(found)


@pytest.mark.control("ssh.host_keys")
def test_host_key_files(sshd, evidence):
    paths = shlex.join([*dict.fromkeys(server(sshd)["hostkey"].split())])
    listed = sshd.run(f"ls -lL {paths} /etc/ssh/ssh_host_*_key 2>/dev/null | sort -u").stdout
    evidence(listed)
    readable = sshd.run(
        f"find -L {paths} /etc/ssh -maxdepth 1 -type f -name '*_key' \\( -perm /037 -o ! -user root "
        "-o -perm /040 ! -group ssh_keys \\) 2>/dev/null"
    ).stdout.split()
    if sshd.run("getent group ssh_keys").rc != 0:
        readable += sshd.run("find -L /etc/ssh -maxdepth 1 -name '*_key' -perm /077").stdout.split()
    assert not readable, f"others may read {', '.join(sorted(set(readable)))}"
    dsa = sshd.run("grep -ls '^ssh-dss ' /etc/ssh/*.pub").stdout.split()
    assert not dsa, f"DSA keys: {', '.join(dsa)}"


@pytest.mark.control("ssh.config_permissions")
def test_config_permissions(sshd, evidence):
    where = "/etc/ssh/sshd_config /etc/ssh/sshd_config.d"
    evidence(sshd.run(f"find -L {where} -type f -exec ls -l {{}} +").stdout)
    found = sshd.run(f"find -L {where} -type f \\( -perm /077 -o ! -user root \\)").stdout.split()
    assert not found, f"not root's alone: {', '.join(found)}"


@pytest.mark.control("ssh.client")
def test_client(host, evidence, not_applicable):
    if host.run("command -v ssh").rc != 0:
        not_applicable("no SSH client is installed")
    # the system's configuration alone, without what root has in its home
    settings = parse(host.check_output("ssh -F /etc/ssh/ssh_config -G nowhere.invalid"))
    keywords = ("forwardagent", "forwardx11", "hashknownhosts", "kexalgorithms", "ciphers", "macs")
    evidence({keyword: settings[keyword] for keyword in keywords})
    wanted = {"forwardagent": "no", "forwardx11": "no", "hashknownhosts": "yes"}
    wrong = [f"{keyword} is {settings[keyword]}" for keyword, value in wanted.items() if settings[keyword] != value]
    assert not wrong, "; ".join(wrong)
    offered = {name for keyword in keywords[3:] for name in settings[keyword].split(",")}
    weak = sorted(name for name in offered if re.search(r"sha1|md5|cbc|umac-64|nistp|group14|arcfour|-dss", name))
    assert not weak, f"offered by the client: {', '.join(weak)}"
