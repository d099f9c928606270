"""The search of tests/baseline/test_cloud.py on the same texts as the survey's, of which it shares nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem + "_of_" + path.parent.name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TEXTS = load(ROOT / "tests/unit/plugins/module_utils/test_survey_cloud.py")


@pytest.fixture
def search():
    """Look through homes and system directories; {path: [kind]} and what was skipped."""
    source = load(ROOT / "tests/baseline/test_cloud.py").SEARCH
    namespace = {}
    exec(source, namespace)  # noqa: S102

    def run(system=(), homes=(), far=()):
        namespace["far"].update(far)
        namespace["search"]([str(path) for path in system], [str(path) for path in homes])
        kinds = {}
        for path, kind, *_rest in sorted(namespace["found"]):
            kinds.setdefault(path, []).append(kind)
        return kinds, namespace["skipped"]

    return run


@pytest.mark.parametrize("name", TEXTS.KEYS)
def test_a_key_is_red(search, tmp_path, name):
    text, kind = TEXTS.KEYS[name]
    path = TEXTS.put(tmp_path / "some.conf", text)
    assert search(homes=[tmp_path]) == ({path: [kind]}, [])


@pytest.mark.parametrize("name", TEXTS.NONE)
def test_what_is_no_long_lived_key_is_green(search, tmp_path, name):
    TEXTS.put(tmp_path / "some.conf", TEXTS.NONE[name])
    assert search(homes=[tmp_path]) == ({}, [])


@pytest.mark.parametrize("name", TEXTS.LONG)
def test_no_text_takes_for_ever(search, tmp_path, name):
    (tmp_path / "some.conf").write_bytes(TEXTS.LONG[name])
    assert search(homes=[tmp_path]) == ({}, [])


def test_links_and_pipes_are_not_followed(search, tmp_path):
    real = TEXTS.put(tmp_path / "elsewhere/credentials")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/.aws").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "home/.env").symlink_to(real)
    os.mkfifo(tmp_path / "home/.boto")
    assert search(homes=[tmp_path / "home"]) == ({}, [])


def test_what_a_unit_names_is_looked_at(search, tmp_path):
    key = TEXTS.put(tmp_path / "opt/app/run", TEXTS.KEYS["in the environment"][0])
    TEXTS.put(tmp_path / "etc/app.service", f"[Service]\nEnvironmentFile=-{key}\n")
    assert search(system=[tmp_path / "etc", tmp_path / "not there"])[0] == {key: ["aws_access_key"]}


def test_other_file_systems_are_left_and_told(search, tmp_path):
    TEXTS.put(tmp_path / "net/.env")
    assert search(homes=[tmp_path / "net"], far=[str(tmp_path / "net")]) == ({}, [str(tmp_path / "net")])


def test_of_a_shared_home_only_what_is_hidden_is_looked_at(search):
    namespace = {}
    exec(load(ROOT / "tests/baseline/test_cloud.py").SEARCH, namespace)  # noqa: S102
    shared = namespace["EVERYBODYS"]
    assert all(shared.match(path) for path in ("/", "/bin", "/var", "/var/lib", "/home", "/usr/sbin", "/run/sshd"))
    assert not any(shared.match(path) for path in ("/root", "/home/a", "/var/www", "/var/lib/app", "/opt/app"))


def test_nothing_that_it_prints_holds_a_key(tmp_path):
    """As it runs on a host, main() and all."""
    source = load(ROOT / "tests/baseline/test_cloud.py").SEARCH
    for number, (text, _kind) in enumerate(TEXTS.KEYS.values()):
        TEXTS.put(tmp_path / f"{number}.json", text)
    call = f"search([], [{str(tmp_path)!r}]); print(json.dumps(sorted(found)))"
    said = subprocess.run([sys.executable, "-c", source + call], capture_output=True, text=True, check=True).stdout
    assert len({path for path, *_rest in json.loads(said)}) == len(TEXTS.KEYS)
    for secret in (TEXTS.AWS, TEXTS.ALI, TEXTS.AZURE, TEXTS.STORAGE, TEXTS.GOOGLE, "fakefake", "BEGIN"):
        assert secret not in said
