# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How azure_role_binding judges roles; tests/cloud runs it."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from ansible_collections.rampart.hardening.plugins.modules.azure_role_binding import administrates, covers, matches


def judged(**lists):
    every = {"actions": [], "not_actions": None, "data_actions": [], "not_data_actions": None}
    harmless = {"actions": ["Microsoft.Insights/*"]}
    return administrates([SimpleNamespace(**every | harmless), SimpleNamespace(**every | lists)])


@pytest.mark.parametrize(
    ("lists", "because"),
    [
        ({"actions": ["*"]}, "*"),  # Owner
        ({"actions": ["*"], "not_actions": ["Microsoft.Authorization/*/Write", "*/elevateAccess/Action"]}, "*"),
        ({"actions": ["*/read", "Microsoft.Authorization/*"]}, "Microsoft.Authorization/*"),  # the one of user access
        ({"actions": ["*/read", "microsoft.authorization/roleassignments/WRITE"]}, None),
        ({"actions": ["Microsoft.Authorization/*/write"]}, None),
        ({"actions": ["Microsoft.Authorization/*"], "not_actions": ["Microsoft.Authorization/*/delete"]}, None),
        ({"actions": ["Microsoft.Authorization/roleDefinitions/write"]}, None),
        ({"actions": ["Microsoft.Authorization/elevateAccess/action"]}, None),
        ({"actions": ["*/write"]}, None),
        ({"actions": ["Microsoft.*/write"]}, None),
        ({"actions": ["*/roleAssignments/write"]}, None),
        ({"actions": ["Microsoft.ManagedIdentity/userAssignedIdentities/*"]}, None),
        ({"data_actions": ["*"]}, "*"),
    ],
    ids=json.dumps,
)
def test_administrators(lists, because):
    found = judged(**lists)
    assert found and found in sum((one for key, one in lists.items() if not key.startswith("not")), [])
    assert because in (None, found)


@pytest.mark.parametrize(
    "lists",
    [
        {"actions": ["*/read"]},
        {"actions": ["Microsoft.Compute/*", "Microsoft.Authorization/*/read"]},
        {"data_actions": ["Microsoft.KeyVault/vaults/*"]},
        {"actions": ["Microsoft.Authorization/locks/write"], "not_actions": ["Microsoft.Authorization/*"]},
        {"actions": ["Microsoft.ManagedIdentity/userAssignedIdentities/read"]},
        {"actions": ["Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"]},
    ],
    ids=json.dumps,
)
def test_no_administrators(lists):
    assert judged(**lists) is None


def test_patterns():
    assert matches("Microsoft.Storage/storageAccounts/READ", ["microsoft.storage/*/read"])
    assert matches("a/b", ["*"]) and not matches("a/b", ["a", "a/b/c", "?/b"]) and not matches("a/b", None)


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        ("/subscriptions/s", True),
        ("/SUBSCRIPTIONS/S/resourcegroups/g", True),
        ("/subscriptions/s/resourceGroups/g/", True),
        ("/providers/Microsoft.Management/managementGroups/m", True),
        ("/", True),
        ("/subscriptions/s/resourceGroups/g2", False),
        ("/subscriptions/s/resourceGroups/g/providers/p/t/n", False),
    ],
)
def test_scopes(scope, covered):
    assert covers(scope, "/subscriptions/s/resourceGroups/g") is covered
