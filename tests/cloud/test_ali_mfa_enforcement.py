# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ali_mfa_enforcement against a server on loopback; what came of it is read with the SDKs of RAM and IMS."""

from __future__ import annotations

import json

import pytest
from ali_server import REGION, AliServer, Refusal
from alibabacloud_ims20190815.client import Client as Ims
from alibabacloud_ram20150501 import models as ram_models
from alibabacloud_ram20150501.client import Client as Ram
from alibabacloud_tea_openapi.utils_models import Config
from harness import ROOT, module

GROUP, POLICY = "rampart-people", "rampart-deny-without-mfa"
OPERATOR = json.loads((ROOT / "docs/policies/alibaba-operator.json").read_text())["Statement"][1]["Action"]


class Account:
    """The server, the module against it, and what its API tells of it."""

    def __init__(self, server: AliServer):
        self.server = server
        self.env = server.identity("LTAI-operator")
        config = Config(access_key_id="LTAI-operator", access_key_secret="not-a-secret", region_id=REGION)
        config.endpoint, config.protocol = server.url.removeprefix("http://"), "HTTP"
        self.ram, self.ims = Ram(config), Ims(config)
        server.user("ann", console=True, mfa=True)
        server.user("ben", console=True)
        server.user("cleo", console=True)
        server.user("break-glass", console=True, mfa=True)
        server.user("robot", keys={"LTAI-robot": 1})

    def run(self, check: bool = False, env: dict | None = None, **args) -> dict:
        self.server.calls.clear()
        args = {"endpoint": self.server.url, "exempt": ["break-glass"], **args}
        return module("ali_mfa_enforcement", args, check=check, env=env or self.env)

    def login(self):
        return self.ims.get_security_preference().body.security_preference

    def passwords(self):
        return self.ims.get_password_policy().body.password_policy

    def members(self, group: str = GROUP) -> list[str]:
        request = ram_models.ListUsersForGroupRequest(group_name=group)
        members = []
        while True:
            told = self.ram.list_users_for_group(request).body
            members += [one.user_name for one in told.users.user]
            if not told.is_truncated:
                return members
            request.marker = told.marker

    def denied(self) -> dict:
        """The one statement of the policy, which has to be attached to the group."""
        request = ram_models.ListPoliciesForGroupRequest(group_name=GROUP)
        assert [one.policy_name for one in self.ram.list_policies_for_group(request).body.policies.policy] == [POLICY]
        request = ram_models.GetPolicyRequest(policy_name=POLICY, policy_type="Custom")
        (one,) = json.loads(self.ram.get_policy(request).body.default_policy_version.policy_document)["Statement"]
        return one


@pytest.fixture
def account():
    with AliServer() as server:
        yield Account(server)


def test_whole_enforcement(account):
    predicted = account.run(check=True)
    assert predicted["changed"] and account.server.writes == [] and account.server.groups == {}

    result = account.run()
    assert not result["failed"] and result["changed"], result
    assert result["diff"] == predicted["diff"]
    login = account.login()
    assert login.login_profile_preference.mfaoperation_for_login == "mandatory"
    assert login.login_profile_preference.enable_save_mfaticket is False
    assert login.login_profile_preference.login_session_duration == 6
    assert login.access_key_preference.allow_user_to_manage_access_keys is False
    assert login.mfapreference.allow_user_to_manage_mfadevices is True
    passwords = account.passwords()
    assert (passwords.minimum_password_length, passwords.max_password_age, passwords.max_login_attemps) == (14, 0, 5)
    assert passwords.password_reuse_prevention == 24
    assert passwords.require_numbers and passwords.require_symbols
    assert passwords.require_lowercase_characters and passwords.require_uppercase_characters
    assert account.members() == ["ann", "ben", "cleo"]
    assert result["console_users"] == ["ann", "ben", "break-glass", "cleo"]
    assert result["without_mfa"] == ["ben", "cleo"] and result["outside"] == ["break-glass"]
    assert result["root"] == {"mfa": True}
    denied = account.denied()
    assert denied["Effect"] == "Deny" and denied["Condition"] == {"Bool": {"acs:MFAPresent": ["false"]}}
    assert {"ram:BindMFADevice", "ram:CreateVirtualMFADevice"} <= set(denied["NotAction"])
    assert not [one for one in denied["NotAction"] if "Key" in one or "*" in one or "Policy" in one.split(":Get")[0]]

    again = account.run()
    assert not again["changed"] and not again["failed"] and account.server.writes == []
    assert again["diff"]["before"] == again["diff"]["after"]


def test_door_before_the_inside(account):
    account.run()
    assert account.server.writes == [
        "SetSecurityPreference", "SetPasswordPolicy", "CreatePolicy", "CreateGroup", "AttachPolicyToGroup",
        *["AddUserToGroup"] * 3,
    ]  # fmt: skip


