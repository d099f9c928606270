# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""azure_role_binding with the real SDK, against a server that behaves as Azure Resource Manager does."""

from __future__ import annotations

import json

import pytest
from azure_server import (
    BLOBS,
    GROUP,
    IDENTITY,
    MACHINE,
    MANAGEMENT,
    ROOT,
    SECRET,
    STORE,
    SUBSCRIPTION,
    VAULT,
    AzureServer,
)
from harness import ROOT as PROJECT
from harness import module, play_example

READ_SECRETS = {"role": "Key Vault Secrets User", "scope": VAULT}
PROVE_SECRETS = [{"data_actions": [SECRET], "resources": [VAULT]}]
MINE = {("Key Vault Secrets User", VAULT, None)}
CONDITION = "(@Resource[Microsoft.Storage/storageAccounts/blobServices/containers:name] StringEquals 'backup')"


@pytest.fixture
def azure():
    with AzureServer() as server:
        server.machine("db1")
        server.machine("db2", tags={"role": "db"})
        yield server


def bind(azure, *assignments, check=False, identity="operator", env=None, **more):
    args = {
        "subscription_id": SUBSCRIPTION,
        "resource_manager_url": azure.url,
        "name": "db",
        "resource_group": "production",
        "instances": ["db1"],
        "assignments": list(assignments),
        **more,
    }
    args = {key: value for key, value in args.items() if value is not None}
    return module("azure_role_binding", args, check=check, env=azure.env(identity) if env is None else env)


def done(result):
    assert not result["failed"], result
    return result


def refused(azure, result, *words):
    """It failed with a sentence that has these words, and wrote nothing."""
    assert result["failed"], result
    assert all(word in result["msg"] for word in words), result["msg"]
    assert not result["changed"] and not azure.writes
    return result


def attached(azure, name):
    identity = azure.get(f"{MACHINE}/{name}")["identity"] or {}
    return identity.get("type", ""), {one.rsplit("/", 1)[1] for one in identity.get("userAssignedIdentities") or {}}


# --- the main job


def test_grants_attaches_proves_and_revokes_in_that_order(azure):
    db, other = azure.identity("db"), azure.identity("other")
    azure.assign(db, "Contributor", GROUP)
    azure.assign(db, "Reader", STORE)
    azure.assign(db, "Reader", MANAGEMENT)
    azure.assign(other, "Reader", GROUP)
    azure.page_size = 1
    args = {"instances": ["DB1"], "instance_tags": {"role": "db"}, "prove": PROVE_SECRETS}

    predicted = done(bind(azure, READ_SECRETS, check=True, **args))
    assert not azure.writes
    azure.requests.clear()
    result = done(bind(azure, READ_SECRETS, **args))

    assert azure.assigned(db) == MINE
    assert azure.assigned(other) == {("Reader", GROUP, None)}
    assert attached(azure, "db1") == attached(azure, "db2") == ("UserAssigned", {"db"})
    steps = [(one.method, one.path.split("/")[-2 if one.method != "PATCH" else -1]) for one in azure.writes]
    assert steps == [
        ("PUT", "roleAssignments"),
        ("PATCH", "db1"),
        ("PATCH", "db2"),
        *[("DELETE", "roleAssignments")] * 3,
    ]
    proofs = [i for i, one in enumerate(azure.requests) if "denyAssignments" in one.path]
    order = [azure.requests.index(one) for one in azure.writes]
    assert proofs[0] < order[0] and order[2] < proofs[-1] < order[3]
    assert result["proved"][0]["role"] == "Key Vault Secrets User" and not result["proved"][0]["conditional"]
    assert result["identities"] == [{"name": "db", "principal_id": db, "id": f"{IDENTITY}/db"}]

    assert predicted["changed"] and predicted["done"] == result["done"]
    assert predicted["diff"] == result["diff"] and predicted["proved"] == result["proved"]
    assert [one["role"] for one in result["diff"]["before"]["assignments"]] == ["Reader", "Contributor", "Reader"]
    assert [one["role"] for one in result["diff"]["after"]["assignments"]] == ["Key Vault Secrets User"]
    assert result["diff"]["after"]["instances"] == {f"production/db{n}": [f"{IDENTITY}/db"] for n in (1, 2)}

    writes = len(azure.writes)
    for check in (True, False):
        again = done(bind(azure, READ_SECRETS, check=check, **args))
        assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]
    assert len(azure.writes) == writes


