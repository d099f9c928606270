# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What listens, runs and is installed on a host, against what the policy declares, as the kernel and systemd say."""

from __future__ import annotations

import ipaddress
import re

import pytest

# Of each server that few hosts need: its units, and the ports that mean that somebody wants it
UNNEEDED = {
    "autofs": ("autofs", []),
    "avahi-daemon": ("avahi-daemon avahi-daemon.socket", [5353]),
    "isc-dhcp-server": ("isc-dhcp-server isc-dhcp-server6", [67, 547]),
    "kea": ("kea-dhcp4-server kea-dhcp6-server", [67, 547]),
    "bind9": ("named", [53, 853]),
    "dnsmasq": ("dnsmasq", [53, 67, 69]),
    "vsftpd": ("vsftpd", [21, 990]),
    "proftpd": ("proftpd proftpd.socket", [21, 990]),
    "pure-ftpd": ("pure-ftpd", [21, 990]),
    "slapd": ("slapd", [389, 636]),
    "dovecot": ("dovecot dovecot.socket", [25, 110, 143, 465, 587, 993, 995, 4190]),
    "nfs": ("nfs-server", [2049]),
    "ypserv": ("ypserv yppasswdd ypxfrd", []),
    "cups": ("cups cups.socket cups.path cups-browsed", [631]),
    "rpcbind": ("rpcbind rpcbind.socket", [111, 2049]),
    "rsync": ("rsync", [873]),
    "samba": ("smbd nmbd samba-ad-dc", [137, 138, 139, 445]),
    "snmpd": ("snmpd", [161, 705]),
    "tftp": ("tftpd-hpa atftpd atftpd.socket", [69]),
    "squid": ("squid", [3128]),
    "apache2": ("apache2", [80, 443]),
    "lighttpd": ("lighttpd", [80, 443]),
    "nginx": ("nginx", [80, 443]),
    "journal-remote": ("systemd-journal-remote systemd-journal-remote.socket", [19532]),
    "journal-gatewayd": ("systemd-journal-gatewayd systemd-journal-gatewayd.socket", [19531]),
    "inetd": ("xinetd inetd", []),
    "display manager": ("gdm3 lightdm sddm xdm", []),
}
CLIENTS = "ypbind-mt nis rsh-client rsh-redone-client talk inetutils-talk telnet inetutils-telnet ldap-utils ftp tnftp"
CLIENTS = [*CLIENTS.split(), "inetutils-ftp"]
SYS_ADMIN = 21


def mine(policy, named):
    """Whether one of the groups and hosts that are named is this host."""
    return bool({policy["name"], "all", *policy["groups"]} & set(named if isinstance(named, list) else [named]))


@pytest.fixture
def declared(policy):
    """(the ports that may listen: {(proto, port)}, the programs)."""
    ports, programs = set(), set()
    entries = [(flow, flow["to"]) for flow in policy.get("hardening_flows", [])]
    entries += [(entry, entry.get("hosts", "all")) for entry in policy.get("hardening_services", [])]
    for entry, where in entries:
        if not mine(policy, where) or entry.get("proto") == "icmp":
            continue
        given = entry.get("port", [])
        for port in given if isinstance(given, list) else [given]:
            first, __, last = str(port).partition("-")
            ports |= {(entry.get("proto", "tcp"), number) for number in range(int(first), int(last or first) + 1)}
        programs |= {entry["program"]} if "program" in entry else set()
    return ports, programs


def loopback(text):
    found = ipaddress.ip_address(re.sub(r"[\[\]]|%[^\]]*", "", text).replace("*", "::"))
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


@pytest.fixture
def sockets(host):
    """What listens: [{proto, address, port, process, pid}], by ss. Clients wait for answers on ephemeral ports."""
    low, high = map(int, host.check_output("cat /proc/sys/net/ipv4/ip_local_port_range").split())
    found = []
    for line in host.check_output("ss -Hlntup").splitlines():
        words = line.split(None, 6)
        address, __, port = words[4].rpartition(":")
        if not port.isdigit() or (words[0] == "udp" and (low <= int(port) <= high or int(port) in (68, 546))):
            continue
        holders = re.findall(r'"([^"]*)",pid=(\d+)', words[6] if len(words) > 6 else "")
        # what systemd opened it may have handed on
        name, pid = min(holders, key=lambda one: one[1] == "1", default=("", ""))
        found.append({"proto": words[0], "address": address, "port": int(port), "process": name, "pid": pid})
    return found


