# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prowler's word on an account before and after: a bad one on moto, then our modules, then no finding is left.

Its install takes a gigabyte and minutes, so that it has a virtual environment of its own and is not part of CI.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from aws_server import REGION, Server
from harness import ROOT

VENV = ROOT / ".cache/prowler"
PINNED = Path(__file__).with_name("prowler.txt")
CHECKS = [
    "ec2_ebs_default_encryption",
    "ec2_ebs_snapshot_account_block_public_access",
    "ec2_instance_account_imdsv2_enabled",
    "ec2_instance_imdsv2_enabled",
    "ec2_instance_profile_attached",
    "iam_aws_attached_policy_no_administrative_privileges",
    "iam_inline_policy_allows_privilege_escalation",
    "iam_inline_policy_no_administrative_privileges",
    "iam_inline_policy_no_full_access_to_kms",
    "iam_password_policy_lowercase",
    "iam_password_policy_minimum_length_14",
    "iam_password_policy_number",
    "iam_password_policy_reuse_24",
    "iam_password_policy_symbol",
    "iam_password_policy_uppercase",
    "s3_account_level_public_access_blocks",
]
EC2 = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}}],
}


def statement(action, resource):
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": action, "Resource": resource}]}


TASKS = [
    ("aws_account_baseline", {}),
    ("aws_mfa_enforcement", {}),
    ("aws_role_binding", {
        "name": "app",
        "managed_policies": ["AmazonSSMManagedInstanceCore"],
        "inline_policies": {"backups": statement("s3:GetObject", "arn:aws:s3:::backups/*")},
        "instance_tags": {"tier": "app"},
        "prove": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::backups/x"]}],
    }),
]  # fmt: skip


def install():
    stamp = VENV / "stamp"
    if not stamp.exists() or stamp.read_text() != PINNED.read_text():
        print("installing Prowler", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
        pip = [VENV / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "-r", PINNED]
        subprocess.run(pip, check=True)
        stamp.write_text(PINNED.read_text())


def bad_account(aws):
    """As one finds them: an administrator's role, on instances that give its credentials to whoever asks."""
    iam = aws.client("iam")
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=json.dumps(EC2))
    iam.attach_role_policy(RoleName="app", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    for name, policy in {"everything": statement("*", "*"), "keys": statement("kms:*", "*")}.items():
        iam.put_role_policy(RoleName="app", PolicyName=name, PolicyDocument=json.dumps(policy))
    iam.update_account_password_policy(MinimumPasswordLength=6)
    aws.client("s3").create_bucket(  # without a bucket, Prowler does not miss the block
        Bucket="backups", CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    aws.instance(Name="app1", tier="app")


def findings(aws, folder):
    """What Prowler finds, as (check, PASS or FAIL)."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "AWS_ENDPOINT_URL": aws.url,
        "http_proxy": aws.url,  # see Server.config
        "AWS_ACCESS_KEY_ID": "prowler",
        "AWS_SECRET_ACCESS_KEY": "prowler",
        "AWS_DEFAULT_REGION": REGION,
    }
    command = [VENV / "bin/prowler", "aws", "--checks", *CHECKS, "--region", REGION, "--output-formats", "json-ocsf"]
    command += ["--output-directory", folder, "--output-filename", "found", "--no-banner", "--ignore-exit-code-3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=900)
    found = Path(folder, "found.ocsf.json")
    if done.returncode or not found.exists():
        sys.exit(f"Prowler ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return Counter((one["metadata"]["event_code"], one["status_code"]) for one in json.loads(found.read_text()))


def main():
    install()
    aws = Server()
    aws.reset()
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # Prowler asks for much that moto does not have
    bad_account(aws)
    with tempfile.TemporaryDirectory() as folder:
        before = findings(aws, folder)
    for name, args in TASKS:
        if (result := aws.module(name, args))["failed"]:
            sys.exit(f"{name}: {result['msg']}")
    with tempfile.TemporaryDirectory() as folder:
        after = findings(aws, folder)

    print(f"{'check':<52}{'before':>12}{'after':>12}")
    for check in CHECKS:
        told = [f"{found[check, 'FAIL']} of {found[check, 'FAIL'] + found[check, 'PASS']}" for found in (before, after)]
        print(f"{check:<52}{told[0]:>12}{told[1]:>12}")
    failed = [sum(count for (_check, status), count in found.items() if status == "FAIL") for found in (before, after)]
    print(f"{'failed':<52}{failed[0]:>12}{failed[1]:>12}")
    silent = [check for check in CHECKS if not before[check, "PASS"] + before[check, "FAIL"]]
    if silent:
        sys.exit(f"Prowler judged nothing by {', '.join(silent)}: take another check.")
    return 1 if failed[1] or not failed[0] else 0


if __name__ == "__main__":
    sys.exit(main())