def test_system_assigned_identities_each_get_the_assignments(azure):
    azure.identity("agent")
    azure.machine("db1", {"type": "UserAssigned", "userAssignedIdentities": {f"{IDENTITY}/agent": {}}})
    args = {"name": None, "instances": ["db1", "db2"], "prove": PROVE_SECRETS}

    predicted = done(bind(azure, READ_SECRETS, check=True, **args))
    assert not azure.writes
    result = done(bind(azure, READ_SECRETS, **args))

    assert attached(azure, "db1") == ("SystemAssigned, UserAssigned", {"agent"})
    assert attached(azure, "db2") == ("SystemAssigned", set())
    for name in ("db1", "db2"):
        assert azure.assigned(azure.get(f"{MACHINE}/{name}")["identity"]["principalId"]) == MINE
    assert predicted["done"] == result["done"] and predicted["diff"] == result["diff"]
    assert [one["identity"] for one in result["proved"]] == ["production/db1", "production/db2"]
    assert not done(bind(azure, READ_SECRETS, **args))["changed"]


def test_a_user_assigned_identity_leaves_those_that_a_machine_has(azure):
    azure.identity("db"), azure.identity("agent")
    azure.machine("db1", {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {f"{IDENTITY}/agent": {}}})
    done(bind(azure, READ_SECRETS))
    assert attached(azure, "db1") == ("SystemAssigned, UserAssigned", {"agent", "db"})
    assert not done(bind(azure, READ_SECRETS))["changed"]


def test_makes_an_identity_that_is_not_there(azure):
    predicted = done(bind(azure, READ_SECRETS, prove=PROVE_SECRETS, check=True))
    assert not azure.writes and predicted["identities"][0]["principal_id"] is None
    result = done(bind(azure, READ_SECRETS, prove=PROVE_SECRETS))
    made = azure.get(f"{IDENTITY}/db")
    assert made["location"] == "westeurope"
    assert azure.assigned(made["properties"]["principalId"]) == MINE
    assert predicted["done"] == result["done"] and predicted["diff"] == result["diff"]
    assert not done(bind(azure, READ_SECRETS, prove=PROVE_SECRETS))["changed"]


def test_without_exclusive_the_rest_stays_and_is_reported(azure):
    db = azure.identity("db")
    azure.assign(db, "Reader", STORE)
    azure.machine("db3", {"type": "UserAssigned", "userAssignedIdentities": {f"{IDENTITY}/db": {}}})
    result = done(bind(azure, READ_SECRETS, exclusive=False))
    assert result["elsewhere"] == ["production/db3"]
    assert azure.assigned(db) == {*MINE, ("Reader", STORE, None)}
    assert [(one["role"], one["scope"]) for one in result["kept"]] == [("Reader", STORE)]


def test_no_assignments_at_all_takes_everything_away(azure):
    db = azure.identity("db")
    azure.assign(db, "Contributor", ROOT)
    azure.assign(db, "Reader", STORE)
    done(bind(azure, instances=[]))
    assert azure.assigned(db) == set()


def test_other_subscriptions_that_are_named_are_looked_through_as_well(azure):
    db = azure.identity("db")
    elsewhere = "/subscriptions/22222222-2222-2222-2222-222222222222"
    azure.assign(db, "Contributor", f"{elsewhere}/resourceGroups/test")
    done(bind(azure, {"role": "Reader", "scope": f"{elsewhere}/resourceGroups/other"}))
    assert azure.assigned(db) == {("Reader", f"{elsewhere}/resourceGroups/other", None)}


