# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws_mfa_enforcement and aws_account_baseline, and what the operator of all modules needs, against moto."""

from __future__ import annotations

import json

import pytest
from aws_server import ACCOUNT, REGION, allowed
from botocore.exceptions import ClientError

MFA, BASELINE = "aws_mfa_enforcement", "aws_account_baseline"
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
DENIED = "AccessDenied|Forbidden"


def person(aws, name, mfa=False):
    """A user with a console password and every right; the key."""
    key = aws.user(name, ALL)
    iam = aws.client("iam")
    iam.create_login_profile(UserName=name, Password="Not-A-Secret-1")
    if mfa:
        serial = iam.create_virtual_mfa_device(VirtualMFADeviceName=name)["VirtualMFADevice"]["SerialNumber"]
        iam.enable_mfa_device(UserName=name, SerialNumber=serial, AuthenticationCode1="123456",
                              AuthenticationCode2="654321")  # fmt: skip
    return key


def members(aws):
    return {user["UserName"] for user in aws.client("iam").get_group(GroupName="rampart-people")["Users"]}


def test_people_without_a_second_factor_can_do_nothing_but_enrol(aws):
    alice = person(aws, "alice")
    person(aws, "bob", mfa=True)
    person(aws, "sealed")
    aws.user("service")
    args = {"exempt": ["sealed"]}
    with aws.writes() as written:
        predicted = aws.module(MFA, args, check=True)
    assert (predicted["changed"], written) == (True, [])
    done = aws.module(MFA, args)
    assert done["changed"] and done["diff"] == predicted["diff"]
    assert members(aws) == {"alice", "bob"}
    told = {one["user"]: (one["console_password"], one["active_keys"], one["enforced"]) for one in done["without_mfa"]}
    assert told == {"alice": (True, 1, True), "sealed": (True, 1, False), "service": (False, 1, False)}
    assert done["root"] == {"mfa": False, "access_keys": False}
    assert any("alice, bob" in text for text in done["warnings"])
    with aws.writes() as written:
        again = aws.module(MFA, args)
    assert (again["changed"], written) == (False, [])

    arn = f"arn:aws:iam::{ACCOUNT}:user/alice"
    own, other, device = arn, f"arn:aws:iam::{ACCOUNT}:user/bob", f"arn:aws:iam::{ACCOUNT}:mfa/alice"

    def may(action, resource, mfa):
        context = {"aws:username": "alice"} | ({} if mfa is None else {"aws:multifactorauthpresent": mfa})
        return allowed(arn, action, resource, context) == "allowed"

    in_console = {
        ("iam:CreateVirtualMFADevice", device): True,
        ("iam:EnableMFADevice", own): True,
        ("iam:EnableMFADevice", other): False,
        ("iam:ListMFADevices", own): True,
        ("sts:GetSessionToken", "*"): True,
        ("iam:DeactivateMFADevice", own): False,
        ("iam:CreateAccessKey", own): False,
        ("s3:ListAllMyBuckets", "*"): False,
    }
    assert {what: may(*what, "false") for what in in_console} == in_console
    assert all(may(*what, "true") for what in in_console)
    by_key = {what for what in in_console if may(*what, None)}
    assert by_key == {("iam:ListMFADevices", own), ("sts:GetSessionToken", "*")}

    aws.enforce()
    iam = aws.client("iam", *alice)
    assert iam.list_mfa_devices(UserName="alice")["MFADevices"] == []
    for beyond in (
        lambda: aws.client("s3", *alice).list_buckets(),
        lambda: iam.create_virtual_mfa_device(VirtualMFADeviceName="thief"),
        lambda: iam.create_access_key(UserName="alice"),
    ):
        with pytest.raises(ClientError, match=DENIED):
            beyond()


def test_a_password_policy_is_never_loosened(aws):
    iam = aws.client("iam")
    aws.module(MFA, {})
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert (policy["MinimumPasswordLength"], policy["PasswordReusePrevention"]) == (14, 24)
    assert policy["RequireSymbols"] and policy["RequireNumbers"]
    assert not policy.get("MaxPasswordAge") and not policy["ExpirePasswords"]
    iam.update_account_password_policy(MinimumPasswordLength=20, PasswordReusePrevention=5, MaxPasswordAge=60)
    assert aws.module(MFA, {"max_age": 90})["changed"]
    policy = iam.get_account_password_policy()["PasswordPolicy"]
    assert (policy["MinimumPasswordLength"], policy["PasswordReusePrevention"], policy["MaxPasswordAge"]) == (
        20,
        24,
        60,
    )


