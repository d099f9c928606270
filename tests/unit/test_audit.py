# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_audit
from ansible_collections.rampart.hardening.plugins.plugin_utils import audit

EVERYTHING = [f"audit.{name}" for name in (
    "auditd", "rules", "immutable", "full_disk", "journal", "forwarding", "clock", "log_permissions",
    "file_integrity", "package_files")]  # fmt: skip
CA = "-----BEGIN CERTIFICATE-----\n"


def survey(container="", **more):
    seen = {
        "kernel": {"enabled": 1}, "machine": "x86_64", "installed": [], "running": [], "privileged": [], "exists": [],
        "uid_min": 1000, "auditd": {}, "clock_users": [], "journald": {}, "sudo_log": "/var/log/sudo.log",
        "rsyslog": {"modes": [], "modules": []}, "aide": False,
        "debsums": {"check": "", "ours": False, "timer": False}, **more,
    }  # fmt: skip
    return {"audit": seen, "system": {"container": container, "init": "systemd"}, "accounts": {"sudo": True}}


def plan(seen=None, controls=EVERYTHING, **policy):
    policy = {"forward": {}, "halt": False, "log_file_mb": 32, "log_files": 10, "journal_max": "1G", "time_servers": [],
              "aide": False, "jump": False, **policy}  # fmt: skip
    return audit.plan(seen or survey(), controls=controls, **policy)


def test_a_full_disk_does_not_stop_the_host_unless_asked():
    shipped = audit.auditd_conf({}, False, 32, 10)
    assert not {value.split()[0].lower() for key, value in shipped.items() if key.endswith("_action")} & {
        "suspend", "single", "halt"}  # fmt: skip
    assert audit.auditd_conf({}, True, 32, 10)["disk_full_action"] == "HALT"


def test_what_the_site_keeps_longer_or_holds_stricter_stays():
    conf = audit.auditd_conf({"max_log_file": "100", "num_logs": "3", "disk_full_action": "halt", "flush": "none",
                              "space_left_action": "email"}, False, 32, 10)  # fmt: skip
    assert (conf["max_log_file"], conf["num_logs"], conf["disk_full_action"]) == ("100", "10", "halt")
    assert conf["flush"] != "none" and conf["space_left_action"] == "email"


def test_where_the_kernel_gives_no_audit_nothing_of_auditd_is_installed():
    found = plan(survey("podman", kernel=None))
    assert not found["audited"] and not found["lock"] and "auditd" not in found["packages"]
    assert "auditd" in plan()["packages"]


def test_the_lock_comes_with_the_next_boot_and_is_told():
    assert any("locked from the next boot on" in note for note in plan()["notes"])
    locked = plan(survey(kernel={"enabled": 2}))
    assert any("takes effect at the next boot" in note for note in locked["notes"])
    assert not plan(controls=[one for one in EVERYTHING if one != "audit.immutable"])["lock"]


@pytest.mark.parametrize(
    ("installed", "running", "keeper"),
    [([], [], "chrony"), (["systemd-timesyncd"], ["systemd-timesyncd"], "systemd-timesyncd"),
     (["chrony", "systemd-timesyncd"], ["chrony"], "chrony")],
)  # fmt: skip
def test_what_keeps_the_clock_already_goes_on(installed, running, keeper):
    found = plan(survey(installed=installed, running=running))
    assert found["clock"] == keeper
    assert ("chrony" in found["packages"]) == (not installed)


@pytest.mark.parametrize(
    ("forward", "words"),
    [
        ({"host": "logs.example.com"}, "lacks ca"),
        ({"host": "logs.example.com", "ca": "x"}, "ca is not PEM"),
        ({"host": "logs.example.com", "ca": CA, "cert": CA}, "cert and key come together"),
        ({"host": 'logs" )', "ca": CA}, "host is no name"),
        ({"host": "logs.example.com", "ca": CA, "port": "many"}, "port is no number"),
        ({"host": "logs.example.com", "ca": CA, "proto": "udp"}, "there is no proto"),
    ],
)
def test_a_collector_that_cannot_be_is_refused_by_name(forward, words):
    assert any(words in one for one in plan(forward=forward)["refuse"])


def test_a_collector_brings_rsyslog_and_tls():
    found = plan(forward={"host": "logs.example.com", "ca": CA})
    assert not found["refuse"] and {"rsyslog", "rsyslog-gnutls"} <= set(found["packages"])
    assert found["forward"]["port"] == 6514 and found["journald"]["ForwardToSyslog"] == "yes"