def test_roles_by_guid_and_by_id(azure):
    db = azure.identity("db")
    secrets, reader = azure.roles["Key Vault Secrets User"][0], azure.roles["Reader"][0]
    by_id = f"{ROOT}/providers/Microsoft.Authorization/roleDefinitions/{secrets}"
    done(bind(azure, {"role": by_id, "scope": VAULT}, {"role": reader, "scope": STORE}))
    assert azure.assigned(db) == {*MINE, ("Reader", STORE, None)}


# --- conditions


def test_conditions_are_set_changed_and_taken_off_in_place(azure):
    db = azure.identity("db")
    read = {"role": "Storage Blob Data Reader", "scope": STORE}
    proof = [{"data_actions": [BLOBS + "/read"], "resources": [STORE]}]

    done(bind(azure, {**read, "condition": CONDITION + "\n"}))
    assert azure.assigned(db) == {("Storage Blob Data Reader", STORE, CONDITION)}
    assert not done(bind(azure, {**read, "condition": CONDITION}))["changed"]

    azure.writes.clear()
    other = CONDITION.replace("backup", "archive")
    predicted = done(bind(azure, {**read, "condition": other}, prove=proof, check=True))
    result = done(bind(azure, {**read, "condition": other}, prove=proof))
    assert azure.assigned(db) == {("Storage Blob Data Reader", STORE, other)}
    assert [one.method for one in azure.writes] == ["PUT"]
    assert predicted["diff"] == result["diff"] and predicted["proved"] == result["proved"]
    assert result["proved"][0]["conditional"]

    azure.writes.clear()
    result = done(bind(azure, read, prove=proof))
    assert azure.assigned(db) == {("Storage Blob Data Reader", STORE, None)}
    assert [one.method for one in azure.writes] == ["PUT"] and not result["proved"][0]["conditional"]


def test_a_condition_narrows_only_after_the_proof(azure):
    db = azure.identity("db")
    azure.assign(db, "Storage Blob Data Reader", STORE)
    azure.before("PATCH", "virtualMachines", lambda request: azure.deny(db, STORE, dataActions=["*"]))
    narrowed = {"role": "Storage Blob Data Reader", "scope": STORE, "condition": CONDITION}
    result = bind(azure, narrowed, prove=[{"data_actions": [BLOBS + "/read"], "resources": [STORE]}])
    assert result["failed"] and azure.assigned(db) == {("Storage Blob Data Reader", STORE, None)}


# --- administrators' roles


@pytest.mark.parametrize("role", ["Contributor", "harmless"])
def test_administrators_roles_are_refused(azure, role):
    azure.identity("db")
    azure.role("harmless", actions=["Microsoft.Authorization/*/write"])
    grant = {"role": azure.roles[role][0], "scope": STORE}
    refused(azure, bind(azure, grant, READ_SECRETS, check=role == "harmless"), f"the role {role} lets", "allow_admin")


def test_an_administrators_role_with_a_reason(azure):
    db = azure.identity("db")
    owner = {"role": "Owner", "scope": GROUP}
    refused(azure, bind(azure, owner, allow_admin=True), "allow_admin_reason")
    result = done(bind(azure, owner, READ_SECRETS, allow_admin=True, allow_admin_reason="migration until Friday"))
    assert azure.assigned(db) == {*MINE, ("Owner", GROUP, None)}
    assert result["admin"] == {"reason": "migration until Friday", "roles": ["Owner"]}
    assert "admin" not in done(bind(azure, READ_SECRETS, allow_admin=True, allow_admin_reason="over"))


# --- the proof


def test_what_only_the_old_role_could_do_is_found_before_it_is_revoked(azure):
    db = azure.identity("db")
    azure.assign(db, "Contributor", GROUP)
    args = {"prove": [{"actions": ["Microsoft.Storage/storageAccounts/read"], "resources": [STORE]}]}
    for check in (True, False):
        refused(azure, bind(azure, READ_SECRETS, check=check, **args), "Microsoft.Storage/storageAccounts/read", STORE)
    assert azure.assigned(db) == {("Contributor", GROUP, None)}


