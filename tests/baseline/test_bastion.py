# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A jump server as it treats people: what sshd grants each kind of login, what runs, what was recorded."""

from __future__ import annotations

import ipaddress
import re

import pytest
from factors import key_alone
from ssh_logins import ELSEWHERE, automation_name, check, jump_server, own_addresses, server

MOST_IDLE = {"session:shell": 3600, "direct-tcpip": 4 * 3600}  # seconds
MOST_AT_ONCE = 100
MOST_FAILURES = 50  # from one address, until it is shut out
LONGEST_BAN = 7 * 24 * 3600  # seconds
JAIL = ("maxretry", "findtime", "bantime", "bantime.increment", "bantime.maxtime", "ignoreip")
# What filters packets once this address, which is nobody's, is shut out
BAN = """
trap 'fail2ban-client set sshd unbanip {0} >/dev/null' EXIT
fail2ban-client set sshd banip {0} >/dev/null
for try in $(seq 20); do
    rules=$(nft list ruleset; iptables-save; ip6tables-save) 2>/dev/null
    case $rules in *{0}*) break ;; esac
    sleep 0.5
done
echo "$rules"
"""
LOG = "/var/log/rampart/passages.log"
RECORDINGS = "/var/log/sudo-io"
REFUSES = ("/usr/local/lib/rampart/shell refuse", "/usr/sbin/nologin", "/bin/false")


@pytest.fixture
def jump(sshd, policy, not_applicable):
    if not jump_server(policy):
        not_applicable("it is no jump server")
    return sshd


def machines(policy: dict) -> set[str]:
    found = {one["name"] for one in policy.get("hardening_mfa_exempt", [])} | {automation_name(policy)}
    return found | set(policy.get("bastion_machines", []))


def shells(policy: dict) -> set[str]:
    """Who may have a shell."""
    admins = [one for one in policy.get("hardening_admins", []) if one.get("state") != "absent"]
    people = {one["name"] for one in admins if one.get("sudo", True)}
    return set(policy.get("bastion_shells", people)) - machines(policy)


def declared(policy: dict) -> set[str]:
    """Hosts (names and addresses) and ports that flows lead to from this host, in sshd's words."""
    found = set()
    hosts = policy["all_hosts"]
    here = {"any", "all", policy["name"], *policy["groups"], *map(str, hosts[policy["name"]]["addresses"])}
    for flow in policy.get("bastion_flows", policy.get("hardening_flows", [])):
        sources = flow["from"] if isinstance(flow["from"], list) else [flow["from"]]
        targets = flow["to"] if isinstance(flow["to"], list) else [flow["to"]]
        ports = flow.get("port", [])
        ports = ports if isinstance(ports, list) else [ports]
        if flow.get("proto", "tcp") != "tcp" or not any(leads_from(str(one), here) for one in sources):
            continue
        for name, entry in hosts.items():
            if name != policy["name"] and {"all", name, *entry["groups"]} & set(map(str, targets)):
                spelled = [name, *map(str, entry["addresses"])]
                for port in ports:
                    first, _dash, last = str(port).partition("-")
                    numbers = range(int(first), int(last or first) + 1)
                    found |= {f"[{one}]:{n}" if ":" in one else f"{one}:{n}" for one in spelled for n in numbers}
    return found


def leads_from(source: str, here: set[str]) -> bool:
    if source in here:
        return True
    try:
        network = ipaddress.ip_network(source)
    except ValueError:
        return False
    return any(re.fullmatch(r"[\da-f.:]+", one) and ipaddress.ip_address(one) in network for one in here)


@pytest.mark.control("bastion.destinations")
def test_destinations(jump, policy, logins, evidence):
    allowed = {login.settings["permitopen"] for login in logins}
    evidence({"PermitOpen": sorted(allowed)})
    more = {place for value in allowed for place in value.split()} - declared(policy) - {"none"}
    assert not more, f"open though no flow says so: {', '.join(sorted(more)[:5])}"


@pytest.mark.control("bastion.forwarding")
def test_forwarding(jump, logins, evidence):
    shut = dict.fromkeys(("allowagentforwarding", "x11forwarding", "permittunnel", "gatewayports"), "no")
    check(evidence, logins, allowstreamlocalforwarding="no", allowtcpforwarding={"local", "no"}, permitlisten="none",
          **shut)  # fmt: skip


def home_first(settings: dict) -> bool:
    """Whether the shell that starts the forced command reads what is in the person's home before."""
    return "HOME=/nonexistent" not in settings.get("setenv", "").split() or settings["permituserrc"] != "no"


