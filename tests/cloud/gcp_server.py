# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A loopback server that behaves as those services of Google Cloud do that gcp_role_binding uses.

    with GcpServer() as server:
        module("gcp_role_binding", {"api_endpoint": server.endpoint, …}, env=server.env())
        assert server.policies[""]["bindings"] …; assert not server.writes

- Who: `env()` is an environment in which google-auth takes this server for the metadata server of an instance and gets
  a token for `identity`. `grants[identity]` are its permissions, None for all of them. Tokens out of `expired` and of
  unknown identities answer 401, permissions that are lacking 403.
- Policies: `policies[""]` is the project's, others are those of service accounts. An etag that is not the current one
  answers 409. Who does not ask for version 3 sees no conditions, but roles with odd names. A role has to exist.
- Instances: a service account is set in stopped ones alone; metadata with an old fingerprint answers 412; methods give
  an operation that has to be waited for, `polls` times.
- Faults: `fail("setIamPolicy", 503, times=2)`; races: `before("setIamPolicy", function)` calls function() once.
- `requests` is everything that was asked, `writes` what was let through and changes something, as path and body.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

PROJECT = "example-production"
PROJECT_NAME = f"//cloudresourcemanager.googleapis.com/projects/{PROJECT}"
ZONE = "europe-west1-b"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ROLES = {  # what Google has in them, in part
    "roles/owner": ["resourcemanager.projects.setIamPolicy", "storage.objects.get", "compute.instances.list"],
    "roles/editor": ["iam.serviceAccounts.actAs", "storage.objects.get", "compute.instances.list"],
    "roles/viewer": ["compute.instances.list", "storage.buckets.list"],
    "roles/logging.logWriter": ["logging.logEntries.create"],
    "roles/storage.objectViewer": ["storage.objects.get", "storage.objects.list"],
    "roles/iam.serviceAccountUser": ["iam.serviceAccounts.actAs", "iam.serviceAccounts.get"],
    "roles/iam.serviceAccountTokenCreator": ["iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.signBlob"],
    "roles/iam.serviceAccountKeyAdmin": ["iam.serviceAccountKeys.create", "iam.serviceAccountKeys.list"],
    "roles/iam.serviceAccountAdmin": ["iam.serviceAccounts.setIamPolicy", "iam.serviceAccounts.get"],
    "roles/iam.roleAdmin": ["iam.roles.create", "iam.roles.update"],
    "roles/resourcemanager.projectIamAdmin": ["resourcemanager.projects.setIamPolicy"],
}


def address(name: str) -> str:
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


class GoogleError(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, status: str, message: str, details: list | None = None, reason: str = ""):
        super().__init__(message)
        self.code = code
        self.body = {"error": {"code": code, "message": message, "status": status}}
        if details:
            self.body["error"]["details"] = details
        if reason:
            self.body["error"]["errors"] = [{"message": message, "domain": "global", "reason": reason}]


@dataclasses.dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: dict
    identity: str = ""