def origin(host, socket):
    """The unit and the package of a process."""
    if not socket["pid"]:
        return "", ""
    unit = re.findall(r"/([^/\n]+\.(?:service|scope))", host.run(f"cat /proc/{socket['pid']}/cgroup").stdout)
    program = host.run(f"readlink /proc/{socket['pid']}/exe").stdout.strip()
    # files are registered where they were before /usr was merged
    owner = host.run(f"dpkg -S {program} || dpkg -S {program.removeprefix('/usr')}").stdout if program else ""
    return (unit or [""])[-1], owner.partition(":")[0]


@pytest.mark.control("services.listening")
def test_listening(host, sockets, declared, evidence):
    ports, programs = declared
    undeclared, lines = [], []
    for socket in sockets:
        line = f"{socket['port']}/{socket['proto']} on {socket['address']}: {socket['process'] or 'unknown'}"
        if loopback(socket["address"]) or (socket["proto"], socket["port"]) in ports:
            lines.append(line)
            continue
        unit, package = origin(host, socket)
        line += f", unit {unit or 'none'}, package {package or 'none'}"
        lines.append(line)
        names = {socket["process"], unit, unit.rpartition(".")[0]} - {""}
        if not names & (programs | {program[:15] for program in programs}):
            undeclared.append(line)
    evidence("\n".join(lines) or "nothing listens")
    assert not undeclared, f"nothing declares {'; '.join(dict.fromkeys(undeclared))}"


@pytest.mark.control("services.unneeded_servers")
def test_unneeded_servers(host, sockets, declared, evidence):
    ports, programs = declared
    names = {
        unit if "." in unit else f"{unit}.service": server
        for server in UNNEEDED
        for unit in UNNEEDED[server][0].split()
    }
    asked = host.check_output(f"systemctl show -p Id,LoadState,ActiveState,UnitFileState {' '.join(names)}")
    there, running = {}, []
    for unit, block in zip(names, asked.split("\n\n"), strict=True):
        facts = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if facts["LoadState"] in ("loaded", "masked"):
            there[unit] = f"{facts['LoadState']}, {facts['ActiveState']}"
            if facts["ActiveState"] == "active" or (
                facts["LoadState"] == "loaded" and facts["UnitFileState"] in ("enabled", "enabled-runtime", "generated")
            ):
                running.append(unit)
    evidence(there or "none of them is installed")
    units = {}
    for socket in sockets:
        units.setdefault(origin(host, socket)[0], set()).add((socket["proto"], socket["port"]))
    wrong = []
    for unit in running:
        own, short = units.get(unit, set()), unit.rpartition(".")[0]
        usual = {(proto, port) for proto in ("tcp", "udp") for port in UNNEEDED[names[unit]][1]}
        if not (own | usual) & ports and not {names[unit], unit, short} & programs:
            wrong.append(unit)
    assert not wrong, f"nothing declares {', '.join(wrong)}, and they run or will"


@pytest.mark.control("services.unneeded_clients")
def test_unneeded_clients(host, declared, evidence):
    asked = host.run(f"dpkg-query -W -f '${{db:Status-Status}} ${{Package}}\\n' {' '.join(CLIENTS)}").stdout
    found = [line.split()[1] for line in asked.splitlines() if line.startswith("installed ")]
    evidence(found or "none of them is installed")
    wrong = [name for name in found if name not in declared[1] and name.removeprefix("inetutils-") not in declared[1]]
    assert not wrong, f"installed: {', '.join(wrong)}"


@pytest.mark.control("services.cron_permissions")
def test_cron_permissions(host, evidence, not_applicable):
    places = (
        "/etc/crontab /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /etc/cron.yearly /etc/cron.d"
    )
    seen = host.run(f"stat -L -c '%n %U %a' {places}").stdout.splitlines()
    if not seen:
        not_applicable("cron has no files here")
    evidence(seen)
    wrong = [line for line in seen if line.split()[1] != "root" or int(line.split()[2], 8) & 0o077]
    assert not wrong, f"others than root read or write {'; '.join(wrong)}"


def may(host, program, name):
    """Whether the program serves the account, by trying; None where the account cannot be become."""
    tried = host.run(f"setpriv --reuid={name} --regid={name} --init-groups -- {program} -l")
    return None if "setpriv" in tried.stderr else not re.search("not allowed|permission", tried.stderr, re.I)