@pytest.mark.control("bastion.no_shell")
def test_no_shell(jump, policy, logins, evidence):
    allowed = shells(policy) | machines(policy) | {"root"}
    others = {login.user: login.settings for login in logins if login.user not in allowed}
    evidence({name: settings["forcecommand"] for name, settings in others.items()})
    loose = [
        name
        for name, settings in others.items()
        if not settings["forcecommand"].startswith(("internal-sftp", "/usr/lib/openssh/sftp-server"))
        and not (any(word in settings["forcecommand"] for word in REFUSES) and settings["permittty"] == "no")
    ]
    assert not loose, f"have a shell and no administration here: {', '.join(loose[:5])}"
    around = [
        name for name, settings in others.items() if home_first(settings) and "rampart" in settings["forcecommand"]
    ]
    assert not around, f"get a shell by what is in their home: {', '.join(around[:5])}"


@pytest.mark.control("bastion.recording")
def test_recording(jump, policy, logins, evidence, not_applicable):
    granted = {login.user: login.settings for login in logins if login.user in shells(policy)}
    people = {name: settings["forcecommand"] for name, settings in granted.items()}
    if not people:
        not_applicable("nobody has a shell here")
    place = jump.run(f"stat -c '%U %a' {RECORDINGS}").stdout.strip()
    kept = jump.run(f"find {RECORDINGS} -name timing | wc -l").stdout.strip()
    evidence({"shells": people, "recordings": kept, RECORDINGS: place})
    assert place == "root 700", f"{RECORDINGS} is {place or 'not there'}"
    around = [name for name, settings in granted.items() if home_first(settings)]
    assert not around, f"go around the recording by what is in their home: {', '.join(around)}"
    for name, command in people.items():
        assert command.startswith("/"), f"{name} has a shell that is not recorded: {command}"
        listed = jump.check_output(f"sudo -n -l -U {name}") if jump.run(f"id {name}").rc == 0 else command
        assert command in listed, f"{name} may not start {command} under sudo"
    rules = jump.check_output("cat /etc/sudoers /etc/sudoers.d/*")
    assert re.search(r"(?m)^Defaults!\S+ .*\blog_output\b", rules), "sudo is not told to record"


@pytest.mark.control("bastion.passages")
def test_passages(jump, evidence):
    settings = server(jump)
    place = jump.run(f"stat -c '%U %a' {LOG} 2>/dev/null").stdout.strip()
    running = jump.run("systemctl is-active rampart-passages.service").stdout.strip()
    last = jump.run(f"tail -n 3 {LOG} 2>/dev/null").stdout.splitlines()
    evidence({"log": place or "nothing written yet", "service": running, "last": last})
    assert "direct_tcpip" in settings.get("logverbose", ""), "sshd does not say where connections go"
    assert running == "active", f"what sshd says is not written down: {running}"
    assert not place or re.fullmatch(r"root 6[04]0", place), f"{LOG} is {place}"


@pytest.mark.control("bastion.session_limits")
def test_session_limits(jump, evidence):
    limits = dict(re.findall(r"(\S+)=(\d+[smh]?)", server(jump).get("channeltimeout", "")))
    longest = jump.run("cat /etc/systemd/system/session-.scope.d/*.conf 2>/dev/null").stdout
    total = re.search(r"(?m)^RuntimeMaxSec=(\d+)$", longest)
    # this very session; one that was open before the role came may well have no limit
    live = jump.run(
        "grep -o 'session-[^/]*scope' /proc/self/cgroup | head -n 1 | xargs -r systemctl show -p RuntimeMaxUSec --value"
    ).stdout.strip()
    evidence({"ChannelTimeout": limits, "RuntimeMaxSec": total and total[1], "this session": live})
    for kind, most in MOST_IDLE.items():
        number, unit = re.fullmatch(r"(\d+)([smh]?)", limits.get(kind, "0")).groups()
        assert 0 < int(number) * {"m": 60, "h": 3600}.get(unit, 1) <= most, f"{kind} may be idle: {limits.get(kind)}"
    assert total and int(total[1]) <= 24 * 3600, "a session may last for ever"
    assert live != "infinity", "this session may last for ever"


@pytest.mark.control("bastion.guessing")
def test_guessing(jump, evidence):
    settings = server(jump)
    keywords = ("persourcemaxstartups", "maxauthtries")
    evidence({keyword: settings[keyword] for keyword in keywords if keyword in settings})
    most = settings["persourcemaxstartups"]
    assert most.isdigit() and int(most) <= MOST_AT_ONCE, f"logins under way from one address: {most}"


