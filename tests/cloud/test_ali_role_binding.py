# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ali_role_binding against a server on loopback; what came of it is read with the SDKs of RAM and ECS."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess

import pytest
import yaml
from ali_server import ACCOUNT, REGION, AliServer, Refusal, days_ago
from alibabacloud_ecs20140526 import models as ecs_models
from alibabacloud_ecs20140526.client import Client as Ecs
from alibabacloud_ims20190815 import models as ims_models
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_ram20150501.client import Client as Ram
from alibabacloud_tea_openapi.utils import Utils
from alibabacloud_tea_openapi.utils_models import Config
from harness import COLLECTIONS, ROOT, module

OPERATOR = json.loads((ROOT / "docs/policies/alibaba-operator.json").read_text())["Statement"][0]["Action"]
BACKUP = {
    "Version": "1",
    "Statement": [{"Effect": "Allow", "Action": "oss:PutObject", "Resource": "acs:oss:*:*:backups/db/*"}],
}
PROOF = {"actions": ["oss:PutObject"], "resources": ["acs:oss:*:*:backups/db/dump.gz"]}


def allow(action, resource="*", **more) -> dict:
    return {"Version": "1", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource, **more}]}


class Account:
    """The server, the module against it, and what its API tells of it."""

    def __init__(self, server: AliServer):
        self.server = server
        self.env = server.identity("LTAI-operator")
        config = Config(access_key_id="LTAI-operator", access_key_secret="not-a-secret", region_id=REGION)
        config.endpoint, config.protocol = server.url.removeprefix("http://"), "HTTP"
        self.ram, self.ecs = Ram(config), Ecs(config)

    def run(self, check: bool = False, env: dict | None = None, **args) -> dict:
        self.server.calls.clear()
        args = {"name": "db", "region": REGION, "endpoint": self.server.url, **args}
        return module("ali_role_binding", args, check=check, env=env or self.env)

    def policies(self, role: str = "db") -> list[str]:
        told = self.ram.list_policies_for_role(ram_models.ListPoliciesForRoleRequest(role_name=role)).body.policies
        return sorted(f"{one.policy_type}/{one.policy_name}" for one in told.policy)

    def document(self, name: str = "db") -> dict:
        request = ram_models.GetPolicyRequest(policy_name=name, policy_type="Custom")
        return json.loads(self.ram.get_policy(request).body.default_policy_version.policy_document)

    def trust(self, role: str = "db") -> dict:
        told = self.ram.get_role(ram_models.GetRoleRequest(role_name=role)).body.role
        return json.loads(told.assume_role_policy_document)

    def role_of(self, instance: str) -> str:
        request = ecs_models.DescribeInstanceRamRoleRequest(region_id=REGION, instance_ids=json.dumps([instance]))
        (one,) = self.ecs.describe_instance_ram_role(request).body.instance_ram_role_sets.instance_ram_role_set
        return one.ram_role_name

    def tokens_of(self, instance: str) -> str:
        request = ecs_models.DescribeInstancesRequest(
            region_id=REGION, instance_ids=json.dumps([instance]), additional_attributes=["META_OPTIONS"]
        )
        (one,) = self.ecs.describe_instances(request).body.instances.instance
        return one.metadata_options.http_tokens

    def keys(self, user: str) -> dict[str, str]:
        told = self.ram.list_access_keys(ram_models.ListAccessKeysRequest(user_name=user)).body.access_keys
        return {one.access_key_id: one.status for one in told.access_key}


@pytest.fixture
def account():
    with AliServer() as server:
        yield Account(server)


def said(result: dict) -> str:
    """The warnings, however this release of ansible-core hands them over."""
    return json.dumps(result.get("warnings", []))


EVERYTHING = {
    "system_policies": ["AliyunOSSReadOnlyAccess"],
    "custom_policies": {"db": BACKUP},
    "instances": ["i-1", "db2"],
    "instance_tags": {"role": "db", "stage": "live"},
    "prove": [PROOF],
    "retire_keys": ["backup"],
}