@pytest.mark.control("services.cron_allow")
def test_cron_allow(host, evidence, not_applicable):
    programs = {"crontab": "/etc/cron.allow", "at": "/etc/at.allow"}
    programs = {program: path for program, path in programs.items() if host.exists(program)}
    if not programs:
        not_applicable("neither cron nor at is installed")
    for program, path in programs.items():
        shown = host.run(f"stat -c '%U %a' {path}; grep -v '^#' {path}")
        assert shown.rc == 0, f"there is no {path}: everybody may use {program}"
        owner, mode, *names = shown.stdout.split()
        evidence({path: {"owner": owner, "mode": mode, "names": names}})
        assert owner == "root" and not int(mode, 8) & 0o027, f"{path} is {owner}'s, mode {mode}"
        if "nobody" not in names and program == "crontab":
            assert may(host, program, "nobody") is not True, f"{program} serves an account that is not named"


def sandboxed(host, not_applicable, evidence, *units):
    """The unit that runs, its properties and its process's state, where this host can sandbox."""
    capabilities = int(re.search(r"CapEff:\s*(\w+)", host.file("/proc/1/status").content_string)[1], 16)
    if not capabilities >> SYS_ADMIN & 1:
        not_applicable("in this container systemd cannot sandbox (no CAP_SYS_ADMIN)")
    unit = next((unit for unit in units if host.run(f"systemctl is-active --quiet {unit}").rc == 0), None)
    if unit is None:
        not_applicable(f"{units[0]} does not run")
    shown = dict(line.split("=", 1) for line in host.check_output(f"systemctl show {unit}").splitlines() if "=" in line)
    score = host.run(f"systemd-analyze security --no-pager {unit} | tail -n 1").stdout.strip()
    status = dict(re.findall(r"^(\w+):\s*(.*)$", host.file(f"/proc/{shown['MainPID']}/status").content_string, re.M))
    base = re.search(r"Seccomp_filters:\s*(\d+)", host.file("/proc/1/status").content_string)
    evidence(
        {"exposure": score, "process": {key: status.get(key) for key in ("NoNewPrivs", "Seccomp_filters", "CapBnd")}}
    )
    if base and "Seccomp_filters" in status:
        assert int(status["Seccomp_filters"]) > int(base[1]), f"{unit} has not been restarted into its sandbox"
    return shown, status


SESSIONS = ("LockPersonality", "RestrictRealtime")
SERVERS = (*SESSIONS, "NoNewPrivileges", "RestrictSUIDSGID", "ProtectKernelModules", "ProtectKernelTunables")
SERVERS = (*SERVERS, "ProtectKernelLogs", "ProtectControlGroups", "ProtectClock", "ProtectHostname")


def check(shown, wanted):
    lacks = [name for name in wanted if shown.get(name) != "yes"]
    assert not lacks, f"not set: {', '.join(lacks)}"


def check_sessions(host, unit, shown, status):
    check(shown, SESSIONS)
    families = shown["RestrictAddressFamilies"]
    # a deny-list starts with ~, an allow-list names what remains
    assert families and ("AF_RDS" in families) == families.startswith("~"), f"{unit} may use every kind of socket"
    assert status.get("NoNewPrivs") == "0", f"sudo does not work below {unit}"


@pytest.mark.control("services.sandbox_ssh")
def test_sandbox_ssh(host, evidence, not_applicable):
    shown, status = sandboxed(host, not_applicable, evidence, "ssh.service")
    check_sessions(host, "ssh.service", shown, status)


@pytest.mark.control("services.sandbox_cron")
def test_sandbox_cron(host, evidence, not_applicable):
    shown, status = sandboxed(host, not_applicable, evidence, "cron.service")
    check_sessions(host, "cron.service", shown, status)


@pytest.mark.control("services.sandbox_nginx")
def test_sandbox_nginx(host, evidence, not_applicable):
    shown, status = sandboxed(host, not_applicable, evidence, "nginx.service")
    check(shown, SERVERS)
    assert not int(status["CapBnd"], 16) >> SYS_ADMIN & 1, "nginx keeps CAP_SYS_ADMIN"
    assert status["NoNewPrivs"] == "1", "nginx may gain privileges"
    written = host.run(f"nsenter -t {shown['MainPID']} -m touch /etc/rampart-test")
    assert written.rc != 0, "nginx may write to /etc"


@pytest.mark.control("services.sandbox_mariadb")
def test_sandbox_mariadb(host, evidence, not_applicable):
    if b"auth_pam" in host.run_test("cat /var/lib/mysql/mysql/plugin.MAD").stdout_bytes:
        not_applicable("MariaDB asks PAM, by a helper that needs root")
    shown, status = sandboxed(host, not_applicable, evidence, "mariadb.service")
    check(shown, SERVERS)
    assert status["NoNewPrivs"] == "1", "MariaDB may gain privileges"