def test_settings_of_others_are_kept(account):
    """What the module has no option for stays, though SetPasswordPolicy takes back what is not sent along."""
    account.server.password.update(PasswordNotContainUserName=True, InitialPasswordAge=3, MaxPasswordAge=365)
    account.server.preference.update(LoginNetworkMasks="10.0.0.0/8", AllowUserToChangePassword=False)
    account.run(minimum_length=20, complexity=False, session_hours=2, mfa_for_login="adaptive")
    passwords, login = account.passwords(), account.login().login_profile_preference
    assert (passwords.password_not_contain_user_name, passwords.initial_password_age) == (True, 3)
    assert (passwords.minimum_password_length, passwords.max_password_age) == (20, 365)
    assert passwords.require_symbols is False
    assert (login.login_network_masks, login.allow_user_to_change_password) == ("10.0.0.0/8", False)
    assert (login.login_session_duration, login.mfaoperation_for_login) == (2, "adaptive")


def test_what_others_do_meanwhile_is_kept(account):
    """Between reading and writing another sets something else, joins the group, or makes it."""
    server = account.server

    def other_setting():
        server.preference.update(LoginNetworkMasks="192.0.2.0/24")
        server.password.update(InitialPasswordAge=7)

    def other_group():
        server.ram_CreateGroup(GROUP)
        server.ram_AddUserToGroup("robot", GROUP)
        server.ram_AddUserToGroup("ben", GROUP)

    server.before["SetSecurityPreference"] = [other_setting]
    server.before["CreateGroup"] = [other_group]
    assert not account.run()["failed"]
    assert account.login().login_profile_preference.login_network_masks == "192.0.2.0/24"
    assert account.passwords().initial_password_age == 7
    assert account.members() == ["ann", "ben", "cleo", "robot"]


def test_settings_taken_back_meanwhile_are_set_again(account):
    server = account.server
    server.before["GetSecurityPreference"] = [
        *[lambda: None] * 2, lambda: server.preference.update(MFAOperationForLogin="independent")]  # fmt: skip
    assert not account.run()["failed"]
    assert account.login().login_profile_preference.mfaoperation_for_login == "mandatory"
    assert account.server.writes.count("SetSecurityPreference") == 2


def test_settings_that_do_not_last(account):
    server = account.server
    server.before["GetSecurityPreference"] = [
        lambda: server.preference.update(MFAOperationForLogin="independent") for dummy in range(10)]
    result = account.run()
    assert result["failed"] and "ram:SetSecurityPreference does not last" in result["msg"]
    assert len(server.before["GetSecurityPreference"]) == 5  # one to look, four around three writes


def test_weakened_policy_is_written_again(account):
    account.run()
    account.server.ram_CreatePolicyVersion(POLICY, json.dumps({"Version": "1", "Statement": [
        {"Effect": "Deny", "Action": "ecs:*", "Resource": "*"}]}), "true")
    assert account.denied().get("Action") == "ecs:*"
    result = account.run()
    assert result["changed"] and "NotAction" in account.denied()
    assert list(account.server.policies["Custom", POLICY]["versions"]) == ["v1", "v2", "v3"]


def test_members_are_never_removed(account):
    account.server.ram_CreateGroup(GROUP)
    for name in ("robot", "break-glass"):
        account.server.ram_AddUserToGroup(name, GROUP)
    result = account.run(exempt=["break-glass", "nobody"])
    assert account.members() == ["ann", "ben", "break-glass", "cleo", "robot"]
    assert result["outside"] == [] and "not there: nobody" in json.dumps(result["warnings"])


def test_person_who_is_removed_while_listed(account):
    account.server.before["GetLoginProfile"] = [*[lambda: None] * 2, lambda: account.server.users.pop("break-glass")]
    assert account.run()["console_users"] == ["ann", "ben", "cleo"]


def test_account_itself_without(account):
    account.server.account_mfa = False
    assert account.run(check=True)["root"] == {"mfa": False}


def test_trouble_that_passes(account):
    lost = ("after", Refusal(500, "InternalError", "The request processing has failed."))
    for action in ("SetSecurityPreference", "SetPasswordPolicy", "CreateGroup", "AttachPolicyToGroup",
                   "AddUserToGroup", "CreatePolicy"):  # fmt: skip
        account.server.faults[action] = [lost]
    account.server.faults["ListUsers"] = [Refusal(400, "Throttling.User", "Request was denied due to flow control.")]
    result = account.run()
    assert not result["failed"], result
    assert account.members() == ["ann", "ben", "cleo"] and not any(account.server.faults.values())
    assert not account.run()["changed"]


def everything_at_once(account, actions) -> dict:
    """Two runs that need every action there is, by somebody who may do these."""
    policy = {"Version": "1", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
    env = account.server.identity("LTAI-least", policies=[policy])
    result = account.run(env=env)
    if result["failed"]:
        return result
    account.server.custom(POLICY, {"Version": "1", "Statement": []})
    return account.run(env=env)


def test_operators_policy_suffices_exactly(account):
    result = everything_at_once(account, OPERATOR)
    assert not result["failed"], result["msg"]
    assert sorted(account.server.used) == OPERATOR


@pytest.mark.parametrize("missing", ["ram:GetAccountMFAInfo", "ram:SetPasswordPolicy", "ram:CreatePolicyVersion"])
def test_missing_permission_is_named(account, missing):
    result = everything_at_once(account, [action for action in OPERATOR if action != missing])
    assert result["failed"] and f"needs {missing} " in result["msg"] and result["missing_permission"] == missing
