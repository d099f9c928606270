# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verify playbook, run for real: all hosts are this machine, and the only role has five controls."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest
import yaml
from ansible_collections.rampart.hardening.plugins.action import verify as action

ROOT = pathlib.Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the tests of the baseline want to be root")

CONTROLS = ("ssh.file", "ssh.never", "ssh.policy", "ssh.strict", "ssh.broken")
TESTS = """

import pytest

@pytest.mark.control("ssh.file")
def test_file(host, policy, evidence):
    seen = host.run("cat %s", policy["hardening_example"])
    evidence(seen.stdout)
    assert seen.rc == 0, "the file is not there"

@pytest.mark.control("ssh.never")
def test_never(host, not_applicable):
    not_applicable("inside a test")

@pytest.mark.control("ssh.policy")
def test_policy(policy, evidence):
    open(policy["hardening_example"] + "." + policy["name"], "w").close()
    evidence(policy)

@pytest.mark.control("ssh.strict")
def test_strict(host):
    assert host.check_output("id -un") == "root"

@pytest.mark.control("ssh.broken")
def test_broken(host):
    if host.run("test -e /nonexistent-broken-%s" % "x").failed:
        {}["nothing"]
"""
PASSWORD = "not-for-anybodys-eyes"


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    """A copy of what verify consists of, with a role and tests of our own."""
    path = tmp_path_factory.mktemp("collections")
    collection = path / "ansible_collections" / "rampart" / "hardening"
    for part in ("plugins", "meta", "playbooks"):
        shutil.copytree(ROOT / part, collection / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", collection)
    meta, tests = collection / "roles" / "ssh" / "meta", collection / "tests" / "baseline"
    meta.mkdir(parents=True)
    tests.mkdir(parents=True)
    controls = [
        {
            "id": name,
            "title": name,
            "why": "w",
            "level": 2 if name in ("ssh.strict", "ssh.broken") else 1,
            "references": [],
        }
        for name in CONTROLS
    ]
    (meta / "controls.yml").write_text(yaml.safe_dump({"controls": controls}))
    for shared in (ROOT / "tests" / "baseline").glob("*.py"):
        if not shared.name.startswith("test_"):
            shutil.copy(shared, tests)
    (tests / "test_ssh.py").write_text(TESTS)
    return path


@pytest.fixture
def verify(collections, tmp_path):
    example = tmp_path / "example"
    example.write_text("hello from the host\n")
    output = tmp_path / "evidence"

    def run(*arguments, hosts=None, expect=0, **variables):
        inventory = {
            "all": {
                "vars": {
                    "ansible_connection": "local",
                    "ansible_python_interpreter": sys.executable,
                    "hardening_example": str(example),
                    "hardening_bootstrap_password": PASSWORD,
                    "hardening_break_glass": {"name": "sealed", "password_hash": "$6$salt$abcdef"},
                    **variables,
                },
                "children": {"web": {"hosts": hosts or {"web1": None, "web2": None}}, "db": {"hosts": {"db1": None}}},
            }
        }
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump(inventory))
        done = subprocess.run(
            [
                pathlib.Path(sys.executable).with_name("ansible-playbook"),
                "rampart.hardening.verify",
                "-i",
                "inventory.yml",
                "-e",
                f"verify_output={output}",
                *arguments,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={
                **os.environ,
                "ANSIBLE_COLLECTIONS_PATH": str(collections),
                "PYTEST_ADDOPTS": "--nonsense",
                "ANSIBLE_LOCALHOST_WARNING": "0",
            },
        )
        text = done.stdout + done.stderr
        assert done.returncode == expect, text
        run.text = text
        path = output / "latest" / "evidence.json"
        return json.loads(path.read_text()) if path.exists() else None

    run.output, run.example = output, example
    return run


def verdicts(document, control):
    return {name: host["results"][control]["verdict"] for name, host in document["hosts"].items()}


def test_a_compliant_fleet_exits_zero_and_leaves_private_evidence(verify):
    document = verify()
    assert document["verdict"] == "compliant"
    assert document["summary"] == {"hosts": 3, "controls": 3, "pass": 6, "fail": 0, "waived": 0, "na": 3, "error": 0}
    assert document["hosts"]["web1"]["results"]["ssh.file"]["seen"] == ["hello from the host\n"]
    assert document["hosts"]["web1"]["results"]["ssh.never"]["message"] == "inside a test"
    assert document["hosts"]["web1"]["facts"]["kernel"].startswith("Linux")
    latest = verify.output / "latest"
    assert os.readlink(latest) == document["run"]["id"]
    assert sorted(path.name for path in latest.iterdir()) == ["evidence.json", "junit.xml", "report.html"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in latest.iterdir()} == {0o600}
    assert stat.S_IMODE(latest.stat().st_mode) == stat.S_IMODE(verify.output.stat().st_mode) == 0o700
    assert "compliant: " in verify.text
    assert "web1 done" in verify.text


def test_no_secret_reaches_the_tests_or_the_evidence(verify):
    document = verify()
    (seen,) = document["hosts"]["web1"]["results"]["ssh.policy"]["seen"]
    assert json.loads(seen)["hardening_break_glass"] == {"name": "sealed"}
    for path in (verify.output / "latest").iterdir():
        assert PASSWORD not in path.read_text()
        assert "$6$" not in path.read_text()


def test_what_the_tests_are_told_of_the_host(verify):
    waiver = {"control": "ssh.never", "hosts": ["web"], "reason": "r", "owner": "alice", "until": "2999-01-01"}
    document = verify(
        hosts={"web1": {"ansible_host": "192.0.2.1"}, "web2": {"hardening_addresses": ["fd00::2"]}},
        hardening_waivers=[waiver],
    )
    told = json.loads(document["hosts"]["web1"]["results"]["ssh.policy"]["seen"][0])
    assert (told["name"], told["groups"], told["hardening_level"]) == ("web1", ["web"], 1)
    assert told["controls"] == ["ssh.file", "ssh.policy"]
    assert told["all_hosts"] == {
        "web1": {"groups": ["web"], "addresses": ["192.0.2.1"]},
        "web2": {"groups": ["web"], "addresses": ["fd00::2"]},
        "db1": {"groups": ["db"], "addresses": ["db1"]},
    }


def test_a_failing_control_exits_non_zero_until_it_is_waived(verify):
    verify.example.unlink()
    document = verify(expect=2)
    assert document["verdict"] == "not compliant"
    assert verdicts(document, "ssh.file") == {"web1": "fail", "web2": "fail", "db1": "fail"}
    assert "fail ssh.file: db1, web1, web2" in verify.text
    waiver = {"control": "ssh.file", "hosts": ["web", "db1"], "reason": "r", "owner": "alice", "until": "2999-01-01"}
    document = verify(hardening_waivers=[waiver])
    assert document["verdict"] == "compliant"
    result = document["hosts"]["db1"]["results"]["ssh.file"]
    assert (result["verdict"], result["observed"], result["message"]) == ("waived", "fail", "the file is not there")
    assert [change["after"] for change in document["changes"]] == ["waived"] * 3
    document = verify(hardening_waivers=[{**waiver, "until": "2020-01-01"}], expect=2)
    assert verdicts(document, "ssh.file")["db1"] == "fail"
    assert "expired waiver of ssh.file" in verify.text


def test_a_test_that_breaks_is_an_error_and_level_two_is_asked_where_it_holds(verify):
    document = verify(hosts={"web1": {"hardening_level": 2}}, expect=2)
    assert document["hosts"]["web1"]["results"]["ssh.broken"]["verdict"] == "error"
    assert "KeyError" in document["hosts"]["web1"]["results"]["ssh.broken"]["message"]
    assert document["hosts"]["web1"]["results"]["ssh.strict"]["verdict"] == "pass"
    assert "ssh.strict" not in document["hosts"]["db1"]["results"]


def test_an_unreachable_host_is_an_error_and_never_missing(verify):
    down = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    document = verify(hosts={"web1": None, "down": down, "odd": {"ansible_connection": "winrm"}}, expect=2)
    assert set(verdicts(document, "ssh.file").items()) == {
        ("web1", "pass"),
        ("db1", "pass"),
        ("down", "error"),
        ("odd", "error"),
    }
    assert document["hosts"]["down"]["reachable"] is False
    assert "Connection refused" in document["hosts"]["down"]["problem"]
    assert "not by winrm" in document["hosts"]["odd"]["problem"]


@pytest.mark.parametrize(
    "arguments, hosts, controls",
    [
        (["--limit", "db1"], ["db1"], 3),
        (["-e", "verify_hosts=web:!web1"], ["web2"], 3),
        (["-e", "verify_controls=ssh.file,ssh.never", "--limit", "web"], ["web1", "web2"], 2),
        (["-e", "verify_roles=ssh", "--check", "-e", "verify_workers=1"], ["db1", "web1", "web2"], 3),
    ],
)
def test_filters(verify, arguments, hosts, controls):
    document = verify(*arguments)
    assert sorted(document["hosts"]) == hosts
    assert document["summary"]["controls"] == controls
    asked = {path.suffix[1:] for path in verify.example.parent.glob("example.*")}
    assert asked == (set(hosts) if "ssh.policy" in document["controls"] else set())


@pytest.mark.parametrize(
    "arguments, variables, message",
    [
        (["-e", "verify_hosts=nobody"], {}, "nothing to verify"),
        (["-e", "verify_controls=ssh.strict"], {}, "nothing to verify"),
        (["-e", "verify_controls=ssh.fiel"], {}, "there is no control ssh.fiel"),
        (["-e", "verify_roles=sssh"], {}, "there is no role sssh"),
        ([], {"hardening_level": 7}, "hardening_level is 1 or 2"),
        (
            [],
            {
                "hardening_waivers": [
                    {"control": "ssh.file", "hosts": ["wbe"], "reason": "r", "owner": "o", "until": "2999-01-01"}
                ]
            },
            "no host or group wbe",
        ),
        ([], {"hardening_example": "{{ nowhere }}"}, "hardening_example has no value"),
    ],
)
def test_mistakes_are_told_and_exit_non_zero(verify, arguments, variables, message):
    assert verify(*arguments, expect=2, **variables) is None
    assert message in " ".join(verify.text.split())


def test_a_suite_that_does_not_run_is_no_evidence(verify, collections):
    tests = collections / "ansible_collections" / "rampart" / "hardening" / "tests" / "baseline" / "test_ssh.py"
    before = tests.read_text()
    try:
        tests.write_text("this is no Python")
        assert verify(expect=2) is None
        assert "the tests did not run to their end" in verify.text
        tests.unlink()
        assert verify(expect=2) is None
    finally:
        tests.write_text(before)


def test_a_result_that_is_half_written_yet_is_read_once_it_is_whole(tmp_path):
    line = json.dumps({"host": "web", "control": "a.b", "verdict": "pass"})
    file = tmp_path / "results.jsonl"
    file.write_text(line[:20])
    polls = iter([None, None, 0])

    def poll():
        said = next(polls)
        if said == 0:
            file.write_text(line + "\n")  # the same beginning: to who reads on, it has grown
        return said

    process = type("Process", (), {"poll": staticmethod(poll)})
    with file.open(encoding="utf-8") as lines:
        results = action.ActionModule.follow(process, lines, {"web": {"test": ["a.b"]}})
    assert [result["verdict"] for result in results] == ["pass"]


def test_what_is_missing_is_told_with_the_remedy():
    assert action.missing() == ""
    message = action.missing(lambda name: None if name == "xdist" else name)
    assert message.startswith("pytest-xdist is missing")
    assert f"{sys.executable} -m pip install pytest-testinfra pytest-xdist" in message


def test_secrets_are_stripped_at_any_depth():
    value = {"a": [{"password": 1, "Secret_Key": 2, "api_token": 3, "name": "x"}], "key_file": "/k", "private_key": 4}
    assert action.without_secrets(value) == {"a": [{"name": "x"}], "key_file": "/k"}
