# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Amazon's errors as sentences: the permission that is missing, by the name that goes into a policy."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils.cloud_aws import explain
from botocore.exceptions import ClientError


def refusal(code, message):
    return ClientError({"Error": {"Code": code, "Message": message}}, "any")


@pytest.mark.parametrize(
    ("service", "operation", "code", "message", "permission", "where"),
    [
        (
            "iam",
            "PutRolePolicy",
            "AccessDenied",
            "User: arn:aws:iam::1:user/a is not authorized to perform: iam:PutRolePolicy on resource: role db because"
            " no identity-based policy allows the iam:PutRolePolicy action",
            "iam:PutRolePolicy",
            " on role",
        ),
        (
            "ec2",
            "AssociateIamInstanceProfile",
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. User: arn:aws:sts::1:assumed-role/a/b is not authorized"
            " to perform: iam:PassRole on resource: arn:aws:iam::1:role/db because no identity-based policy allows it",
            "iam:PassRole",
            " on arn:aws:iam::1:role/db",
        ),
        ("ec2", "DescribeInstances", "UnauthorizedOperation", "You are not authorized.", "ec2:DescribeInstances", ""),
        ("s3", "ListBuckets", "AccessDenied", "Access Denied", "s3:ListAllMyBuckets", ""),
        ("s3control", "PutPublicAccessBlock", "AccessDenied", "", "s3:PutAccountPublicAccessBlock", ""),
        ("kms", "DescribeKey", "AccessDeniedException", "no", "kms:DescribeKey", ""),
    ],
)
def test_a_missing_permission_is_named(service, operation, code, message, permission, where):
    error = refusal(code, message)
    said = explain(error, service, operation)
    assert said.startswith(f"The credentials need {permission}{where}") and error.permission == permission


def test_other_errors_say_what_failed_and_what_to_do():
    error = refusal("ExpiredTokenException", "The security token included in the request is expired")
    assert "log in again" in explain(error, "sts", "GetCallerIdentity") and not hasattr(error, "permission")
    error = refusal("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10.")
    assert explain(error, "iam", "AttachRolePolicy") == (
        "AttachRolePolicy failed (LimitExceeded): Cannot exceed quota for PoliciesPerRole: 10."
    )
