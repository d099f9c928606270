# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
from xml.etree import ElementTree

import jsonschema
import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import evidence

SCHEMA = json.loads((pathlib.Path(__file__).parents[4] / "docs" / "evidence.schema.json").read_text(encoding="utf-8"))
RUN = {
    "id": "20261124T105139Z",
    "started": "2026-11-24T10:51:39+00:00",
    "duration": 3.2,
    "collection": "0.1.0",
    "ansible": "2.19.14",
    "filters": {"hosts": [], "roles": [], "controls": []},
}
ROOT, FORWARDING = "ssh.root_login", "ssh.forwarding"
CONTROLS = {
    name: {"id": name, "role": "ssh", "title": name, "why": "w", "level": 1, "references": ["CIS 1"]}
    for name in (ROOT, FORWARDING)
}
WAIVER = {
    "control": ROOT,
    "hosts": ["all"],
    "reason": "r",
    "owner": "alice",
    "until": "2027-01-31",
    "days_left": 68,
    "expired": False,
}


def host(*waivers, test=(ROOT,)):
    return {"groups": ["web"], "level": 1, "test": list(test), "waivers": list(waivers)}


def result(observed="pass", name="web1", control=ROOT, **changes):
    return {
        "host": name,
        "control": control,
        "test": "t",
        "observed": observed,
        "message": "",
        "seen": ["yes"],
        "duration": 0.1,
        "reachable": True,
        "facts": {"os": "Debian", "addresses": ["10.0.0.1"]},
        **changes,
    }


def build(hosts, results, previous=None, run=None):
    document = evidence.build(run or RUN, hosts, CONTROLS, results, previous)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    return document


def verdict(document, name="web1", control=ROOT):
    return document["hosts"][name]["results"][control]["verdict"]


@pytest.mark.parametrize(
    "observed, alone, compliant, waived",
    [
        ("pass", "pass", True, "waived"),
        ("fail", "fail", False, "waived"),
        ("na", "na", True, "na"),
        ("error", "error", False, "error"),
    ],
)
def test_verdict_of_one_result(observed, alone, compliant, waived):
    document = build({"web1": host()}, [result(observed)])
    assert verdict(document) == alone
    assert document["verdict"] == ("compliant" if compliant else "not compliant")
    assert document["summary"][alone] == 1
    document = build({"web1": host(WAIVER)}, [result(observed)])
    assert verdict(document) == waived
    assert document["hosts"]["web1"]["results"][ROOT]["observed"] == observed
    assert document["verdict"] == ("not compliant" if observed == "error" else "compliant")


def test_an_expired_waiver_excuses_nothing_and_is_told():
    expired = {**WAIVER, "until": "2026-11-23", "days_left": -1, "expired": True}
    document = build({"web1": host(expired)}, [result("fail")])
    assert (verdict(document), document["verdict"]) == ("fail", "not compliant")
    assert document["waivers"] == [{**expired, "applies_to": ["web1"]}]
    assert "expired waiver of ssh.root_login (alice, 2026-11-23): web1" in evidence.complaints(document)


def test_one_waiver_of_many_hosts_is_told_once():
    document = build({"a": host(WAIVER), "b": host(WAIVER)}, [result(name="a"), result(name="b")])
    assert document["waivers"] == [{**WAIVER, "applies_to": ["a", "b"]}]


def test_the_worst_of_several_tests_counts_and_all_are_shown():
    document = build({"web1": host()}, [result("na"), result("fail", message="open"), result(seen=["22"])])
    assert document["hosts"]["web1"]["results"][ROOT] == {
        "verdict": "fail",
        "observed": "fail",
        "message": "open",
        "seen": ["yes", "yes", "22"],
        "duration": 0.3,
    }


def test_silence_is_an_error():
    document = build({"web1": host(test=(ROOT, FORWARDING))}, [result()])
    assert verdict(document, control=FORWARDING) == "error"
    assert document["verdict"] == "not compliant"


def test_an_unreachable_host_is_shown_with_the_reason():
    down = result("error", "db1", message="No route to host", reachable=False, facts={}, seen=[])
    document = build({"web1": host(), "db1": host()}, [result(), down])
    assert document["verdict"] == "not compliant"
    assert document["hosts"]["db1"]["reachable"] is False
    assert document["hosts"]["db1"]["problem"] == "No route to host"
    assert "error db1: No route to host" in evidence.complaints(document)
    assert any(line.startswith("db1") and line.endswith("not reachable") for line in evidence.table(document))


def test_a_host_with_nothing_to_verify_is_neither_reachable_nor_not():
    document = build({"web1": host(), "db1": host(test=())}, [result()])
    assert document["hosts"]["db1"]["reachable"] is None
    assert document["verdict"] == "compliant"


def test_changes_since_the_previous_run():
    before = build({"web1": host(), "old": host()}, [result("fail"), result(name="old")])
    now = {"web1": host(), "new": host()}
    results = [result(), result(name="new")]
    document = build(now, results, before)
    assert document["run"]["previous"] == before["run"]["id"]
    assert document["changes"] == [
        {"host": "web1", "control": ROOT, "before": "fail", "after": "pass"},
        {"host": "new", "control": ROOT, "before": None, "after": "pass"},
        {"host": "old", "control": ROOT, "before": "pass", "after": None},
    ]
    assert build({"web1": host()}, [result()], build({"web1": host()}, [result()]))["changes"] == []
    limited = {**RUN, "filters": {"hosts": ["web1", "new"], "roles": [], "controls": []}}
    assert "old" not in [change["host"] for change in build(now, results, before, limited)["changes"]]


@pytest.mark.parametrize(
    "secret",
    [
        "$6$abc$defghijkl",
        "$y$j9T$abc$defghi",
        "$2b$12$abcdefghijklmnopqrstuv",
        "$argon2id$v=19$m=65536$abc",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow",
    ],
)
def test_secrets_are_taken_out(secret):
    seen = result("fail", seen=[f"root:{secret}:19000"], message=f"found {secret}")
    document = build({"web1": host()}, [seen])
    text = json.dumps(document) + evidence.junit(document).decode()
    assert secret.splitlines()[-1] not in text
    assert "[removed]" in text


def test_what_is_no_secret_stays():
    for text in ("$HOME and ${PATH}", "cost $5", "-----BEGIN PUBLIC KEY-----", "ssh-ed25519 AAAAC3Nz alice"):
        assert evidence.clean(text) == text


def test_long_and_odd_text_is_kept_readable():
    assert evidence.clean("x" * 5000).endswith("… 1000 more characters")
    document = build({"web1": host()}, [result("fail", message="a\x00\x1b[31mb\ud800", seen=["<&\x08>"])])
    ElementTree.XML(evidence.junit(document))


def test_junit_counts_and_words():
    hosts = {"web1": host(WAIVER, test=(ROOT, FORWARDING)), "db1": host(test=(ROOT,))}
    results = [
        result("fail", message="is yes"),
        result("na", control=FORWARDING, message="a jump server"),
        result("error", "db1", message="broke"),
    ]
    root = ElementTree.XML(evidence.junit(build(hosts, results)))
    assert (root.get("failures"), root.get("errors")) == ("0", "1")
    web, db = root.findall("testsuite")
    assert (web.get("tests"), web.get("skipped"), db.get("errors")) == ("2", "2", "1")
    assert web.find("testcase/skipped").get("message") == "waived; seen: fail is yes"
    assert web.find("testcase/system-out").text == "yes"
    assert db.find("testcase/error").get("message") == "broke"
