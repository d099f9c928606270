# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which texts hold keys to clouds, of which kind, and where the search does not go. All keys are made up."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_cloud

AWS_ID, AWS = "AKIA" + "FAKE" * 4, "fakeFAKE0123456789/+fakefakefakefakefake"
TEMPORARY = "ASIA" + "FAKE" * 4
ALI_ID, ALI = "LTAI5t" + "Fake" * 4, "fake0123456789" + "fake" * 4
AZURE = "fk~8Q~fakefakefake.fakefakefake_fake0"
STORAGE = "fake0123" * 10 + "fakefa=="
GOOGLE = "1//0fake-fakefakefakefakefakefake"
PEM = "-----BEGIN PRIVATE KEY-----\nfake\n-----END PRIVATE KEY-----\n"
SERVICE_ACCOUNT = {"type": "service_account", "project_id": "p", "private_key_id": "0", "private_key": PEM}
LOGIN = {"type": "authorized_user", "client_id": "i", "client_secret": "d-fakefakefakefake", "refresh_token": GOOGLE}

KEYS = {
    "a profile": (f"[default]\naws_access_key_id = {AWS_ID}\naws_secret_access_key = {AWS}\n", "aws_access_key"),
    "one beside a temporary": (
        f"[a]\naws_access_key_id={TEMPORARY}\naws_secret_access_key={AWS}\naws_session_token=x\n"
        f"[b]\naws_access_key_id={AWS_ID}\naws_secret_access_key={AWS}\n", "aws_access_key"),
    "in the environment": (f"export AWS_SECRET_ACCESS_KEY='{AWS}'\n", "aws_access_key"),
    "of a unit": (f'[Service]\nEnvironment="AWS_SECRET_ACCESS_KEY={AWS}"\n', "aws_access_key"),
    "typed": (f"aws configure set aws_secret_access_key {AWS}\n", "aws_access_key"),
    "in a comment": (f"#AWS_SECRET_ACCESS_KEY={AWS}\n", "aws_access_key"),
    "as the API gives it": (json.dumps({"AccessKeyId": AWS_ID, "SecretAccessKey": AWS}), "aws_access_key"),
    "as the console gives it": (f"Access key ID,Secret access key\n{AWS_ID},{AWS}\n", "aws_access_key"),
    "of s3fs": (f"{AWS_ID}:{AWS}\n", "aws_access_key"),
    "of s3cmd, not Amazon's": (f"[default]\naccess_key = minio\nsecret_key = {AWS}\n", "aws_access_key"),
    "of rclone": (f"[r]\ntype = s3\naccess_key_id = x\nsecret_access_key = {AWS}\n", "aws_access_key"),
    "in YAML": (f"s3:\n  aws_secret_access_key: '{AWS}'\n", "aws_access_key"),
    "of Alibaba's CLI": (
        json.dumps({"profiles": [{"mode": "AK", "access_key_id": ALI_ID, "access_key_secret": ALI, "sts_token": ""}]}),
        "alibaba_access_key"),
    "of Alibaba's SDK": (f"ALIBABA_CLOUD_ACCESS_KEY_SECRET={ALI}\n", "alibaba_access_key"),
    "of ossutil": (f"[Credentials]\naccessKeyID = {ALI_ID}\naccessKeySecret = {ALI}\n", "alibaba_access_key"),
    "an SDK's file of Azure": (
        json.dumps({"clientId": "c", "clientSecret": AZURE, "tenantId": "t"}, indent=2), "azure_service_principal"),
    "a new service principal": (
        json.dumps({"appId": "c", "password": AZURE, "tenant": "t"}), "azure_service_principal"),
    "of Azure's CLI": (
        json.dumps([{"client_id": "c", "tenant": "t", "client_secret": AZURE}]), "azure_service_principal"),
    "of Kubernetes": (json.dumps({"aadClientId": "c", "aadClientSecret": AZURE}, indent=1), "azure_service_principal"),
    "of Terraform": (f"ARM_CLIENT_SECRET={AZURE}\n", "azure_service_principal"),
    "of Ansible's modules": (
        f"[default]\nclient_id=c\nsecret={AZURE}\ntenant=t\n", "azure_service_principal"),
    "a person at Azure": (
        json.dumps({"AccessToken": {}, "RefreshToken": {"k": {"secret": "fake"}}}, indent=4), "azure_user_login"),
    "a person at Azure, long ago": (
        json.dumps([{"_authority": "https://login.example", "refreshToken": "fake" * 20}]), "azure_user_login"),
    "a store of Azure": (
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={STORAGE};\n", "azure_storage_key"),
    "a store of Azure, otherwise": (f"AZURE_STORAGE_KEY={STORAGE}\n", "azure_storage_key"),
    "a service account": (json.dumps(SERVICE_ACCOUNT), "gcp_service_account_key"),
    "in a variable": ("GOOGLE_CREDENTIALS=" + json.dumps(json.dumps(SERVICE_ACCOUNT)), "gcp_service_account_key"),
    "a person at Google": (json.dumps(LOGIN), "gcp_user_login"),
    "gsutil's": (f"[Credentials]\ngs_oauth2_refresh_token = {GOOGLE}\n", "gcp_user_login"),
    "in a database": ("SQLite\0" + json.dumps(LOGIN, indent=2), "gcp_user_login"),
}  # fmt: skip
NONE = {
    "temporary": f"[t]\naws_access_key_id={TEMPORARY}\naws_secret_access_key={AWS}\naws_session_token=fakefake\n",
    "temporary, cached": json.dumps({"Credentials": {"AccessKeyId": TEMPORARY, "SecretAccessKey": AWS,
                                                     "SessionToken": "fake", "Expiration": "2026-01-01"}}),
    "the machine's role": "[profile r]\nrole_arn = arn:aws:iam::1:role/r\ncredential_source = Ec2InstanceMetadata\n",
    "single sign-on": "[profile s]\nsso_session = s\nsso_account_id = 1\nsso_role_name = r\n",
    "single sign-on, cached": json.dumps({"clientId": "c", "clientSecret": "fake" * 20, "accessToken": "fake" * 9,
                                          "refreshToken": "fake" * 20}),
    "an id alone": f"aws_access_key_id = {AWS_ID}\n",
    "an example": "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\n"
                  "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
    "a variable": "AWS_SECRET_ACCESS_KEY=${SECRET}\nAWS_SECRET_ACCESS_KEY=$(vault read -field=secret aws)\n",
    "a template": "aws_secret_access_key: {{ vault_aws_secret_access_key }}\n",
    "a program": "secret = dict(aws_secret_access_key=os.environ['AWS_SECRET_ACCESS_KEY'])\n",
    "an attribute": "aws_secret_access_key = settings.S3_AWS_SECRET_ACCESS_KEY_2\n",
    "a file's name": "AWS_SECRET_ACCESS_KEY=/run/secrets/aws_secret_access_key\n",
    "a gap": "AWS_SECRET_ACCESS_KEY=xxxxxxxxxxxxxxxxxxxxxxxx\nARM_CLIENT_SECRET=<your client secret>\n",
    "Django": "SECRET_KEY = 'fakefakefakefakefake0123'\n",
    "Alibaba's tokens": json.dumps({"mode": "StsToken", "access_key_id": "STS.fake", "access_key_secret": ALI,
                                    "sts_token": "fake"}),
    "Alibaba's role": json.dumps({"mode": "EcsRamRole", "ram_role_name": "r", "access_key_secret": ""}),
    "a managed identity": json.dumps({"aadClientId": "msi", "aadClientSecret": "msi", "tenantId": "t"}),
    "a machine at Azure": json.dumps({"AccessToken": {"k": {"secret": "fake"}}, "RefreshToken": {}}, indent=4),
    "a federation": json.dumps({"type": "external_account", "audience": "a", "credential_source": {"file": "/f"}}),
    "a public key": json.dumps({"type": "service_account", "client_email": "a@b"}),
    "a digest beside an id": f"{AWS_ID} {'0123456789abcdef' * 2}01234567\n",
}  # fmt: skip


@pytest.mark.parametrize("name", KEYS)
def test_a_key_is_known(name):
    text, kind = KEYS[name]
    assert list(survey_cloud.kinds(text.encode())) == [kind]


@pytest.mark.parametrize("name", NONE)
def test_what_is_no_long_lived_key_is_none(name):
    assert survey_cloud.kinds(NONE[name].encode()) == {}


def test_the_place_is_that_of_the_key():
    text, _kind = KEYS["one beside a temporary"]
    found = survey_cloud.kinds(text.encode())["aws_access_key"]
    assert text.encode()[:found].count(b"\n") == 6


LONG = {
    "names": b"secret" * 40000,
    "a name": b"secret" + b"a" * 250000,
    "ids": b"AKIA" * 60000,
    "values": b"secret_key= " * 20000,
    "a section": b"[" * 250000 + b"secret",
    "spaces": b"appid" + b'"RefreshToken"     :     {     x' * 8000,
}


@pytest.mark.parametrize("name", LONG)
def test_no_text_takes_for_ever(name):
    """Whoever may write a file must not be able to stop the search with it: expressions that backtrack take hours."""
    assert survey_cloud.kinds(LONG[name]) == {}


def test_files_of_nothing_else():
    def alone(path, name):
        return survey_cloud.alone(path, KEYS[name][0].encode())

    assert alone("/home/a/.aws/credentials", "a profile")
    assert not alone("/home/a/.aws/credentials", "one beside a temporary")
    assert not alone("/home/a/.aws/config", "a profile")
    assert alone("/etc/app/key.json", "a service account")
    assert alone("/home/a/application_default_credentials.json", "a person at Google")
    assert alone("/home/a/.azure/service_principal_entries.json", "of Azure's CLI")
    assert alone("/srv/azureauth.json", "an SDK's file of Azure")
    assert alone("/root/accessKeys.csv", "as the console gives it")
    assert not alone("/etc/kubernetes/azure.json", "of Kubernetes")
    assert not alone("/etc/environment", "in the environment")


def test_a_file_that_is_nested_deeply_stops_nothing():
    assert not survey_cloud.alone("/home/a/x.json", b"[" * 100000)


def put(path, text=KEYS["a profile"][0]):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def look(place, home=True, stop=()):
    search = survey_cloud.Search(set(stop))
    search.look(str(place), home)
    return search


def test_a_home_is_looked_through(tmp_path):
    wanted = [put(tmp_path / ".aws/credentials"), put(tmp_path / ".bash_history"), put(tmp_path / "app/.env"),
              put(tmp_path / ".config/gcloud/legacy_credentials/a@b/adc.json", KEYS["a person at Google"][0]),
              put(tmp_path / "Downloads/rootkey.csv"), put(tmp_path / ".config/systemd/user/x.service")]  # fmt: skip
    put(tmp_path / "app/node_modules/x/.env")
    put(tmp_path / "photo.jpg")
    put(tmp_path / "1/2/3/4/5/6/7/.env")
    put(tmp_path / "dump.json", KEYS["a profile"][0] + " " * survey_cloud.SIZE)
    search = look(tmp_path)
    assert sorted(search.found) == sorted(wanted)
    assert search.skipped == []
    assert search.found[wanted[0]]["kinds"] == ["aws_access_key"]
    assert search.found[wanted[0]]["line"] == 3


def test_links_and_pipes_are_not_followed(tmp_path):
    real = put(tmp_path / "elsewhere/credentials")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".aws").symlink_to(tmp_path / "elsewhere")
    (home / ".env").symlink_to(real)
    os.mkfifo(home / ".boto")
    assert look(home).found == {}


