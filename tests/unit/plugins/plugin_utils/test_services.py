# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may run, given what the survey found there."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import services

ALL = [
    "services.listening", "services.unneeded_servers", "services.unneeded_clients", "services.cron_permissions",
    "services.cron_allow", "services.sandbox_ssh", "services.sandbox_cron", "services.sandbox_nginx",
    "services.sandbox_mariadb",
]  # fmt: skip
RULES = [{"proto": "tcp", "ports": [[22, 22], [8000, 8100]], "peers": ["0.0.0.0/0"], "flows": []}]
OPTIONS = {name: {"LockPersonality": "yes", "PrivateTmp": "yes"} for name in ("ssh", "cron", "nginx", "mariadb")}


def socket(port, unit="", process="", proto="tcp", loopback=False):
    return dict(proto=proto, address="::", port=port, process=process, unit=unit, loopback=loopback)


def unit(active=True, masked=False, own=False, users=()):
    return dict(active=active, enabled=active, masked=masked, own=own, users=list(users))


def survey(*listening, connection=22, valid=True, init="systemd", **more):
    people = dict(installed=True, group="crontab", facts={}, text="", denied=[], users=[], known=[])
    found = dict(
        listening=list(listening), established=[], servers={}, masked=[], packages={}, uses=[], cron={},
        lists={"cron": {**people, **more.pop("people", {})}}, sandbox={}, capable=True, nginx={}, pam=False,
    )  # fmt: skip
    system = {"connection": {"port": connection} if connection else {}, "init": init}
    return {"services": {**found, **more}, "system": system, "ssh": {"valid": valid}}


def plan(found, **more):
    return services.plan(found, **{"controls": ALL, "rules": RULES, "sandbox": OPTIONS, "restart": OPTIONS, **more})


def files(made):
    return {entry["path"].rpartition("/")[2]: entry for entry in made["change"]["files"]}


@pytest.mark.parametrize(
    "entry, allowed, quiet",
    [
        (socket(22, "ssh.service", "sshd"), [], True),
        (socket(8050), [], True),
        (socket(9000, "app.service", "app"), [], False),
        (socket(9000, loopback=True), [], True),
        (socket(68, proto="udp"), [], True),
        (socket(9000), [{"port": 9000}], True),
        (socket(9000), [{"port": "8999-9001", "hosts": ["web"]}], True),
        (socket(9000), [{"port": [9000], "hosts": "db"}], False),
        (socket(9000, proto="udp"), [{"port": 9000}], False),
        (socket(9000, "app.service", "python3"), [{"program": "app"}], True),
        (socket(9000, "", "a-very-long-nam"), [{"program": "a-very-long-name"}], True),
    ],
)
def test_what_listens_is_declared_or_named(entry, allowed, quiet):
    made = plan(survey(entry), allowed=allowed, names=["host", "web"])
    assert bool(made["undeclared"]) is not quiet
    assert bool(made["change"]["notes"]) is not quiet


