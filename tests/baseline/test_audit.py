# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit trail by what it writes down: something is done on the host, and its record is looked for."""

from __future__ import annotations

import re
import secrets
import shlex
import time

import pytest

PATIENCE = 20  # seconds in which a record has to arrive
KEEPERS = ("chrony", "systemd-timesyncd", "ntpsec", "openntpd", "ntp", "ptp4l")
# What each kind of record is about: words of which one has to stand in a rule that the kernel has
KINDS = {
    "the clock": ["settimeofday"],
    "sudoers": ["/etc/sudoers "],
    "other users' rights": ["uid!=euid", "euid!=uid"],
    "the host's name": ["sethostname"],
    "setuid programs": ["path=/usr/bin/sudo ", "path=/usr/bin/passwd "],
    "refused files": ["exit=-EACCES"],
    "accounts": ["/etc/shadow "],
    "owners and modes": ["fchmodat"],
    "mounts": ["-S mount", ",mount"],
    "sessions": ["/wtmp "],
    "logins": ["/lastlog "],
    "deleted files": ["unlinkat"],
    "modules": ["finit_module"],
}
STOPPING = re.compile(r"(?im)^\s*(\w+_action)\s*=\s*(single|halt)\b")


def wait(look):
    """What `look` returns, once that is something."""
    until = time.monotonic() + PATIENCE
    while not (found := look()) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def config(host, path):
    """The settings of a file `key = value`, by lower-case keys."""
    text = host.run("cat %s", path).stdout
    return dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*(\S.*?)\s*$", text.lower()))


@pytest.fixture(scope="module")
def auditctl(host, not_applicable):
    """auditctl(option): what the kernel answers."""

    def ask(option):
        return host.run("auditctl %s", option)

    if not host.exists("auditctl"):
        if host.run("systemd-detect-virt --container").rc == 0:
            not_applicable("a container, to which its kernel gives no audit; its host writes the trail")
        pytest.fail("auditd is not installed")
    status = ask("-s")
    if status.rc and host.run("systemd-detect-virt --container").rc == 0:
        not_applicable("a container, to which its kernel gives no audit; its host writes the trail")
    assert status.rc == 0, f"auditctl cannot ask the kernel: {status.stderr}"
    return ask


@pytest.fixture(scope="module")
def trail(host):
    """The directory and the file that auditd writes to."""
    path = config(host, "/etc/audit/auditd.conf").get("log_file", "/var/log/audit/audit.log")
    return path.rpartition("/")[0], path


@pytest.mark.control("audit.auditd")
def test_auditd_runs(host, auditctl, evidence):
    assert host.check_output("systemctl is-active auditd.service") == "active", "auditd does not run"
    assert host.run("systemctl is-enabled auditd.service").stdout.strip() == "enabled", "auditd is not started at boot"
    status = dict(line.split(None, 1) for line in auditctl("-s").stdout.splitlines() if " " in line)
    evidence(status)
    assert status["enabled"] in ("1", "2"), "the kernel's audit is off"
    assert status["pid"] != "0", "the kernel's records go nowhere"


@pytest.mark.control("audit.rules")
def test_what_people_do_is_written_down(host, auditctl, evidence):
    live = [f"{line} " for line in auditctl("-l").stdout.splitlines()]
    missing = [kind for kind, words in KINDS.items() if not any(word in line for word in words for line in live)]
    assert not missing, f"the kernel has no rule for {', '.join(missing)}"
    # a person who has logged in is refused a file
    name = f"/root/rampart-{secrets.token_hex(4)}"
    script = f"""
import os
for path in ("/proc/self/loginuid",):
    with open(path, "w") as handle:
        handle.write("65000")
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open({name!r})
except PermissionError:
    print("refused")
"""
    done = host.run("python3 -I -c %s", script)
    if "refused" not in done.stdout:
        evidence("a login cannot be tried here (loginuid is locked): rules only")
        name = f"/etc/sudoers.d/.{name.rpartition('/')[2]}"
        host.check_output("touch %s && rm %s", name, name)
    found = wait(lambda: host.run("ausearch --input-logs --start recent --file %s", name).stdout)
    assert found, f"nothing was written down when {name} was tried"
    evidence(f"{len(live)} rules; {found.strip().splitlines()[-1]}")


@pytest.mark.control("audit.immutable")
def test_rules_are_locked(host, auditctl, evidence):
    status = auditctl("-s").stdout
    merged = host.run("grep -h '^ *-e' /etc/audit/rules.d/*.rules").stdout.split("\n")
    evidence(status)
    if not re.search(r"(?m)^enabled 2$", status):
        waits = "-e 2" in merged
        pytest.fail("the rules are locked from the next boot on: restart the host" if waits else "rules are not locked")