def furnish(account: Account) -> None:
    """A role with too much, instances in every state, keys of every age."""
    server = account.server
    principals = {"Service": ["ecs.aliyuncs.com"], "RAM": [f"acs:ram::{ACCOUNT}:root"]}
    server.role("db", "System/AliyunLogReadOnlyAccess", "Custom/kept-too-long", trust={
        "Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": principals}]})
    server.role("former")
    server.custom("kept-too-long", allow("ecs:*"))
    server.custom("db", *(allow(f"oss:Get{number}") for number in range(5)))  # as many versions as there may be
    server.instance("i-1", "db1")
    server.instance("i-2", "db2", role="former")
    for number in range(3, 8):
        server.instance(f"i-{number}", f"db{number}", tags={"role": "db", "stage": "live", "n": str(number)})
    server.instance("i-8", "db2-old", tags={"role": "db"})
    server.user("backup", keys={"LTAI-old": 200, "LTAI-new": 3, "LTAI-never": None})


def test_whole_binding(account):
    furnish(account)
    predicted = account.run(check=True, **EVERYTHING)
    assert predicted["changed"] and account.server.writes == []
    assert account.policies() == ["Custom/kept-too-long", "System/AliyunLogReadOnlyAccess"]

    result = account.run(**EVERYTHING)
    assert not result["failed"] and result["changed"], result
    assert result["diff"] == predicted["diff"]
    assert account.policies() == ["Custom/db", "System/AliyunOSSReadOnlyAccess"] == result["granted"]
    assert result["revoked"] == ["Custom/kept-too-long", "System/AliyunLogReadOnlyAccess"]
    assert account.document() == BACKUP
    assert list(account.server.policies["Custom", "db"]["versions"]) == ["v2", "v3", "v4", "v5", "v6"]
    assert [one["Principal"] for one in account.trust()["Statement"]] == [{"Service": ["ecs.aliyuncs.com"]}]
    for number in range(1, 8):
        assert (account.role_of(f"i-{number}"), account.tokens_of(f"i-{number}")) == ("db", "required")
    assert (account.role_of("i-8"), account.tokens_of("i-8")) == ("", "optional")
    assert account.keys("backup") == {"LTAI-old": "Inactive", "LTAI-new": "Active", "LTAI-never": "Inactive"}
    kept = {key["id"]: (key["kept"], key["last_used"]) for key in result["keys"]}
    assert kept["LTAI-new"][0] == "used within 90 days" and kept["LTAI-never"] == ("", "never")
    assert result["proved"] == [
        {"action": "oss:PutObject", "resource": "acs:oss:*:*:backups/db/dump.gz", "conditional": False}
    ]
    assert "LTAI-new" in said(result)
    assert "not-a-secret" not in json.dumps(result)

    again = account.run(**EVERYTHING)
    assert not again["changed"] and not again["failed"] and account.server.writes == []
    assert again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]
    assert account.run(**{**EVERYTHING, "instances": []})["elsewhere"] == ["i-1", "i-2"]


def test_order(account):
    """Grant, prove, give to instances, revoke, deactivate."""
    furnish(account)
    account.run(**EVERYTHING)
    order = [action for action in account.server.writes if action != "ModifyInstanceMetadataOptions"]
    assert order == [
        *["AttachPolicyToRole"] * 2,
        "CreatePolicyVersion",
        "AttachInstanceRamRole",
        "DetachInstanceRamRole",
        *["AttachInstanceRamRole"] * 6,
        *["DetachPolicyFromRole"] * 2,
        "UpdateRole",
        *["UpdateAccessKey"] * 2,
    ]
    steps = [action for dummy, action, dummy in account.server.calls]
    proof = len(steps) - 1 - steps[::-1].index("ListPoliciesForRole")
    assert steps.index("AttachPolicyToRole") < proof < steps.index("CreatePolicyVersion")