def test_a_link_in_the_place_of_a_file_that_was_seen_is_not_followed(tmp_path):
    put(tmp_path / "elsewhere")
    (tmp_path / "seen").symlink_to("elsewhere")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert survey_cloud.read_at("elsewhere", directory)
        with pytest.raises(OSError, match="symbolic links"):
            survey_cloud.read_at("seen", directory)
    finally:
        os.close(directory)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_a_home_behind_a_link_of_somebody_is_left(tmp_path):
    put(tmp_path / "elsewhere/.env")
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    assert look(tmp_path / "home").found  # root made it
    os.lchown(tmp_path / "home", 12345, 12345)
    search = look(tmp_path / "home")
    assert search.found == {}
    assert search.skipped == [f"{tmp_path}/home: a link that root did not make leads there"]


def test_other_file_systems_are_left(tmp_path):
    put(tmp_path / "net/.env")
    assert look(tmp_path / "net", stop=[str(tmp_path / "net")]).skipped == [f"{tmp_path}/net: not a local file system"]
    assert look(tmp_path, stop=[str(tmp_path / "net")]).found == {}


def test_mounts_that_are_not_local():
    text = ("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n22 21 0:5 / /home/a\\040b rw - nfs4 s:/h rw\n"
            "23 21 0:6 / /home/c rw shared:1 - fuse.sshfs x rw\n24 21 0:7 / /srv rw - tmpfs t rw\n")  # fmt: skip
    assert survey_cloud.foreign(text) == {"/home/a b", "/home/c"}


