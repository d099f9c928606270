# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gcp_role_binding with the real SDK, against a server that behaves as Google Cloud does."""

from __future__ import annotations

import copy
import datetime

import pytest
import yaml
from gcp_server import PROJECT, PROJECT_NAME, SCOPE, ZONE, GcpServer, address
from harness import ROOT, module, play_example

LOGS = {"role": "roles/logging.logWriter"}
DB = "serviceAccount:" + address("db")
MINE = {("roles/logging.logWriter", "")}
NIGHT = {"title": "at night", "expression": "request.time.getHours('UTC') < 6"}
PROVE_LOGS = [{"permissions": ["logging.logEntries.create"]}]


@pytest.fixture
def google():
    with GcpServer() as server:
        server.account("db")
        server.instance("db1")
        yield server


def bind(google, *bindings, check=False, env=None, **more):
    args = {
        "project": PROJECT,
        "api_endpoint": google.endpoint,
        "name": "db",
        "instances": ["db1"],
        "restart": True,
        "bindings": list(bindings),
        **more,
    }
    return module("gcp_role_binding", args, check=check, env=google.env() if env is None else env)


def done(result):
    assert not result["failed"], result
    return result


def refused(google, result, *words):
    """It failed with a sentence that has these words, and wrote nothing."""
    assert result["failed"], result
    assert all(word in result["msg"] for word in words), result["msg"]
    assert not result["changed"] and not google.writes
    return result


def days_ago(days):
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).strftime("%Y-%m-%dT07:00:00Z")


def verbs(google):
    return [path.replace(":", "/").rsplit("/", 1)[1] for path, _body in google.writes]


# --- the main job


def test_grants_attaches_proves_revokes_and_disables_in_that_order(google):
    other = google.account("other")
    others = [
        {"role": "roles/editor", "members": ["user:alice@example.com"]},
        {"role": "roles/viewer", "members": ["user:bob@example.com"], "condition": NIGHT},
    ]
    google.policies[""] |= {"bindings": copy.deepcopy(others), "auditConfigs": [{"service": "allServices"}]}
    google.policies[""]["bindings"][0]["members"].append(DB)
    google.bind("roles/viewer", DB, condition=NIGHT)
    google.bind("roles/iam.serviceAccountTokenCreator", DB, "user:alice@example.com", place=other)
    google.instance("db2", status="TERMINATED", labels={"role": "db"}, account=other)
    google.key(address("old"), "0", days_ago(9))
    google.key(address("db"), "1", days_ago(900), days_ago(200), days_ago(800))
    google.page_size = 1
    args = {"instance_labels": {"role": "db"}, "prove": PROVE_LOGS, "retire_keys": ["db"]}

    predicted = done(bind(google, LOGS, check=True, **args))
    assert not google.writes
    google.requests.clear()
    result = done(bind(google, LOGS, **args))

    assert google.bound(DB) == MINE and google.bound(DB, other) == set()
    assert google.policies[""]["bindings"][:2] == others and google.policies[""]["auditConfigs"]
    assert google.bound("user:alice@example.com", other) == {("roles/iam.serviceAccountTokenCreator", "")}
    for name in ("db1", "db2"):
        instance = google.instances[f"{ZONE}/{name}"]
        assert instance["serviceAccounts"] == [{"email": address("db"), "scopes": [SCOPE]}]
        assert {"key": "disable-legacy-endpoints", "value": "true"} in instance["metadata"]["items"]
        assert {"key": "oslogin", "value": "TRUE"} in instance["metadata"]["items"]
    assert google.instances[f"{ZONE}/db1"]["status"] == "RUNNING"
    assert google.instances[f"{ZONE}/db2"]["status"] == "TERMINATED"
    assert google.keys[address("db")][0]["disabled"] and "disabled" not in google.keys[address("old")][0]

    assert verbs(google) == [
        "setIamPolicy",
        *("stop", "setServiceAccount", "start", "setMetadata"),
        *("setServiceAccount", "setMetadata"),
        *("setIamPolicy", "setIamPolicy"),
        "disable",
    ]
    asked = [one.path.rsplit("/", 1)[1] for one in google.requests]
    proof = asked.index("iam:troubleshoot")
    assert "setMetadata" in asked[:proof] and "setMetadata" not in asked[proof:]
    assert [one for one in asked[:proof] if "setIamPolicy" in one] == [f"{PROJECT}:setIamPolicy"]
    assert result["proved"] == [
        {
            "permission": "logging.logEntries.create",
            "resource": PROJECT_NAME,
            "role": "roles/logging.logWriter",
            "conditional": False,
            "complete": True,
        }
    ]
    assert predicted["done"] == result["done"]
    assert predicted["diff"] == result["diff"] and predicted["proved"] == result["proved"]
    assert [(one["on"], one["role"]) for one in result["diff"]["before"]["bindings"]] == [
        ("project", "roles/editor"),
        ("project", "roles/viewer"),
        (other, "roles/iam.serviceAccountTokenCreator"),
    ]
    assert [one["role"] for one in result["diff"]["after"]["bindings"]] == ["roles/logging.logWriter"]

    google.writes.clear()
    for check in (True, False):
        again = done(bind(google, LOGS, check=check, **args))
        assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"] == result["diff"]["after"]
    assert not google.writes


def test_makes_a_service_account_that_is_not_there(google):
    trust = [{"role": "roles/iam.serviceAccountUser", "member": "group:ops@x.y"}]
    args = {"name": "new", "prove": PROVE_LOGS, "trust": trust, "retire_keys": ["new"]}
    predicted = done(bind(google, LOGS, check=True, **args))
    assert not google.writes
    google.fail(f"{PROJECT}:setIamPolicy", 400, "INVALID_ARGUMENT", f"Service account {address('new')} does not exist.")
    result = done(bind(google, LOGS, **args))
    assert google.bound("serviceAccount:" + address("new")) == MINE
    assert google.bound("group:ops@x.y", address("new")) == {("roles/iam.serviceAccountUser", "")}
    assert google.instances[f"{ZONE}/db1"]["serviceAccounts"][0]["email"] == address("new")
    assert predicted["done"] == result["done"] and predicted["diff"] == result["diff"]
    assert not done(bind(google, LOGS, **args))["changed"]


def test_roles_on_a_service_account_and_who_may_use_ours(google):
    target = google.account("target")
    token = {"role": "roles/iam.serviceAccountTokenCreator", "service_account": target}
    google.bind("roles/iam.serviceAccountUser", "user:mallory@example.com", place=address("db"))
    trust = [{"role": "roles/iam.serviceAccountUser", "member": "group:ops@example.com", "condition": NIGHT}]
    done(bind(google, token, trust=trust))
    assert google.bound(DB, target) == {("roles/iam.serviceAccountTokenCreator", "")} and not google.bound(DB)
    assert google.bound("group:ops@example.com", address("db")) == {
        ("roles/iam.serviceAccountUser", NIGHT["expression"])
    }
    assert google.bound("user:mallory@example.com", address("db")) == set()
    assert not done(bind(google, token, trust=trust))["changed"]


def test_without_trust_others_stay_on_ours(google):
    google.bind("roles/iam.serviceAccountUser", "user:alice@example.com", place=address("db"))
    done(bind(google, LOGS))
    assert google.bound("user:alice@example.com", address("db")) == {("roles/iam.serviceAccountUser", "")}


def test_without_exclusive_the_rest_stays_and_is_reported(google):
    google.bind("roles/viewer", DB)
    google.instance("db3", account=address("db"))
    result = done(bind(google, LOGS, exclusive=False))
    assert result["elsewhere"] == [f"{ZONE}/db3"]
    assert google.bound(DB) == {*MINE, ("roles/viewer", "")}
    assert [one["role"] for one in result["kept"]] == ["roles/viewer"]


def test_conditions_are_kept_apart(google):
    google.bind("roles/logging.logWriter", DB, "user:alice@example.com")
    google.bind("roles/logging.logWriter", DB, condition={**NIGHT, "title": "other"})
    result = done(bind(google, {**LOGS, "condition": NIGHT}, prove=PROVE_LOGS))
    assert google.bound(DB) == {("roles/logging.logWriter", NIGHT["expression"])}
    assert google.bound("user:alice@example.com") == MINE
    assert google.policies[""]["version"] == 3 and result["proved"][0]["conditional"]
    assert not done(bind(google, {**LOGS, "condition": NIGHT}))["changed"]


# --- instances


def test_a_running_instance_is_not_stopped_unless_told(google):
    refused(google, bind(google, LOGS, restart=False), "db1 is RUNNING", "restart")
    refused(google, bind(google, LOGS, restart=False, check=True), "restart")
    google.instance("db1", account=address("db"))
    done(bind(google, LOGS, restart=False))
    assert verbs(google) == ["setIamPolicy", "setMetadata"]


def test_narrow_and_wide_scopes_become_one(google):
    google.instance("db1", serviceAccounts=[{"email": address("db"), "scopes": [SCOPE + ".read-only"]}])
    done(bind(google, LOGS))
    assert google.instances[f"{ZONE}/db1"]["serviceAccounts"] == [{"email": address("db"), "scopes": [SCOPE]}]


def test_an_instance_is_started_again_when_attaching_fails(google):
    google.bind("roles/viewer", DB)
    google.fail("setServiceAccount", 400, "INVALID_ARGUMENT", "No.")
    result = bind(google, LOGS)
    assert result["failed"] and result["changed"] and "setServiceAccount" in result["msg"]
    assert google.instances[f"{ZONE}/db1"]["status"] == "RUNNING" and verbs(google)[-1] == "start"
    assert google.bound(DB) == {*MINE, ("roles/viewer", "")}


def test_an_operation_that_fails_in_the_end_revokes_nothing(google):
    google.bind("roles/viewer", DB)
    google.instance("db1", account=address("db"))
    google.before("/wait", lambda: google.operations[max(google.operations)].update(change="RESOURCE_NOT_READY"))
    result = bind(google, LOGS)
    assert result["failed"] and "RESOURCE_NOT_READY" in result["msg"]
    assert google.bound(DB) == {*MINE, ("roles/viewer", "")}


# --- administrators' roles


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"bindings": [{"role": "roles/owner"}]}, "roles/owner"),
        ({"bindings": [{"role": f"projects/{PROJECT}/roles/harmless"}]}, "iam.serviceAccounts.signJwt"),
        ({"trust": [{"role": "roles/iam.serviceAccountUser", "member": "allUsers"}]}, "everybody"),
    ],
)
def test_administrators_roles_are_refused(google, args, words):
    google.roles[f"projects/{PROJECT}/roles/harmless"] = ["iam.serviceAccounts.signJwt"]
    refused(google, bind(google, **args), words, "allow_admin")


def test_an_administrators_role_with_a_reason(google):
    owner = {"role": "roles/owner"}
    refused(google, bind(google, owner, allow_admin=True), "allow_admin_reason")
    result = done(bind(google, owner, LOGS, allow_admin=True, allow_admin_reason="migration until Friday"))
    assert google.bound(DB) == {*MINE, ("roles/owner", "")}
    assert result["admin"]["reason"] == "migration until Friday"
    assert [one["role"] for one in result["admin"]["bindings"]] == ["roles/owner"]


# --- the proof


def test_what_only_the_old_role_could_do_is_found_before_it_is_revoked(google):
    google.bind("roles/editor", DB)
    prove = [{"permissions": ["storage.objects.get"], "resources": ["//storage.googleapis.com/projects/_/buckets/b"]}]
    for check in (True, False):
        refused(google, bind(google, LOGS, prove=prove, check=check), "storage.objects.get", "buckets/b")


def test_what_turns_out_to_be_denied_revokes_nothing(google):
    google.denied.add("logging.logEntries.create")
    google.bind("roles/editor", DB)
    google.key(address("db"), "1", days_ago(900))
    result = bind(google, LOGS, prove=PROVE_LOGS, retire_keys=["db"])
    assert result["failed"] and result["changed"] and "a deny policy" in result["msg"]
    assert "nothing was revoked" in result["msg"] and result["done"][0].startswith("granted roles/logging.logWriter")
    assert google.bound(DB) == {*MINE, ("roles/editor", "")} and "disabled" not in google.keys[address("db")][0]


def test_what_comes_from_above_proves_and_what_is_out_of_sight_is_said(google):
    google.inherited.append({"role": "roles/storage.objectViewer", "members": [DB]})
    google.bind("roles/storage.objectViewer", DB)  # is revoked, and not missed
    prove = [{"permissions": ["storage.objects.get"]}]
    assert done(bind(google, LOGS, prove=prove))["proved"][0]["role"] == "roles/storage.objectViewer"
    google.sees_above = False
    refused_now = bind(google, LOGS, prove=prove)
    assert refused_now["failed"] and "storage.objects.get" in refused_now["msg"]
    assert done(bind(google, LOGS, prove=PROVE_LOGS))["proved"][0]["complete"] is False


# --- second writers


def test_a_second_writer_loses_nothing(google):
    google.bind("roles/viewer", DB)
    google.bind("roles/logging.logWriter", "user:carol@x.y")
    for number in range(2):
        google.before(
            f"{PROJECT}:setIamPolicy", lambda number=number: google.bind("roles/editor", f"user:u{number}@x.y", DB)
        )
    google.before("setMetadata", lambda: google.metadata("db1", "startup", "theirs"))
    done(bind(google, LOGS))
    for number in range(2):
        assert google.bound(f"user:u{number}@x.y") == {("roles/editor", "")}
    assert google.bound("user:carol@x.y") == MINE
    items = {one["key"]: one["value"] for one in google.instances[f"{ZONE}/db1"]["metadata"]["items"]}
    assert items == {"oslogin": "TRUE", "startup": "theirs", "disable-legacy-endpoints": "true"}
    done(bind(google, LOGS))
    assert google.bound(DB) == MINE


# --- keys


def test_keys_are_judged_by_their_use(google):
    old = google.account("old")
    google.key(old, "used", days_ago(900), days_ago(10), days_ago(800))
    google.key(old, "forgotten", days_ago(900), days_ago(200), days_ago(800))
    google.key(old, "never", days_ago(900), "", days_ago(800))
    google.key(old, "hardly-watched", days_ago(30), "", days_ago(20))
    google.key(old, "unknown", days_ago(900))
    google.key(old, "new", days_ago(3))
    google.key(old, "gone", days_ago(900), disabled=True)
    predicted = done(bind(google, LOGS, retire_keys=["old"], check=True))
    result = done(bind(google, LOGS, retire_keys=[old]))
    kept = {one["name"].rsplit("/", 1)[1] for one in google.keys[old] if not one.get("disabled")}
    assert kept == {"used", "hardly-watched", "new"}
    assert kept == {one["id"] for one in result["keys"] if one["status"] == "enabled" and one["kept"]}
    assert len(google.keys[old]) == 7 and predicted["keys"] == result["keys"]
    assert {one["id"]: one["last_used"] for one in result["keys"]}["used"] == days_ago(10)
    assert not done(bind(google, LOGS, retire_keys=["old"]))["changed"]
    done(bind(google, LOGS, retire_keys=["old"], unused_days=0))
    assert all(one["disabled"] for one in google.keys[old])


def test_without_their_last_use_keys_are_judged_by_age(google):
    google.activities = None
    google.key(address("db"), "old", days_ago(91))
    google.key(address("db"), "new", days_ago(89))
    result = done(bind(google, LOGS, retire_keys=["db"]))
    assert {one["id"]: one["status"] for one in result["keys"]} == {"old": "disabled", "new": "enabled"}
    assert "gcloud services enable policyanalyzer.googleapis.com" in str(result["warnings"])


# --- faults and mistakes


def test_what_fails_for_a_moment_is_tried_again(google):
    google.fail("getIamPolicy", 429, "RESOURCE_EXHAUSTED")
    google.fail("aggregated", 500)
    google.fail(f"{PROJECT}:setIamPolicy", 503)
    done(bind(google, LOGS))
    assert google.bound(DB) == MINE and not [one for one in google.faults if one[2]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"instances": ["db9"]}, "db9 is the name of 0 instances"),
        ({"instances": ["twin"]}, "twin is the name of 2 instances"),
        ({"instance_labels": {"role": "web"}}, "no instance"),
        ({"bindings": [{"role": "roles/logging.logReader"}]}, "there is no role roles/logging.logReader"),
        ({"bindings": [{"role": "Viewer"}]}, "a role is called roles/"),
        ({"name": "x@other.iam.gserviceaccount.com"}, "NOT_FOUND"),
        ({"retire_keys": ["nobody"]}, "NOT_FOUND for iam.serviceAccountKeys.list"),
        ({"api_endpoint": "http://192.0.2.1"}, "https://"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(google, args, words):
    google.instance("twin"), google.instance("twin", zone="us-east1-b")
    refused(google, bind(google, **{"bindings": [LOGS], **args}), words)


def test_instances_by_zone_and_name(google):
    google.instance("twin"), google.instance("twin", zone="us-east1-b")
    done(bind(google, LOGS, instances=["us-east1-b/twin"]))
    assert google.instances["us-east1-b/twin"]["serviceAccounts"][0]["email"] == address("db")
    assert "serviceAccounts" not in google.instances[f"{ZONE}/twin"]


def test_the_example_of_the_page(google, tmp_path):
    google.instance("db2", status="TERMINATED")
    google.key(address("db"), "1", days_ago(900))
    google.bind("roles/editor", DB)
    endpoint = google.endpoint
    play_example("cloud-gcp.md", ["gcp_role_binding"], tmp_path, google.env(), cloud_gcp_api_endpoint=endpoint)
    assert {role for role, _condition in google.bound(DB)} == {"roles/logging.logWriter", "roles/storage.objectViewer"}
    assert google.bound("group:ops@example.com", address("db")) == {("roles/iam.serviceAccountUser", "")}
    assert google.keys[address("db")][0]["disabled"]
    for name in ("db1", "db2"):
        assert google.instances[f"{ZONE}/{name}"]["serviceAccounts"][0]["email"] == address("db")


# --- who runs it


def test_no_credential(google):
    result = refused(google, bind(google, LOGS, env={"NO_GCE_CHECK": "true"}))
    assert "no credential for Google Cloud" in result["msg"] and not google.requests


def test_a_credential_that_is_not_taken(google):
    google.expired.add("operator")
    refused(google, bind(google, LOGS), "does not take the credential", "gcloud auth")


POLICY = set(yaml.safe_load((ROOT / "docs/policies/gcp-operator.yaml").read_text())["includedPermissions"])


def everything(google):
    """A run that needs every permission that the module can need."""
    target = google.account("target")
    google.identity = "hardener"
    google.bind("roles/viewer", DB)
    google.key(address("db"), "1", days_ago(900), "", days_ago(800))
    binding = {"role": "roles/iam.serviceAccountUser", "service_account": target}
    return bind(google, LOGS, binding, name="new", prove=PROVE_LOGS, retire_keys=["db"])


def test_the_operators_role_is_enough(google):
    google.grants["hardener"] = POLICY
    result = done(everything(google))
    assert not result["warnings"] and google.keys[address("db")][0]["disabled"]


@pytest.mark.parametrize("lacking", sorted(POLICY))
def test_and_nothing_of_it_is_superfluous(google, lacking):
    google.grants["hardener"] = POLICY - {lacking}
    result = everything(google)
    said = result["msg"] if result["failed"] else str(result["warnings"])
    assert f"the identity that runs Ansible needs {lacking}" in said
    assert result.get("missing_permission", lacking) == lacking
    assert result["failed"] is not lacking.startswith("policyanalyzer")
