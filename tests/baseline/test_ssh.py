# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH as it answers: the running daemon's own view of each kind of login, what it says on the wire, a real attempt."""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from ssh_logins import (
    ELSEWHERE,
    MAX_LOGINS,
    Login,
    ask,
    attempt,
    automation_name,
    check,
    declared_sources,
    inside,
    jump_server,
    own_addresses,
    parse,
    server,
)
from testinfra.host import Host

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


# --- on the wire


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
def test_session_limits(sshd, logins, evidence):
    keywords = ("maxsessions", "clientaliveinterval", "clientalivecountmax")
    evidence({keyword: sorted({login.settings[keyword] for login in logins}) for keyword in keywords})
    many = [str(login) for login in logins if not between(login, "maxsessions", 0, 10)]
    assert not many, f"more than 10 sessions for {', '.join(many[:5])}"
    for keyword in keywords[1:]:
        never = [str(login) for login in logins if not between(login, keyword, 1, 900)]
        assert not never, f"{keyword} lets dead connections stay for {', '.join(never[:5])}"
    assert server(sshd)["tcpkeepalive"] == "no", "signs of life are sent that anybody on the way can forge"


@pytest.mark.control("ssh.compression")
def test_compression(sshd, evidence):
    value = server(sshd)["compression"]
    evidence({"compression": value})
    assert value == "no", "sessions may be compressed"


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
