# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon on loopback: moto's server in this process, its state at hand, and what moto lacks for these tests.

What is added to moto, and nothing else:

- IAM is enforced with the resource of each request, conditions, NotAction and whatever case actions are written in,
  boundaries included (moto asks for the action alone, and takes an unmet condition for a denial). Whoever associates
  an instance profile needs iam:PassRole; a deactivated key is refused.
- SimulateCustomPolicy and SimulatePrincipalPolicy, which answer by the same evaluation.
- The account's defaults of EC2: metadata options, snapshot block public access, the default key of EBS; of snapshots,
  whom they are shared with.
- A log of the calls, and a way to get between them (`Server.before`): a second writer, a busy service.
"""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import contextmanager
from fnmatch import fnmatchcase

os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")

import boto3
from botocore.config import Config
from harness import module
from moto import settings
from moto.core import authorization, responses
from moto.core.exceptions import InvalidClientTokenIdError
from moto.ec2.models import ec2_backends
from moto.ec2.responses import EC2Response
from moto.iam import access_control, models
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse
from moto.server import ThreadedMotoServer

ACCOUNT = "123456789012"
REGION = "eu-central-1"
MANAGED = ["AdministratorAccess", "AmazonSSMManagedInstanceCore", "PowerUserAccess", "ReadOnlyAccess"]
READS = re.compile(r"(Get|List|Describe|Simulate|Generate)")


# What policies allow


def listed(value):
    return value if isinstance(value, list) else [value]


def covers(patterns, text):
    return any(fnmatchcase(text, str(pattern).replace("[", "[[]")) for pattern in listed(patterns))


def condition_met(condition, context):
    """The operators that these tests use; another one is an error, not a guess."""
    for operator, tests in condition.items():
        name, may_lack = re.fullmatch(r"(\w+?)(IfExists)?", operator).groups()
        for key, wanted in tests.items():
            value = context.get(key.lower())
            if name == "Null":
                if (value is None) != (str(wanted).lower() == "true" or wanted == ["true"]):
                    return False
            elif value is None:
                if not may_lack:
                    return False
            elif name not in ("Bool", "StringEquals", "StringLike", "ArnLike", "ArnEquals"):
                raise NotImplementedError(operator)
            elif not covers([str(one).lower() if name == "Bool" else one for one in listed(wanted)], value):
                return False
    return True


def decide(documents, action, resource, context=None):
    """IAM's decision: explicitDeny, allowed or implicitDeny."""
    decision, username = "implicitDeny", (context or {}).get("aws:username", "")

    def about(patterns):
        return covers([str(one).replace("${aws:username}", username) for one in listed(patterns)], resource)

    for document in documents:
        for statement in listed(document["Statement"]):
            if "NotAction" in statement:
                concerned = not covers([one.lower() for one in listed(statement["NotAction"])], action.lower())
            else:
                concerned = covers([one.lower() for one in listed(statement["Action"])], action.lower())
            if "NotResource" in statement:
                concerned = concerned and not about(statement["NotResource"])
            else:
                concerned = concerned and about(statement.get("Resource", "*"))
            if concerned and condition_met(statement.get("Condition", {}), context or {}):
                if statement["Effect"] == "Deny":
                    return "explicitDeny"
                decision = "allowed"
    return decision


def text_of(policy):
    """The document of one of moto's policies, whatever it keeps it as."""
    if hasattr(policy, "versions"):
        policy = next(one.document for one in policy.versions if one.is_default)
    return json.loads(policy if isinstance(policy, str) else policy["policy_document"])


def documents_of(arn):
    """The policies and the boundary of a user or role, or of a role's session."""
    backend, key = iam_backends[ACCOUNT]["aws"], None
    if ":assumed-role/" in arn or ":role/" in arn:
        key = access_control.AssumedRoleAccessKey.__new__(access_control.AssumedRoleAccessKey)
        key._owner_role_name = arn.split("/")[1] if ":assumed-role/" in arn else arn.split("/")[-1]
        boundary = backend.get_role(key._owner_role_name).permissions_boundary_arn
    else:
        key = access_control.IAMUserAccessKey.__new__(access_control.IAMUserAccessKey)
        key._owner_user_name, boundary = arn.split("/")[-1], None
    key.account_id, key.partition = ACCOUNT, "aws"
    policies = [text_of(policy) for policy in key.collect_policies()]
    return policies, [text_of(backend.get_policy(boundary))] if boundary else None


def allowed(arn, action, resource, context=None):
    policies, boundary = documents_of(arn)
    decision = decide(policies, action, resource, context)
    if decision == "allowed" and boundary is not None:
        return decide(boundary, action, resource, context)
    return decision