def test_new_role_that_is_not_known_everywhere_yet(account):
    account.server.instance("i-1", "db1")
    account.server.before["AttachPolicyToRole"] = [lambda: account.server.lag.update(db=1)]
    account.server.before["AttachInstanceRamRole"] = [lambda: account.server.lag.update(db=1)]
    result = account.run(system_policies=["AliyunOSSReadOnlyAccess"], instances=["i-1"])
    assert result["role"] == f"acs:ram::{ACCOUNT}:role/db" and result["diff"]["before"]["role"] is None
    assert account.policies() == ["System/AliyunOSSReadOnlyAccess"] and account.role_of("i-1") == "db"


def test_not_exclusive(account):
    furnish(account)
    account.server.role("db", "System/AdministratorAccess", trust=allow("sts:AssumeRole") | {"Statement": [
        {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"RAM": [f"acs:ram::{ACCOUNT}:root"]}}]})
    result = account.run(system_policies=["AliyunOSSReadOnlyAccess"], exclusive=False)
    assert account.policies() == ["System/AdministratorAccess", "System/AliyunOSSReadOnlyAccess"]
    assert "keeps System/AdministratorAccess" in said(result) and result["revoked"] == []
    assert [list(one["Principal"]) for one in account.trust()["Statement"]] == [["RAM"], ["Service"]]
    assert not account.run(system_policies=["AliyunOSSReadOnlyAccess"], exclusive=False)["changed"]


@pytest.mark.parametrize("name", ["AdministratorAccess", "AliyunRAMFullAccess", "PowerUserAccess"])
def test_administrators_policies_are_refused(account, name):
    result = account.run(system_policies=[name])
    assert result["failed"] and f"makes an administrator: System/{name}" in result["msg"]
    assert account.server.writes == []


def test_documents_are_judged_not_names(account):
    account.server.custom("harmless-reader", allow(["ram:AttachPolicyToRole", "oss:Get*"]))
    result = account.run(custom_policies={"harmless-reader": None})
    assert result["failed"] and "ram:AttachPolicyToRole on Resource *" in result["msg"]
    account.server.custom("AdministratorAccess", BACKUP)
    assert not account.run(custom_policies={"AdministratorAccess": None})["failed"]
    assert account.policies() == ["Custom/AdministratorAccess"]


def test_administrator_with_a_reason(account):
    assert "allow_admin_reason" in account.run(system_policies=["AdministratorAccess"], allow_admin=True)["msg"]
    result = account.run(system_policies=["AdministratorAccess"], allow_admin=True, allow_admin_reason="the deployer")
    assert account.policies() == ["System/AdministratorAccess"]
    assert result["admin"] == {"policies": {"System/AdministratorAccess": ["Action *"]}, "reason": "the deployer"}


def test_what_is_not_proven_changes_nothing(account):
    furnish(account)
    more = {"actions": ["oss:DeleteObject"], "resources": ["acs:oss:*:*:x"]}
    result = account.run(**{**EVERYTHING, "prove": [PROOF, more]})
    assert result["failed"] and "oss:DeleteObject on acs:oss:*:*:x" in result["msg"]
    assert result["msg"].endswith("Nothing was changed.") and result["done"] == []
    assert account.server.writes == [] and not result["changed"]


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_what_hangs_on_a_condition_counts_and_is_told(account, effect):
    furnish(account)
    condition = {"IpAddress": {"acs:SourceIp": ["192.0.2.0/24"]}}
    bound = [dict(BACKUP["Statement"][0], Condition=condition, Effect=effect)]
    document = {"Version": "1", "Statement": bound + (BACKUP["Statement"] if effect == "Deny" else [])}
    result = account.run(**{**EVERYTHING, "custom_policies": {"db": document}})
    assert not result["failed"], result
    assert [one["conditional"] for one in result["proved"]] == [True]


