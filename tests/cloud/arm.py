"""A loopback server that behaves as Azure Resource Manager does; each Azure test server derives from it.

    class NetworkServer(ArmServer):
        long_running = {"microsoft.network/networksecuritygroups"}    # PUT, PATCH and DELETE of these take a while

        def check(self, request, resource, old): ...      # what ARM refuses: raise ArmError(400, ...)
        def complete(self, resource, old): ...            # fill in what ARM adds: defaults, read-only parts
        def linked(self, resource, old): ...              # [(action, id)] that a write needs elsewhere too

    with NetworkServer() as server:
        server.put("/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/…/NAME", {"location": "westeurope"})
        module("azure_segmentation", {"resource_manager_url": server.url, …}, env=server.env())
        assert server.get(ID)["properties"]…; assert not server.writes

Any resource of any provider is stored below its id: GET, PUT, PATCH (merged), DELETE, and GET of its collection, in a
resource group or in the subscription, page by page (`page_size`). Everything else is a route of the subclass:
`routes` maps (METHOD, regular expression of the path) to a method that takes the request and the match and returns
(status, body) or (status, body, headers), or raises ArmError. `request.body`, `.query`, `.headers`, `.identity` say
what was asked and by whom; `self.authorize(request, action, scope)` refuses as ARM does.

- Who: `env(identity)` is an environment in which DefaultAzureCredential gets a token from this server (the managed
  identity of an App Service, which goes over plain http). `grants[identity]` is a list of {"actions", "notActions"} (a
  role definition's properties.permissions), `{"actions": ["*"]}` for "operator". No token, an unknown one and one out
  of `expired` answer 401, an action that was not granted 403 AuthorizationFailed or LinkedAuthorizationFailed.
- Etags: every write makes another; If-Match that is not the current one answers 412, If-None-Match: * on what is there
  too.
- Long-running operations: 201 or 200 (PUT, PATCH) or 202 (DELETE) with Azure-AsyncOperation, InProgress for
  `polls` times. Meanwhile provisioningState is Updating and another write answers 409 AnotherOperationInProgress.
- Faults: `fail("PUT", "securityRules", 429, "TooManyRequests", headers=SOON, times=2)`; with
  `operation=True` the write is accepted and its operation ends as Failed.
- Races: `before("PUT", "networkSecurityGroups", function)` calls function(request) once, before that request is looked
  at: what it does with put() is what a second writer did in between.
- `requests` is everything that was asked, `writes` those that were let through to the store.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import re
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

SECRET = "not-a-secret"
SOON = {"x-ms-retry-after-ms": "10"}


class ArmError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, code: str, message: str = "", headers: dict[str, str] | None = None):
        super().__init__(message or code)
        self.status, self.code, self.headers = status, code, headers or {}

    @property
    def body(self) -> dict:
        return {"error": {"code": self.code, "message": str(self)}}


@dataclasses.dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict | None
    identity: str = ""


@dataclasses.dataclass
class Fault:
    method: str
    pattern: str
    error: ArmError
    times: int
    operation: bool


def kind(path: str) -> str:
    """The type of a resource or of a collection: microsoft.network/networksecuritygroups/securityrules."""
    namespace, *rest = re.split("/providers/", path, flags=re.IGNORECASE)[-1].strip("/").split("/")
    return "/".join([namespace, *rest[::2]]).lower()


def is_collection(path: str) -> bool:
    return len(re.split("/providers/", path, flags=re.IGNORECASE)[-1].strip("/").split("/")) % 2 == 0


def merge(old: object, new: object) -> object:
    """What PATCH makes of a resource (JSON merge patch)."""
    if not isinstance(new, dict):
        return new
    merged = {**old} if isinstance(old, dict) else {}
    for key, value in new.items():
        merged[key] = merge(merged.get(key), value)
    return {key: value for key, value in merged.items() if value is not None}


class ArmServer:
    long_running: ClassVar[set[str]] = set()
    routes: ClassVar[dict[tuple[str, str], str]] = {}  # (method, pattern) -> name of the method

    def __init__(self) -> None:
        self.store: dict[str, dict] = {}
        self.requests: list[Request] = []
        self.writes: list[Request] = []
        self.grants: dict[str, list[dict]] = {"operator": [{"actions": ["*"]}]}
        self.expired: set[str] = set()
        self.page_size, self.polls = 50, 1
        self.faults: list[Fault] = []
        self.hooks: list[tuple[str, str, Callable[[Request], object]]] = []
        self.operations: dict[str, dict] = {}
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()

    # --- for tests

    def put(self, path: str, resource: dict) -> dict:
        """Store a resource as if somebody had written it long ago."""
        with self.lock:
            old = self.store.get(path.lower())
            made = self._completed(path, copy.deepcopy(resource), old)
            self.store[path.lower()] = made
            return copy.deepcopy(made)

    def get(self, path: str) -> dict | None:
        with self.lock:
            return copy.deepcopy(self.store.get(path.lower()))

    def fail(self, method, pattern, status, code, message="", headers=None, times=1, operation=False) -> None:
        self.faults.append(Fault(method, pattern, ArmError(status, code, message, headers), times, operation))

    def before(self, method: str, pattern: str, function: Callable[[Request], object]) -> None:
        self.hooks.append((method, pattern, function))

    def env(self, identity: str = "operator") -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": f"{self.url}/msi/token", "IDENTITY_HEADER": SECRET, "AZURE_CLIENT_ID": identity}

    # --- for the servers that derive from this one

    def check(self, request: Request, resource: dict, old: dict | None) -> None:
        """Refuse what ARM refuses."""

    def complete(self, resource: dict, old: dict | None) -> None:
        """Fill in what ARM does."""

    def linked(self, resource: dict, old: dict | None) -> list[tuple[str, str]]:
        """The actions on other resources that whoever writes this one needs, too."""
        return []

    def granted(self, identity: str, action: str) -> bool:
        def matches(patterns):
            return any(re.fullmatch(re.escape(one).replace(r"\*", ".*"), action, re.IGNORECASE) for one in patterns)

        return any(
            matches(grant.get("actions", [])) and not matches(grant.get("notActions", []))
            for grant in self.grants.get(identity, [])
        )

    def authorize(self, request: Request, action: str, scope: str) -> None:
        if not self.granted(request.identity, action):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{request.identity}' with object id '{request.identity}' does not have authorization to "
                f"perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently "
                "granted, please refresh your credentials.",
            )

    def begin(self, request: Request, path: str) -> tuple[dict[str, str], bool]:
        """The headers of a long-running operation on this resource, which begins now, and whether it is to fail."""
        fault = self._fault(request, operation=True)
        name = f"operation-{next(self._numbers)}"
        subscription = path.strip("/").split("/")[1]
        self.operations[name] = {"left": self.polls, "path": path.lower(), "fault": fault and fault.error}
        url = (
            f"{self.url}/subscriptions/{subscription}/providers/{kind(path).partition('/')[0]}/locations/westeurope"
            f"/operations/{name}?api-version={request.query['api-version']}"
        )
        return {"Azure-AsyncOperation": url, **SOON}, fault is not None

    # --- how it answers

    def _completed(self, path: str, resource: dict, old: dict | None) -> dict:
        resource["id"] = (old or {}).get("id", path)
        resource["name"] = resource["id"].rsplit("/", 1)[1]
        resource["type"] = kind(path)
        resource["etag"] = f'W/"{next(self._numbers)}"'
        resource.setdefault("properties", {})["provisioningState"] = "Succeeded"
        self.complete(resource, old)
        return resource

    def _fault(self, request: Request, operation: bool) -> Fault | None:
        for fault in self.faults:
            if (
                fault.times > 0
                and fault.operation is operation
                and fault.method == request.method
                and re.search(fault.pattern, request.path, re.IGNORECASE)
            ):
                fault.times -= 1
                return fault
        return None

    def _token(self, request: Request) -> tuple:
        if request.headers.get("x-identity-header") != SECRET:
            raise ArmError(400, "invalid_request", "no such managed identity")
        identity = request.query.get("client_id", "operator")
        return 200, {
            "access_token": identity,
            "expires_on": str(int(time.time()) + 86400),
            "resource": request.query.get("resource", ""),
            "token_type": "Bearer",
        }

    def _identify(self, request: Request) -> None:
        request.identity = request.headers.get("authorization", "").removeprefix("Bearer ")
        challenge = {"WWW-Authenticate": 'Bearer authorization_uri="https://login.example.invalid/tenant"'}
        if not request.identity:
            raise ArmError(401, "AuthenticationFailed", "The 'Authorization' header is missing.", challenge)
        if request.identity in self.expired:
            raise ArmError(401, "ExpiredAuthenticationToken", "The access token expiry is in the past.", challenge)
        if request.identity not in self.grants:
            raise ArmError(401, "InvalidAuthenticationToken", "The access token is invalid.", challenge)

    def answer(self, request: Request) -> tuple:
        if request.path == "/msi/token":
            return self._token(request)
        with self.lock:
            self.requests.append(request)
        self._identify(request)
        if "api-version" not in request.query:
            raise ArmError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        for hook in list(self.hooks):
            if hook[0] == request.method and re.search(hook[1], request.path, re.IGNORECASE):
                self.hooks.remove(hook)
                hook[2](request)
        with self.lock:
            if fault := self._fault(request, operation=False):
                raise fault.error
            if match := re.search(r"/operations/(operation-\d+)$", request.path):
                return self._poll(match[1])
            for (method, pattern), name in self.routes.items():
                if method == request.method and (match := re.fullmatch(pattern, request.path, re.IGNORECASE)):
                    return getattr(self, name)(request, match)
            if "/providers/" not in request.path.lower():
                raise ArmError(404, "NotFound", f"nothing answers {request.path}")
            return self._resource(request)

    def _poll(self, name: str) -> tuple:
        operation = self.operations.get(name)
        if operation is None:
            raise ArmError(404, "NotFound", "There is no such operation.")
        if operation["left"] > 0:
            operation["left"] -= 1
            return 200, {"status": "InProgress"}, SOON
        resource = self.store.get(operation["path"])
        if resource and resource["properties"].get("provisioningState") == "Updating":
            resource["properties"]["provisioningState"] = "Failed" if operation["fault"] else "Succeeded"
            resource["etag"] = f'W/"{next(self._numbers)}"'
        if operation["fault"]:
            return 200, {"status": "Failed", **operation["fault"].body}
        return 200, {"status": "Succeeded"}

    def _resource(self, request: Request) -> tuple:
        path = request.path
        verb = {"GET": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}.get(request.method)
        if verb is None:
            raise ArmError(405, "MethodNotAllowed", f"{request.method} is not for {path}")
        self.authorize(request, f"{kind(path)}/{verb}", path)
        if is_collection(path):
            return self._page(request, self.listed(path))
        old = self.store.get(path.lower())
        if request.method == "GET":
            if old is None:
                raise self._missing(path)
            return 200, old
        self._precondition(request, old)
        if old is None and request.method == "PATCH":
            raise self._missing(path)
        if old is None and request.method == "DELETE":
            return 204, None
        if old is not None and old["properties"].get("provisioningState") == "Updating":
            raise ArmError(
                409, "AnotherOperationInProgress", "Another operation on this or dependent resource is in progress."
            )
        return self._write(request, path, old)

    def _write(self, request: Request, path: str, old: dict | None) -> tuple:
        takes_long = kind(path) in self.long_running
        if request.method == "DELETE":
            self.check(request, {}, old)
            self.writes.append(request)
            headers, fails = self.begin(request, path) if takes_long else ({}, False)
            if not fails:
                del self.store[path.lower()]
            return (202, None, {**headers, "Location": headers["Azure-AsyncOperation"]}) if takes_long else (200, None)
        body = request.body if request.method == "PUT" else merge(old, request.body)
        if not isinstance(body, dict):
            raise ArmError(400, "InvalidRequestContent", "The request content was invalid.")
        body = {**copy.deepcopy(body), "id": path}
        self.check(request, body, old)
        for action, scope in self.linked(body, old):
            if not self.granted(request.identity, action):
                raise ArmError(
                    403,
                    "LinkedAuthorizationFailed",
                    f"The client '{request.identity}' with object id '{request.identity}' has permission to perform "
                    f"action '{kind(path)}/write' on scope '{path}'; however, it does not have permission to perform "
                    f"action '{action}' on the linked scope(s) '{scope}' or the linked scope(s) are invalid.",
                )
        self.writes.append(request)
        made = self.store[path.lower()] = self._completed(path, body, old)
        headers = {}
        if takes_long:
            headers, dummy = self.begin(request, path)
            made["properties"]["provisioningState"] = "Updating"
        return (200 if old else 201), made, headers

    def _precondition(self, request: Request, old: dict | None) -> None:
        wanted = request.headers.get("if-match")
        if wanted not in (None, "*") and (old is None or wanted != old["etag"]):
            raise ArmError(
                412,
                "PreconditionFailed",
                f"Precondition failed. Etag provided in if-match header {wanted} does not match etag "
                f"{(old or {}).get('etag')} of resource {request.path}.",
            )
        if request.headers.get("if-none-match") == "*" and old is not None:
            raise ArmError(412, "PreconditionFailed", f"The resource {request.path} exists already.")

    @staticmethod
    def _missing(path: str) -> ArmError:
        group = re.search("/resourceGroups/([^/]+)/", path, re.IGNORECASE)
        return ArmError(
            404,
            "ResourceNotFound",
            f"The Resource '{kind(path)}/{path.rsplit('/', 1)[1]}' under resource group "
            f"'{group and group[1]}' was not found.",
        )

    def listed(self, path: str) -> list[dict]:
        """The resources of a collection, in a resource group or below another resource, or in the subscription."""
        before, after = re.split("/providers/(?!.*/providers/)", path.lower().rstrip("/"))
        pattern = re.escape(before) + "(/resourcegroups/[^/]+)?/providers/" + re.escape(after) + "/[^/]+"
        return [self.store[key] for key in sorted(self.store) if re.fullmatch(pattern, key)]

    def _page(self, request: Request, found: list[dict]) -> tuple:
        start = int(request.query.get("$skiptoken", 0))
        answer = {"value": found[start : start + self.page_size]}
        if start + self.page_size < len(found):
            query = {**request.query, "$skiptoken": str(start + self.page_size)}
            answer["nextLink"] = f"{self.url}{request.path}?{urlencode(query)}"
        return 200, answer

    # --- the server itself

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        arm = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self):
                split = urlsplit(self.path)
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                headers = {key.lower(): value for key, value in self.headers.items()}
                try:
                    body = json.loads(content) if content else None
                    request = Request(
                        self.command, unquote(split.path).rstrip("/"), dict(parse_qsl(split.query)), headers, body
                    )
                    status, answer, *more = arm.answer(request)
                    with arm.lock:
                        data = b"" if answer is None else json.dumps(answer).encode()
                    extra = more[0] if more else {}
                except ArmError as error:
                    status, data, extra = error.status, json.dumps(error.body).encode(), error.headers
                self.send_response(status)
                for key, value in {"Content-Type": "application/json", **extra}.items():
                    self.send_header(key, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(data)

            do_GET = do_PUT = do_PATCH = do_DELETE = do_POST = do_HEAD = _serve

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
