# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Azure Resource Manager knows of roles, virtual machines and their identities, on the server of arm.py.

Role assignments can be listed by principalId eq '…' (at, above and below a scope), by assignedTo('…') (through groups,
too) and with atScope() (not below). A role is assigned to a principal on a scope once. Every management group is above
every subscription.
"""

from __future__ import annotations

import re
import uuid
from typing import ClassVar

from arm import ArmError, ArmServer

SUBSCRIPTION = "11111111-1111-1111-1111-111111111111"
ROOT = f"/subscriptions/{SUBSCRIPTION}"
GROUP = f"{ROOT}/resourceGroups/production"
VAULT = f"{GROUP}/providers/Microsoft.KeyVault/vaults/db"
STORE = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/backup"
MANAGEMENT = "/providers/Microsoft.Management/managementGroups/all"
IDENTITY = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
MACHINE = f"{GROUP}/providers/Microsoft.Compute/virtualMachines"
AUTHORIZATION = "/providers/Microsoft.Authorization"
BLOBS = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
SECRET = "Microsoft.KeyVault/vaults/secrets/getSecret/action"

# GUIDs and permissions as Azure has them, the latter in part
ROLES = {
    "Owner": ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", {"actions": ["*"]}),
    "Contributor": (
        "b24988ac-6180-42a0-ab88-20f7382dd24c",
        {
            "actions": ["*"],
            "notActions": [
                "Microsoft.Authorization/*/Delete",
                "Microsoft.Authorization/*/Write",
                "Microsoft.Authorization/elevateAccess/Action",
            ],
        },
    ),
    "User Access Administrator": (
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        {"actions": ["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"]},
    ),
    "Role Based Access Control Administrator": (
        "f58310d9-a9f6-439a-9e8d-f62e7b41a168",
        {
            "actions": [
                "Microsoft.Authorization/roleAssignments/write",
                "Microsoft.Authorization/roleAssignments/delete",
                "*/read",
            ]
        },
    ),
    "Reader": ("acdd72a7-3385-48ef-bd42-f606fba81ae7", {"actions": ["*/read"]}),
    "Key Vault Secrets User": (
        "4633458b-17de-408a-b874-0445c86b69e6",
        {"dataActions": [SECRET, "Microsoft.KeyVault/vaults/secrets/readMetadata/action"]},
    ),
    "Storage Blob Data Reader": (
        "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1",
        {"actions": [BLOBS.removesuffix("/blobs") + "/read"], "dataActions": [BLOBS + "/read"]},
    ),
}


def related(scope: str, other: str) -> int | None:
    """0 where one scope is the other, 1 where the other is above it, -1 where it is below, and None for neither."""

    def path(text):
        return "" if text.startswith("/providers/Microsoft.Management/") else text.lower().rstrip("/")

    mine, theirs = path(scope), path(other)
    if mine == theirs:
        return 0
    if mine.startswith(theirs + "/"):
        return 1
    return -1 if theirs.startswith(mine + "/") else None


class AzureServer(ArmServer):
    long_running: ClassVar[set[str]] = {"microsoft.compute/virtualmachines"}
    routes: ClassVar[dict[tuple[str, str], str]] = {
        ("GET", r"(?P<scope>.*)/providers/Microsoft\.Authorization/" + path): name
        for path, name in {
            "roleAssignments": "list_assignments",
            "roleDefinitions": "list_roles",
            "roleDefinitions/(?P<name>[^/]+)": "get_role",
            "denyAssignments": "list_denials",
        }.items()
    } | {
        (method, r"(?P<scope>.*)/providers/Microsoft\.Authorization/roleAssignments/(?P<name>[^/]+)"): name
        for method, name in {"PUT": "put_assignment", "DELETE": "drop_assignment"}.items()
    }

    def __init__(self) -> None:
        super().__init__()
        self.roles = dict(ROLES)
        self.assignments: dict[str, dict] = {}
        self.denials: list[dict] = []
        self.groups: dict[str, set[str]] = {}

    # --- for tests

    def machine(self, name: str, identity: dict | None = None, tags: dict | None = None, group: str = GROUP) -> dict:
        path = f"{group}/providers/Microsoft.Compute/virtualMachines/{name}"
        return self.put(path, {"location": "westeurope", "tags": tags or {}, "identity": identity, "properties": {}})

    def identity(self, name: str) -> str:
        """Make a user-assigned identity; its principal."""
        return self.put(f"{IDENTITY}/{name}", {"location": "westeurope"})["properties"]["principalId"]

    def role(self, name: str, **permission: list[str]) -> str:
        """Make a custom role; its GUID."""
        self.roles[name] = (str(uuid.uuid5(uuid.NAMESPACE_URL, name)), permission)
        return self.roles[name][0]

    def assign(self, principal: str, role: str, scope: str, condition: str | None = None) -> str:
        """Assign as if somebody had done so long ago, under a name of his choice; its id."""
        path = f"{scope}{AUTHORIZATION}/roleAssignments/{uuid.uuid4()}"
        properties = {
            "roleDefinitionId": self._role_id(self.roles[role][0]),
            "principalId": principal,
            "principalType": "ServicePrincipal",
            "scope": scope,
            "condition": condition,
            "conditionVersion": "2.0" if condition else None,
        }
        self.assignments[path.lower()] = {"id": path, "name": path.rsplit("/", 1)[1], "properties": properties}
        return path

    def deny(self, principal, scope, name="locked", child_scopes=True, exclude=(), **permission) -> None:
        self.denials.append(
            {
                "id": f"{scope}{AUTHORIZATION}/denyAssignments/{uuid.uuid4()}",
                "properties": {
                    "denyAssignmentName": name,
                    "permissions": [permission],
                    "scope": scope,
                    "doNotApplyToChildScopes": not child_scopes,
                    "principals": [{"id": principal, "type": "ServicePrincipal"}],
                    "excludePrincipals": [{"id": one, "type": "ServicePrincipal"} for one in exclude],
                },
            }
        )

    def assigned(self, principal: str) -> set[tuple[str, str, str | None]]:
        """Role, scope and condition of everything that is assigned to a principal."""
        names = {guid: name for name, (guid, _permission) in self.roles.items()}
        every = [one["properties"] for one in self.assignments.values()]
        return {
            (names[one["roleDefinitionId"].rsplit("/", 1)[1]], one["scope"], one.get("condition"))
            for one in every
            if one["principalId"] == principal
        }

    # --- virtual machines and identities

    def complete(self, resource: dict, old: dict | None) -> None:
        principal = str(uuid.uuid5(uuid.NAMESPACE_URL, resource["id"].lower()))
        if resource["type"] == "microsoft.managedidentity/userassignedidentities":
            resource["properties"] |= {"principalId": principal, "clientId": principal[::-1], "tenantId": "t"}
        elif resource["type"] == "microsoft.compute/virtualmachines" and resource.get("identity"):
            identity = resource["identity"]
            kinds = {one.strip() for one in identity["type"].split(",")}
            if "SystemAssigned" in kinds:
                identity["principalId"] = principal
            else:
                identity.pop("principalId", None)
            if "UserAssigned" not in kinds:
                identity.pop("userAssignedIdentities", None)
            for one in identity.get("userAssignedIdentities", {}):
                known = self.store[one.lower()]["properties"]
                identity["userAssignedIdentities"][one] = {key: known[key] for key in ("principalId", "clientId")}

    def check(self, request, resource: dict, old: dict | None) -> None:
        for one in (resource.get("identity") or {}).get("userAssignedIdentities", {}):
            if one.lower() not in self.store:
                raise ArmError(400, "FailedIdentityOperation", f"The identity {one} was not found.")

    def linked(self, resource: dict, old: dict | None) -> list[tuple[str, str]]:
        before = ((old or {}).get("identity") or {}).get("userAssignedIdentities", {})
        after = (resource.get("identity") or {}).get("userAssignedIdentities", {})
        action = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
        return [(action, one) for one in after if one not in before]

    # --- roles

    @staticmethod
    def _role_id(guid: str) -> str:
        return f"{ROOT}{AUTHORIZATION}/roleDefinitions/{guid}"

    def _definition(self, name: str) -> dict:
        guid, permission = self.roles[name]
        every = {"actions": [], "notActions": [], "dataActions": [], "notDataActions": [], **permission}
        return {"id": self._role_id(guid), "name": guid, "properties": {"roleName": name, "permissions": [every]}}

    def list_roles(self, request, match) -> tuple:
        self.authorize(request, "Microsoft.Authorization/roleDefinitions/read", match["scope"])
        found = sorted(self.roles)
        if wanted := request.query.get("$filter"):
            name = re.fullmatch("roleName eq '(.*)'", wanted)
            if not name:
                raise ArmError(400, "BadRequestFormat", f"The filter {wanted} is not supported.")
            found = [one for one in found if one.lower() == name[1].replace("''", "'").lower()]
        return self._page(request, [self._definition(one) for one in found])

    def get_role(self, request, match) -> tuple:
        self.authorize(request, "Microsoft.Authorization/roleDefinitions/read", request.path)
        for name, (guid, _permission) in self.roles.items():
            if guid == match["name"].lower():
                return 200, self._definition(name)
        raise ArmError(404, "RoleDefinitionDoesNotExist", f"The role definition {match['name']} does not exist.")

    def _members(self, principal: str) -> set[str]:
        return {principal} | {group for group, members in self.groups.items() if principal in members}

    def list_assignments(self, request, match) -> tuple:
        self.authorize(request, "Microsoft.Authorization/roleAssignments/read", match["scope"])
        return self._page(request, self._filtered(request, match["scope"], list(self.assignments.values())))

    def _filtered(self, request, scope: str, every: list[dict]) -> list[dict]:
        wanted = request.query.get("$filter", "")
        form = re.fullmatch(r"(?:(atScope\(\))(?: and |$))?(?:principalId eq '(.*)'|assignedTo\('(.*)'\))?", wanted)
        if not form:
            raise ArmError(400, "BadRequestFormat", f"The filter {wanted} is not supported.")
        at_scope, principal, assigned_to = form.groups()
        who = {principal} if principal else self._members(assigned_to) if assigned_to else None
        found = []
        for one in every:
            properties = one["properties"]
            place = related(scope, properties["scope"])
            whose = {properties.get("principalId")} | {other["id"] for other in properties.get("principals", [])}
            if place is not None and not (at_scope and place < 0) and (who is None or who & whose):
                found.append(one)
        return found

    def put_assignment(self, request, match) -> tuple:
        scope, path = match["scope"], request.path
        self.authorize(request, "Microsoft.Authorization/roleAssignments/write", path)
        new = {"scope": scope, "condition": None, **request.body["properties"]}
        role = new["roleDefinitionId"].rsplit("/", 1)[1]
        if role not in {guid for guid, _permission in self.roles.values()}:
            raise ArmError(400, "RoleDefinitionDoesNotExist", "The specified role definition does not exist.")
        if new["condition"] and new.get("conditionVersion") != "2.0":
            raise ArmError(400, "InvalidConditionVersion", "A condition needs version 2.0.")
        if new.get("principalType") != "ServicePrincipal":
            raise ArmError(400, "PrincipalNotFound", f"Principal {new['principalId']} does not exist in the directory.")
        for key, one in self.assignments.items():
            old = one["properties"]
            same = old["principalId"], old["scope"].lower(), old["roleDefinitionId"].rsplit("/", 1)[1]
            if key != path.lower() and same == (new["principalId"], scope.lower(), role):
                raise ArmError(409, "RoleAssignmentExists", "The role assignment already exists.")
            if key == path.lower() and same != (new["principalId"], scope.lower(), role):
                raise ArmError(400, "RoleAssignmentUpdateNotPermitted", "Principal and role cannot be updated.")
        self.writes.append(request)
        is_new = path.lower() not in self.assignments
        self.assignments[path.lower()] = {"id": path, "name": match["name"], "properties": new}
        return (201 if is_new else 200), self.assignments[path.lower()]

    def drop_assignment(self, request, match) -> tuple:
        self.authorize(request, "Microsoft.Authorization/roleAssignments/delete", request.path)
        old = self.assignments.pop(request.path.lower(), None)
        if old is None:
            return 204, None
        self.writes.append(request)
        return 200, old

    def list_denials(self, request, match) -> tuple:
        self.authorize(request, "Microsoft.Authorization/denyAssignments/read", match["scope"])
        return self._page(request, self._filtered(request, match["scope"], self.denials))
