# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the keys that the survey found."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import cloud


def item(path, kind="aws_access_key", alone=True, used=()):
    return {"path": path, "kinds": [kind], "owner": "deploy", "mode": "0600", "line": 3, "alone": alone,
            "used": list(used), "stamp": f"1:2:{path}"}  # fmt: skip


FREE = item("/home/deploy/.aws/credentials")
BUSY = item("/etc/app/key.json", "gcp_service_account_key", used=["app.service"])
MIXED = item("/etc/environment", alone=False)

NOTHING = {"files": [], "refuse": [], "notes": []}


def plan(remove=False, allowed=(), controls=(cloud.CONTROL,), skipped=()):
    survey = {"cloud": {"found": [FREE, BUSY, MIXED], "skipped": list(skipped)}}
    return cloud.plan(survey, controls, allowed, remove)


def removed(made):
    assert all(one["state"] == "absent" and one["sensitive"] for one in made["change"]["files"])
    return [one["path"] for one in made["change"]["files"]]


def test_it_only_says_what_was_found():
    made = plan(skipped=["/home/far: not a local file system"])
    assert made["change"] == NOTHING
    assert made["found"] == [
        "not looked at: /home/far: not a local file system",
        "/home/deploy/.aws/credentials: aws_access_key (line 3), deploy 0600",
        "/etc/app/key.json: gcp_service_account_key (line 3), deploy 0600, used by app.service",
        "/etc/environment: aws_access_key (line 3), deploy 0600, among other things",
    ]


def test_a_waived_control_asks_for_nothing():
    assert plan(remove=True, controls=()) == {"change": NOTHING, "found": []}


@pytest.mark.parametrize(
    "remove, gone",
    [
        (False, []),
        (True, [FREE]),
        ("yes", [FREE]),
        ("false", []),
        (BUSY["path"], [BUSY]),
        (["aws_access_key"], [FREE]),
        (["gcp_service_account_key"], []),
        ([BUSY["path"]], [BUSY]),
        ([MIXED["path"], "aws_access_key"], [FREE, MIXED]),
        (["/home/deploy"], []),
    ],
)
def test_what_is_removed(remove, gone):
    made = plan(remove)
    assert removed(made) == [one["path"] for one in gone]
    assert len(made["found"]) == 3 - len(gone)
    assert len(made["change"]["notes"]) == len(gone)
    assert [one["seen"] for one in made["change"]["files"]] == [one["stamp"] for one in gone]


def test_what_is_allowed_is_neither_named_nor_removed():
    made = plan([FREE["path"], "aws_access_key"], [{"path": "/home/*", "reason": "until June"}])
    assert removed(made) == []
    assert len(made["found"]) == 2


def test_what_nobody_understands_is_refused():
    assert plan(["aws_keys"])["change"]["refuse"][0].startswith("cloud_remove: 'aws_keys' is neither a path nor one of")
    assert plan(allowed=[{"path": "/x"}])["change"]["refuse"] == ["cloud_allowed: /x has no reason"]