def resource_of(service, params):
    """The ARN of what a request is about, by the parameter that names it."""
    iam = f"arn:aws:iam::{ACCOUNT}"
    if service == "iam" and "AccessKeyId" in params and "UserName" not in params:
        params = {"UserName": iam_backends[ACCOUNT]["aws"].access_keys[params["AccessKeyId"][0]].user_name}
    if association := params.get("AssociationId"):
        known = ec2_backends[ACCOUNT][REGION].iam_instance_profile_associations.values()
        params = {"InstanceId": next(one.instance.id for one in known if one.association_id == association[0])}
    if service == "kms":
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/any"
    for name, form in {
        "PolicySourceArn": "{}",
        "InstanceProfileName": iam + ":instance-profile/{}",
        "RoleName": iam + ":role/{}",
        "GroupName": iam + ":group/{}",
        "UserName": iam + ":user/{}",
        "PolicyArn": "{}",
        "InstanceId": f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/{{}}",
    }.items():
        if (value := params.get(name)) and (service == "ec2") == (name == "InstanceId"):
            return form.format(value[0] if isinstance(value, list) else value)
    return "*"


def permit(self, resource, **context):
    """What every request is asked, and an instance profile's role besides."""
    Server.asked.add(self._action)
    context["aws:username"] = getattr(self._access_key, "_owner_user_name", "")
    if allowed(self._access_key.arn, self._action, resource, context) != "allowed":
        self._raise_access_denied()


def check_action_permitted(self, resource):
    user = getattr(self._access_key, "_owner_user_name", None)
    keys = self.backend.get_user(user).access_keys if user else []
    if any(key.access_key_id == self._access_key._access_key_id and key.status == "Inactive" for key in keys):
        raise InvalidClientTokenIdError()
    if self._action == "sts:GetCallerIdentity":
        return
    params = self._data if isinstance(self._data, dict) else {}
    if self._service == "s3" and "PublicAccessBlock" in self._action and "/configuration/" in self._path:
        self._action = self._action.replace("PublicAccess", "AccountPublicAccess")
    if self._action == "s3:ListBuckets":
        self._action = "s3:ListAllMyBuckets"
    if (named := resource_of(self._service, params)) != "*":
        resource = named
    permit(self, resource)
    if self._is_assuming_role_operation(resource) and not self._check_role_trust_relationship(resource):
        self._raise_access_denied()
    passed = params["RoleName"][0] if self._action == "iam:AddRoleToInstanceProfile" else None
    if profile := params.get("IamInstanceProfile.Name"):
        passed = self.backend.get_instance_profile(profile[0]).roles[0].name
    if passed:
        self._action = "iam:PassRole"
        permit(self, f"arn:aws:iam::{ACCOUNT}:role/{passed}", **{"iam:passedtoservice": "ec2.amazonaws.com"})


# What moto lacks


def simulate_custom_policy(self):
    policies = [json.loads(text) for text in self._get_param("PolicyInputList")]
    boundary = [json.loads(text) for text in self._get_param("PermissionsBoundaryPolicyInputList", [])]
    return simulation(self, policies, boundary or None)


def simulate_principal_policy(self):
    return simulation(self, *documents_of(self._get_param("PolicySourceArn")), Server.organization)


def simulation(self, policies, boundary, organization=None):
    context = {
        one["ContextKeyName"].lower(): one["ContextKeyValues"][0] for one in self._get_param("ContextEntries", [])
    }
    results = []
    for action in self._get_param("ActionNames"):
        for resource in self._get_param("ResourceArns", ["*"]):
            decision = decide(policies, action, resource, context)
            result = {"EvalActionName": action, "EvalResourceName": resource, "EvalDecision": decision}
            if boundary is not None:
                within = decide(boundary, action, resource, context)
                result["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": within == "allowed"}
                if decision == "allowed":
                    result["EvalDecision"] = within
            if organization is not None:
                within = decide([organization], action, resource, context) == "allowed"
                result["OrganizationsDecisionDetail"] = {"AllowedByOrganizations": within}
                if not within:
                    result["EvalDecision"] = "explicitDeny"
            results.append(result)
    return responses.ActionResult({"EvaluationResults": results, "IsTruncated": False})


METADATA = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "HttpTokensEnforced")


def defaults(self):
    return self.ec2_backend.__dict__.setdefault("account_defaults", {"metadata": {}, "snapshots": "unblocked"})


def modify_instance_metadata_defaults(self):
    for name in METADATA:
        if (value := self._get_param(name)) is not None:
            defaults(self)["metadata"][name] = int(value) if name == "HttpPutResponseHopLimit" else value
    return responses.ActionResult({"Return": True})


def get_instance_metadata_defaults(self):
    return responses.ActionResult({"AccountLevel": defaults(self)["metadata"]})


def enable_snapshot_block_public_access(self):
    defaults(self)["snapshots"] = self._get_param("State")
    return responses.ActionResult({"State": defaults(self)["snapshots"]})


def disable_snapshot_block_public_access(self):
    defaults(self)["snapshots"] = "unblocked"
    return responses.ActionResult({"State": "unblocked"})


