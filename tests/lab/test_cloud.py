# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role cloud on a host with keys of every kind: named and red, removed only where told to, given back by undo."""

from __future__ import annotations

import json
import re

import pytest
from hardened import Host, releases

CONTROL = "cloud.no_static_keys"
AWS = "fakeFAKE0123456789/+fakefakefakefakefake"
PROFILE = f"[default]\naws_access_key_id = {'AKIA' + 'FAKE' * 4}\naws_secret_access_key = {AWS}\n"
ALI = "fake0123456789" + "fake" * 4
AZURE = "fk~8Q~fakefakefake.fakefakefake_fake0"
STORAGE = "fake0123" * 10 + "fakefa=="
GOOGLE = "1//0fake-fakefakefakefakefakefake"
KEY = {"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nZmFrZQ==\n-----END PRIVATE KEY-----\n"}
LOGIN = {"type": "authorized_user", "client_id": "i", "client_secret": "d-fakefakefakefake", "refresh_token": GOOGLE}
SECRETS = (AWS, ALI, AZURE, STORAGE, GOOGLE, "ZmFrZQ", "d-fakefake", "fakerefreshtoken")
UNITS = "/etc/systemd/system"

# Each with its kind. Files of nothing else that nobody uses ...
FREE = {
    "/root/.aws/credentials": ("aws_access_key", PROFILE),
    "/home/guest/.azure/service_principal_entries.json": (
        "azure_service_principal", json.dumps([{"client_id": "c", "tenant": "t", "client_secret": AZURE}])),
    "/home/guest/.azure/msal_token_cache.json": (
        "azure_user_login", json.dumps({"RefreshToken": {"k": {"secret": "fakerefreshtoken"}}})),
    "/home/guest/.config/gcloud/application_default_credentials.json": ("gcp_user_login", json.dumps(LOGIN)),
    "/home/gone/key.json": ("gcp_service_account_key", json.dumps(KEY)),
}  # fmt: skip
# ... in use, by a unit that names it and by one that runs as its owner ...
BUSY = {
    "/etc/app/key.json": ("gcp_service_account_key", json.dumps(KEY)),
    "/var/lib/worker/.aws/credentials": ("aws_access_key", PROFILE),
}
# ... and with other things
MIXED = {
    "/opt/app/environment": ("aws_access_key", f"AWS_SECRET_ACCESS_KEY={AWS}\n"),
    "/home/test/.aliyun/config.json": (
        "alibaba_access_key", json.dumps({"current": "d", "profiles": [
            {"name": "d", "mode": "AK", "access_key_id": "LTAI5t" + "Fake" * 4, "access_key_secret": ALI}]})),
    "/etc/default/backup": ("azure_storage_key", f"AZURE_STORAGE_KEY={STORAGE}\n"),
    f"{UNITS}/app.service.d/keys.conf": ("aws_access_key", f'[Service]\nEnvironment="AWS_SECRET_ACCESS_KEY={AWS}"\n'),
    "/var/spool/cron/crontabs/guest": ("azure_service_principal", f"ARM_CLIENT_SECRET={AZURE}\n@daily true\n"),
    "/etc/kubernetes/azure.json": (
        "azure_service_principal", json.dumps({"tenantId": "t", "aadClientId": "c", "aadClientSecret": AZURE})),
}  # fmt: skip
# What a role of the machine, or a person who came by single sign-on, leaves
FINE = {
    "/home/guest/.aws/config": "[profile r]\nrole_arn = arn:aws:iam::1:r\ncredential_source = Ec2InstanceMetadata\n",
    "/home/guest/.aws/sso/cache/0.json": json.dumps({"clientId": "c", "clientSecret": "fake" * 9, "accessToken": "a"}),
    "/home/guest/.aws/cli/cache/1.json": json.dumps({"Credentials": {
        "AccessKeyId": "ASIA" + "FAKE" * 4, "SecretAccessKey": AWS, "SessionToken": "fake", "Expiration": "soon"}}),
    "/home/guest/.azure/azureProfile.json": json.dumps({"subscriptions": [{"tenantId": "t", "id": "s"}]}),
    "/home/test/.aliyun/role.json": json.dumps({"mode": "EcsRamRole", "ram_role_name": "r"}),
}  # fmt: skip
EVERY = {**FREE, **BUSY, **MIXED}
SERVICE = "[Service]\nExecStart=sleep infinity\n"
SETUP = """
set -e
id worker >/dev/null 2>&1 || useradd --system --home-dir /var/lib/worker worker
chown -R guest: /home/guest; chown -R test: /home/test; chown -R worker: /var/lib/worker
chown guest:crontab /var/spool/cron/crontabs/guest; chmod 600 /var/spool/cron/crontabs/guest
chmod 600 /root/.aws/credentials /home/guest/.azure/*
systemctl daemon-reload; systemctl start worker.service
"""
MANIFEST = (
    "find /etc /root /home /opt /var/lib/worker /var/spool/cron -path /root/.ansible -prune -o -type f"
    " -exec stat --format '%n %a %U %G' {} + -exec sha256sum {} + | sort"
)


@pytest.fixture(scope="module", params=releases("trixie"))
def host(request):
    found = Host(f"cloud-{request.param}", request.param, "cloud", cloud_remove=False)
    request.addfinalizer(found.down)
    found.site()  # first contact
    units = {
        f"{UNITS}/worker.service": f"{SERVICE}User=worker\n",
        f"{UNITS}/app.service": f"{SERVICE}EnvironmentFile=-/opt/app/environment\n"
        "Environment=GOOGLE_APPLICATION_CREDENTIALS=/etc/app/key.json\n",
    }
    for path, text in {**units, **FINE, **{path: text for path, (__, text) in EVERY.items()}}.items():
        found.sh(f"mkdir -p $(dirname {path}); cat >{path}", input=text)
    found.sh(SETUP)
    return found


