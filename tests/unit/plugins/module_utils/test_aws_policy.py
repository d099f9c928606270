# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge of IAM policies: what it refuses, what it lets pass, and the one form of many spellings."""

from __future__ import annotations

import json

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import aws_policy
from moto.iam.aws_managed_policies import aws_managed_policies_data

ACCOUNT = "111122223333"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"


def allow(action, resource="*", **more):
    return {"Statement": {"Effect": "Allow", "Action": action, "Resource": resource, **more}}


def trust(principal, action="sts:AssumeRole", **condition):
    statement = {"Effect": "Allow", "Action": action, "Principal": principal}
    return {"Statement": [statement | ({"Condition": condition} if condition else {})]}


@pytest.mark.parametrize(
    ("action", "resource", "reason"),
    [
        ("*", "*", "every action"),
        ("*", "arn:aws:s3:::logs/*", "every action"),
        ("*:*", "*", "every action"),
        (["s3:GetObject", "?*"], "*", "every action"),
        ("iam:*", "*", "all of IAM"),
        ("IAM:*", "arn:aws:iam::111122223333:role/app", "all of IAM"),
        ("i*:*", "*", "all of IAM"),
        ("ia?:*", "*", "all of IAM"),
        ("iam:PassRole", "*", "iam:PassRole on *"),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/*", "iam:PassRole on arn"),
        ("iam:Pass*", "arn:*", "iam:Pass* on arn"),
        ("iam:Put*", "*", "iam:Put* on *"),
        ("iam:*Policy", "*", "iam:*Policy on *"),
        ("*:Create*", "*", "*:Create* on *"),
        ("iam:Invented", "*", "iam:Invented on *"),
        ("iam:AttachRolePolicy", "arn:aws:iam::*:*", "iam:AttachRolePolicy on arn"),
        ("iam:CreateAccessKey", ["arn:aws:iam::1:user/a", "arn:aws:iam::*:user/*"], "iam:CreateAccessKey on arn"),
        ("sts:AssumeRole", "*", "sts:AssumeRole on *"),
        ("sts:*", "*", "sts:* on *"),
        ("kms:*", "*", "kms:* on *"),
        ("kms:Decrypt", "arn:aws:kms:*:111122223333:key/*", "kms:Decrypt on arn"),
        ("kms:ReEncrypt*", "*", "kms:ReEncrypt* on *"),
        ("kms:CreateGrant", "arn:aws:kms:eu-central-1:111122223333:*", "kms:CreateGrant on arn"),
    ],
)
def test_an_administrator_is_known_by_what_he_may(action, resource, reason):
    assert [one for one in aws_policy.administrator(allow(action, resource)) if reason in one]
    condition = {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}
    assert aws_policy.administrator(allow(action, resource, Condition=condition)), "a condition does not excuse"
    assert aws_policy.administrator(json.dumps(allow(action, resource))), "as JSON"
    denied = json.loads(json.dumps(allow(action, resource)).replace("Allow", "Deny"))
    assert not aws_policy.administrator(denied)


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:*", "*"),
        ("ec2:*", "*"),
        (["iam:Get*", "iam:List*", "iam:GenerateCredentialReport", "iam:SimulatePrincipalPolicy"], "*"),
        ("*:Get*", "*"),
        ("*:List*", "*"),
        ("iam:CreateServiceLinkedRole", "*"),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/app"),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/app-*"),
        ("sts:AssumeRole", "arn:aws:iam::111122223333:role/deploy"),
        (["sts:GetCallerIdentity", "sts:GetSessionToken"], "*"),
        (["kms:Decrypt", "kms:GenerateDataKey*"], KEY),
        ("kms:*", KEY),
        (["kms:Describe*", "kms:List*", "kms:CreateKey", "kms:GenerateRandom"], "*"),
        ("s3:PutObject", "arn:aws:s3:::logs[1]/*"),
    ],
)
def test_what_is_no_administrator_passes(action, resource):
    assert aws_policy.administrator(allow(action, resource)) == []


def test_all_but_some_is_too_much():
    but = {"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}
    assert aws_policy.administrator(but) == ["allows all but what NotAction names"]
    but = {"Statement": [{"Effect": "Allow", "Action": "s3:Get*", "NotResource": "arn:aws:s3:::secret/*"}]}
    assert aws_policy.administrator(but) == ["allows on all but what NotResource names"]
    deny = {"Statement": [{"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"}]}
    assert aws_policy.administrator(deny) == []


def test_the_worst_statement_of_many_counts():
    policy = {"Statement": [allow("s3:GetObject")["Statement"], allow("iam:*")["Statement"]]}
    assert aws_policy.administrator(policy) == ["allows all of IAM (iam:*)"]


def test_amazons_own_policies_are_judged_by_their_text():
    managed = {name: data["Document"] for name, data in json.loads(aws_managed_policies_data).items()}
    refused = {name for name, policy in managed.items() if aws_policy.administrator(policy)}
    assert {"AdministratorAccess", "PowerUserAccess", "IAMFullAccess", "SystemAdministrator"} <= refused
    fine = {"ReadOnlyAccess", "SecurityAudit", "ViewOnlyAccess", "AmazonSSMManagedInstanceCore", "AmazonEC2FullAccess"}
    assert not (fine | {"CloudWatchAgentServerPolicy", "AmazonEC2ContainerRegistryReadOnly"}) & refused


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (trust("*"), "everybody"),
        (trust({"AWS": "*"}), "everybody"),
        (trust({"AWS": ["arn:aws:iam::111122223333:role/a", "*"]}), "everybody"),
        (trust({"AWS": "*"}, StringEquals={"sts:ExternalId": "shared"}), "everybody"),
        (trust({"AWS": "*"}, StringLike={"aws:PrincipalArn": "*"}), "everybody"),
        (trust({"AWS": "*"}, StringNotEquals={"aws:PrincipalAccount": "999988887777"}), "everybody"),
        (trust({"AWS": "*"}, StringEqualsIfExists={"aws:PrincipalOrgID": "o-1"}), "everybody"),
        (trust({"AWS": "999988887777"}), "whole account 999988887777"),
        (trust({"AWS": "arn:aws:iam::999988887777:root"}), "whole account"),
        (trust({"AWS": "arn:aws-cn:iam::999988887777:root"}, Bool={"aws:SecureTransport": "true"}), "whole account"),
        (trust({"Federated": "arn:aws:iam::111122223333:oidc-provider/ci.example.com"}), "whom ci.example.com knows"),
        ({"Statement": [{"Effect": "Allow", "NotPrincipal": {"AWS": "999988887777"}}]}, "NotPrincipal"),
    ],
)
def test_trust_must_name_whom_it_trusts(policy, reason):
    assert reason in "".join(aws_policy.trusting(policy, ACCOUNT))


@pytest.mark.parametrize(
    "policy",
    [
        trust({"Service": "ec2.amazonaws.com"}),
        trust({"AWS": "arn:aws:iam::111122223333:root"}),
        trust({"AWS": ACCOUNT}),
        trust({"AWS": "arn:aws:iam::999988887777:role/deploy"}),
        trust({"AWS": "*"}, StringEquals={"aws:PrincipalOrgID": "o-1"}),
        trust({"AWS": "999988887777"}, StringEquals={"sts:ExternalId": "ours"}),
        trust(
            {"Federated": "arn:aws:iam::111122223333:oidc-provider/ci.example.com"},
            "sts:AssumeRoleWithWebIdentity",
            StringLike={"ci.example.com:sub": "repo:ours/*"},
        ),
    ],
)
def test_trust_that_names_passes(policy):
    assert aws_policy.trusting(policy, ACCOUNT) == []


def test_spellings_of_one_policy_are_one():
    one = {
        "Version": "2012-10-17",
        "Statement": [
            {"Sid": "B", "Effect": "Allow", "Action": ["s3:Put", "s3:Get"], "Resource": "*"},
            {"Sid": "A", "Effect": "Deny", "Action": "s3:*", "Principal": {"AWS": [ACCOUNT]},
             "Condition": {"Bool": {"aws:SecureTransport": [False]}}},
        ],
    }  # fmt: skip
    other = {
        "Statement": [
            {"Sid": "A", "Effect": "Deny", "Action": ["s3:*"], "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Sid": "B", "Resource": ["*"], "Effect": "Allow", "Action": ["s3:Get", "s3:Put", "s3:Get"]},
        ],
        "Version": "2012-10-17",
    }  # fmt: skip
    assert aws_policy.canonical(one) == aws_policy.canonical(json.dumps(other))
    assert aws_policy.canonical(trust("*")) == aws_policy.canonical(trust({"AWS": "*"}))
    assert aws_policy.canonical(allow("s3:Get")) != aws_policy.canonical(allow("s3:Put"))
    assert aws_policy.canonical(allow("s3:Get") | {"Version": "2012-10-17"}) != aws_policy.canonical(allow("s3:Get"))


@pytest.mark.parametrize(
    ("policy", "wrong"),
    [
        ("{", "is no JSON"),
        ("[]", "has no Statement"),
        ({"Statement": []}, "has no Statement"),
        ({"Statement": [{"Effect": "allow"}]}, "neither Allow nor Deny"),
        (trust("ec2.amazonaws.com"), "has a Principal"),
    ],
)
def test_what_is_no_policy_is_said_to_be_none(policy, wrong):
    with pytest.raises(ValueError, match=wrong):
        aws_policy.document(policy)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("iam:*", "iam:put*", True),
        ("iam:p?t*", "iam:put*", True),
        ("iam:g*", "iam:put*", False),
        ("*policy", "iam:put*", True),
        ("", "*", True),
        ("a", "", False),
        ("iam:put", "iam:put*", True),
    ],
)
def test_patterns_overlap_where_some_text_matches_both(one, other, both):
    assert all(aws_policy.overlap(*pair) is both for pair in ((one, other), (other, one)))
