# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How gcp_role_binding judges roles, edits policies and explains errors; tests/cloud runs it."""

from __future__ import annotations

import copy
import json

import httplib2
import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import cloud_gcp
from ansible_collections.rampart.hardening.plugins.modules import gcp_role_binding
from ansible_collections.rampart.hardening.plugins.modules.gcp_role_binding import Entry, edited
from googleapiclient.errors import HttpError

DB = "serviceAccount:db@p.iam.gserviceaccount.com"


def judged(entry, *permissions):
    binding = gcp_role_binding.Binding.__new__(gcp_role_binding.Binding)
    binding.params, binding.roles = {"allow_admin": False}, {entry.role: set(permissions)}
    try:
        return bool(binding.refuse_admin([entry]))
    except gcp_role_binding.Refusal:
        return True


@pytest.mark.parametrize(
    ("permission", "in_project", "on_one"),
    [
        ("logging.logEntries.create", False, False),
        ("iam.serviceAccounts.get", False, False),
        ("resourcemanager.projects.getIamPolicy", False, False),
        ("resourcemanager.projects.setIamPolicy", True, False),
        ("iam.serviceAccounts.getAccessToken", True, False),  # token creator
        ("iam.serviceAccounts.signBlob", True, False),
        ("iam.serviceAccounts.actAs", True, False),
        ("iam.serviceAccounts.setIamPolicy", True, True),
        ("iam.serviceAccountKeys.create", True, True),
        ("iam.roles.update", True, False),
        ("orgpolicy.policy.set", True, False),
    ],
)
def test_roles_are_judged_by_their_permissions(permission, in_project, on_one):
    for role in ("roles/harmless", "projects/p/roles/iam.admin"):
        assert judged(Entry("", DB, role, ()), "storage.objects.get", permission) is in_project
        assert judged(Entry("other@p.iam.gserviceaccount.com", DB, role, ()), permission) is on_one


@pytest.mark.parametrize("role", ["roles/owner", "roles/editor"])
def test_basic_roles_are_administrators_whatever_they_contain(role):
    assert judged(Entry("", DB, role, ()))


@pytest.mark.parametrize("member", ["allUsers", "allAuthenticatedUsers", "ALLUSERS"])
def test_everybody_is_refused(member):
    assert judged(Entry("db@p.iam.gserviceaccount.com", member, "roles/viewer", ()))


def test_a_policy_keeps_what_is_not_edited():
    night = {"title": "night", "expression": "x < 6", "description": "d"}
    policy = {
        "etag": "e",
        "auditConfigs": [{"service": "allServices"}],
        "bindings": [
            {"role": "roles/viewer", "members": ["user:a@x.y", DB]},
            {"role": "roles/viewer", "members": [DB], "condition": night},
            {"role": "roles/editor", "members": ["user:a@x.y"], "condition": night},
        ],
    }
    old = copy.deepcopy(policy)
    add = [
        Entry("", DB, "roles/editor", ("night", "x < 6", "d")),
        Entry("", DB, "roles/editor", ("night", "x < 7", "")),
        Entry("", DB, "roles/browser", ()),
    ]
    remove = [Entry("", DB, "roles/viewer", condition) for condition in ((), ("night", "x < 6", "d"))]
    new = edited(policy, add, remove)
    assert policy == old
    assert new == {
        **old,
        "version": 3,
        "bindings": [
            {"role": "roles/viewer", "members": ["user:a@x.y"]},
            {"role": "roles/editor", "members": ["user:a@x.y", DB], "condition": night},
            {"role": "roles/editor", "members": [DB], "condition": {"title": "night", "expression": "x < 7"}},
            {"role": "roles/browser", "members": [DB]},
        ],
    }
    assert edited(new, add, []) == new


def test_a_second_writer_who_never_ends_is_given_up_on(monkeypatch):
    writes = []

    class Always(gcp_role_binding.Binding):
        accounts = property(lambda self: self)

        def getIamPolicy(self, **args):
            return args

        setIamPolicy = getIamPolicy

        def __init__(self):
            self.gcp, self.again = self, {409}

        def call(self, request, needs, on):
            if needs.endswith("getIamPolicy"):
                return {"etag": "e"}
            writes.append(request)
            raise cloud_gcp.GcpError("ABORTED", 409)

    monkeypatch.setattr(gcp_role_binding.time, "sleep", lambda seconds: None)
    with pytest.raises(cloud_gcp.GcpError):
        Always().update("db@p.iam.gserviceaccount.com", [Entry("", DB, "roles/viewer", ())], [])
    assert len(writes) == gcp_role_binding.TRIES


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, {"message": "No."}, "gcloud auth application-default login"),
        (429, {"message": "Quota."}, "throttles"),
        (403, {"message": "Required 'a.b.c' permission for 'x'"}, "needs a.b.c on that"),
        (403, {"message": "The caller does not have permission"}, "needs this on that"),
        (403, {"message": "Permission 'iam.x.y' denied on resource (or it may not exist)."}, "needs iam.x.y on that"),
        (404, {"message": "Not there.", "status": "NOT_FOUND"}, "NOT_FOUND for this on that: Not there."),
        (502, None, "502 for this on that"),
    ],
)
def test_errors_say_what_to_do(status, error, words):
    content = b"<html>" if error is None else json.dumps({"error": error}).encode()
    exc = HttpError(httplib2.Response({"status": status, "reason": "Bad"}), content)
    sentence, code, missing = cloud_gcp.explain(exc, "this", "that")
    assert words in sentence and code == status and (missing is not None) is (status == 403)