def silent(*texts):
    """No key stands in what people and logs get to see."""
    for text in texts:
        assert [secret for secret in SECRETS if secret in text] == []


def changed(done):
    return int(re.search(r"changed=(\d+)", done.stdout)[1])


def paths(done):
    return sorted(re.findall(r"(?m)^\+\+\+ after: (.*)$", done.stdout))


def verify(host, **policy):
    """(verdict, message, everything that was written)"""
    verdict, message = host.verdicts(**policy)[CONTROL]
    written = "".join(path.read_text() for path in (host.state / "evidence/latest/").iterdir())
    silent(message or "", written)
    return verdict, message or ""


def test_each_kind_is_named_and_red_and_nothing_is_touched(host):
    before = host.sh(MANIFEST)
    for options in (["--check", "--diff", "-vvv"], ["--diff", "-vvv"]):
        done = host.site(*options)
        silent(done.stdout, done.stderr)
        assert changed(done) == 0
        for path, (kind, __) in EVERY.items():
            assert f"{path}: {kind} (line " in done.stdout
        assert not [path for path in FINE if f"{path}: " in done.stdout]
    assert host.sh(MANIFEST) == before
    verdict, message = verify(host)
    assert verdict == "fail"
    assert dict(re.findall(r"(?m)^ *'(\S+)': (\w+), ", message)) == {path: kind for path, (kind, __) in EVERY.items()}


def test_one_key_is_enough_to_be_red(host):
    path = "/home/guest/.azure/msal_token_cache.json"
    others = [{"path": other, "reason": "a test"} for other in EVERY if other != path]
    verdict, message = verify(host, cloud_allowed=others)
    assert verdict == "fail"
    assert f"'{path}': {EVERY[path][0]}, " in message


def test_what_is_allowed_or_waived_is_green(host):
    allowed = [{"path": path, "reason": "a test"} for path in EVERY]
    assert verify(host, cloud_allowed=allowed)[0] == "pass"
    waiver = {"control": CONTROL, "hosts": [host.name], "reason": "r", "owner": "o", "until": "2099-01-01"}
    assert verify(host, hardening_waivers=[waiver])[0] == "waived"
    done = host.site(cloud_remove=True, hardening_waivers=[waiver])
    assert changed(done) == 0
    assert [path for path in EVERY if path in done.stdout] == []


def test_what_is_free_is_removed_and_given_back(host):
    before = host.sh(MANIFEST)
    predicted = host.site("--check", "--diff", cloud_remove=True)
    assert host.sh(MANIFEST) == before
    done = host.site("--diff", "-vvv", cloud_remove=True)
    silent(predicted.stdout, done.stdout, done.stderr)
    assert paths(predicted) == paths(done) == sorted(FREE)
    assert changed(predicted) == changed(done) == 1
    assert host.sh(f"ls -d {' '.join(EVERY)} 2>/dev/null", check=False).split() == sorted({**BUSY, **MIXED})
    assert "used by /etc/systemd/system/app.service" in done.stdout
    assert "used by worker.service" in done.stdout
    assert changed(host.site(cloud_remove=True)) == 0
    assert {path for path in EVERY if path in verify(host)[1]} == {*BUSY, *MIXED}
    listed = host.play("journal")
    logs = host.sh("journalctl --no-pager 2>/dev/null; cat /var/log/*.log 2>/dev/null", check=False)
    silent(listed.stdout, logs)
    assert host.sh("stat --format '%a %U' /var/lib/rampart/changes").strip() == "700 root"
    silent(host.undo().stdout)
    assert host.sh(MANIFEST) == before


def test_what_is_named_is_removed_whatever_uses_it(host):
    before = host.sh(MANIFEST)
    rest = [{"path": path, "reason": "a test"} for path in FREE]
    done = host.site("--diff", cloud_remove=[*BUSY, *MIXED], cloud_allowed=rest)
    silent(done.stdout)
    assert paths(done) == sorted({**BUSY, **MIXED})
    assert verify(host, cloud_allowed=rest)[0] == "pass"
    assert changed(host.site(cloud_remove=[*BUSY, *MIXED], cloud_allowed=rest)) == 0
    host.undo()
    assert host.sh(MANIFEST) == before


def test_somebody_who_swaps_a_directory_for_a_link_loses_root_nothing(host):
    """The link leads to a file of the same name, in a place that is none of theirs."""
    host.sh("mkdir -p /srv/precious; cat >/srv/precious/credentials; chmod 700 /srv/precious", input=PROFILE)
    host.sh("mkdir -p /home/test/.aws; cat >/home/test/.aws/credentials; chown -R test: /home/test/.aws", input=PROFILE)
    swap = "while :; do mv .aws real; ln -s /srv/precious .aws; sleep .01; rm .aws; mv real .aws; sleep .01; done"
    host.sh(f"systemd-run --quiet --unit=swap --uid=test --working-directory=/home/test sh -c '{swap}'")
    try:
        for __ in range(4):
            done = host.site("--diff", check=False, cloud_remove=["/home/test/.aws/credentials"])
            silent(done.stdout)
            assert host.sh("cat /srv/precious/credentials") == PROFILE
    finally:
        host.sh("systemctl stop swap; rm -rf /home/test/real /home/test/.aws")
    host.play("undo", "-e", "undo=role:cloud", "-e", "undo_force=true")
    assert host.sh("cat /srv/precious/credentials; stat -c %U /srv/precious/credentials") == PROFILE + "root\n"