def test_a_later_file_that_undoes_ours_is_refused():
    later = {"Storage": {"value": "none", "file": "/etc/systemd/journald.conf.d/zzz.conf", "line": 2}}
    assert any("zzz.conf:2 Storage=none comes after" in one for one in plan(survey(journald=later))["refuse"])
    loose = {"modes": [{"file": "/etc/rsyslog.d/50-site.conf", "line": 1, "mode": "0644"}], "modules": []}
    assert any("50-site.conf:1" in one for one in plan(survey(rsyslog=loose))["refuse"])


def test_a_database_of_the_sites_own_is_left_to_it():
    assert plan()["aide"] and not plan(survey(aide=True))["aide"]


@pytest.mark.parametrize(
    ("text", "check"),
    [("", ""), ("# CRON_CHECK=daily\nCRON_CHECK=never\n", "never"), ('CRON_CHECK=x\nCRON_CHECK="daily"\n', "daily")],
)
def test_how_often_debsums_compares_is_what_its_job_reads(monkeypatch, text, check):
    monkeypatch.setattr(survey_audit, "text", {audit.DEBSUMS: text}.get)
    assert survey_audit.debsums() == {"check": check, "ours": False, "timer": False}


@pytest.mark.parametrize(
    ("controls", "check", "ours", "said"),
    [
        (EVERYTHING, "", False, "weekly"),
        (EVERYTHING, "never", False, "weekly"),
        (EVERYTHING, "monthly", False, "weekly"),
        (EVERYTHING, "never", True, "weekly"),
        (EVERYTHING, "weekly", True, ""),
        (EVERYTHING, "daily", False, ""),
        ([], "weekly", True, "never"),
        ([], "never", True, "never"),
        ([], "weekly", False, ""),
    ],
)
def test_packages_are_compared_weekly_and_a_sites_daily_stays(controls, check, ours, said, monkeypatch):
    seen = survey(debsums={"check": check, "ours": ours, "timer": False}, installed=["cron"])
    found = plan(seen, controls)
    assert found["debsums"] == said
    assert ("debsums" in found["packages"]) is bool(controls) and "cron" not in found["packages"]
    changed = audit.change(seen, {**found, "aide": False}, dict.fromkeys(["journald", "rules", "auditd"], ""))
    written = [entry["content"] for entry in changed["files"] if entry["path"] == audit.DEBSUMS]
    assert [one.splitlines()[-1] for one in written] == ([f"CRON_CHECK={said}"] if said else [])
    # compared at once where it was not before
    assert (["sh", "-c", audit.DEBSUMS_NOW] in changed["activate"]) == (said == "weekly")
    monkeypatch.setattr(survey_audit, "text", lambda _path: "".join(written))
    assert survey_audit.debsums() == {"check": said, "ours": bool(said), "timer": False}
    assert "rampart-debsums" not in str([one for one in changed["files"] if one.get("state") != "absent"])


def test_without_cron_a_timer_starts_the_job():
    seen = survey(debsums={"check": "daily", "ours": False, "timer": False})
    found = plan(seen)
    assert found["debsums"] == "weekly" and "cron" not in found["packages"]
    changed = audit.change(seen, {**found, "aide": False}, dict.fromkeys(["journald", "rules", "auditd"], ""))
    made = {entry["path"] for entry in changed["files"] if entry.get("state") != "absent"}
    assert {*audit.DEBSUMS_UNITS, audit.DEBSUMS_WANTED} <= made
    assert ["sh", "-c", audit.DEBSUMS_TIMED] in changed["activate"] and changed["revert"]
    later = survey(debsums={"check": "weekly", "ours": True, "timer": True}, installed=["cron"])
    changed = audit.change(later, {**plan(later), "aide": False}, dict.fromkeys(["journald", "rules", "auditd"], ""))
    gone = {entry["path"] for entry in changed["files"] if entry.get("state") == "absent"}
    assert {*audit.DEBSUMS_UNITS, audit.DEBSUMS_WANTED} <= gone
    assert ["sh", "-c", audit.DEBSUMS_TIMED] in changed["activate"]


def test_what_pam_calls_for_every_session_is_not_watched_as_a_program_of_more_rights(tmp_path, monkeypatch):
    for name in ("sudo", "pam-tmpdir-helper", "ls"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o755 if name == "ls" else 0o4755)
    monkeypatch.setattr(survey_audit, "BINARIES", [(str(tmp_path), 0)])
    assert survey_audit.privileged() == [f"{tmp_path}/sudo"]