def test_a_limit_is_told(tmp_path, monkeypatch):
    for number in range(30):
        put(tmp_path / f"{number}/x", "x")
    wanted = put(tmp_path / ".aws/credentials")
    monkeypatch.setattr(survey_cloud, "ENTRIES", 40)
    search = look(tmp_path)
    assert search.skipped == [f"{tmp_path}: too much to look at all of it"]
    assert list(search.found) == [wanted]


def test_one_home_full_of_keys_does_not_hide_another(tmp_path):
    for number in range(survey_cloud.FINDINGS + 1):
        put(tmp_path / f"full/{number}.env")
    wanted = put(tmp_path / "other/.env")
    search = look(tmp_path / "full")
    assert search.skipped == [f"{tmp_path}/full: too much to look at all of it"]
    assert len(search.found) == survey_cloud.FINDINGS
    search.look(str(tmp_path / "other"), home=True)
    assert wanted in search.found


def test_a_shared_home_is_not_looked_through(tmp_path, monkeypatch):
    wanted = put(tmp_path / ".aws/credentials")
    put(tmp_path / "www/.env")
    monkeypatch.setattr(survey_cloud, "SHARED", (str(tmp_path),))
    assert list(look(tmp_path).found) == [wanted]


def test_what_a_unit_names_is_looked_at_and_in_use(tmp_path):
    key = put(tmp_path / "opt/app/run", KEYS["in the environment"][0])
    unit = put(tmp_path / "etc/app.service", f"[Service]\nEnvironmentFile=-{key}\nExecStart=/bin/true\n")
    search = look(tmp_path / "etc", home=False)
    assert search.named == {key}
    search.one(key)
    survey_cloud.users(search.found, search.texts)
    assert search.found[key]["used"] == [unit]