def test_whoever_runs_it_is_not_locked_out(aws):
    key = person(aws, "operator")
    aws.enforce()
    failed = aws.module(MFA, {}, key=key)
    assert failed["failed"] and "operator runs this with a static key" in failed["msg"]
    aws.enforce(False)
    assert aws.client("iam").list_groups()["Groups"] == []
    assert aws.module(MFA, {"exempt": ["operator"]}, key=key)["changed"]
    assert members(aws) == set()


def test_members_of_somebody_else_stay(aws):
    person(aws, "alice")
    aws.user("robot")
    aws.before("PutGroupPolicy", lambda response: aws.iam.add_user_to_group("rampart-people", "robot"))
    assert aws.module(MFA, {})["changed"] and members(aws) == {"alice", "robot"}
    assert aws.module(MFA, {"users": []})["changed"] is False
    assert "There is no user bob, eve." in aws.module(MFA, {"users": ["eve", "alice", "bob"]})["msg"]


def settings(aws, region=REGION):
    ec2 = aws.client("ec2", region=region)
    metadata = ec2.get_instance_metadata_defaults()["AccountLevel"]
    return (
        ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"],
        ec2.get_snapshot_block_public_access_state()["State"],
        (metadata.get("HttpTokens"), metadata.get("HttpPutResponseHopLimit")),
    )


def test_the_account_has_sane_defaults_in_every_region(aws):
    args = {"regions": [REGION, "eu-west-1"]}
    with aws.writes() as written:
        predicted = aws.module(BASELINE, args, check=True)
    assert (predicted["changed"], written) == (True, [])
    done = aws.module(BASELINE, args)
    assert done["changed"] and done["diff"] == predicted["diff"]
    for region in (REGION, "eu-west-1"):
        assert settings(aws, region) == (True, "block-all-sharing", ("required", 1))
    assert settings(aws, "us-east-1") == (False, "unblocked", (None, None))
    block = aws.client("s3control").get_public_access_block(AccountId=ACCOUNT)["PublicAccessBlockConfiguration"]
    assert set(block.values()) == {True} and len(block) == 4
    with aws.writes() as written:
        again = aws.module(BASELINE, args)
    assert (again["changed"], written) == (False, [])


def test_nothing_is_loosened_and_what_is_switched_off_stays(aws):
    off = {"ebs_encryption": False, "s3_public_access_block": False, "metadata_tokens": False}
    assert not aws.module(BASELINE, off | {"snapshot_public_access": "unblocked"})["changed"]
    aws.client("ec2").enable_snapshot_block_public_access(State="block-all-sharing")
    args = {"snapshot_public_access": "block-new-sharing", "metadata_hop_limit": 2, "metadata_enforced": True}
    assert aws.module(BASELINE, args)["settings"][REGION]["metadata"]["HttpTokensEnforced"] == "enabled"
    assert settings(aws) == (True, "block-all-sharing", ("required", 2))
    assert aws.client("ec2").get_instance_metadata_defaults()["AccountLevel"]["HttpTokensEnforced"] == "enabled"


def test_disks_get_a_key_that_works(aws):
    kms = aws.client("kms")
    good, bad = (kms.create_key()["KeyMetadata"] for _count in range(2))
    kms.create_alias(AliasName="alias/disks", TargetKeyId=good["KeyId"])
    kms.disable_key(KeyId=bad["KeyId"])
    with aws.writes() as written:
        failed = aws.module(BASELINE, {"ebs_kms_key": bad["KeyId"]})
        assert failed["failed"] and "Disabled" in failed["msg"]
        assert "DescribeKey failed (NotFound" in aws.module(BASELINE, {"ebs_kms_key": "alias/none"})["msg"]
    assert [one for one in written if one not in ("DescribeKey",)] == []
    assert aws.module(BASELINE, {"ebs_kms_key": "alias/disks"})["changed"]
    assert aws.client("ec2").get_ebs_default_kms_key_id()["KmsKeyId"] == good["Arn"]
    assert not aws.module(BASELINE, {"ebs_kms_key": good["KeyId"]})["changed"]


def test_what_was_public_is_told(aws):
    ec2, s3 = aws.client("ec2"), aws.client("s3")
    volume = ec2.create_volume(AvailabilityZone=REGION + "a", Size=1)["VolumeId"]
    shared, own = (ec2.create_snapshot(VolumeId=volume)["SnapshotId"] for _count in range(2))
    ec2.modify_snapshot_attribute(SnapshotId=shared, Attribute="createVolumePermission", OperationType="add",
                                  GroupNames=["all"])  # fmt: skip
    for bucket in ("site", "ours"):
        s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    policy = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::site/*"}
    ]}  # fmt: skip
    s3.put_bucket_policy(Bucket="site", Policy=json.dumps(policy))
    told = aws.module(BASELINE, {})
    assert (told["public_buckets"], told["public_snapshots"]) == (["site"], {REGION: [shared]})
    assert own not in json.dumps(told["public_snapshots"])