def test_what_is_denied_meanwhile_revokes_nothing(azure):
    db = azure.identity("db")
    azure.assign(db, "Contributor", GROUP)
    azure.before("PATCH", "virtualMachines", lambda request: azure.deny(db, VAULT, "lock", dataActions=["*"]))
    result = bind(azure, READ_SECRETS, prove=PROVE_SECRETS)
    assert result["failed"] and result["changed"]
    assert "the deny assignment lock" in result["msg"] and "nothing was revoked" in result["msg"]
    assert azure.assigned(db) == {*MINE, ("Contributor", GROUP, None)}
    assert attached(azure, "db1") == ("UserAssigned", {"db"})
    assert result["done"] == [f"granted Key Vault Secrets User on {VAULT} to db", "attached db to production/db1"]


def test_an_action_is_no_data_action(azure):
    azure.identity("db")
    owner = {"role": "Owner", "scope": GROUP}
    args = {"allow_admin": True, "allow_admin_reason": "test"}
    refused(azure, bind(azure, owner, prove=PROVE_SECRETS, check=True, **args), "dataActions")
    done(bind(azure, owner, prove=[{"actions": ["Microsoft.KeyVault/vaults/read"], "resources": [VAULT]}], **args))


def test_not_actions_count(azure):
    azure.identity("db")
    azure.role("Storage", actions=["Microsoft.Storage/*"], notActions=["Microsoft.Storage/*/delete"])
    grant = {"role": "Storage", "scope": GROUP}
    for verb in ("read", "DELETE"):
        action = f"microsoft.storage/storageAccounts/{verb}"
        result = bind(azure, grant, prove=[{"actions": [action], "resources": [STORE]}])
        assert result["failed"] is (verb == "DELETE"), result


def test_scopes_beside_and_below_prove_nothing(azure):
    azure.identity("db")
    prove = [{"actions": ["Microsoft.Storage/storageAccounts/read"], "resources": [STORE]}]
    beside = [{"role": "Reader", "scope": scope} for scope in (VAULT, f"{STORE}2", f"{STORE}/blobServices/default")]
    refused(azure, bind(azure, *beside, prove=prove), STORE)
    for scope in (STORE.upper().replace("/SUBSCRIPTIONS", "/subscriptions"), MANAGEMENT):
        done(bind(azure, {"role": "Reader", "scope": scope}, prove=prove, check=scope != MANAGEMENT))


def test_what_a_group_is_assigned_proves_and_stays(azure):
    db = azure.identity("db")
    azure.groups["readers"] = {db}
    azure.assign("readers", "Reader", GROUP)
    result = done(bind(azure, prove=[{"actions": ["Microsoft.Storage/storageAccounts/read"], "resources": [STORE]}]))
    assert azure.assigned("readers") == {("Reader", GROUP, None)}
    assert result["proved"][0]["role"] == "Reader"


@pytest.mark.parametrize("whom", ["itself", "a group", "everyone"])
def test_deny_assignments_disprove(azure, whom):
    db = azure.identity("db")
    azure.assign(db, "Contributor", GROUP)
    azure.groups["locked out"] = {db}
    principal = {"itself": db, "a group": "locked out", "everyone": "00000000-0000-0000-0000-000000000000"}[whom]
    azure.deny(principal, GROUP, "stack", dataActions=["Microsoft.KeyVault/*"])
    refused(azure, bind(azure, READ_SECRETS, prove=PROVE_SECRETS), "the deny assignment stack")


def test_deny_assignments_of_others_do_not(azure):
    db, other = azure.identity("db"), azure.identity("other")
    everything = {"actions": ["*"], "dataActions": ["*"]}
    azure.deny(other, GROUP, **everything)
    azure.deny("00000000-0000-0000-0000-000000000000", GROUP, exclude=[db], **everything)
    azure.deny(db, STORE, **everything)
    azure.deny(db, GROUP, child_scopes=False, **everything)
    azure.deny(db, GROUP, dataActions=["*"], notDataActions=["Microsoft.KeyVault/*"])
    done(bind(azure, READ_SECRETS, prove=PROVE_SECRETS))


# --- second writers


def test_somebody_assigns_the_same_meanwhile(azure):
    db = azure.identity("db")
    azure.before("PUT", "roleAssignments", lambda request: azure.assign(db, "Key Vault Secrets User", VAULT))
    done(bind(azure, READ_SECRETS))
    assert azure.assigned(db) == MINE and len(azure.assignments) == 1


def test_somebody_assigns_the_same_with_a_condition_meanwhile(azure):
    db = azure.identity("db")
    read = {"role": "Storage Blob Data Reader", "scope": STORE}
    azure.before("PUT", "roleAssignments", lambda request: azure.assign(db, read["role"], STORE, CONDITION))
    done(bind(azure, read))
    assert azure.assigned(db) == {("Storage Blob Data Reader", STORE, None)}


def test_somebody_gives_the_machine_another_identity_meanwhile(azure):
    azure.identity("db"), azure.identity("agent")
    theirs = {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {f"{IDENTITY}/agent": {}}}
    azure.before("PATCH", "virtualMachines", lambda request: azure.machine("db1", theirs))
    done(bind(azure, READ_SECRETS))
    assert attached(azure, "db1") == ("SystemAssigned, UserAssigned", {"agent", "db"})


def test_somebody_revokes_the_same_meanwhile(azure):
    db = azure.identity("db")
    azure.assign(db, "Reader", STORE)
    azure.before("DELETE", "roleAssignments", lambda request: azure.assignments.pop(request.path.lower()))
    done(bind(azure, READ_SECRETS))
    assert azure.assigned(db) == MINE


# --- faults


def test_what_fails_for_a_moment_is_tried_again(azure):
    db = azure.identity("db")
    azure.assign(db, "Reader", STORE)
    for method, path, status in (
        ("GET", "roleAssignments", 429),
        ("GET", "virtualMachines", 500),
        ("PUT", "roleAssignments", 503),
        ("PATCH", "virtualMachines", 409),
        ("DELETE", "roleAssignments", 429),
    ):
        azure.fail(method, path, status, "Busy", headers={"x-ms-retry-after-ms": "10"})
    done(bind(azure, READ_SECRETS))
    assert azure.assigned(db) == MINE and attached(azure, "db1") == ("UserAssigned", {"db"})
    assert not [fault for fault in azure.faults if fault.times]


def test_throttling_that_does_not_end(azure):
    azure.identity("db")
    azure.fail("GET", "roleAssignments", 429, "TooManyRequests", headers={"x-ms-retry-after-ms": "10"}, times=99)
    refused(azure, bind(azure, READ_SECRETS), "throttles", "again later")


def test_an_attachment_that_fails_in_the_end_revokes_nothing(azure):
    db = azure.identity("db")
    azure.assign(db, "Contributor", GROUP)
    azure.fail("PATCH", "virtualMachines", 200, "OSProvisioningTimedOut", "It took too long.", operation=True)
    result = bind(azure, READ_SECRETS)
    assert result["failed"] and result["changed"] and "OSProvisioningTimedOut" in result["msg"]
    assert azure.assigned(db) == {*MINE, ("Contributor", GROUP, None)}


def test_attaching_waits_for_the_operation(azure):
    azure.identity("db")
    azure.polls = 2
    done(bind(azure, READ_SECRETS))
    assert sum("/operations/" in one.path for one in azure.requests) == 3
    assert azure.get(f"{MACHINE}/db1")["properties"]["provisioningState"] == "Succeeded"