@pytest.mark.control("audit.full_disk")
def test_a_full_disk_stops_nothing_unless_asked(host, auditctl, policy, trail, evidence):
    path = "/etc/audit/auditd.conf"
    found = config(host, path)
    evidence({key: value for key, value in found.items() if key.endswith(("_action", "_file", "_logs", "_left"))})
    assert "suspend" not in [found.get(key) for key in found if key.endswith("_action")], "a full disk ends the trail"
    stopping = STOPPING.findall(host.run("cat %s", path).stdout)
    if policy.get("hardening_audit_halt_when_full"):
        assert dict(stopping).get("disk_full_action"), "a full disk does not stop the host"
        return
    evidence(f"the site has the host stop: {stopping}" if stopping else "nothing stops the host")
    if found.get("max_log_file_action") != "keep_logs":
        size = int(host.check_output("du -sm %s", trail[0]).split()[0])
        most = int(found["max_log_file"]) * int(found["num_logs"])
        assert size <= most + int(found["max_log_file"]), f"{size} MB of logs, though {most} MB were allowed"


@pytest.mark.control("audit.journal")
def test_journal_is_kept_and_bounded(host, evidence):
    word = f"rampart-{secrets.token_hex(8)}"
    host.check_output("logger --tag rampart-verify %s", word)
    shown = "journalctl --quiet --directory /var/log/journal --since -5min --output cat --grep %s"
    assert wait(lambda: host.run("journalctl --sync; " + shown, word).stdout), "what is logged is not kept on the disk"
    text = host.check_output("systemd-analyze cat-config systemd/journald.conf")
    found = dict(re.findall(r"(?m)^(\w+)=(.*?)\s*$", text))
    keys = host.run("ls /var/log/journal/*/fss").rc == 0
    evidence({**found, "keys to seal with": "yes" if keys else "none: made by hand (journalctl --setup-keys)"})
    assert found.get("Storage") == "persistent", "Storage is not persistent"
    assert found.get("SystemMaxUse"), "the journal's size has no limit"
    assert found.get("Seal", "yes").lower() in ("yes", "true", "1", "on"), "the journal would not be sealed"
    logger = [name for name in ("rsyslogd", "syslog-ng") if host.exists(name)]
    if not logger:
        assert found.get("ForwardToSyslog", "yes") == "no", "messages are copied to a socket that nobody reads"


@pytest.mark.control("audit.forwarding")
def test_logs_reach_the_collector(host, policy, not_applicable, evidence):
    to = policy.get("hardening_log_collector")
    if not to:
        not_applicable("no collector is declared (hardening_log_collector)")
    assert host.run("systemctl is-active rsyslog.service").stdout.strip() == "active", "rsyslog does not run"
    checked = host.run("rsyslogd -N1")
    assert checked.rc == 0, f"rsyslog's configuration is wrong: {checked.stderr}"
    word = f"rampart-{secrets.token_hex(8)}"
    host.check_output("logger --tag rampart-verify %s", word)
    peer, name, port = (str(to.get(key) or default) for key, default in (
        ("peer", to["host"]), ("host", ""), ("port", 6514)))  # fmt: skip
    # the collector's own proof, without rsyslog
    tried = host.run("python3 -I -c %s %s %s %s", TALK, name, port, peer)
    evidence(tried.stdout or tried.stderr)
    assert tried.rc == 0, f"the collector is not there, or proves nothing: {tried.stderr.strip().splitlines()[-1]}"
    pids = host.check_output("pidof rsyslogd").replace(" ", ",")
    live = wait(lambda: host.run(f"ss -Htnp state established | grep -E 'pid=({pids.replace(',', '|')}),'").stdout)
    assert f":{port} " in re.sub(r"\s+", " ", live), "rsyslog has no connection to the collector"
    evidence(live)
    waiting = host.run("find /var/spool/rsyslog -name 'rampart-forward*' -size +1M").stdout.split()
    evidence(f"waiting on the disk: {waiting or 'nothing'}")


TALK = """
import socket, ssl, sys
host, port, peer = sys.argv[1:]
context = ssl.create_default_context(cafile="/etc/rampart/audit/collector-ca.pem")
with socket.create_connection((host, int(port)), 10) as plain:
    with context.wrap_socket(plain, server_hostname=peer) as secure:
        print(secure.version(), dict(pair[0] for pair in secure.getpeercert()["subject"]))
"""


@pytest.mark.control("audit.clock")
def test_something_keeps_the_clock(host, not_applicable, evidence):
    if host.run("systemd-detect-virt --container").rc == 0:
        not_applicable("a container, whose host keeps the clock")
    running = [name for name in KEEPERS if host.run("systemctl is-active %s", name).stdout.strip() == "active"]
    synchronized = host.run("timedatectl show --property NTPSynchronized --value").stdout.strip()
    evidence(f"kept by {', '.join(running) or 'nothing'}; synchronized: {synchronized or 'unknown'}")
    assert running, "nothing keeps the clock"


