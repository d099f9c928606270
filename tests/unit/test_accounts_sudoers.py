# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""sudoers as sites write it: who becomes root by it, and what is left when a right is taken out."""

from __future__ import annotations

import posixpath

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils.sudoers import Sudoers


def policy(main, hostname="web1.example.org", **drop_ins):
    files = {"/etc/sudoers": main, **{f"/etc/sudoers.d/{name}": text for name, text in drop_ins.items()}}
    inside = [posixpath.split(path) for path in files]
    return Sudoers(files.get, lambda path: [name for place, name in inside if place == path], hostname)


def rights(sudoers, name="bob", uid=1500, groups=(), gids=()):
    return sudoers.rights({"name": name, "uid": uid, "groups": groups, "gids": gids})[0]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("bob ALL=(ALL:ALL) ALL", "password"),
        ("bob ALL=NOPASSWD: ALL", "nopasswd"),
        ("bob\tALL = (root) NOPASSWD:SETENV: ALL", "nopasswd"),
        ("carol, bob ALL=(ALL) ALL", "password"),
        ("#1500 ALL=(ALL) ALL", "password"),
        ('"bob" ALL=(ALL) ALL', "password"),
        ("ALL ALL=(ALL) NOPASSWD: ALL", "nopasswd"),
        ("ALL, !bob ALL=(ALL) ALL", "none"),
        ("User_Alias OPS = carol, bob\nOPS ALL=(ALL) ALL", "password"),
        ("User_Alias OPS = bob\nUser_Alias ALLOPS = OPS, carol\nALLOPS ALL=(ALL) ALL", "password"),
        ("bob ALL=(postgres) NOPASSWD: ALL", "some"),
        ("Runas_Alias DBA = postgres, root\nbob ALL=(DBA) ALL", "password"),
        ("bob ALL=(:adm) ALL", "some"),
        ("bob ALL=(root) NOPASSWD: /usr/bin/apt update", "some"),
        ("bob ALL=(root) NOPASSWD: /bin/bash", "nopasswd"),
        ("bob ALL=(root) NOPASSWD: /bin/su -", "nopasswd"),
        ("bob ALL=(root) NOPASSWD: /bin/su - postgres", "some"),
        ("bob ALL=(root) NOPASSWD: /bin/sh /opt/backup.sh", "some"),
        ("bob ALL=(root) NOPASSWD: /usr/sbin/*", "nopasswd"),
        ("Cmnd_Alias SHELLS = /bin/sh, /bin/bash\nbob ALL=NOPASSWD: SHELLS", "nopasswd"),
        ("bob ALL=(ALL) ALL, !/bin/su", "password"),
        ("bob ALL=(ALL) NOPASSWD: /bin/x, PASSWD: ALL", "password"),
        ("bob ALL=(ALL) NOPASSWD: /bin/x, ALL", "nopasswd"),
        ("bob ALL=(ALL) NOPASSWD: ALL\nbob ALL=(ALL) ALL", "password"),
        ("bob ALL=(ALL) ALL\nbob ALL=(ALL:ALL) !ALL", "none"),
        ("bob web1 = ALL", "password"),
        ("bob web* = ALL", "password"),
        ("bob db1 = NOPASSWD: ALL", "none"),
        ("Host_Alias DBS = db1, db2\nbob DBS = NOPASSWD: ALL", "none"),
        ("bob db1 = NOPASSWD: ALL : web1 = (root) /bin/x", "some"),
        ("bob ALL=(ALL) sha256:aaaa== /bin/bash", "password"),
        ("bob ALL=(ALL) TIMEOUT=5 NOPASSWD: ALL", "nopasswd"),
        ("bob ALL=(ALL) \\\n   NOPASSWD: \\\n   ALL", "nopasswd"),
        ("bob ALL=(ALL) ALL # NOPASSWD: ALL", "password"),
        ("# bob ALL=(ALL) ALL", "none"),
        ("Defaults !authenticate\nbob ALL=(ALL) ALL", "nopasswd"),
        ("Defaults:carol !authenticate\nbob ALL=(ALL) ALL", "password"),
        ("Defaults:bob !authenticate\nbob ALL=(ALL) ALL", "nopasswd"),
        ("this is (no sudoers = at all", "none"),
    ],
)
def test_rights(text, level):
    assert rights(policy(text + "\n")) == level


