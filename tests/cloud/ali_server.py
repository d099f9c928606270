# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Alibaba Cloud's RAM, IMS and ECS on loopback, as far as the modules go, as their API references describe them.

Signatures (ACS3-HMAC-SHA256) are computed again from what arrived, and identities may do what their policies say. The
store is plain attributes of the server, for tests to fill and to look at.
"""

from __future__ import annotations

import fnmatch
import hashlib
import hmac
import json
import threading
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCOUNT = "1234567890123456"
REGION = "cn-hangzhou"
VERSIONS = {"2015-05-01": "ram", "2019-08-15": "ims", "2014-05-26": "ecs"}
SYSTEM = {  # as Alibaba Cloud wrote them, in short
    "AdministratorAccess": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    "AliyunRAMFullAccess": [{"Effect": "Allow", "Action": ["ram:*", "ims:*"], "Resource": "*"}],
    "PowerUserAccess": [{"Effect": "Allow", "NotAction": ["ram:*", "ims:*", "resourcemanager:*"], "Resource": "*"}],
    "AliyunOSSReadOnlyAccess": [{"Effect": "Allow", "Action": ["oss:Get*", "oss:List*"], "Resource": "*"}],
    "AliyunLogReadOnlyAccess": [{"Effect": "Allow", "Action": ["log:Get*", "log:List*"], "Resource": "*"}],
}
PASSWORD_DEFAULTS = {
    "HardExpire": False,
    "InitialPasswordAge": 14,
    "InterceptRiskPasswordOnApi": False,
    "MaxLoginAttemps": 0,
    "MaxPasswordAge": 0,
    "MinimumPasswordDifferentCharacter": 0,
    "MinimumPasswordLength": 8,
    "PasswordNotContainUserName": False,
    "PasswordReusePrevention": 0,
    "RequireLowercaseCharacters": False,
    "RequireNumbers": False,
    "RequireSymbols": False,
    "RequireUppercaseCharacters": False,
}
PREFERENCE_PARTS = {
    "AccessKeyPreference": ("AllowUserToManageAccessKeys",),
    "MFAPreference": ("AllowUserToManageMFADevices",),
    "LoginProfilePreference": (
        "AllowUserToChangePassword",
        "EnableSaveMFATicket",
        "LoginNetworkMasks",
        "LoginSessionDuration",
        "MFAOperationForLogin",
    ),
}


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, headers: dict | None = None, **more):
        super().__init__(code)
        self.status, self.code, self.message, self.headers, self.more = status, code, message, headers or {}, more


def absent(what: str) -> Refusal:
    return Refusal(404, f"EntityNotExist.{what}", f"The {what.lower()} does not exist.")


def exists(what: str) -> Refusal:
    return Refusal(409, f"EntityAlreadyExists.{what}", f"The {what.lower()} already exists.")


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


class AliServer(ThreadingHTTPServer):
    """One account. `calls` has (product, action, parameters) of every request that was let in."""

    daemon_threads = True
    page = 2  # small, so that everything has pages

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.RLock()
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.identities = {}  # key id: secret, token, user, policies (None: all), expired
        self.roles, self.groups, self.users, self.instances = {}, {}, {}, {}
        self.policies = {  # (kind, name): versions, oldest first, and which is in force
            ("System", name): {"versions": {"v1": {"Version": "1", "Statement": said}}, "default": "v1", "made": 1}
            for name, said in SYSTEM.items()
        }
        self.password = dict(PASSWORD_DEFAULTS)
        self.preference = {
            "AllowUserToChangePassword": True,
            "AllowUserToManageAccessKeys": True,
            "AllowUserToManageMFADevices": True,
            "EnableSaveMFATicket": True,
            "LoginNetworkMasks": "",
            "LoginSessionDuration": 12,
            "MFAOperationForLogin": "independent",
        }
        self.account_mfa = True
        self.calls: list[tuple[str, str, dict]] = []
        self.used = set()  # permissions that were looked at and there
        self.nonces = set()
        self.faults: dict[str, list] = {}  # action: errors to give first; ("after", error) does it all the same
        self.before: dict[str, list] = {}  # action: what somebody else does just before it
        self.lag: dict[str, int] = {}  # role: how many calls do not know it yet

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()

    # who asks, and whether they may

    def identity(self, key: str, user: str = "operator", **more) -> dict:
        """Let an identity in; the environment that its programs have."""
        self.identities[key] = {"secret": "not-a-secret", "user": user, "policies": None, **more}
        env = {
            "ALIBABA_CLOUD_ACCESS_KEY_ID": key,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": "not-a-secret",
            "ALIBABA_CLOUD_ECS_METADATA_DISABLED": "true",
        }
        return {**env, "ALIBABA_CLOUD_SECURITY_TOKEN": more["token"]} if more.get("token") else env

    def authenticate(self, handler, body: bytes) -> dict:
        headers = {name.lower(): value.strip() for name, value in handler.headers.items()}
        scheme, dummy, rest = headers.get("authorization", "").partition(" ")
        fields = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        if scheme != "ACS3-HMAC-SHA256" or set(fields) != {"Credential", "SignedHeaders", "Signature"}:
            raise Refusal(400, "IncompleteSignature", "The request signature does not conform to the standards.")
        who = self.identities.get(fields["Credential"])
        if who is None:
            raise Refusal(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        if self.key_status(fields["Credential"]) == "Inactive":
            raise Refusal(403, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")
        signed = fields["SignedHeaders"].split(";")
        must = {"host"} | {name for name in headers if name.startswith("x-acs-")}
        if signed != sorted(signed) or not must <= set(signed):
            raise Refusal(400, "IncompleteSignature", f"These headers have to be signed: {sorted(must)}")
        digest = hashlib.sha256(body).hexdigest()
        if headers["x-acs-content-sha256"] != digest:
            raise Refusal(400, "InvalidContentSha256", "The body is not what its digest says.")

        def quoted(text: str) -> str:
            return urllib.parse.quote(text, safe="-_.~")

        place = urllib.parse.urlsplit(handler.path)
        query = urllib.parse.parse_qsl(place.query, keep_blank_values=True, strict_parsing=bool(place.query))
        canonical = [
            handler.command,
            place.path or "/",
            "&".join(f"{quoted(name)}={quoted(value)}" for name, value in sorted(query)),
            "".join(f"{name}:{headers[name]}\n" for name in signed),
            ";".join(signed),
            digest,
        ]
        text = "ACS3-HMAC-SHA256\n" + hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        right = hmac.new(who["secret"].encode(), text.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right, fields["Signature"]):
            raise Refusal(400, "SignatureDoesNotMatch", "Specified signature does not match our calculation.")
        age = datetime.now(UTC) - datetime.strptime(headers["x-acs-date"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if abs(age) > timedelta(minutes=15):
            raise Refusal(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        if headers["x-acs-signature-nonce"] in self.nonces:
            raise Refusal(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(headers["x-acs-signature-nonce"])
        if headers.get("x-acs-security-token") != who.get("token"):
            raise Refusal(400, "InvalidSecurityToken.MismatchWithAccessKey", "The SecurityToken is not the key's.")
        if who.get("expired"):
            raise Refusal(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
        return who

    def may(self, who: dict, action: str) -> bool:
        if who["policies"] is None:
            return True
        self.used.add(action)
        verdicts = [
            statement["Effect"]
            for document in who["policies"]
            for statement in document["Statement"]
            if any(fnmatch.fnmatchcase(action, one) for one in as_list(statement["Action"]))
        ]
        return "Allow" in verdicts and "Deny" not in verdicts

    def authorize(self, who: dict, product: str, action: str, resource: str) -> None:
        permission = f"{'ram' if product == 'ims' else product}:{action}"
        if self.may(who, permission):
            return
        if product == "ecs":  # tells nothing
            raise Refusal(
                403,
                "Forbidden.RAM",
                "User not authorized to operate on the specified resource, or this API doesn't support RAM.",
            )
        raise Refusal(
            403,
            "NoPermission",
            f"You are not authorized to do this action. Resource: {resource} Action: {permission}",
            AccessDeniedDetail={
                "AuthAction": permission,
                "AuthPrincipalDisplayName": who["user"],
                "AuthPrincipalOwnerId": ACCOUNT,
                "AuthPrincipalType": "SubUser",
                "NoPermissionType": "ImplicitDeny",
                "PolicyType": "AccountLevelIdentityBasedPolicy",
            },
        )

    def answer(self, handler, body: bytes) -> dict:
        who = self.authenticate(handler, body)
        action = handler.headers["x-acs-action"]
        product = VERSIONS[handler.headers["x-acs-version"]]
        params = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(handler.path).query, keep_blank_values=True))
        for deed in [self.before[action].pop(0)] if self.before.get(action) else []:
            deed()
        resource = f"acs:ram:*:{ACCOUNT}:" + next(
            (f"{kind}/{params[field]}" for kind, field in (
                ("role", "RoleName"), ("group", "GroupName"), ("user", "UserName"), ("policy", "PolicyName"),
            ) if field in params), "*")
        self.authorize(who, product, action, resource)
        self.calls.append((product, action, params))
        fault = self.faults[action].pop(0) if self.faults.get(action) else None
        if isinstance(fault, Exception):
            raise fault
        if self.lag.get(params.get("RoleName", params.get("RamRoleName")), 0) and action != "CreateRole":
            self.lag[params.get("RoleName", params.get("RamRoleName"))] -= 1
            raise absent("Role") if product == "ram" else Refusal(
                404, "InvalidRamRole.NotFound", "The specified RAMRoleName does not exist.")
        if action == "AttachInstanceRamRole" and not self.may(who, "ram:PassRole"):
            raise Refusal(
                403,
                "InvalidUser.PassRoleForbidden",
                "The RAM user does not have the privilege to pass a role.",
            )
        done = getattr(self, f"{product}_{action}")(**{name.replace(".", "_"): value for name, value in params.items()})
        if fault:
            raise fault[1]
        return done

    @property
    def writes(self) -> list[str]:
        reading = ("Get", "List", "Describe")
        return [action for dummy, action, dummy in self.calls if not action.startswith(reading)]

    # helpers for tests

    def user(self, name: str, console: bool = False, mfa: bool = False, keys: dict | None = None) -> None:
        """keys: id: days since it was last used, or None."""
        made = {"Status": "Active", "CreateDate": days_ago(400)}
        keys = {key: {**made, "used": used} for key, used in (keys or {}).items()}
        self.users[name] = {"console": console, "mfa": mfa, "keys": keys}

    def key_status(self, key: str) -> str | None:
        return next((one["keys"][key]["Status"] for one in self.users.values() if key in one["keys"]), None)

    def instance(self, key: str, name: str, role: str | None = None, tokens: str = "optional", **more) -> None:
        told = {"name": name, "role": role, "tokens": tokens}
        self.instances[key] = {**told, "endpoint": "enabled", "tags": {}, "status": "Running", **more}

    def custom(self, name: str, *documents: dict) -> None:
        versions = {f"v{number}": document for number, document in enumerate(documents, 1)}
        self.policies["Custom", name] = {"versions": versions, "default": list(versions)[-1], "made": len(versions)}

    def role(self, name: str, *policies: str, trust: dict | None = None) -> None:
        service = {"Service": ["ecs.aliyuncs.com"]}
        self.roles[name] = {
            "trust": trust
            or {"Version": "1", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": service}]},
            "policies": {tuple(one.split("/")) for one in policies},
        }

    def document(self, name: str) -> dict:
        policy = self.policies["Custom", name]
        return policy["versions"][policy["default"]]

    # RAM: roles

    def one_role(self, name: str) -> dict:
        if name not in self.roles:
            raise absent("Role")
        return self.roles[name]

    def told_role(self, name: str) -> dict:
        return {
            "Role": {
                "RoleName": name,
                "RoleId": str(abs(hash(name))),
                "Arn": f"acs:ram::{ACCOUNT}:role/{name.lower()}",
                "AssumeRolePolicyDocument": json.dumps(self.one_role(name)["trust"]),
                "CreateDate": now(),
                "MaxSessionDuration": 3600,
            }
        }

    def ram_GetRole(self, RoleName):
        return self.told_role(RoleName)

    def ram_CreateRole(self, RoleName, AssumeRolePolicyDocument):
        if RoleName in self.roles:
            raise exists("Role")
        self.roles[RoleName] = {"trust": json.loads(AssumeRolePolicyDocument), "policies": set()}
        return self.told_role(RoleName)

    def ram_UpdateRole(self, RoleName, NewAssumeRolePolicyDocument):
        self.one_role(RoleName)["trust"] = json.loads(NewAssumeRolePolicyDocument)
        return self.told_role(RoleName)

    def told_policies(self, policies: set) -> dict:
        return {
            "Policies": {
                "Policy": [
                    {"PolicyName": name, "PolicyType": kind, "DefaultVersion": "v1", "AttachDate": now()}
                    for kind, name in sorted(policies)
                ]
            }
        }

    def ram_ListPoliciesForRole(self, RoleName):
        return self.told_policies(self.one_role(RoleName)["policies"])

    def attach(self, owner: dict, kind: str, what: tuple) -> dict:
        self.one_policy(*what)
        if what in owner["policies"]:
            raise exists(f"{kind}.Policy")
        owner["policies"].add(what)
        return {}

    def ram_AttachPolicyToRole(self, RoleName, PolicyType, PolicyName):
        return self.attach(self.one_role(RoleName), "Role", (PolicyType, PolicyName))

    def ram_DetachPolicyFromRole(self, RoleName, PolicyType, PolicyName):
        if (PolicyType, PolicyName) not in self.one_role(RoleName)["policies"]:
            raise absent("Role.Policy")
        self.roles[RoleName]["policies"].remove((PolicyType, PolicyName))
        return {}

    # RAM: policies

    def one_policy(self, kind: str, name: str) -> dict:
        if (kind, name) not in self.policies:
            raise absent("Policy")
        return self.policies[kind, name]

    def ram_GetPolicy(self, PolicyType, PolicyName):
        policy = self.one_policy(PolicyType, PolicyName)
        return {
            "Policy": {"PolicyName": PolicyName, "PolicyType": PolicyType, "DefaultVersion": policy["default"]},
            "DefaultPolicyVersion": {
                "VersionId": policy["default"],
                "IsDefaultVersion": True,
                "PolicyDocument": json.dumps(policy["versions"][policy["default"]]),
            },
        }

    def ram_CreatePolicy(self, PolicyName, PolicyDocument):
        if ("Custom", PolicyName) in self.policies:
            raise exists("Policy")
        self.custom(PolicyName, self.parsed(PolicyDocument))
        return {"Policy": {"PolicyName": PolicyName, "PolicyType": "Custom", "DefaultVersion": "v1"}}

    @staticmethod
    def parsed(text: str) -> dict:
        if len(text) > 6144:
            raise Refusal(400, "InvalidParameter.PolicyDocument.Length", "The document is too long.")
        document = json.loads(text)
        for statement in as_list(document["Statement"]):
            if any(operator.endswith("IfExists") for operator in statement.get("Condition", {})):
                raise Refusal(400, "MalformedPolicyDocument", "The condition operator 'IfExists' is not supported.")
        return document

    def ram_CreatePolicyVersion(self, PolicyName, PolicyDocument, SetAsDefault="false", RotateStrategy="None"):
        policy = self.one_policy("Custom", PolicyName)
        if len(policy["versions"]) >= 5:
            if RotateStrategy != "DeleteOldestNonDefaultVersionWhenLimitExceeded":
                raise Refusal(409, "LimitExceeded.Policy.Version", "The count of policy version beyond the limits.")
            del policy["versions"][next(one for one in policy["versions"] if one != policy["default"])]
        policy["made"] += 1
        version = f"v{policy['made']}"
        policy["versions"][version] = self.parsed(PolicyDocument)
        if SetAsDefault == "true":
            policy["default"] = version
        return {"PolicyVersion": {"VersionId": version, "IsDefaultVersion": SetAsDefault == "true"}}

    def ram_ListEntitiesForPolicy(self, PolicyType, PolicyName):
        what = (PolicyType, PolicyName)
        return {
            "Users": {"User": []},
            "Roles": {"Role": [{"RoleName": name} for name, one in self.roles.items() if what in one["policies"]]},
            "Groups": {"Group": [{"GroupName": name} for name, one in self.groups.items() if what in one["policies"]]},
        }

    # RAM: users and groups

    def one_user(self, name: str) -> dict:
        if name not in self.users:
            raise absent("User")
        return self.users[name]

    def paged(self, names: list[str], marker: str, most: str, kind: str) -> dict:
        size = min(self.page, int(most))
        begin = int(marker or 0)
        answer = {kind + "s": {kind: [{kind + "Name": name} for name in names[begin : begin + size]]}}
        if begin + size < len(names):
            return {**answer, "IsTruncated": True, "Marker": str(begin + size)}
        return {**answer, "IsTruncated": False}

    def ram_ListUsers(self, Marker="", MaxItems="100"):
        return self.paged(sorted(self.users), Marker, MaxItems, "User")

    def ram_GetLoginProfile(self, UserName):
        if not self.one_user(UserName)["console"]:
            raise absent("User.LoginProfile")
        return {"LoginProfile": {"UserName": UserName, "MFABindRequired": False, "PasswordResetRequired": False}}

    def ram_GetUserMFAInfo(self, UserName):
        if not self.one_user(UserName)["mfa"]:
            raise absent("User.MFADevice")
        return {"MFADevice": {"SerialNumber": f"acs:ram::{ACCOUNT}:mfa/{UserName}", "Type": "VMFA"}}

    def ram_ListAccessKeys(self, UserName):
        keys = self.one_user(UserName)["keys"]
        told = [{"AccessKeyId": key, **{name: one[name] for name in ("Status", "CreateDate")}}
                for key, one in keys.items()]
        return {"AccessKeys": {"AccessKey": told}}

    def one_key(self, user: str, key: str) -> dict:
        if key not in self.one_user(user)["keys"]:
            raise absent("User.AccessKey")
        return self.users[user]["keys"][key]

    def ram_GetAccessKeyLastUsed(self, UserName, UserAccessKeyId):
        used = self.one_key(UserName, UserAccessKeyId)["used"]
        return {"AccessKeyLastUsed": {"LastUsedDate": "N/A" if used is None else days_ago(used)}}

    def ram_UpdateAccessKey(self, UserName, UserAccessKeyId, Status):
        self.one_key(UserName, UserAccessKeyId)["Status"] = Status
        return {}

    def one_group(self, name: str) -> dict:
        if name not in self.groups:
            raise absent("Group")
        return self.groups[name]

    def ram_GetGroup(self, GroupName):
        self.one_group(GroupName)
        return {"Group": {"GroupName": GroupName}}

    def ram_CreateGroup(self, GroupName):
        if GroupName in self.groups:
            raise exists("Group")
        self.groups[GroupName] = {"users": set(), "policies": set()}
        return {"Group": {"GroupName": GroupName}}

    def ram_ListUsersForGroup(self, GroupName, Marker="", MaxItems="100"):
        return self.paged(sorted(self.one_group(GroupName)["users"]), Marker, MaxItems, "User")

    def ram_AddUserToGroup(self, UserName, GroupName):
        self.one_user(UserName)
        if UserName in self.one_group(GroupName)["users"]:
            raise exists("User.Group")
        self.groups[GroupName]["users"].add(UserName)
        return {}

    def ram_ListPoliciesForGroup(self, GroupName):
        return self.told_policies(self.one_group(GroupName)["policies"])

    def ram_AttachPolicyToGroup(self, GroupName, PolicyType, PolicyName):
        return self.attach(self.one_group(GroupName), "Group", (PolicyType, PolicyName))

    # IMS

    def ims_GetAccountMFAInfo(self):
        return {"IsMFAEnable": self.account_mfa}

    def ims_GetSecurityPreference(self):
        return {
            "SecurityPreference": {
                part: {name: self.preference[name] for name in names} for part, names in PREFERENCE_PARTS.items()
            }
        }

    def ims_SetSecurityPreference(self, **fields):
        for name, value in fields.items():
            self.preference[name] = typed(self.preference[name], value)
        return self.ims_GetSecurityPreference()

    def ims_GetPasswordPolicy(self):
        return {"PasswordPolicy": dict(self.password)}

    def ims_SetPasswordPolicy(self, **fields):
        given = {name: typed(PASSWORD_DEFAULTS[name], value) for name, value in fields.items()}
        self.password = {**PASSWORD_DEFAULTS, **given}  # what is left out goes back to its default
        return self.ims_GetPasswordPolicy()

    # ECS

    def ecs_DescribeInstances(self, RegionId, InstanceIds="", InstanceName="", MaxResults="10", NextToken="", **more):
        tags = {more[f"Tag_{number}_Key"]: more[f"Tag_{number}_Value"] for number in range(1, 21)
                if f"Tag_{number}_Key" in more}
        ids = json.loads(InstanceIds) if InstanceIds else None
        found = [
            key for key, one in sorted(self.instances.items())
            if (ids is None or key in ids)
            and fnmatch.fnmatchcase(one["name"], InstanceName or "*")
            and tags.items() <= one["tags"].items()
            and RegionId == REGION
        ]
        begin = int(NextToken or 0)
        asked = "META_OPTIONS" in more.values()
        told = []
        for key in found[begin : begin + self.page]:
            one = self.instances[key]
            options = {"HttpTokens": one["tokens"], "HttpEndpoint": one["endpoint"]}
            told.append({
                "InstanceId": key, "InstanceName": one["name"], "RegionId": REGION, "Status": one["status"],
                "MetadataOptions": options if asked else {"HttpTokens": "", "HttpEndpoint": ""},
            })  # fmt: skip
        following = str(begin + self.page) if begin + self.page < len(found) else ""
        return {"Instances": {"Instance": told}, "NextToken": following, "TotalCount": len(found)}

    def ecs_DescribeInstanceRamRole(self, RegionId, InstanceIds="", RamRoleName="", PageNumber="1", PageSize="10"):
        ids = json.loads(InstanceIds) if InstanceIds else sorted(self.instances)
        if len(ids) > 50 or int(PageSize) > 50:
            raise Refusal(400, "InvalidInstanceIds.Malformed", "The specified instanceIds are not valid.")
        told = [
            {"InstanceId": key, "RamRoleName": self.instances[key]["role"] or ""}
            for key in ids
            if not RamRoleName or self.instances[key]["role"] == RamRoleName
        ]
        begin = (int(PageNumber) - 1) * int(PageSize)
        page = told[begin : begin + int(PageSize)]
        return {"InstanceRamRoleSets": {"InstanceRamRoleSet": page}, "TotalCount": len(told)}

    def change_role(self, verb: str, key: str, role: str) -> dict:
        one = self.instances.get(key)
        wrong = (
            ("InvalidInstanceId.NotFound", "The specified instance does not exist.") if one is None
            else ("InvalidOperation.RoleAttached", "The instance already has a RAM role.")
            if verb == "Attach" and one["role"]
            else ("InvalidRamRole.NotAttached", "The role is not attached to the instance.")
            if verb == "Detach" and one["role"] != role
            else None
        )
        if not wrong:
            one["role"] = role if verb == "Attach" else None
        code, message = wrong or ("200", "success")
        results = [{"InstanceId": key, "Code": code, "Message": message, "Success": not wrong}]
        return {
            "RamRoleName": role, "TotalCount": 1, "FailCount": int(bool(wrong)),
            f"{verb}InstanceRamRoleResults": {f"{verb}InstanceRamRoleResult": results},
        }  # fmt: skip

    def ecs_AttachInstanceRamRole(self, RegionId, InstanceIds, RamRoleName):
        services = [
            service
            for statement in self.one_role(RamRoleName)["trust"]["Statement"]
            for service in as_list(statement["Principal"].get("Service", []))
        ]
        if "ecs.aliyuncs.com" not in services:
            raise Refusal(404, "InvalidRamRole.NotEcsRole", "The specified ram role is not authorized for ecs.")
        return self.change_role("Attach", *json.loads(InstanceIds), RamRoleName)

    def ecs_DetachInstanceRamRole(self, RegionId, InstanceIds, RamRoleName):
        return self.change_role("Detach", *json.loads(InstanceIds), RamRoleName)

    def ecs_ModifyInstanceMetadataOptions(self, RegionId, InstanceId, HttpEndpoint, HttpTokens="optional"):
        if self.instances[InstanceId]["status"] not in ("Running", "Stopped"):
            self.instances[InstanceId]["status"] = "Running"  # by the next time
            raise Refusal(403, "IncorrectInstanceStatus", "The current status does not support this operation.")
        self.instances[InstanceId].update(endpoint=HttpEndpoint, tokens=HttpTokens)
        return {}


def as_list(value):
    return value if isinstance(value, list) else [value]


def typed(like, value: str):
    """A parameter's text as what the setting is."""
    return value == "true" if isinstance(like, bool) else int(value) if isinstance(like, int) else value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {}
        with self.server.lock:
            try:
                status, told = 200, self.server.answer(self, body)
            except ConnectionError:
                self.close_connection = True  # without a word
                return
            except Refusal as exc:
                headers, status = exc.headers, exc.status
                told = {"Code": exc.code, "Message": exc.message, "HostId": "127.0.0.1", **exc.more}
        text = json.dumps({"RequestId": "0B2F1C2E-0000-0000-0000-000000000000", **told}).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(text)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass
