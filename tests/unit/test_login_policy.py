# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_login
from ansible_collections.rampart.hardening.plugins.plugin_utils import login_policy

EVERYTHING = [f"login_policy.{name}" for name in (
    "password_quality", "lockout", "history", "hashing", "ageing", "umask", "timeout", "banners", "su", "homes",
    "home_files", "shells", "private_tmp")]  # fmt: skip


SU = "auth sufficient pam_rootok.so\n"


def password(name, **more):
    return {"name": name, "age": 10, "min": 0, "max": 99999, "warn": 7, "inactive": None, "strong": True, **more}


def survey(files=None, **more):
    texts = {"/etc/login.defs": "PASS_MAX_DAYS\t99999\nUMASK\t022\n", "/etc/pam.d/su": SU, **(files or {})}
    login = {
        "files": {path: {"text": text, "mode": "0644"} for path, text in texts.items()}, "passwords": [], "homes": [],
        "shells": [], "counted": [], "ours": [], "yescrypt": True, "remember": False, "strangers": [], "dots": [],
        "apart": [], "tmpdir": False,
        "modules": {"pwquality": True, "pwhistory": True, "dictionary": True, "tmpdir": True}, **more,
    }  # fmt: skip
    return {"login": login, "accounts": {"groups": {}, "uid0": ["root"]}}


def made(*args, **more):
    change = login_policy.change(survey(*args), EVERYTHING, **more)
    return change, {one["path"]: one for one in change["files"]}


@pytest.mark.parametrize(
    ("line", "value", "side", "after"),
    [
        ("UMASK 022", "027", "mask", "UMASK\t027"),
        ("UMASK 077", "027", "mask", "UMASK 077"),
        ("PASS_MAX_DAYS 90", "365", "low", "PASS_MAX_DAYS 90"),
        ("PASS_MAX_DAYS -1", "365", "low", "PASS_MAX_DAYS\t365"),
        ("HOME_MODE 0700", "0750", "mode", "HOME_MODE 0700"),
        ("HOME_MODE 0755", "0750", "mode", "HOME_MODE\t0750"),
        ("# nothing", "YESCRYPT", "", "# nothing\nX\tYESCRYPT"),
    ],
)
def test_a_setting_stays_where_it_is_strict_enough(line, value, side, after):
    key = line.split()[0] if line[0] != "#" else "X"
    assert login_policy.with_settings(line + "\n", {key: (value, side)}, "\t")[0] == after + "\n"


def test_a_second_line_of_a_setting_cannot_win():
    text, overridden = login_policy.with_settings("UMASK 022\nUMASK 002\n", {"UMASK": ("027", "mask")}, "\t")
    assert text == "UMASK\t027\n" and len(overridden) == 2


def test_what_the_main_file_says_weaker_is_taken_out_of_it():
    change, files = made({"/etc/security/pwquality.conf": "minlen = 6\nminclass = 4\n"})
    assert files["/etc/security/pwquality.conf"]["content"].splitlines()[1] == "minclass = 4"
    assert files["/etc/security/pwquality.conf"]["content"].startswith("# weaker")
    assert any("pwquality.conf:1 (minlen = 6)" in note for note in change["notes"])


def test_keys_do_not_mind_and_failures_are_counted_around_the_password():
    _change, files = made()
    login = files[login_policy.LOGIN_PROFILE]["content"]
    assert "pam_unix.so no_pass_expiry" in login and "preauth silent deny=5" in login
    assert "Priority: 0\n" in files[login_policy.COUNT_PROFILE]["content"]


def test_a_stricter_lockout_of_the_site_stays():
    _change, files = made({"/etc/security/faillock.conf": "deny = 3\nunlock_time = 1800\n"})
    assert "deny=3 unlock_time=1800" in files[login_policy.LOGIN_PROFILE]["content"]


def test_failures_that_the_site_counts_are_left_to_it():
    change = login_policy.change(survey(counted=[{"file": "/etc/pam.d/login", "line": 1}]), EVERYTHING)
    files = {one["path"]: one for one in change["files"]}
    assert files[login_policy.COUNT_PROFILE]["state"] == "absent"
    assert "preauth" not in files[login_policy.LOGIN_PROFILE]["content"]


def test_passwords_age_but_for_those_exempt_and_every_value_is_put_back():
    people = [password("bob"), password("machine"), password("carol", max=90, min=3), password("old", age=4000)]
    change = login_policy.change(survey(passwords=people), EVERYTHING, exempt=["machine"])
    assert ["bob", "1", "365", "7"] in [argv[3:] for argv in change["activate"]]
    assert ["bob", "0", "99999", "7"] in [argv[3:] for argv in change["revert"]]
    assert not any("machine" in argv or "carol" in argv for argv in change["activate"])
    assert any(note.endswith("when they next use it: old") for note in change["notes"])


def test_homes_keep_what_is_stricter_and_those_with_pages_stay_open():
    homes = [{"name": name, "path": f"/home/{name}", "mode": mode, "uid": 1000, "gid": 1000, "public": name == "web"}
             for name, mode in (("a", 0o755), ("b", 0o700), ("web", 0o755), ("c", 0o2775))]  # fmt: skip
    change = login_policy.change(survey(homes=homes), EVERYTHING)
    found = {one["path"]: one["mode"] for one in change["files"] if one["path"].startswith("/home")}
    assert found == {"/home/a": "0750", "/home/c": "2750"}