def held(text: str, port: int) -> bool:
    """Whether one of these rules refuses ELSEWHERE, or a set that it is in, at this port."""
    address = re.escape(ELSEWHERE[0])
    names = re.findall(rf"(?s)set (\S+) {{[^{{}}]*elements = {{[^}}]*\b{address}\b", text)
    words = "|".join([address, *(rf"@{re.escape(name)}" for name in names)])
    for rule in re.findall(rf"(?mi)^(.*(?:{words})\b.*\b(?:reject|drop)\b.*)$", text):
        ports = re.search(r"dport (?:{ )?([\d, -]+)", rule)
        ranges = [one.split("-") for one in re.findall(r"[\d-]+", ports[1])] if ports else [["0", "65535"]]
        if any(int(one[0]) <= port <= int(one[-1]) for one in ranges):
            return True
    return False


@pytest.mark.control("bastion.penalties")
def test_penalties(jump, policy, evidence, not_applicable):
    """By sshd, where it can (OpenSSH 9.8); else by fail2ban, which is made to shut out an address of nobody."""
    settings = server(jump)
    if "persourcepenalties" in settings:
        evidence({"PerSourcePenalties": settings["persourcepenalties"]})
        assert settings["persourcepenalties"] != "no", "failed logins have no consequence for their address"
        return
    if "not permitted" in jump.run("nft list ruleset").stderr and jump.run("systemd-detect-virt --container").rc == 0:
        not_applicable("a container that may not filter packets")
    live = jump.run("fail2ban-client status sshd || exit 1")  # its own 255 would be that of a lost connection
    assert live.rc == 0, f"nothing shuts out addresses that fail, fail2ban: {(live.stderr or live.stdout).strip()}"
    asked = " ".join(JAIL)
    said = jump.check_output(f"for key in {asked}; do echo \"== $key\"; fail2ban-client get sshd $key; done 2>&1")
    jail = {key: text.strip() for key, __, text in (part.partition("\n") for part in said.split("== ")[1:])}
    spared = re.findall(r"(?m)^[|`]- ([\da-f.:/]+)$", jail["ignoreip"])  # names that it would look up do not count
    ports = sorted({port for _address, port in own_addresses(jump)})
    rules = jump.check_output(BAN.format(ELSEWHERE[0]))
    evidence({**jail, "ignoreip": spared, "ports": [port for port in ports if held(rules, port)]})
    assert jump.run("systemctl is-enabled fail2ban.service").rc == 0, "fail2ban does not start with the host"
    assert int(jail["maxretry"]) <= MOST_FAILURES, f"{jail['maxretry']} failures until an address is shut out"
    assert int(jail["findtime"]) >= 60, f"failures are forgotten after {jail['findtime']} seconds"
    assert int(jail["bantime"]) < 0 or int(jail["bantime"]) >= 60, f"shut out for {jail['bantime']} seconds only"
    longest = jail["bantime.maxtime"] if jail["bantime.increment"] == "True" else jail["bantime"]
    assert longest.isdigit() and int(longest) <= LONGEST_BAN, f"an address may be shut out for good ({longest})"
    lost = [one for one in known(policy) if not within(one, spared)]
    assert not lost, f"operators may be shut out, coming from {', '.join(lost)}"
    shut = [str(port) for port in ports if not held(rules, port)]
    assert not shut, f"an address that is shut out still gets to port {', '.join(shut)}"


def known(policy: dict) -> list[str]:
    """From where Ansible and what comes through the other jump servers arrive here."""
    jumps = set(policy.get("hardening_jump_groups", ["jump"]))
    others = [one for name, one in policy["all_hosts"].items() if name != policy["name"] and jumps & set(one["groups"])]
    return [*map(str, policy.get("hardening_controllers", [])), *(str(at) for one in others for at in one["addresses"])]


def within(one: str, networks: list[str]) -> bool:
    inner = ipaddress.ip_network(one, strict=False)
    outer = [ipaddress.ip_network(network, strict=False) for network in networks]
    return any(inner.version == network.version and inner.subnet_of(network) for network in outer)


@pytest.mark.control("bastion.mfa")
def test_mfa(jump, policy, logins, evidence):
    allowed = key_alone(jump, policy)
    methods = {str(login): login.settings["authenticationmethods"] for login in logins if login.user not in allowed}
    evidence({value: list(methods.values()).count(value) for value in methods.values()})
    alone = [
        login for login, value in methods.items() if not all("keyboard-interactive" in chain for chain in value.split())
    ]
    assert not alone, f"a key is enough for {', '.join(alone[:5])}"