def test_what_a_process_has_open_or_is_told_is_in_use(tmp_path):
    opened, told, free = (put(tmp_path / name) for name in ("open.json", "told.json", "free.json"))
    program = "import time; file = open(input()); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={"GOOGLE_APPLICATION_CREDENTIALS": told}) as process:  # fmt: skip
        try:
            print(opened, file=process.stdin, flush=True)
            process.stdout.readline()
            search = look(tmp_path)
            survey_cloud.users(search.found, [])
        finally:
            process.kill()
    assert len(search.found[opened]["used"]) == len(search.found[told]["used"]) == 1
    assert search.found[free]["used"] == []


def test_nothing_that_is_found_holds_a_key(tmp_path):
    for number, (text, _kind) in enumerate(KEYS.values()):
        put(tmp_path / f"{number}.json", text)
    search = look(tmp_path)
    survey_cloud.users(search.found, [])
    assert len(search.found) == len(KEYS)
    said = json.dumps(search.found)
    for secret in (AWS, ALI, AZURE, STORAGE, GOOGLE, "fakefake", "BEGIN"):
        assert secret not in said


def test_the_whole_host_is_looked_at(monkeypatch, tmp_path):
    wanted = put(tmp_path / "home/.aws/credentials")
    monkeypatch.setattr(survey_cloud, "SYSTEM", (str(tmp_path / "etc"),))
    entry = survey_cloud.pwd.getpwuid(0)
    fields = [str(tmp_path / "home") if name == "pw_dir" else getattr(entry, name) for name in (
        "pw_name", "pw_passwd", "pw_uid", "pw_gid", "pw_gecos", "pw_dir", "pw_shell")]  # fmt: skip
    monkeypatch.setattr(survey_cloud.pwd, "getpwall", lambda: [survey_cloud.pwd.struct_passwd(fields)])
    found = survey_cloud.collect()["found"]
    assert wanted in [one["path"] for one in found]
    assert found[[one["path"] for one in found].index(wanted)]["owner"] == pathlib.Path(wanted).owner()
