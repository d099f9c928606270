# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/policies/aws-operator.json: enough for all modules, nothing beyond, and a clear word where one is missing."""

from __future__ import annotations

import json

import pytest
from aws_server import ACCOUNT, REGION, Server
from harness import ROOT

POLICY = json.loads((ROOT / "docs/policies/aws-operator.json").read_text())
READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::backups/*"}],
}
EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}
SSM = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
READONLY = "arn:aws:iam::aws:policy/ReadOnlyAccess"
TASKS = [
    ("aws_role_binding", {
        "name": "db", "managed_policies": [SSM], "inline_policies": {"backups": READ}, "boundary": "",
        "instance_tags": {"tier": "db"}, "retire_keys": ["app"], "unused_days": 0,
        "prove": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::backups/db"]}],
    }),
    ("aws_role_binding", {"name": "web", "boundary": READONLY}),
    ("aws_role_binding", {"name": "new"}),
    ("aws_mfa_enforcement", {}),
    ("aws_mfa_enforcement", {"group": "others"}),
    ("aws_account_baseline", {"ebs_kms_key": "alias/disks"}),
]  # fmt: skip


def site(aws, policy):
    """An account in which every task has something to do, and who is to do it; the operator's key."""
    iam, ec2, kms, s3 = (aws.client(service) for service in ("iam", "ec2", "kms", "s3"))
    for role in ("db", "web"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(EC2).replace("ec2.", "ssm."))
    iam.put_role_permissions_boundary(RoleName="db", PermissionsBoundary=READONLY)
    iam.attach_role_policy(RoleName="db", PolicyArn=READONLY)
    iam.put_role_policy(RoleName="db", PolicyName="old", PolicyDocument=json.dumps(READ))
    iam.create_instance_profile(InstanceProfileName="old")
    ec2.associate_iam_instance_profile(InstanceId=aws.instance(tier="db"), IamInstanceProfile={"Name": "old"})
    aws.instance(tier="db")
    aws.user("app")
    iam.create_group(GroupName="rampart-people")
    iam.create_user(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Not-A-Secret-1")
    kms.create_alias(AliasName="alias/disks", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    s3.create_bucket(Bucket="site", CreateBucketConfiguration={"LocationConstraint": REGION})
    key = aws.user("operator", policy)
    aws.enforce()
    return key


def granted(policy):
    return {action for statement in policy["Statement"] for action in statement["Action"]}


def test_the_operators_policy_is_enough_and_has_nothing_beyond(aws):
    key = site(aws, POLICY)
    for name, args in TASKS:
        result = aws.module(name, args, key=key)
        assert not result["failed"], result["msg"]
        assert result["changed"]
    assert Server.asked == granted(POLICY)
    for name, args in TASKS:
        assert not aws.module(name, args, key=key)["changed"]


@pytest.mark.parametrize(
    ("action", "task"),
    [
        ("iam:PutRolePolicy", 0),
        ("iam:PassRole", 0),
        ("ec2:ModifyInstanceMetadataOptions", 0),
        ("iam:UpdateAccessKey", 0),
        ("iam:CreateRole", 2),
        ("iam:PutGroupPolicy", 3),
        ("s3:PutAccountPublicAccessBlock", 5),
        ("ec2:ModifyInstanceMetadataDefaults", 5),
    ],
)
def test_one_permission_less_is_named(aws, action, task):
    less = json.loads(json.dumps(POLICY))
    for statement in less["Statement"]:
        statement["Action"] = [one for one in statement["Action"] if one != action]
    less["Statement"] = [statement for statement in less["Statement"] if statement["Action"]]
    failed = aws.module(*TASKS[task], key=site(aws, less))
    assert failed["failed"] and failed["missing_permission"] == action
    assert f"The credentials need {action}" in failed["msg"]


def test_the_operators_policy_names_no_account():
    assert ACCOUNT not in json.dumps(POLICY)
    assert "*" not in granted(POLICY) and not any("*" in action for action in granted(POLICY))