def test_su_asks_members_only_and_root_comes_first():
    found = login_policy.su_file(f"{SU}# auth required pam_wheel.so\nauth required pam_wheel.so\n", "wheel")
    assert found.splitlines() == [
        "auth sufficient pam_rootok.so", "auth       requisite pam_wheel.so use_uid group=wheel",
        "# auth required pam_wheel.so"]  # fmt: skip
    assert login_policy.change(survey(), EVERYTHING, su_group="wheel")["refuse"]


def test_a_banner_of_the_site_stays_and_what_tells_the_version_does_not():
    _change, files = made({"/etc/issue": "Property of Example Ltd.\n", "/etc/issue.net": "Debian GNU/Linux 12\n"},
                          banner="Go away.\n")  # fmt: skip
    assert "/etc/issue" not in files and files["/etc/issue.net"]["content"] == "Go away.\n"


def test_without_controls_nothing_of_ours_stays():
    left = survey(ours=[login_policy.LOGIN_PROFILE])
    change = login_policy.change(left, [])
    assert {one["state"] for one in change["files"]} == {"absent"}
    assert "--remove" in change["derive"][0]["command"]


def test_root_too_takes_no_weak_password():
    assert "enforce_for_root\n" in made()[1][login_policy.QUALITY_FILE]["content"]


def test_nologin_is_no_shell_to_log_in_with_and_what_is_a_persons_own_is_named():
    found = survey({"/etc/shells": "# x\n/bin/sh\n/usr/sbin/nologin\n"}, dots=["/home/a/.rhosts lets others in"])
    change = login_policy.change(found, EVERYTHING)
    assert {one["path"]: one for one in change["files"]}["/etc/shells"]["content"] == "# x\n/bin/sh\n"
    assert "/home/a/.rhosts lets others in" in change["notes"]
    assert "/etc/shells" not in made({"/etc/shells": "/bin/sh\n"})[1]


def test_sessions_get_a_place_for_temporary_files():
    change, files = made()
    assert "pam_tmpdir.so" in files[login_policy.LOGIN_PROFILE]["content"]
    assert files[login_policy.TMPFILES_FILE]["content"].endswith("d /tmp/user 0711 root root -\n")
    assert files[login_policy.DPKG_FILE]["content"].endswith("\npath-exclude=/usr/share/pam-configs/tmpdir\n")
    assert change["derive"][0]["holds"][2].count("pam_tmpdir.so common-session") == 2


@pytest.mark.parametrize(
    ("found", "notes"),
    [
        ({"tmpdir": True}, []),
        ({"apart": ["/etc/pam.d/su"]}, ["/etc/pam.d/su gives sessions a /tmp of their own already, and is left to it"]),
    ],
)
def test_what_the_site_has_for_temporary_files_is_left_to_it(found, notes):
    change = login_policy.change(survey(**found), EVERYTHING)
    files = {one["path"]: one for one in change["files"]}
    assert "pam_tmpdir" not in files[login_policy.LOGIN_PROFILE]["content"] + str(change["derive"])
    assert files[login_policy.TMPFILES_FILE]["state"] == "absent"
    assert [note for note in change["notes"] if "already" in note] == notes


def test_without_its_controls_the_sessions_are_made_again_too():
    change = login_policy.change(survey(), ["login_policy.ageing"])
    assert "/etc/pam.d/common-session-noninteractive" in change["derive"][0]["outputs"]


@pytest.mark.parametrize(
    ("texts", "apart", "tmpdir"),
    [
        ({"pam.d/su": "session required pam_namespace.so", "security/namespace.conf": "# /tmp x\n/home y"}, [], False),
        ({"pam.d/su": "session required pam_namespace.so", "security/namespace.conf": "# all\n/tmp /tmp-inst/ user"},
         ["/etc/pam.d/su"], False),
        ({"pam.d/sshd": "# session required pam_mktemp.so", "pam.d/su": "-session required pam_mktemp.so"},
         ["/etc/pam.d/su"], False),
        ({"pam.d/common-session": "session optional pam_tmpdir.so"}, [], False),
        ({f"pam.d/common-session{kind}": "# all\nsession optional pam_tmpdir.so" for kind in ("", "-noninteractive")},
         [], True),
    ],
)  # fmt: skip
def test_what_the_site_has_for_temporary_files_is_found(monkeypatch, texts, apart, tmpdir):
    texts = {f"/etc/{name}": text for name, text in texts.items()}
    monkeypatch.setattr(survey_login, "read", texts.get)
    monkeypatch.setattr(survey_login.glob, "glob", lambda _pattern: [one for one in texts if "/pam.d/" in one])
    assert (survey_login.apart(), survey_login.tmpdir()) == (apart, tmpdir)
    texts[survey_login.OURS] = "Session:\n\toptional pam_tmpdir.so\n"
    assert not survey_login.tmpdir()


def test_dot_files_are_judged_by_what_they_let_others_do(tmp_path):
    owner = tmp_path.stat().st_uid
    for name, mode in ((".netrc", 0o644), (".forward", 0o644), (".rhosts", 0o600)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    assert [one.split("/")[-1].split()[0] for one in survey_login.dots(str(tmp_path), owner)] == [".netrc", ".rhosts"]
    (tmp_path / ".netrc").chmod(0o600)
    (tmp_path / ".forward").chmod(0o666)
    assert [one.split("/")[-1].split()[0] for one in survey_login.dots(str(tmp_path), owner)] == [".forward", ".rhosts"]