def test_rights_of_groups():
    sudoers = policy("%wheel ALL=(ALL) ALL\n%#27 ALL=(ALL) NOPASSWD: ALL\n%Domain\\ Admins ALL=(ALL) ALL\n")
    assert rights(sudoers) == "none"
    assert rights(sudoers, groups=["wheel"]) == "password"
    assert rights(sudoers, groups=["sudo"], gids=["27"]) == "nopasswd"
    assert rights(sudoers, groups=["Domain Admins"]) == "password"


def test_includes_are_read_as_sudo_reads_them():
    sudoers = policy(
        "@includedir sudoers.d\n",
        **{"90-cloud": "bob ALL=(ALL) NOPASSWD: ALL\n", "b.bak": "carol ALL=ALL\n", "c~": "carol ALL=ALL\n"},
    )
    assert rights(sudoers) == "nopasswd"
    assert rights(sudoers, "carol") == "none"
    assert rights(policy("#includedir /etc/sudoers.d\n", x="bob ALL=ALL\n")) == "password"
    assert rights(policy("#include /etc/sudoers.d/x.conf\n", **{"x.conf": "bob ALL=ALL\n"})) == "password"
    assert rights(policy("#include /etc/sudoers\nbob ALL=ALL\n")) == "password"  # includes itself


def test_untouched_text_stays_byte_for_byte():
    text = "# é \\\n\nDefaults\tenv_reset\nroot\tALL=(ALL:ALL) ALL\nodd (line\nno newline at the end ALL=ALL"
    sudoers = policy(text)
    sudoers.take_away({"bob"})
    sudoers.ask_password(lambda users: True)
    assert sudoers.changed() == {}


def test_take_away():
    sudoers = policy(
        "Defaults:bob !authenticate\nDefaults:carol,bob !lecture\nUser_Alias OPS = bob : WEB = bob, carol\n"
        "OPS ALL=(ALL) ALL\nWEB ALL=(ALL) ALL\nbob, dora ALL=(ALL) ALL\n#1500 ALL=ALL\n"
        "%sudo ALL=(ALL) ALL\nALL, !bob ALL=/bin/x\nbobby ALL=ALL\n",
    )
    sudoers.take_away({"bob", "#1500"})
    assert sudoers.changed()["/etc/sudoers"].splitlines() == [
        "Defaults:carol !lecture",
        "User_Alias WEB = carol",
        "WEB ALL=(ALL) ALL",
        "dora ALL = (ALL) ALL",
        "%sudo ALL=(ALL) ALL",
        "ALL, !bob ALL=/bin/x",
        "bobby ALL=ALL",
    ]


def test_a_password_is_asked_for_everything_and_only_for_that():
    sudoers = policy(
        "%sudo ALL=(ALL:ALL) NOPASSWD: ALL\nnagios ALL=(root) NOPASSWD: /usr/lib/check\n"
        "bob ALL=(root) NOPASSWD: /bin/x, ALL, /bin/y : db1 = NOPASSWD: ALL\ndba ALL=(postgres) NOPASSWD: ALL\n"
        "robot ALL=(ALL) NOPASSWD: ALL\n"
    )
    sudoers.ask_password(lambda users: users != ["robot"])
    assert sudoers.changed()["/etc/sudoers"].splitlines() == [
        "%sudo ALL = (ALL:ALL) ALL",
        "nagios ALL=(root) NOPASSWD: /usr/lib/check",
        "bob ALL = (root) NOPASSWD: /bin/x, PASSWD: ALL, NOPASSWD: /bin/y : db1 = NOPASSWD: ALL",
        "dba ALL=(postgres) NOPASSWD: ALL",
        "robot ALL=(ALL) NOPASSWD: ALL",
    ]


def test_drop_defaults():
    sudoers = policy(
        'Defaults env_reset, !use_pty, secure_path="/a:/b, c"\nDefaults !use_pty\nDefaults>root !use_pty\n'
    )
    gone = sudoers.drop_defaults(lambda mark, whom, name, value: name == "use_pty" and value is None and not mark)
    assert len(gone) == 2
    assert sudoers.changed()["/etc/sudoers"] == ('Defaults env_reset, secure_path="/a:/b, c"\nDefaults>root !use_pty\n')