def get_snapshot_block_public_access_state(self):
    return responses.ActionResult({"State": defaults(self)["snapshots"]})


def get_ebs_default_kms_key_id(self):
    key = getattr(self.ec2_backend, "default_kms_key_id", None) or self.ec2_backend._create_default_encryption_key()
    return responses.ActionResult({"KmsKeyId": key})


def describe_snapshots(self):
    found = self.ec2_backend.describe_snapshots(snapshot_ids=[], filters=self._filters_from_querystring())
    groups = set(self._get_param("RestorableByUserIds", []))
    found = [one for one in found if not groups or groups & one.create_volume_permission_groups]
    return responses.ActionResult({"Snapshots": found})


ADDED = {
    IamResponse: [simulate_custom_policy, simulate_principal_policy],
    EC2Response: [
        modify_instance_metadata_defaults,
        get_instance_metadata_defaults,
        enable_snapshot_block_public_access,
        disable_snapshot_block_public_access,
        get_snapshot_block_public_access_state,
        get_ebs_default_kms_key_id,
    ],
}


class Server:
    """moto, patched, on a free port; one for all tests, each of which begins with nothing."""

    organization = None  # a service control policy
    hooks: dict = {}
    calls: list = []
    asked: set = set()  # permissions, while they are enforced

    def __init__(self):
        for kind, functions in ADDED.items():
            for function in functions:
                assert not hasattr(kind, function.__name__), f"moto has {function.__name__} now: use it"
                setattr(kind, function.__name__, function)
        known = json.loads(models.aws_managed_policies_data)  # all of them would be made anew for each test
        models.aws_managed_policies_data = json.dumps({name: known[name] for name in MANAGED})
        EC2Response.describe_snapshots = describe_snapshots
        access_control.IAMRequestBase.check_action_permitted = check_action_permitted
        call_action = responses.BaseResponse.call_action

        def logged(response):
            action = response._get_action()
            Server.calls.append(action)
            if (hook := Server.hooks.get(action)) and (answer := hook(response)) is not None:
                return answer
            return call_action(response)

        responses.BaseResponse.call_action = logged
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self.moto.start()
        host, port = self.moto.get_host_and_port()
        self.url = f"http://{host}:{port}"
        self.config = {"proxies": {"http": self.url}}  # for s3control, which puts the account before 127.0.0.1

    def reset(self):
        """Begin with an empty account in which nothing is enforced."""
        self.enforce(False)
        Server.organization, Server.hooks, Server.calls, Server.asked = None, {}, [], set()
        from moto.backends import get_backend

        # only the regions in use: moto itself would set up all others to reset them
        for service in ("iam", "ec2", "s3", "s3control", "sts", "kms"):
            for account in get_backend(service).values():
                for backend in list(dict.values(account)):
                    backend.reset()

    def enforce(self, on=True):
        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0 if on else float("inf")
        authorization.ActionAuthenticatorMixin.request_count = 0

    def organize(self, policy):
        """A service control policy for the account, or none."""
        Server.organization = policy

    def before(self, action, hook):
        """Call hook(response) before each such action; what it returns is the answer, if it is something."""
        Server.hooks[action] = hook

    def answer(self, response, **result):
        """An answer of one's own, for a hook."""
        return response.serialized(responses.ActionResult(result))

    def client(self, service, key="setup", secret="setup", token=None, region=REGION):  # noqa: S107
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=region,
            config=Config(**self.config),
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            aws_session_token=token,
        )

    @contextmanager
    def writes(self):
        """The actions that wrote something meanwhile."""
        begin, found = len(Server.calls), []
        yield found
        found += [action for action in Server.calls[begin:] if not READS.match(action)]

    def user(self, name, *policies):
        """A user with a key and inline policies; the key."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        for index, policy in enumerate(policies):
            iam.put_user_policy(UserName=name, PolicyName=f"p{index}", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def instance(self, **tags):
        """A running instance; its id."""
        ec2 = self.client("ec2")
        tags = [{"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}]
        image = ec2.describe_images()["Images"][0]["ImageId"]
        run = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=tags)
        return run["Instances"][0]["InstanceId"]

    def module(self, name, args, check=False, key=("setup", "setup"), **env):
        """Run a module of ours against this server."""
        environment = {"AWS_ACCESS_KEY_ID": key[0], "AWS_SECRET_ACCESS_KEY": key[1], **env}
        args = {"endpoint_url": self.url, "region": REGION, "aws_config": self.config, **args}
        return module(name, args, check, environment)

    @property
    def iam(self):
        return iam_backends[ACCOUNT]["aws"]

    @property
    def ec2(self):
        return ec2_backends[ACCOUNT][REGION]


def error(code, status=400, message="told to"):
    """An answer that refuses, for Server.before."""
    body = f"<ErrorResponse><Error><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
    ec2 = f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>"
    return lambda response: (status, {}, ec2 if isinstance(response, EC2Response) else body)