def test_proof_by_what_is_in_force_after_granting(account):
    """Somebody else writes a policy just before the proof: old rights, instances and keys are left."""
    furnish(account)
    account.server.custom("theirs", allow("log:PostLogs", "acs:log:*:*:*"))
    narrower = allow("log:PostLogs", "acs:log:*:*:project/other")
    account.server.before["AttachPolicyToRole"] = [lambda: account.server.custom("theirs", narrower)]
    proof = {"actions": ["log:PostLogs"], "resources": ["acs:log:*:*:project/db"]}
    result = account.run(**{**EVERYTHING, "custom_policies": {"db": BACKUP, "theirs": None}, "prove": [PROOF, proof]})
    assert result["failed"] and "could not do log:PostLogs on acs:log:*:*:project/db" in result["msg"]
    assert result["done"] == [f"AttachPolicyToRole {name} db" for name in ("db", "theirs", "AliyunOSSReadOnlyAccess")]
    assert "Custom/kept-too-long" in account.policies() and account.document() != BACKUP
    assert account.role_of("i-2") == "former" and account.keys("backup")["LTAI-old"] == "Active"


def test_what_others_do_meanwhile_is_kept(account):
    """A policy attached, a trust widened, a key used, between reading and writing: the next run's to see."""
    furnish(account)
    server = account.server

    def attach():
        server.roles["db"]["policies"].add(("System", "AdministratorAccess"))

    def trust():
        server.roles["db"]["trust"]["Statement"].append({"Effect": "Allow", "Action": "sts:AssumeRole",
                                                        "Principal": {"RAM": ["acs:ram::1:root"]}})

    server.before["DetachPolicyFromRole"] = [attach, trust]
    server.before["UpdateAccessKey"] = [lambda: server.users["backup"]["keys"]["LTAI-old"].update(used=0)]
    result = account.run(**EVERYTHING)
    assert not result["failed"]
    assert "System/AdministratorAccess" in account.policies()
    assert account.trust()["Statement"][1]["Principal"] == {"RAM": ["acs:ram::1:root"]}
    assert "trust of db" in said(result)
    assert account.keys("backup") == {"LTAI-old": "Active", "LTAI-new": "Active", "LTAI-never": "Inactive"}
    assert "LTAI-old of backup stays active: it was used while this ran" in said(result)

    later = account.run(**EVERYTHING)
    assert later["revoked"] == ["System/AdministratorAccess"] and len(account.trust()["Statement"]) == 1


def test_policy_written_by_another_meanwhile(account):
    """RAM has no way to write only what nobody else did: their version is not in force, but not lost either."""
    furnish(account)
    theirs = allow("oss:ListObjects", "acs:oss:*:*:other")
    server = account.server
    server.before["GetPolicy"] = [lambda: None, lambda: None, lambda: server.ram_CreatePolicyVersion(
        "db", json.dumps(theirs), "true", "DeleteOldestNonDefaultVersionWhenLimitExceeded")]
    result = account.run(**EVERYTHING)
    assert not result["failed"] and "policy db was changed by somebody else" in said(result)
    assert account.document() == BACKUP
    assert theirs in server.policies["Custom", "db"]["versions"].values()


def test_shared_policy_is_told(account):
    account.server.custom("db", allow("oss:GetObject"))
    account.server.role("db", "Custom/db")
    account.server.role("web", "Custom/db")
    assert "changes for all who have it: role db, role web" in said(
        account.run(custom_policies={"db": BACKUP}))


def test_instance_keeps_its_former_role_if_the_new_one_fails(account):
    furnish(account)
    refusal = Refusal(400, "QuotaExceeded.InstanceRamRole", "Too many.")
    account.server.faults["AttachInstanceRamRole"] = [refusal]
    result = account.run(custom_policies={"db": BACKUP}, instances=["i-2"])
    assert result["failed"] and "i-2 has its former role former again" in result["msg"]
    assert account.role_of("i-2") == "former" and "Custom/kept-too-long" in account.policies()