class GcpServer:
    def __init__(self) -> None:
        self.identity = "operator"
        self.grants: dict[str, set[str] | None] = {"operator": None}
        self.expired: set[str] = set()
        self.roles = {name: list(permissions) for name, permissions in ROLES.items()}
        self.policies: dict[str, dict] = {"": {"bindings": [], "etag": "e0", "version": 1}}
        self.accounts: dict[str, dict] = {}
        self.keys: dict[str, list[dict]] = {}
        self.activities: list[dict] | None = []
        self.instances: dict[str, dict] = {}
        self.operations: dict[str, dict] = {}
        self.denied: set[str] = set()  # permissions that a deny policy takes from everybody
        self.inherited: list[dict] = []  # bindings of the organization
        self.sees_above = True
        self.page_size, self.polls = 50, 1
        self.requests: list[Request] = []
        self.writes: list[tuple[str, dict]] = []
        self.faults: list[list] = []
        self.hooks: list[tuple[str, Callable[[], object]]] = []
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()

    # --- for tests

    def account(self, name: str) -> str:
        email = address(name)
        self.accounts[email] = {"name": f"projects/{PROJECT}/serviceAccounts/{email}", "email": email}
        self.policies[email] = {"etag": f"e{next(self._numbers)}"}
        return email

    def bind(self, role: str, *members: str, place: str = "", condition: dict | None = None) -> None:
        """Add a binding as somebody would who writes at the same time."""
        binding = {"role": role, "members": list(members)} | ({"condition": condition} if condition else {})
        with self.lock:
            policy = self.policies[place]
            policy.setdefault("bindings", []).append(binding)
            policy["etag"] = f"e{next(self._numbers)}"

    def bound(self, member: str, place: str = "") -> set[tuple[str, str]]:
        """Roles of a member, each with the expression of its condition."""
        return {
            (one["role"], one.get("condition", {}).get("expression", ""))
            for one in self.policies[place].get("bindings", [])
            if member in one["members"]
        }

    def key(self, email: str, name: str, created: str, used: str = "", since: str = "", **more) -> None:
        path = f"projects/{PROJECT}/serviceAccounts/{email}/keys/{name}"
        self.keys.setdefault(email, []).append({"name": path, "validAfterTime": created, **more})
        if since and self.activities is not None:
            activity = {"serviceAccountKey": {}} | ({"lastAuthenticatedTime": used} if used else {})
            self.activities.append(
                {
                    "fullResourceName": f"//iam.googleapis.com/{path}",
                    "activity": activity,
                    "observationPeriod": {"startTime": since, "endTime": "2026-11-24T07:00:00Z"},
                }
            )

    def instance(self, name: str, account: str | None = None, zone: str = ZONE, status="RUNNING", **more) -> dict:
        made = {
            "name": name,
            "zone": f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{zone}",
            "status": status,
            "metadata": {"fingerprint": f"f{next(self._numbers)}", "items": [{"key": "oslogin", "value": "TRUE"}]},
            **({"serviceAccounts": [{"email": account, "scopes": [SCOPE]}]} if account else {}),
            **more,
        }
        self.instances[f"{zone}/{name}"] = made
        return made

    def metadata(self, name: str, key: str, value: str, zone: str = ZONE) -> None:
        metadata = self.instances[f"{zone}/{name}"]["metadata"]
        metadata["items"].append({"key": key, "value": value})
        metadata["fingerprint"] = f"f{next(self._numbers)}"

    def fail(self, pattern: str, code: int, status="UNAVAILABLE", message="Try again.", times: int = 1) -> None:
        self.faults.append([pattern, GoogleError(code, status, message), times])

    def before(self, pattern: str, function: Callable[[], object]) -> None:
        self.hooks.append((pattern, function))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{{service}}"

    def env(self) -> dict[str, str]:
        place = f"127.0.0.1:{self._server.server_port}"
        return {"GCE_METADATA_HOST": place, "GCE_METADATA_IP": place, "CLOUDSDK_CONFIG": "/nonexistent"}

    # --- how it answers

    def answer(self, request: Request) -> dict | str:
        if request.path == "/" or request.path.startswith("/computeMetadata/"):
            return self._metadata_server(request)
        with self.lock:
            self.requests.append(request)
        for hook in list(self.hooks):
            if re.search(hook[0], request.path):
                self.hooks.remove(hook)
                hook[1]()
        with self.lock:
            for fault in self.faults:
                if fault[2] > 0 and re.search(fault[0], request.path):
                    fault[2] -= 1
                    raise fault[1]
            if request.identity not in self.grants or request.identity in self.expired:
                raise GoogleError(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
            for pattern, name in ROUTES:
                if match := re.fullmatch(pattern, f"{request.method} {request.path}"):
                    return getattr(self, name)(request, **match.groupdict())
        raise GoogleError(404, "NOT_FOUND", f"nothing answers {request.method} {request.path}")

    def _metadata_server(self, request: Request) -> dict | str:
        if request.path.endswith("/token"):
            return {"access_token": self.identity, "expires_in": 3600, "token_type": "Bearer"}
        if request.path.endswith("/project/project-id"):
            return PROJECT
        if request.path.endswith("/universe-domain"):
            return "googleapis.com"
        return {"email": address("ansible"), "scopes": [SCOPE], "aliases": ["default"]}

    def authorize(self, request: Request, permission: str, resource: str) -> None:
        granted = self.grants[request.identity]
        if granted is not None and permission not in granted:
            if permission.startswith("compute."):
                raise GoogleError(403, "", f"Required '{permission}' permission for '{resource}'", reason="forbidden")
            info = {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "IAM_PERMISSION_DENIED",
                "domain": "iam.googleapis.com",
                "metadata": {"permission": permission, "resource": resource},
            }
            words = f"Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
            raise GoogleError(403, "PERMISSION_DENIED", words, [info])

    def _paged(self, request: Request, name: str, found: list) -> dict:
        start = int(request.query.get("pageToken", 0))
        answer = {name: found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            answer["nextPageToken"] = str(start + self.page_size)
        return answer

    def _write(self, request: Request) -> None:
        self.writes.append((request.path, request.body))

    # --- policies and roles

    def get_policy(self, request: Request, place: str = "") -> dict:
        self.authorize(request, f"{'iam.serviceAccounts' if place else 'resourcemanager.projects'}.getIamPolicy", place)
        policy = copy.deepcopy(self._policy(place))
        version = request.query.get("options.requestedPolicyVersion") or request.body.get("options", {}).get(
            "requestedPolicyVersion"
        )
        if int(version or 1) < 3:
            for binding in policy.get("bindings", []):
                if binding.pop("condition", None):
                    binding["role"] += "_withcond_0123456789abcdef"
        return policy

    def _policy(self, place: str) -> dict:
        if place not in self.policies:
            raise GoogleError(404, "NOT_FOUND", f"Unknown service account {place}")
        return self.policies[place]

    def set_policy(self, request: Request, place: str = "") -> dict:
        self.authorize(request, f"{'iam.serviceAccounts' if place else 'resourcemanager.projects'}.setIamPolicy", place)
        old, new = self._policy(place), copy.deepcopy(request.body["policy"])
        if new.get("etag") != old["etag"]:
            raise GoogleError(409, "ABORTED", "There were concurrent policy changes. Please retry.")
        for binding in new.get("bindings", []):
            if binding["role"] not in self.roles:
                raise GoogleError(400, "INVALID_ARGUMENT", f"Role {binding['role']} is not supported.")
            if binding.get("condition") and new.get("version") != 3:
                raise GoogleError(400, "INVALID_ARGUMENT", "Conditions need version 3.")
        self._write(request)
        self.policies[place] = {**new, "etag": f"e{next(self._numbers)}"}
        return self.policies[place]

    def get_role(self, request: Request, name: str) -> dict:
        self.authorize(request, "iam.roles.get", name)
        if name not in self.roles:
            raise GoogleError(404, "NOT_FOUND", f"The role named {name} was not found.")
        return {"name": name, "includedPermissions": self.roles[name]}

    def troubleshoot(self, request: Request) -> dict:
        asked = request.body["accessTuple"]
        member = "serviceAccount:" + asked["principal"]
        policies = [(PROJECT_NAME, self.policies[""].get("bindings", []))]
        email = asked["fullResourceName"].rpartition("/serviceAccounts/")[2]
        if email in self.policies and email:
            name = f"//iam.googleapis.com/projects/{PROJECT}/serviceAccounts/{email}"
            policies.append((name, self.policies[email].get("bindings", [])))
        if self.sees_above:
            policies.append(("//cloudresourcemanager.googleapis.com/organizations/1", self.inherited))
        explained, states = [], set()
        for name, bindings in policies:
            explanations = []
            for one in bindings:
                included = asked["permission"] in self.roles[one["role"]]
                state = "NOT_GRANTED"
                if member in one["members"] and included:
                    state = "UNKNOWN_CONDITIONAL" if one.get("condition") else "GRANTED"
                states.add(state)
                explanations.append(
                    {
                        "allowAccessState": f"ALLOW_ACCESS_STATE_{state}",
                        "role": one["role"],
                        "memberships": {
                            other: {"membership": "MEMBERSHIP_MATCHED" if other == member else "MEMBERSHIP_NOT_MATCHED"}
                            for other in one["members"]
                        },
                        **({"condition": one["condition"]} if one.get("condition") else {}),
                    }
                )
            explained.append({"fullResourceName": name, "bindingExplanations": explanations})
        denied = asked["permission"] in self.denied and self.sees_above
        overall = "CANNOT_ACCESS" if self.sees_above else "UNKNOWN_INFO"
        if "GRANTED" in states and self.sees_above and not denied:
            overall = "CAN_ACCESS"
        elif "UNKNOWN_CONDITIONAL" in states and self.sees_above and not denied:
            overall = "UNKNOWN_CONDITIONAL"
        deny = "UNKNOWN_INFO" if not self.sees_above else "DENIED" if denied else "NOT_DENIED"
        return {
            "overallAccessState": overall,
            "allowPolicyExplanation": {"explainedPolicies": explained},
            "denyPolicyExplanation": {"denyAccessState": f"DENY_ACCESS_STATE_{deny}"},
        }

    # --- service accounts and their keys

    def list_accounts(self, request: Request) -> dict:
        self.authorize(request, "iam.serviceAccounts.list", PROJECT)
        return self._paged(request, "accounts", [self.accounts[key] for key in sorted(self.accounts)])

    def get_account(self, request: Request, email: str) -> dict:
        self.authorize(request, "iam.serviceAccounts.get", email)
        if email not in self.accounts:
            raise GoogleError(404, "NOT_FOUND", f"Unknown service account {email}")
        return self.accounts[email]

    def create_account(self, request: Request) -> dict:
        self.authorize(request, "iam.serviceAccounts.create", PROJECT)
        self._write(request)
        return self.accounts[self.account(request.body["accountId"])]

    def list_keys(self, request: Request, email: str) -> dict:
        self.authorize(request, "iam.serviceAccountKeys.list", email)
        self.get_account(request, email)
        managed = {"name": f"projects/{PROJECT}/serviceAccounts/{email}/keys/google", "keyType": "SYSTEM_MANAGED"}
        others = [] if request.query.get("keyTypes") == "USER_MANAGED" else [managed]
        return {"keys": self.keys.get(email, []) + others}

    def disable_key(self, request: Request, email: str, key: str) -> dict:
        self.authorize(request, "iam.serviceAccountKeys.disable", email)
        self._write(request)
        next(one for one in self.keys[email] if one["name"].endswith(f"/{key}"))["disabled"] = True
        return {}

    def list_activities(self, request: Request) -> dict:
        self.authorize(request, "policyanalyzer.serviceAccountKeyLastAuthenticationActivities.query", PROJECT)
        if self.activities is None:
            service = "policyanalyzer.googleapis.com"
            info = {"reason": "SERVICE_DISABLED", "metadata": {"service": service}}
            raise GoogleError(403, "PERMISSION_DENIED", f"{service} is disabled.", [info])
        return self._paged(request, "activities", self.activities)

    # --- instances

    def list_instances(self, request: Request) -> dict:
        self.authorize(request, "compute.instances.list", f"projects/{PROJECT}")
        page = self._paged(request, "items", sorted(self.instances))
        zones: dict[str, dict] = {"zones/us-east1-c": {"warning": {"code": "NO_RESULTS_ON_PAGE"}}}
        for name in page["items"]:
            zones.setdefault(f"zones/{name.split('/')[0]}", {"instances": []})["instances"].append(self.instances[name])
        return {**page, "items": zones}

    def _instance(self, zone: str, name: str) -> dict:
        if f"{zone}/{name}" not in self.instances:
            raise GoogleError(404, "", f"The resource 'instances/{name}' was not found", reason="notFound")
        return self.instances[f"{zone}/{name}"]

    def get_instance(self, request: Request, zone: str, name: str) -> dict:
        self.authorize(request, "compute.instances.get", f"instances/{name}")
        return self._instance(zone, name)

    def change_instance(self, request: Request, zone: str, name: str, verb: str) -> dict:
        self.authorize(request, f"compute.instances.{verb}", f"instances/{name}")
        instance, change = self._instance(zone, name), {}
        granted = self.grants[request.identity]
        if verb == "setServiceAccount":
            if instance["status"] != "TERMINATED":
                words = "The instance must be stopped before the service account can be changed."
                raise GoogleError(400, "", words, reason="invalid")
            if granted is not None and "iam.serviceAccounts.actAs" not in granted:
                words = f"The user does not have access to service account '{request.body['email']}'."
                raise GoogleError(400, "", words, reason="SERVICE_ACCOUNT_ACCESS_DENIED")
            change = {"serviceAccounts": [request.body]}
        elif verb == "setMetadata":
            if request.body.get("fingerprint") != instance["metadata"]["fingerprint"]:
                words = "Supplied fingerprint does not match current metadata fingerprint."
                raise GoogleError(412, "", words, reason="conditionNotMet")
            change = {"metadata": {**request.body, "fingerprint": f"f{next(self._numbers)}"}}
        else:
            change = {"status": {"stop": "TERMINATED", "start": "RUNNING"}[verb]}
        self._write(request)
        operation = {"name": f"operation-{next(self._numbers)}", "status": "RUNNING"}
        self.operations[operation["name"]] = {"left": self.polls, "instance": f"{zone}/{name}", "change": change}
        return operation

    def wait(self, request: Request, name: str) -> dict:
        self.authorize(request, "compute.zoneOperations.get", f"operations/{name}")
        operation = self.operations[name]
        if operation["left"] > 0:
            operation["left"] -= 1
            return {"name": name, "status": "RUNNING"}
        if isinstance(operation["change"], str):
            error = {"code": operation["change"], "message": "It did not work."}
            return {"name": name, "status": "DONE", "error": {"errors": [error]}}
        self.instances[operation["instance"]].update(operation["change"])
        return {"name": name, "status": "DONE"}

    # --- the server itself

    def __enter__(self):
        google = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                split = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                identity = self.headers.get("Authorization", "").removeprefix("Bearer ")
                query = dict(parse_qsl(split.query))
                request = Request(
                    self.command, unquote(split.path), query, json.loads(content) if content else {}, identity
                )
                try:
                    status, answer = 200, google.answer(request)
                    with google.lock:
                        data = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
                except GoogleError as error:
                    status, answer, data = error.code, error.body, json.dumps(error.body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/text" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(data)))
                if split.path == "/" or split.path.startswith("/computeMetadata/"):
                    self.send_header("Metadata-Flavor", "Google")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _serve

            def log_message(self, *args):
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *failure):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


ACCOUNTS = "/iam/v1/projects/[^/]+/serviceAccounts"
COMPUTE = f"/compute/compute/v1/projects/{PROJECT}"
ROUTES = [
    (f"POST /cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy", "get_policy"),
    (f"POST /cloudresourcemanager/v3/projects/{PROJECT}:setIamPolicy", "set_policy"),
    (f"POST {ACCOUNTS}/(?P<place>[^/:]+):getIamPolicy", "get_policy"),
    (f"POST {ACCOUNTS}/(?P<place>[^/:]+):setIamPolicy", "set_policy"),
    (f"GET {ACCOUNTS}", "list_accounts"),
    (f"POST {ACCOUNTS}", "create_account"),
    (f"GET {ACCOUNTS}/(?P<email>[^/:]+)", "get_account"),
    (f"GET {ACCOUNTS}/(?P<email>[^/:]+)/keys", "list_keys"),
    (f"POST {ACCOUNTS}/(?P<email>[^/:]+)/keys/(?P<key>[^/:]+):disable", "disable_key"),
    ("GET /iam/v1/(?P<name>(projects/[^/]+/|organizations/[^/]+/)?roles/[^/]+)", "get_role"),
    ("POST /policytroubleshooter/v3/iam:troubleshoot", "troubleshoot"),
    (
        f"GET /policyanalyzer/v1/projects/{PROJECT}/locations/global/activityTypes/serviceAccountKeyLastAuthentication"
        "/activities:query",
        "list_activities",
    ),
    (f"GET {COMPUTE}/aggregated/instances", "list_instances"),
    (f"GET {COMPUTE}/zones/(?P<zone>[^/]+)/instances/(?P<name>[^/]+)", "get_instance"),
    (f"POST {COMPUTE}/zones/(?P<zone>[^/]+)/instances/(?P<name>[^/]+)/(?P<verb>[^/]+)", "change_instance"),
    (f"POST {COMPUTE}/zones/[^/]+/operations/(?P<name>[^/]+)/wait", "wait"),
]