@pytest.mark.control("audit.log_permissions")
def test_logs_are_private(host, evidence, trail):
    word = f"rampart-{secrets.token_hex(8)}"
    host.run("sudo -n true %s", word)
    places = [trail[0], "/var/log/sudo.log", "/var/log/journal", "/var/log/auth.log", "/var/log/syslog"]
    listed = host.run(f"find {shlex.join(places)} -type f -printf '%m %u %g %p\\n'").stdout.splitlines()
    evidence("\n".join(listed[:20]))
    wrong = [line for line in listed if int(line.split()[0], 8) & 0o137]
    assert not wrong, f"too open: {', '.join(wrong)}"
    assert all(line.split()[1] in ("root", "syslog") for line in listed), "logs that belong to somebody else"
    modes = host.run(
        r"grep -ihsE '^\s*\$FileCreateMode|fileCreateMode=' /etc/rsyslog.conf /etc/rsyslog.d/*.conf"
    ).stdout
    for mode in re.findall(r"0?[0-7]{3,4}\b", modes):
        assert not int(mode, 8) & 0o137, f"rsyslog makes files with the mode {mode}"


@pytest.mark.control("audit.file_integrity")
def test_files_are_compared_daily(host, evidence):
    timers = ["rampart-aide-check.timer", "dailyaidecheck.timer", "aidecheck.timer"]
    active = [name for name in timers if host.run("systemctl is-active %s", name).stdout.strip() == "active"]
    assert active, "files are not compared with a database regularly"
    databases = "/var/lib/rampart/aide/files.db /var/lib/aide/aide.db /var/lib/aide/aide.db.gz"
    made = host.run(f"ls -l --time-style=long-iso {databases} 2>/dev/null").stdout.strip()
    unit = host.run("systemctl show rampart-aide-init.service --property ActiveState,Result,ExecMainStartTimestamp")
    state = dict(line.split("=", 1) for line in unit.stdout.splitlines() if "=" in line)
    if not made and state.get("ActiveState") == "activating":
        evidence(f"the database is being made since {state.get('ExecMainStartTimestamp')}")
        return
    assert made, f"there is no database of the files (making it: {state.get('Result', 'never tried')})"
    evidence(f"{', '.join(active)}; {made}")


# What cron's job tells, now; a large host may take longer than a test does
DIFFERENCES = """
now=$(timeout 60 ionice -c3 debsums -cs 2>&1)
[ $? != 124 ] || exit 124
[ -z "$now" ] || echo "$now" | grep -Ev -f "$1" | sed 's/^debsums: //'
"""


@pytest.mark.control("audit.package_files")
def test_files_of_packages_are_compared_weekly(host, evidence):
    assert host.exists("debsums"), "debsums is not installed"
    often = host.run(". /etc/default/debsums && echo $CRON_CHECK").stdout.strip()
    assert often in ("daily", "weekly"), f"debsums does not compare weekly: CRON_CHECK is {often or 'not set'}"
    jobs = f"/etc/cron.{often}"
    assert f"{jobs}/debsums" in host.run("run-parts --test %s", jobs).stdout.split(), f"{jobs} has no job of debsums"
    table, units = "crontab", ["cron.service", "cronie.service"]
    if host.exists("anacron"):  # the table's line leaves the jobs to it
        table, units = "anacrontab", ["anacron.timer"]
    if host.run(f"grep -q '^[^#]*{jobs}' /etc/{table}").rc:
        units = []
    units += ["cron.target"]  # of systemd-cron, which needs no table
    units += ["rampart-debsums.timer"] if often == "weekly" else []
    by = [one for one in units if host.run(f"systemctl -q is-active {one} && systemctl -q is-enabled {one}").rc == 0]
    assert by, f"nothing starts the jobs of {jobs}: cron is stopped or disabled, or /etc/{table} leaves them out"
    ignore = host.run("ls /etc/debsums-ignore").stdout.strip() or "/dev/null"
    assert host.run("echo /usr/bin/any | grep -Ev -f %s", ignore).rc == 0, f"{ignore} takes out every file"
    differ = told = host.run("journalctl -q --identifier debsums --since -8days -o cat | sort -u").stdout.splitlines()
    if told:
        now = host.run("sh -c %s sh %s", DIFFERENCES, ignore)
        differ = told if now.rc == 124 else now.stdout.splitlines()
    assert not differ, (
        f"files are not as their packages brought them ({len(differ)}): {', '.join(differ[:5])}; reinstall the "
        "packages, or accept the files in /etc/debsums-ignore"
    )
    evidence(f"{often} by {by[0]}; {len(told)} differences told in 8 days, none left")