# --- what is named


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"instances": ["db9"]}, "db9 is the name of 0 virtual machines"),
        ({"instances": ["twin"]}, "twin is the name of 2 virtual machines"),
        ({"instance_tags": {"role": "web"}}, "no virtual machine"),
        ({"resource_group": None}, "resource_group"),
        ({"name": None, "instances": []}, "instances"),
        ({"name": "new", "instances": []}, "no region to make it in"),
        ({"name": f"{STORE}"}, "needs"),
        ({"name": "/subscriptions/other/resourceGroups/g/providers/p/t/n"}, "not the id of a user-assigned identity"),
        ({"assignments": [{"role": "Raeder", "scope": GROUP}]}, "no role Raeder"),
        ({"assignments": [{"role": "Reader", "scope": "production"}]}, "a scope begins with"),
        ({"assignments": [READ_SECRETS, {**READ_SECRETS, "condition": "x"}]}, "twice"),
        ({"resource_manager_url": "http://192.0.2.1"}, "https://"),
        ({"prove": [{"actions": ["*/read"]}]}, "resources"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(azure, args, words):
    azure.identity("db")
    azure.machine("twin"), azure.machine("twin", group=f"{ROOT}/resourceGroups/test")
    if words == "needs":
        azure.grants["operator"] = [{"actions": ["*/read"], "notActions": ["*/userAssignedIdentities/read"]}]
        words = "needs microsoft.managedidentity/userassignedidentities/read"
    refused(azure, bind(azure, READ_SECRETS, **args), words)


def test_machines_by_id(azure):
    azure.identity("db")
    azure.machine("twin"), azure.machine("twin", group=f"{ROOT}/resourceGroups/test")
    done(bind(azure, READ_SECRETS, instances=[f"{MACHINE}/twin"]))
    assert attached(azure, "twin") == ("UserAssigned", {"db"})
    assert azure.get(f"{ROOT}/resourceGroups/test/providers/Microsoft.Compute/virtualMachines/twin")["identity"] is None


def test_the_example_of_the_page(azure, tmp_path):
    principal, own = azure.identity("db"), {"cloud_azure_subscription": SUBSCRIPTION}
    azure.assign(principal, "Contributor", GROUP)
    play_example(
        "cloud-azure.md",
        ["azure_role_binding"],
        tmp_path,
        azure.env(),
        cloud_azure_resource_manager_url=azure.url,
        **own,
    )
    assert {(role, bool(condition)) for role, _scope, condition in azure.assigned(principal)} == {
        ("Key Vault Secrets User", False),
        ("Storage Blob Data Reader", True),
    }
    assert attached(azure, "db1") == attached(azure, "db2") == ("UserAssigned", {"db"})


# --- who runs it


def test_no_credential(azure):
    result = refused(azure, bind(azure, READ_SECRETS, env={"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}))
    assert "no credential for Azure" in result["msg"] and "az login" in result["msg"]
    assert not azure.requests


@pytest.mark.parametrize("code", ["ExpiredAuthenticationToken", "InvalidAuthenticationToken"])
def test_a_credential_that_is_not_taken(azure, code):
    identity = "late" if code.startswith("Expired") else "nobody"
    azure.expired.add("late")
    refused(azure, bind(azure, READ_SECRETS, identity=identity), code, "az login")


def test_unreachable(azure):
    result = bind(azure, READ_SECRETS, resource_manager_url="http://127.0.0.1:1")
    assert result["failed"] and "Azure was not reached" in result["msg"]


POLICY = json.loads((PROJECT / "docs/policies/azure-operator.json").read_text())


def everything(azure):
    """A run that needs every permission that the module can need."""
    principal = azure.identity("new")
    azure.assign(principal, "Reader", STORE)
    del azure.store[f"{IDENTITY}/new".lower()]  # who makes it again finds its old assignments
    return bind(azure, READ_SECRETS, identity="hardener", name="new", prove=PROVE_SECRETS)


def test_the_operators_role_is_enough(azure):
    azure.grants["hardener"] = [{"actions": POLICY["Actions"], "notActions": POLICY["NotActions"]}]
    done(everything(azure))


@pytest.mark.parametrize("lacking", POLICY["Actions"])
def test_and_nothing_of_it_is_superfluous(azure, lacking):
    azure.grants["hardener"] = [{"actions": [one for one in POLICY["Actions"] if one != lacking]}]
    result = everything(azure)
    assert result["failed"] and f"the identity that runs Ansible needs {lacking}".lower() in result["msg"].lower()
    assert result["missing_permission"].lower() == lacking.lower()