def test_instance_given_another_role_meanwhile(account):
    """Detaching names the role that was seen, so that a newer one is not taken away."""
    furnish(account)
    account.server.before["DetachInstanceRamRole"] = [lambda: account.server.instances["i-2"].update(role="newer")]
    result = account.run(instances=["i-2"])
    assert result["failed"] and "InvalidRamRole.NotAttached" in result["msg"]
    assert account.role_of("i-2") == "newer"


@pytest.mark.parametrize(("instances", "words"), [
    (["i-9"], f"no such instance in {REGION}: i-9"),
    (["db9", "i-1"], f"no such instance in {REGION}: db9"),
    (["twin"], "twin is the name of i-3, i-4: give ids"),
])  # fmt: skip
def test_instances_that_are_not_clear(account, instances, words):
    account.server.instance("i-1", "db1")
    account.server.instance("i-3", "twin")
    account.server.instance("i-4", "twin")
    result = account.run(instances=instances)
    assert result["failed"] and words in result["msg"] and account.server.writes == []


def test_keys(account):
    """The key that the run works with stays; unused_days 0 takes all others."""
    account.server.user("operator", keys={"LTAI-operator": 500, "LTAI-new": 1, "LTAI-fresh": None})
    account.server.users["operator"]["keys"]["LTAI-new"]["Status"] = "Inactive"
    account.server.users["operator"]["keys"]["LTAI-fresh"]["CreateDate"] = days_ago(2)
    result = account.run(retire_keys=["operator"])
    assert [key["kept"] for key in result["keys"]] == ["made within 90 days", "", "this runs with it"]
    assert result["diff"]["before"]["keys"] == result["diff"]["after"]["keys"]
    account.server.users["operator"]["keys"]["LTAI-new"]["Status"] = "Active"
    result = account.run(retire_keys=["operator"], unused_days=0)
    keys = {"LTAI-operator": "Active", "LTAI-new": "Inactive", "LTAI-fresh": "Inactive"}
    assert account.keys("operator") == keys
    assert [key["kept"] for key in result["keys"]] == ["", "", "this runs with it"]
    assert "no such RAM user: nobody" in account.run(retire_keys=["nobody"])["msg"]


