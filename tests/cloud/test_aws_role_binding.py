# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""aws_role_binding, against moto with IAM enforced where that counts; what it left is read with boto3."""

from __future__ import annotations

import datetime
import json

import pytest
from aws_server import ACCOUNT, error
from botocore.exceptions import ClientError

NAME = "aws_role_binding"
READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::backups/*"}],
}
WRITE = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::backups/*"}],
}
ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
SSM = "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"
PROOF = [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::backups/db"]}]


def existing_role(aws, attached=(), trust=None, **inline):
    iam = aws.client("iam")
    iam.create_role(RoleName="db", AssumeRolePolicyDocument=json.dumps(trust or EC2))
    for arn in attached:
        iam.attach_role_policy(RoleName="db", PolicyArn=arn)
    for name, document in inline.items():
        iam.put_role_policy(RoleName="db", PolicyName=name, PolicyDocument=json.dumps(document))


def rights(aws):
    """What the role has, read from the API."""
    iam = aws.client("iam")
    attached = iam.list_attached_role_policies(RoleName="db")["AttachedPolicies"]
    inline = iam.list_role_policies(RoleName="db")["PolicyNames"]
    documents = {name: iam.get_role_policy(RoleName="db", PolicyName=name)["PolicyDocument"] for name in inline}
    return {policy["PolicyArn"] for policy in attached}, documents


def actions(document):
    return {action for statement in document["Statement"] for action in statement["Action"]}


def profiles(aws):
    found = aws.client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    return {one["InstanceId"]: one["IamInstanceProfile"]["Arn"].split("/")[-1] for one in found}


def metadata(aws, instance):
    described = aws.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return described["MetadataOptions"]


def used(aws, key, days):
    """Say that a key was made a year ago and used last some days ago; None for never."""
    found = aws.iam.access_keys[key]
    now = datetime.datetime.now(datetime.UTC)
    found.create_date = now - datetime.timedelta(days=365)
    aws.hooks["GetAccessKeyLastUsed"] = aws.hooks.get("GetAccessKeyLastUsed") or last_used_of(aws, {})
    aws.hooks["GetAccessKeyLastUsed"].uses[key] = None if days is None else now - datetime.timedelta(days=days)


def last_used_of(aws, uses):
    """moto notes each use; this tells what a test says instead."""

    def hook(response):
        response.parse_parameters(response.normalized_request)
        date = uses.get(response._get_param("AccessKeyId"))
        used = {"ServiceName": "N/A", "Region": "N/A"} | ({"LastUsedDate": date} if date else {})
        return aws.answer(response, UserName="x", AccessKeyLastUsed=used)

    hook.uses = uses
    return hook


def statuses(aws, user):
    keys = aws.client("iam").list_access_keys(UserName=user)["AccessKeyMetadata"]
    return {key["AccessKeyId"]: key["Status"] for key in keys}


def test_a_role_from_nothing(aws):
    instance = aws.instance(Name="db1")
    args = {"name": "db", "managed_policies": ["AmazonSSMManagedInstanceCore"], "inline_policies": {"backups": READ},
            "instances": ["db1"], "prove": PROOF}  # fmt: skip
    with aws.writes() as written:
        predicted = aws.module(NAME, args, check=True)
    assert (predicted["changed"], written) == (True, [])
    assert predicted["diff"]["before"]["role"] is None

    done = aws.module(NAME, args)
    assert done["changed"] and done["diff"] == predicted["diff"]
    assert done["proved"] == [{"action": "s3:GetObject", "resource": "arn:aws:s3:::backups/db"}]
    attached, inline = rights(aws)
    assert attached == {SSM} and actions(inline["backups"]) == {"s3:GetObject"}
    trust = aws.client("iam").get_role(RoleName="db")["Role"]["AssumeRolePolicyDocument"]
    assert trust["Statement"][0]["Principal"] == {"Service": ["ec2.amazonaws.com"]}
    assert profiles(aws) == {instance: "db"}
    options = metadata(aws, instance)
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"], options["HttpEndpoint"]) == (
        "required",
        1,
        "enabled",
    )

    with aws.writes() as written:
        again = aws.module(NAME, args)
    assert (again["changed"], written) == (False, [])
    assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]


def test_exclusive_leaves_nothing_else(aws):
    wide = json.loads(json.dumps(EC2).replace('"Service": "ec2.amazonaws.com"', '"AWS": "*"'))
    existing_role(aws, [ADMINISTRATOR, SSM], trust=wide, everything=ALL, backups=WRITE)
    result = aws.module(NAME, {"name": "db", "inline_policies": {"backups": READ}})
    assert result["changed"]
    assert result["diff"]["before"]["role"]["managed_policies"] == [ADMINISTRATOR, SSM]
    assert actions(result["diff"]["before"]["role"]["inline_policies"]["everything"]) == {"*"}
    attached, inline = rights(aws)
    assert (attached, set(inline), actions(inline["backups"])) == (set(), {"backups"}, {"s3:GetObject"})
    trust = aws.client("iam").get_role(RoleName="db")["Role"]["AssumeRolePolicyDocument"]
    assert [one["Principal"] for one in trust["Statement"]] == [{"Service": ["ec2.amazonaws.com"]}]


def test_without_exclusive_the_rest_stays_and_is_judged(aws):
    existing_role(aws, [SSM], others=WRITE)
    args = {"name": "db", "inline_policies": {"backups": READ}, "exclusive": False}
    assert aws.module(NAME, args)["changed"]
    attached, inline = rights(aws)
    assert (attached, set(inline)) == ({SSM}, {"backups", "others"})

    aws.client("iam").put_role_policy(RoleName="db", PolicyName="x", PolicyDocument=json.dumps(ALL))
    refused = aws.module(NAME, args)
    assert refused["failed"] and "inline policy x allows every action" in refused["msg"]


def test_the_role_may_do_what_was_granted_and_not_one_step_more(aws):
    key = aws.user(
        "tester",
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}]},
    )
    trust = {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/tester"}}
    ]}  # fmt: skip
    setup = aws.client("s3")
    for bucket in ("backups", "payroll"):
        setup.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        setup.put_object(Bucket=bucket, Key="db", Body=b"x")
    existing_role(aws, [ADMINISTRATOR])
    assert aws.module(NAME, {"name": "db", "trust": trust, "inline_policies": {"backups": READ}})["changed"]

    aws.enforce()
    role = f"arn:aws:iam::{ACCOUNT}:role/db"
    given = aws.client("sts", *key).assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    s3 = aws.client("s3", given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
    assert s3.get_object(Bucket="backups", Key="db")["Body"].read() == b"x"
    for beyond in (
        lambda: s3.put_object(Bucket="backups", Key="db", Body=b"y"),
        lambda: s3.get_object(Bucket="payroll", Key="db"),
        s3.list_buckets,
    ):
        with pytest.raises(ClientError, match="AccessDenied|Forbidden"):
            beyond()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"inline_policies": {"x": ALL}}, "inline policy x allows every action"),
        ({"managed_policies": ["AdministratorAccess"]}, f"{ADMINISTRATOR} allows every action"),
        ({"managed_policies": ["PowerUserAccess"]}, "allows all but what NotAction names"),
        ({"managed_policies": ["harmless"]}, f"arn:aws:iam::{ACCOUNT}:policy/harmless allows every action"),
        (
            {"trust": {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole"}]}},
            "lets in every",
        ),
    ],
)
def test_an_administrator_is_refused_before_anything_changes(aws, args, said):
    aws.client("iam").create_policy(PolicyName="harmless", PolicyDocument=json.dumps(ALL))
    with aws.writes() as written:
        refused = aws.module(NAME, {"name": "db", **args})
    assert refused["failed"] and said in refused["msg"] and "allow_admin" in refused["msg"]
    assert written == []


def test_an_administrator_needs_a_reason(aws):
    args = {"name": "db", "inline_policies": {"x": ALL}, "allow_admin": True}
    assert aws.module(NAME, args)["failed"]
    assert aws.module(NAME, args | {"allow_admin_reason": " "})["failed"]
    done = aws.module(NAME, args | {"allow_admin_reason": "migration until March"})
    assert done["admin"]["reason"] == "migration until March"
    assert done["admin"]["rights"] == ["inline policy x allows every action (*)"]


def test_what_would_not_be_enough_changes_nothing(aws):
    key, _secret = aws.user("app")
    used(aws, key, 200)
    existing_role(aws, [ADMINISTRATOR])
    args = {"name": "db", "inline_policies": {"backups": WRITE}, "prove": PROOF, "retire_keys": ["app"]}
    for check in (True, False):
        with aws.writes() as written:
            failed = aws.module(NAME, args, check=check)
        assert failed["failed"] and "s3:GetObject on arn:aws:s3:::backups/db" in failed["msg"]
        assert "Nothing was changed" in failed["msg"] and written == []
    assert rights(aws)[0] == {ADMINISTRATOR}


def test_where_the_organization_denies_the_role_keeps_what_it_had(aws):
    key, _secret = aws.user("app")
    used(aws, key, 200)
    existing_role(aws, [ADMINISTRATOR], backups=WRITE)
    aws.organize({"Statement": [{"Effect": "Allow", "NotAction": "s3:Get*", "Resource": "*"}]})
    args = {"name": "db", "inline_policies": {"backups": READ}, "prove": PROOF, "retire_keys": ["app"]}
    failed = aws.module(NAME, args)
    assert failed["failed"] and "service control policy" in failed["msg"] and "keeps what it had" in failed["msg"]
    attached, inline = rights(aws)
    assert attached == {ADMINISTRATOR} and actions(inline["backups"]) == {"s3:GetObject", "s3:PutObject"}
    assert statuses(aws, "app") == {key: "Active"}
    assert failed["done"] and failed["changed"]

    aws.organize(None)
    assert aws.module(NAME, args)["changed"]
    attached, inline = rights(aws)
    assert attached == set() and actions(inline["backups"]) == {"s3:GetObject"}


def test_the_order_is_grant_attach_prove_revoke_deactivate(aws):
    key, _secret = aws.user("app")
    used(aws, key, 200)
    existing_role(aws, [ADMINISTRATOR], backups=WRITE, everything=ALL)
    instance = aws.instance(Name="db1")
    seen = []
    aws.before("SimulatePrincipalPolicy", lambda response: seen.append(rights(aws)))
    args = {"name": "db", "managed_policies": [SSM], "inline_policies": {"backups": READ}, "instances": [instance],
            "prove": PROOF, "retire_keys": ["app"]}  # fmt: skip
    with aws.writes() as written:
        assert aws.module(NAME, args)["changed"]
    assert written == [
        "AttachRolePolicy", "PutRolePolicy",
        "CreateInstanceProfile", "AddRoleToInstanceProfile", "AssociateIamInstanceProfile",
        "ModifyInstanceMetadataOptions",
        "DetachRolePolicy", "DeleteRolePolicy", "PutRolePolicy",
        "UpdateAccessKey",
    ]  # fmt: skip
    attached, inline = seen[0]  # at the time of the proof: what was and what is new
    assert attached == {ADMINISTRATOR, SSM} and set(inline) == {"backups", "everything"}
    assert actions(inline["backups"]) == {"s3:GetObject", "s3:PutObject"}


def test_rights_not_yet_seen_everywhere_are_waited_for(aws):
    calls = []

    def not_yet(response):
        calls.append(1)
        return error("NoSuchEntity", 404)(response) if len(calls) < 3 else None

    def nothing_seen(response):
        aws.hooks.pop("SimulatePrincipalPolicy")
        return aws.answer(response, EvaluationResults=[
            {"EvalActionName": "s3:GetObject", "EvalResourceName": "x", "EvalDecision": "implicitDeny"}
        ])  # fmt: skip

    aws.before("AttachRolePolicy", not_yet)
    aws.before("SimulatePrincipalPolicy", nothing_seen)
    assert aws.module(NAME, {"name": "db", "managed_policies": [SSM], "inline_policies": {"backups": READ},
                             "prove": PROOF})["changed"]  # fmt: skip
    assert len(calls) == 3 and aws.calls.count("SimulatePrincipalPolicy") == 2
    assert rights(aws)[0] == {SSM}


def test_a_boundary_is_set_changed_and_taken_away(aws):
    iam = aws.client("iam")
    for name, document in {"reads": READ, "writes": WRITE}.items():
        iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(document))
    reads, writes = (f"arn:aws:iam::{ACCOUNT}:policy/{name}" for name in ("reads", "writes"))
    args = {"name": "db", "inline_policies": {"backups": READ}, "prove": PROOF}

    def boundary():
        return iam.get_role(RoleName="db")["Role"].get("PermissionsBoundary", {}).get("PermissionsBoundaryArn")

    assert aws.module(NAME, args | {"boundary": reads})["changed"] and boundary() == reads
    assert not aws.module(NAME, args)["changed"]
    failed = aws.module(NAME, args | {"boundary": writes})
    assert failed["failed"] and "could not do what prove lists" in failed["msg"] and boundary() == reads
    assert aws.module(NAME, args | {"boundary": ""})["changed"] and boundary() is None
    iam.put_role_permissions_boundary(RoleName="db", PermissionsBoundary=writes)
    assert aws.module(NAME, args | {"boundary": "reads"})["changed"] and boundary() == reads


def test_instances_are_found_by_id_name_address_and_tag(aws):
    one, two, three, other = (aws.instance(Name=name, tier=tier) for name, tier in
                              [("a", "x"), ("b", "x"), ("c", "db"), ("d", "y")])  # fmt: skip
    ec2, iam = aws.client("ec2"), aws.client("iam")
    address = ec2.describe_instances(InstanceIds=[two])["Reservations"][0]["Instances"][0]["PrivateIpAddress"]
    iam.create_instance_profile(InstanceProfileName="old")
    ec2.associate_iam_instance_profile(InstanceId=one, IamInstanceProfile={"Name": "old"})
    args = {"name": "db", "instances": [one, address], "instance_tags": {"tier": "db"}, "metadata_hop_limit": 2}
    result = aws.module(NAME, args)
    assert result["diff"]["before"]["instances"][one]["profile"] == "old"
    assert profiles(aws) == {one: "db", two: "db", three: "db"}
    assert metadata(aws, two)["HttpPutResponseHopLimit"] == 2 and metadata(aws, other)["HttpTokens"] == "optional"
    assert not aws.module(NAME, args)["changed"]

    ec2.modify_instance_metadata_options(InstanceId=three, HttpTokens="optional", HttpEndpoint="enabled",
                                         HttpPutResponseHopLimit=2)  # fmt: skip
    drifted = aws.module(NAME, {"name": "db", "instances": ["c"], "metadata_hop_limit": 2})
    assert drifted["changed"] and drifted["elsewhere"] == sorted([one, two])
    assert metadata(aws, three)["HttpTokens"] == "required"


def test_an_instance_that_is_not_meant_is_not_guessed(aws):
    for _count in range(2):
        aws.instance(Name="twin")
    with aws.writes() as written:
        assert "several instances" in aws.module(NAME, {"name": "db", "instances": ["twin"]})["msg"]
        assert "There is no instance 10.9.9.9" in aws.module(NAME, {"name": "db", "instances": ["10.9.9.9"]})["msg"]
        trust = {"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}
        ]}  # fmt: skip
        args = {"name": "db", "instance_tags": {"Name": "twin"}, "trust": trust}
        assert "no instance could use it" in aws.module(NAME, args)["msg"]
    assert written == []


def test_an_instance_profile_of_another_role_is_not_taken(aws):
    iam = aws.client("iam")
    iam.create_role(RoleName="other", AssumeRolePolicyDocument=json.dumps(EC2))
    iam.create_instance_profile(InstanceProfileName="db")
    iam.add_role_to_instance_profile(InstanceProfileName="db", RoleName="other")
    with aws.writes() as written:
        failed = aws.module(NAME, {"name": "db", "inline_policies": {"backups": READ}})
    assert failed["failed"] and "has the role other" in failed["msg"] and written == []


def test_a_trust_in_somebody_gone_is_replaced_all_the_same(aws):
    existing_role(aws, trust=json.loads(json.dumps(EC2).replace("ec2.", "lambda.")))
    calls = []

    def malformed(response):
        calls.append(1)
        return error("MalformedPolicyDocument")(response) if len(calls) == 1 else None

    aws.before("UpdateAssumeRolePolicy", malformed)
    assert aws.module(NAME, {"name": "db"})["changed"]
    trust = aws.client("iam").get_role(RoleName="db")["Role"]["AssumeRolePolicyDocument"]
    assert [one["Principal"] for one in trust["Statement"]] == [{"Service": ["ec2.amazonaws.com"]}]


def test_static_keys_go_when_they_are_idle_and_are_never_deleted(aws):
    idle, fresh, never = (aws.user(name, ALL) for name in ("idle", "fresh", "never"))
    for (key, _secret), days in ((idle, 200), (fresh, 3), (never, None)):
        used(aws, key, days)
    args = {"name": "db", "retire_keys": ["idle", "fresh", "never", "nobody"]}
    result = aws.module(NAME, args)
    keys = {key["user"]: key for key in result["keys"]}
    assert {user: key["status"] for user, key in keys.items()} == {
        "idle": "Inactive", "never": "Inactive", "fresh": "Active",
    }  # fmt: skip
    day = datetime.datetime.now(datetime.UTC).date() - datetime.timedelta(days=3)
    assert keys["fresh"]["last_used"] == str(day) and "90 days" in keys["fresh"]["kept"]
    assert any(str(day) in text for text in result["warnings"])
    assert statuses(aws, "idle") == {idle[0]: "Inactive"} and statuses(aws, "fresh") == {fresh[0]: "Active"}
    assert "SecretAccessKey" not in json.dumps(result) and idle[1] not in json.dumps(result)

    assert not aws.module(NAME, args)["changed"]
    aws.enforce()
    with pytest.raises(ClientError, match="InvalidClientTokenId"):
        aws.client("iam", *idle).list_users()
    assert aws.client("iam", *fresh).list_users()["Users"]
    aws.enforce(False)

    assert aws.module(NAME, args | {"unused_days": 0})["changed"]
    assert statuses(aws, "fresh") == {fresh[0]: "Inactive"}


def test_a_key_that_is_used_meanwhile_stays(aws):
    key, _secret = aws.user("app")
    used(aws, key, 200)
    aws.before("CreateRole", lambda response: used(aws, key, 0))
    result = aws.module(NAME, {"name": "db", "retire_keys": ["app"]})
    assert statuses(aws, "app") == {key: "Active"} and result["keys"][0]["kept"]


def test_nobody_saws_off_the_branch_he_sits_on(aws):
    key = aws.user("operator", ALL)
    aws.enforce()
    failed = aws.module(NAME, {"name": "db", "retire_keys": ["operator"], "unused_days": 0}, key=key)
    assert failed["failed"] and "run it with a role" in failed["msg"]
    aws.enforce(False)
    assert statuses(aws, "operator") == {key[0]: "Active"}


def test_a_second_writer_loses_nothing(aws):
    existing_role(aws, old=WRITE)
    iam = aws.client("iam")

    def write(name, document):
        iam.put_role_policy(RoleName="db", PolicyName=name, PolicyDocument=json.dumps(document))

    aws.before("SimulatePrincipalPolicy", lambda response: write("theirs", WRITE))
    args = {"name": "db", "inline_policies": {"backups": READ}, "prove": PROOF}
    assert aws.module(NAME, args)["changed"]
    assert set(rights(aws)[1]) == {"backups", "theirs"}

    aws.before("SimulatePrincipalPolicy", lambda response: write("theirs", READ))
    failed = aws.module(NAME, args)
    assert failed["failed"] and "Somebody else changed the inline policy theirs" in failed["msg"]
    assert rights(aws)[1]["theirs"] == READ


def test_a_busy_service_is_asked_again(aws):
    busy = []

    def hook(response):
        busy.append(1)
        code, status = [("Throttling", 400), ("ServiceUnavailable", 503), ("InternalFailure", 500)][len(busy) % 3]
        return error(code, status)(response) if len(busy) < 4 else None

    aws.before("GetRole", hook)
    aws.before("DescribeInstances", lambda response: error("RequestLimitExceeded", 503)(response) if not busy else None)
    assert aws.module(NAME, {"name": "db", "inline_policies": {"backups": READ}})["changed"]
    assert len(busy) == 4


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredToken", 400, "not valid, or not any more (ExpiredToken): log in again"),
        ("InvalidClientTokenId", 403, "not valid, or not any more (InvalidClientTokenId)"),
        ("LimitExceeded", 409, "CreateRole failed (LimitExceeded): told to"),
    ],
)
def test_errors_say_what_to_do(aws, code, status, said):
    aws.before("CreateRole", error(code, status))
    failed = aws.module(NAME, {"name": "db"})
    assert failed["failed"] and said in failed["msg"] and "Nothing was changed" in failed["msg"]


def test_without_credentials(aws):
    failed = aws.module(NAME, {"name": "db"}, key=("", ""), AWS_EC2_METADATA_DISABLED="true")
    assert failed["failed"] and "no usable credentials" in failed["msg"] and "AWS_PROFILE" in failed["msg"]


def test_where_nobody_answers(aws):
    failed = aws.module(NAME, {"name": "db", "endpoint_url": "http://127.0.0.1:9", "aws_config": {}})
    assert failed["failed"] and "could not be asked (EndpointConnectionError)" in failed["msg"]