@pytest.mark.parametrize(
    "entry, said",
    [
        ({"port": 0}, "0 is no port"),
        ({"port": "90-80"}, "'90-80' is no port"),
        ({"reason": "x"}, "neither port nor program"),
        ({"port": 1, "prto": "udp"}, "unknown key 'prto'"),
        ({"port": 1, "proto": "icmp"}, "proto is tcp or udp"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(entry, said):
    (reason,) = plan(survey(), allowed=[entry])["change"]["refuse"]
    assert reason.startswith("hardening_services, entry 1: ") and said in reason


def masked(made):
    return [path for path, entry in files(made).items() if entry.get("target") == "/dev/null"]


def test_servers_that_nobody_declared_are_masked_and_come_back():
    made = plan(survey(socket(161, "snmpd.service"), servers={"snmpd.service": unit(), "squid.service": unit(False)}))
    assert masked(made) == ["snmpd.service", "squid.service"]
    assert ["systemctl", "stop", "snmpd.service"] in made["change"]["activate"]
    assert made["change"]["revert"][-1][-1] == "snmpd.service"
    assert made["change"]["active"]


@pytest.mark.parametrize(
    "found, more",
    [
        ({"servers": {"nginx.service": unit()}}, {"rules": [{"proto": "tcp", "ports": [[443, 443]]}]}),
        ({"servers": {"snmpd.service": unit()}}, {"allowed": [{"program": "snmpd"}]}),
        ({"servers": {"snmpd.service": unit()}, "established": [161]}, {}),
        ({"servers": {"snmpd.service": unit(users=["app.service"])}}, {}),
        ({"servers": {"named.service": unit()}, "uses": ["resolver"]}, {}),
        ({"servers": {"rpcbind.service": unit()}, "uses": ["nfs mounts"]}, {}),
        ({"servers": {"avahi-daemon.service": unit()}}, {"address": "web1.local"}),
        ({"servers": {"snmpd.service": unit()}}, {"rules": []}),
        ({"servers": {"snmpd.service": unit(own=True)}}, {}),
        ({"servers": {"snmpd.service": unit(False, masked=True)}}, {}),
        ({"servers": {"gdm3.service": unit()}}, {}),
        ({"servers": {"snmpd.service": unit()}}, {"controls": []}),
    ],
)
def test_what_is_declared_used_or_the_sites_own_is_left_alone(found, more):
    made = plan(survey(**found), **more)
    assert masked(made) == []
    assert not any(command[:2] == ["systemctl", "stop"] for command in made["change"]["activate"])


def test_a_server_goes_with_those_that_need_it():
    both = {"rpcbind.socket": unit(users=["rpc-statd.service"]), "rpc-statd.service": unit()}
    assert masked(plan(survey(servers=both))) == ["rpcbind.socket", "rpc-statd.service"]
    assert masked(plan(survey(servers=both, uses=["nfs mounts"]))) == []


def test_the_connection_of_this_run_is_kept():
    found = survey(socket(2222, "xinetd.service"), connection=2222, servers={"xinetd.service": unit()})
    assert masked(plan(found)) == []


def test_backends_on_loopback_are_kept():
    found = survey(socket(8081, "apache2.service", loopback=True), servers={"apache2.service": unit()})
    assert masked(plan(found)) == []


def test_a_mask_of_ours_goes_when_the_server_is_declared():
    found = survey(servers={"snmpd.service": unit(False, masked=True)}, masked=["snmpd.service"])
    assert masked(plan(found)) == ["snmpd.service"]
    made = plan(found, allowed=[{"program": "snmpd"}])
    assert files(made)["snmpd.service"]["state"] == files(made)["services.masked"]["state"] == "absent"
    assert made["change"]["activate"][-1][-1] == "snmpd.service"


def test_a_purge_takes_nothing_else_along():
    packages = {"telnet": [], "squid": ["site-proxy"], "rpcbind": ["ypserv"], "ypserv": [], "ldap-utils": []}
    made = plan(survey(packages=packages), allowed=[{"program": "ldap-utils"}])
    assert made["purge"] == ["rpcbind", "telnet", "ypserv"]
    assert made["stays"] == ["squid stays, site-proxy needs it"]


def allow(**people):
    made = plan(survey(people=people), cron_users=["ben"], closed=["mallory"])
    return files(made)["cron.allow"]


def test_who_has_jobs_stays_on_a_new_list():
    entry = allow(users=["ann", "root", "mallory", "eve"], denied=["eve"])
    lines = [line for line in entry["content"].splitlines() if not line.startswith("#")]
    assert lines == ["root", "ben", "ann"]
    assert (entry["mode"], entry["group"]) == ("0640", "crontab")
    # they stay when the jobs are gone, and new ones do not get in by having jobs
    again = allow(facts={"kind": "file"}, text=entry["content"], known=["root", "ben", "ann"], users=["zoe"])
    assert again["content"] == entry["content"]


def test_a_list_of_the_site_is_kept():
    assert "content" not in allow(facts={"kind": "file"}, text="ben\nroot\n")
    assert allow(facts={"kind": "file"}, text="root\n")["content"] == "root\nben\n"


def test_only_laxer_files_of_cron_change():
    kinds = {
        "/etc/crontab": dict(kind="file", mode="0644", uid=0, gid=0),
        "/etc/cron.d": dict(kind="directory", mode="0500", uid=0, gid=0),
        "/etc/cron.daily": dict(kind="directory", mode="0750", uid=0, gid=0),
        "/etc/cron.hourly": dict(kind="other", mode="0777", uid=0, gid=0),
    }
    found = files(plan(survey(cron=kinds)))
    assert {path: found[path]["mode"] for path in found if path != "cron.allow"} == {
        "crontab": "0600", "cron.daily": "0700",
    }  # fmt: skip


def box(**more):
    return {"pid": 7, "text": "", "live": False, "set": {}, **more}


def test_a_sandbox_restarts_what_it_changes_and_nothing_else():
    made = plan(survey(sandbox={"ssh.service": box(), "cron.service": box(pid=0)}))
    text = files(made)["rampart-sandbox.conf"]["content"]
    assert ["systemctl", "try-restart", "ssh.service"] in made["change"]["activate"]
    assert made["change"]["validate"] == [["sshd", "-t"]]
    live = {"ssh.service": box(text=text, live=True)}
    assert not any("try-restart" in command for command in plan(survey(sandbox=live))["change"]["activate"])


@pytest.mark.parametrize(
    "unit_name, found",
    [
        ("ssh.service", {"valid": False}),
        ("ssh.service", {"capable": False}),
        ("nginx.service", {"nginx": {"valid": False}}),
        ("mariadb.service", {"pam": True}),
    ],
)
def test_a_sandbox_that_would_break_something_is_left_out(unit_name, found):
    made = plan(survey(sandbox={unit_name: box()}, **found))
    assert "rampart-sandbox.conf" not in files(made)
    assert not any("try-restart" in command for command in made["change"]["activate"])


def test_a_sandbox_hides_nothing_that_is_used_and_keeps_the_sites_options():
    nginx = {"valid": True, "tmp": True, "home": False, "devices": False}
    made = plan(survey(sandbox={"nginx.service": box(set={"LockPersonality": "/etc/x.conf"})}, nginx=nginx))
    assert "rampart-sandbox.conf" not in files(made)
    assert made["change"]["notes"] == ["nginx.service: LockPersonality stays as /etc/x.conf has it"]