def test_trouble_that_passes(account):
    """Throttled, unavailable, no answer, one lost after the deed, an instance that is still starting."""
    furnish(account)
    server = account.server
    throttled = Refusal(400, "Throttling.User", "Request was denied due to user flow control.")
    busy = Refusal(429, "Throttling", "Request was denied.", headers={"x-acs-retry-after": "50"})
    down = Refusal(503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server.")
    lost = ("after", Refusal(500, "InternalError", "The request processing has failed."))
    server.instances["i-1"]["status"] = "Starting"
    for action, faults in {
        "GetRole": [throttled], "DescribeInstances": [busy, busy], "ListPoliciesForRole": [down],
        "ListAccessKeys": [Refusal(502, "BadGateway", "A code that nobody heard of.")],
        "GetAccessKeyLastUsed": [ConnectionError()],
        "CreatePolicyVersion": [lost], "AttachPolicyToRole": [lost], "DetachPolicyFromRole": [lost],
        "DetachInstanceRamRole": [lost], "AttachInstanceRamRole": [lost], "UpdateAccessKey": [lost],
    }.items():  # fmt: skip
        server.faults[action] = faults
    result = account.run(**EVERYTHING)
    assert not result["failed"], result
    assert not any(server.faults.values())
    assert account.policies() == ["Custom/db", "System/AliyunOSSReadOnlyAccess"]
    assert account.role_of("i-2") == "db" and account.tokens_of("i-1") == "required"
    assert not account.run(**EVERYTHING)["changed"]


def test_trouble_that_does_not_pass(account):
    furnish(account)
    account.server.faults["AttachPolicyToRole"] = [
        Refusal(429, "Throttling", "Request was denied.", headers={"x-acs-retry-after": "10"})] * 10
    result = account.run(**EVERYTHING)
    assert result["failed"] and "ram:AttachPolicyToRole was throttled again and again" in result["msg"]
    assert len(account.server.faults["AttachPolicyToRole"]) == 4  # six tries
    assert result["done"] == [] and not result["changed"] and account.role_of("i-2") == "former"


def test_another_is_first(account):
    """The role, the policy and the attachment come into being between reading and writing."""
    server = account.server
    server.before["CreatePolicy"] = [lambda: server.custom("db", allow("oss:GetObject"))]
    server.before["CreateRole"] = [lambda: server.role("db")]
    server.before["AttachPolicyToRole"] = [lambda: server.roles["db"]["policies"].add(("Custom", "db"))]
    result = account.run(custom_policies={"db": BACKUP})
    assert not result["failed"], result
    assert account.document() == BACKUP and account.policies() == ["Custom/db"]


# who asks


def test_no_credentials(account):
    result = account.run(env={"ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true"})
    assert result["failed"] and "no credentials for Alibaba Cloud: set access_key_id" in result["msg"]


@pytest.mark.parametrize(("change", "code"), [
    ({"secret": "another"}, "SignatureDoesNotMatch"),
    ({"token": "expired-token", "expired": True}, "InvalidSecurityToken.Expired"),
    ({"token": "another-token"}, "InvalidSecurityToken.MismatchWithAccessKey"),
])  # fmt: skip
def test_credentials_that_are_not_accepted(account, change, code):
    env = account.server.identity("LTAI-x", token="expired-token")
    account.server.identities["LTAI-x"].update(change)
    result = account.run(env=env)
    assert result["failed"] and result["code"] == code and "the credentials are not accepted" in result["msg"]


def test_key_that_is_inactive(account):
    account.server.user("operator", keys={"LTAI-operator": 1})
    account.server.users["operator"]["keys"]["LTAI-operator"]["Status"] = "Inactive"
    assert account.run()["code"] == "InvalidAccessKeyId.Inactive"


def test_temporary_credentials(account):
    env = account.server.identity("STS.x", token="a-token")
    assert not account.run(env=env, system_policies=["AliyunOSSReadOnlyAccess"])["failed"]


def test_plain_http_only_to_this_machine(account):
    result = account.run(endpoint="http://ram.example.com")
    assert result["failed"] and "has to begin with https://" in result["msg"]


def everything_at_once(account, actions) -> dict:
    """A binding, and one of a new role, by somebody who may do these."""
    furnish(account)
    env = account.server.identity("LTAI-least", policies=[allow(actions)])
    result = account.run(env=env, **EVERYTHING)
    if result["failed"]:
        return result
    return account.run(env=env, name="fresh", custom_policies={"fresh": BACKUP})


def test_operators_policy_suffices_exactly(account):
    """The server looks at the permission for every call, so that without one that was used a call would be refused."""
    result = everything_at_once(account, OPERATOR)
    assert not result["failed"], result["msg"]
    assert sorted(account.server.used) == OPERATOR


@pytest.mark.parametrize("missing", ["ram:GetRole", "ram:UpdateRole", "ecs:AttachInstanceRamRole", "ram:PassRole"])
def test_missing_permission_is_named(account, missing):
    result = everything_at_once(account, [action for action in OPERATOR if action != missing])
    assert result["failed"] and f"needs {missing} " in result["msg"] and result["missing_permission"] == missing


# the server itself


def test_server_refuses_what_is_not_signed_right(account, monkeypatch):
    request = ram_models.GetRoleRequest(role_name="db")
    account.server.role("db")
    account.ram.get_role(request)
    real = Utils.get_authorization

    def refused() -> str:
        with pytest.raises(Exception) as caught:  # noqa: B017, PT011 the SDK's own classes differ between releases
            account.ram.get_role(request)
        return caught.value.code

    def over_another_query(signed, *rest):
        kept, signed.query = signed.query, {"RoleName": "other"}
        text = real(signed, *rest)
        signed.query = kept
        return text

    def without_a_header(signed, *rest):
        kept = signed.headers.pop("x-acs-action")
        text = real(signed, *rest)
        signed.headers["x-acs-action"] = kept
        return text

    monkeypatch.setattr(Utils, "get_authorization", staticmethod(over_another_query))
    assert refused() == "SignatureDoesNotMatch"
    monkeypatch.setattr(Utils, "get_authorization", staticmethod(without_a_header))
    assert refused() == "IncompleteSignature"
    monkeypatch.setattr(Utils, "get_authorization", staticmethod(lambda *rest: "ACS3-HMAC-SHA256 nonsense"))
    assert refused() == "IncompleteSignature"
    monkeypatch.setattr(Utils, "get_authorization", real)
    monkeypatch.setattr(Utils, "get_timestamp", staticmethod(lambda: "2026-01-01T00:00:00Z"))
    assert refused() == "InvalidTimeStamp.Expired"
    monkeypatch.undo()
    monkeypatch.setattr(Utils, "get_nonce", staticmethod(lambda: "once"))
    account.ram.get_role(request)
    assert refused() == "SignatureNonceUsed"


def test_calls_are_what_the_sdks_know(account):
    """Names of operations and of their parameters, as the SDKs that Alibaba generates from its API have them."""
    furnish(account)
    account.run(**EVERYTHING)
    calls = list(account.server.calls)
    account.run(name="fresh", custom_policies={"fresh": BACKUP})
    calls += account.server.calls
    account.server.user("al", console=True)
    account.server.calls.clear()
    result = module("ali_mfa_enforcement", {"endpoint": account.server.url}, env=account.env)
    assert not result["failed"]
    calls += account.server.calls
    models = {"ram": ram_models, "ims": ims_models, "ecs": ecs_models}
    assert {product for product, dummy, dummy in calls} == set(models)
    for product, action, params in calls:
        request = getattr(models[product], f"{action}Request", None)
        source = inspect.getsource(request.to_map) if request else ""
        for name in params:
            assert f"result['{name.split('.')[0]}']" in source, (product, action, name)


def test_playbook(account, tmp_path):
    """The variables of the page on Alibaba Cloud, through the playbook; each option of the modules is in it."""
    page = (ROOT / "docs/cloud-alibaba.md").read_text()
    (variables,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "inventory.yml").write_text("db: {hosts: {db1: , db2: }}\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(f"{variables}\ncloud_ali_endpoint: {account.server.url}\n")
    for number in (1, 2):
        account.server.instance(f"i-{number}", f"db{number}")
    account.server.user("db-backup", keys={"LTAI-old": 200})
    account.server.user("ann", console=True)
    account.server.user("break-glass", console=True)
    done = subprocess.run(
        ["ansible-playbook", "-i", tmp_path / "inventory.yml", ROOT / "playbooks/cloud_identity.yml"],
        env={**os.environ, **account.env, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert account.policies() == ["Custom/db-backup", "System/AliyunLogReadOnlyAccess"]
    assert [account.role_of(f"i-{number}") for number in (1, 2)] == ["db", "db"]
    assert account.keys("db-backup") == {"LTAI-old": "Inactive"}
    assert account.server.groups["rampart-people"]["users"] == {"ann"}

    (play,) = yaml.safe_load((ROOT / "playbooks/cloud_identity.yml").read_text())
    for name in ("ali_role_binding", "ali_mfa_enforcement"):
        (passed,) = [task[f"rampart.hardening.{name}"] for task in play["tasks"] if f"rampart.hardening.{name}" in task]
        documentation = (ROOT / f"plugins/modules/{name}.py").read_text().split("r'''")[1].split("'''")[0]
        assert set(yaml.safe_load(documentation)["options"]) <= set(passed)
