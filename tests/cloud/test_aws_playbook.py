# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The example of docs/cloud-aws.md, as a user runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from harness import COLLECTIONS, ROOT


def test_the_example_works_as_it_is_written(aws, tmp_path):
    page = (ROOT / "docs/cloud-aws.md").read_text()
    variables = yaml.safe_load(re.search(r"```yaml\n# group_vars/all/cloud.yml\n(.*?)```", page, re.DOTALL)[1])
    assert variables.pop("cloud_aws_profile") == "ops"  # here there are keys of nobody
    kms, iam = aws.client("kms"), aws.client("iam")
    kms.create_alias(AliasName="alias/disks", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    instance = aws.instance(Name="db1")
    for user in ("break-glass", "alice"):
        iam.create_user(UserName=user)
        iam.create_login_profile(UserName=user, Password="Not-A-Secret-1")
    (tmp_path / "hosts").write_text("[db]\ndb1\n")
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/cloud.yml").write_text(yaml.safe_dump(variables))

    def play():
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nobody",
            "AWS_URL": aws.url,
            "http_proxy": aws.url,  # see Server.config
        }
        command = [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            "hosts",
            "rampart.hardening.cloud_identity",
        ]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return int(re.search(r"changed=(\d+)", done.stdout)[1])

    assert play() == 3
    profiles = aws.client("ec2").describe_iam_instance_profile_associations()["IamInstanceProfileAssociations"]
    assert [(one["InstanceId"], one["IamInstanceProfile"]["Arn"].split("/")[-1]) for one in profiles] == [
        (instance, "db")
    ]
    assert [user["UserName"] for user in iam.get_group(GroupName="rampart-people")["Users"]] == ["alice"]
    assert aws.client("ec2").get_ebs_encryption_by_default()["EbsEncryptionByDefault"]
    assert play() == 0
