# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RAM's policy documents: which make an administrator, what they allow for certain, which are the same."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import cloud_ali


def statement(effect="Allow", **more) -> dict:
    return {"Version": "1", "Statement": [{"Effect": effect, "Resource": "*", **more}]}


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("*", "*"),
        ("*:*", "*"),
        ("**", "acs:oss:*:*:bucket"),
        (["oss:Get*", "*"], "*"),
        ("ram:*", "*"),
        ("RAM:*", "acs:ram:*:*:role/one"),
        ("r*m:*", "acs:ram:*:*:role/one"),
        ("ra?:?*", "*"),
        ("kms:*", "*"),
        ("kms:Decrypt", "*"),
        ("sts:AssumeRole", "*"),
        ("sts:AssumeRole", "acs:ram:*:1234:role/*"),
        ("ram:AttachPolicyToRole", "*"),
        ("ram:AttachPolicyToRole", "acs:ram:*:*:*"),
        ("ram:AttachPolicyToRole", "acs:*"),
        ("ram:Attach*", ["acs:ram:*:*:role/one", "acs:ram:*:*:role/*"]),
        ("ram:*Policy", "*"),
        ("ram:Ge*", "*"),  # more than Get
        ("*:Create*", "*"),
        ("ram:PassRole", "*"),
        ("resourcemanager:AttachPolicy", "*"),
    ],
)
def test_administrators(action, resource):
    assert cloud_ali.admin_like(statement(Action=action, Resource=resource))
    conditional = statement(Action=action, Resource=resource, Condition={"Bool": {"acs:MFAPresent": "true"}})
    assert cloud_ali.admin_like(conditional)
    assert not cloud_ali.admin_like(statement("Deny", Action=action, Resource=resource))


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("oss:*", "*"),
        (["ecs:*", "*:Describe*"], "*"),
        (["ram:Get*", "ram:ListUsers", "sts:GetCallerIdentity", "kms:DescribeKey"], "*"),
        ("ram:PassRole", "acs:ram:*:*:role/one"),
        ("sts:AssumeRole", "acs:ram:*:1234:role/team-*"),
        ("kms:Decrypt", "acs:kms:*:1234:key/one"),
    ],
)
def test_no_administrators(action, resource):
    assert cloud_ali.admin_like(statement(Action=action, Resource=resource)) == []


def test_what_is_not_named_counts_as_everything():
    assert cloud_ali.admin_like(statement(NotAction="ram:*")) == ["NotAction with Allow"]
    rest = {"Statement": {"Effect": "Allow", "Action": "ram:CreateUser", "NotResource": "acs:ram:*:*:user/one"}}
    assert cloud_ali.admin_like(rest) == ["Action ram:CreateUser on Resource all but some"]


@pytest.mark.parametrize("said", [
    {}, {"Statement": []}, {"Statement": ["*"]}, {"Statement": [{"effect": "Allow", "action": "*"}]},
    statement("allow", Action="*"), statement(action="*"), {"Statement": [{"Effect": "Allow", "Action": "oss:*"}]},
])  # fmt: skip
def test_what_makes_no_sense_is_not_let_through(said):
    assert cloud_ali.admin_like(said) == ["a statement that makes no sense"]


def test_allowed():
    bucket = "acs:oss:*:*:backups"
    writer = statement(Action="oss:Put*", Resource=[bucket, f"{bucket}/*"])

    def put(*documents, action="oss:PutObject", on=bucket):
        return cloud_ali.allowed(documents, action, on)

    assert put(writer, on=f"{bucket}/a[1].gz") == put(writer, action="OSS:putobject") == "yes"
    assert put(writer, action="oss:GetObject") == put(writer, on="acs:oss:*:*:backups2/a") == put() == "no"
    assert put(writer, statement("Deny", Action="oss:PutObject")) == "no"
    assert put(writer, statement("Deny", NotAction="oss:Get*")) == "no"
    assert put(writer, statement("Deny", NotAction="oss:*")) == "yes"
    hours = {"DateLessThan": {"acs:CurrentTime": "2027-01-01T00:00:00+00:00"}}
    bounded = statement(Action="oss:*", Condition=hours)
    assert put(bounded) == put(writer, statement("Deny", Action="*", Condition=hours)) == "conditionally"
    assert put(bounded, writer) == "yes"
    assert put(statement("Deny", Action="*", Condition=hours)) == "no"


def test_same():
    one = statement(Action=["oss:Get*", "oss:List*"], Condition={"Bool": {"acs:SecureTransport": [True]}})
    other = {"Version": 1, "Statement": {"Effect": "Allow", "Resource": ["*"], "Action": ["oss:List*", "oss:Get*"],
                                         "Condition": {"Bool": {"acs:SecureTransport": "true"}}}}  # fmt: skip
    assert cloud_ali.same(one, other)
    assert not cloud_ali.same(one, statement(Action=["oss:Get*"]))
    assert not cloud_ali.same(one, None)
    assert not cloud_ali.same(statement(Action="a"), statement("Deny", Action="a"))
