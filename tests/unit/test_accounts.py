# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory, bad or odd as real ones are, and what its files shall hold afterwards."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
import yaml
from ansible_collections.rampart.hardening.plugins.module_utils import account_db, accounts, survey_accounts
from ansible_collections.rampart.hardening.plugins.module_utils.accounts import ADMIN

TODAY = 20000
HASH = "$6$salt$" + "x" * 86
HASH2 = "$y$j9T$salt$" + "y" * 43
NAMES = ("alice", "robot", "mallory")
KEYS = {name: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{name * 8} {name}@example" for name in NAMES}
CONTROLS = [
    control["id"]
    for control in yaml.safe_load(
        (pathlib.Path(__file__).parents[2] / "roles/admin_accounts/meta/controls.yml").read_text(encoding="utf-8")
    )["controls"]
    if control["level"] == 1
]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other accounts")

FILES = {
    "/etc/passwd": f"""root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
svc:x:900:900::/opt/svc:/bin/bash
bob:x:1000:1000:Bob \udce9:/home/bob:/bin/bash
test:x:1001:1001::/home/test:/bin/bash
toor:x:0:0::/root:/bin/bash
guest::1002:1002::/home/guest:
old:{HASH}:1003:1003::/home/old:/bin/bash
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
""",
    "/etc/shadow": f"""root:{HASH}:19000:0:99999:7:::
daemon:*:19000:0:99999:7:::
sync:*:19000:0:99999:7:::
svc:!:19000::::::
bob:{HASH}:19000:0:99999:7:::
test:{HASH}:19000:0:99999:7:::
toor:{HASH}:19000:0:99999:7:::
nobody:*:19000:0:99999:7:::
""",
    "/etc/group": """root:x:0:
sudo:x:27:test
users:x:100:bob
bob:x:1000:
test:x:1001:
guest:x:1002:
""",
    "/etc/gshadow": "root:*::\nsudo:*:test:test\nusers:*::bob\nbob:!::\n",
    "/etc/subuid": "bob:100000:65536\n",
    "/etc/login.defs": "# UID_MIN 5\nUID_MIN\t\t1000\nUID_MAX 60000\nGID_MIN 1000\nPASS_MAX_DAYS 90\n",
    "/etc/sudoers": "root ALL=(ALL:ALL) ALL\n%sudo ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n",
    "/etc/sudoers.d/test": "test ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/pam.d/login": "auth include common\n\n@include common-account\nsession required x.so\n",
    "/etc/pam.d/su": "auth sufficient pam_rootok.so\n",
    "/lib/security/pam_succeed_if.so": "",
    "/lib/security/pam_exec.so": "",
    "/usr/sbin/nologin": "",
    "/bin/bash": "",
    "/root/.ssh/authorized_keys": KEYS["mallory"] + "\n",
    "/root/.ssh/authorized_keys2": KEYS["mallory"] + "\n",
    "/home/bob/.profile": "",
    "/home/test/.ssh/authorized_keys": KEYS["mallory"] + "\n",
    "/var/spool/cron/crontabs/test": "* * * * * x\n",
    "/var/lib/systemd/linger/test": "",
}


class Box:
    """A host in a directory."""

    def __init__(self, root, files):
        self.root = root
        for path, text in files.items():
            if text is not None:
                self.write(path, text)
        self.known, self.sshd, self.params = {}, None, dict(
            controls=list(CONTROLS), admins=[{"name": "alice", "ssh_keys": [KEYS["alice"]]}],
            automation={"name": "robot", "ssh_keys": [KEYS["robot"]]}, break_glass=None, alarm=[],
            login_group="ssh-login", logins=[], disabled=[], leftover=["test", "guest"], removed=[], service_shells=[],
            sudo_timeout=5, sudo_log="/var/log/sudo.log", first_password=True, connection_user="robot",
        )  # fmt: skip

    def at(self, path):
        return self.root / path.lstrip("/")

    def write(self, path, text):
        self.at(path).parent.mkdir(parents=True, exist_ok=True)
        self.at(path).write_bytes(text.encode("utf-8", "surrogateescape"))

    def add(self, path, text):
        self.write(path, self.read(path) + text)

    def read(self, path):
        return self.at(path).read_bytes().decode("utf-8", "surrogateescape")

    def run(self, argv):
        if not self.sshd or argv[0] != "/usr/sbin/sshd":
            return 127, "", ""
        # as the real one does where a Match asks for the port or the address that the client came to
        told = {"laddr", "lport"} <= {word.partition("=")[0] for word in argv[3].split(",")}
        return (0, self.sshd, "") if told else (255, "", "'Match LocalPort' in configuration but 'lport' not in …")

    def plan(self, **params):
        self.params.update(params)
        defaults = {key: spec.get("default") for key, spec in ADMIN.items()}
        wishes = dict(self.params, admins=[{**defaults, **one} for one in self.params["admins"]])
        before = {path: path.stat().st_mtime_ns for path in self.root.rglob("*") if path.is_file()}
        found = accounts.plan(
            wishes, str(self.root), self.run, "web1", TODAY, lambda kind, key: self.known.get((kind, key))
        )
        assert before == {path: path.stat().st_mtime_ns for path in self.root.rglob("*") if path.is_file()}
        return {**found, **found["extra_result"]}

    def apply(self, **params):
        """Do what the plan says; what it would then do again has to be nothing."""
        found = self.plan(**params)
        assert found["refuse"] == []
        for entry in found["files"]:
            path = self.at(entry["path"])
            if entry["state"] == "directory":
                path.mkdir(parents=True, exist_ok=True)
            elif entry["state"] == "absent":
                path.unlink()
            else:
                self.write(entry["path"], entry["content"])
            if entry["state"] != "absent":
                path.chmod(int(entry["mode"], 8))
                if os.geteuid() == 0:
                    os.chown(path, int(entry["owner"]), int(entry["group"]))
        again = self.plan()
        assert again["refuse"] == []
        for entry in again["files"]:
            assert entry["state"] == "file" and self.read(entry["path"]) == entry["content"], entry["path"]
            info = self.at(entry["path"]).stat()
            assert f"{info.st_mode & 0o7777:04o}" == entry["mode"]
        return found

    def row(self, database, name):
        return next((line.split(":") for line in self.read("/etc/" + database).splitlines()
                     if line.split(":")[0] == name), None)  # fmt: skip


@pytest.fixture
def box(tmp_path):
    return Box(tmp_path, FILES)


def touched(found):
    return {entry["path"] for entry in found["files"]}


# --- locking out


def test_root_is_locked_and_keeps_hash_shell_and_expiry(box):
    box.apply()
    assert box.row("shadow", "root") == ["root", "!" + HASH, "19000", "0", "99999", "7", "", "", ""]
    assert box.row("passwd", "root")[6] == "/bin/bash"
    assert not box.at("/root/.ssh/authorized_keys").exists()
    assert not box.at("/root/.ssh/authorized_keys2").exists()


@pytest.mark.parametrize("name", ["test", "toor", "guest"])
def test_disabled_accounts_cannot_get_in_by_any_way(box, name):
    box.apply()
    assert box.row("passwd", name)[1] == "x"
    assert box.row("passwd", name)[6] == "/usr/sbin/nologin"
    assert box.row("shadow", name)[1].startswith("!")
    assert box.row("shadow", name)[7] == "1"
    assert name not in box.read("/etc/sudoers.d/rampart")


def test_a_disabled_account_loses_rights_jobs_and_keys(box):
    box.write("/var/spool/cron/crontabs/toor", "")
    found = box.apply()
    assert box.row("group", "sudo")[3] == ""
    assert box.row("gshadow", "sudo")[2:] == ["", ""]
    for path in ("/etc/sudoers.d/test", "/home/test/.ssh/authorized_keys", "/var/spool/cron/crontabs/test",
                 "/var/spool/cron/crontabs/toor", "/var/lib/systemd/linger/test"):  # fmt: skip
        assert not box.at(path).exists(), path
    assert "test: disabled (leftover account)" in found["actions"]


def test_a_hash_in_the_passwd_file_moves_behind_the_lock(box):
    box.apply(disabled=["old"])
    assert box.row("passwd", "old")[1] == "x"
    assert box.row("shadow", "old")[:2] == ["old", "!" + HASH]


def test_sessions_of_uid_0_are_known_by_name_alone(box):
    found = box.apply()
    (argv,) = found["active"]
    assert argv[-3:] == ["check", "test,toor,guest", "1001,1002"]
    assert found["activate"][-1][-3:] == ["end", "test,toor,guest", "1001,1002"]
    assert found["revert"] == []


def test_an_account_that_shares_its_uid_keeps_that_uids_processes(box):
    box.add("/etc/passwd", "twin:x:1001:1001::/home/twin:/bin/bash\n")
    assert box.apply()["active"][0][-1] == "1002"


@as_root
def test_only_the_disabled_accounts_own_at_jobs_go(box):
    for name, uid in (("a1", 1001), ("a2", 1000), ("a3", 0)):
        box.write("/var/spool/cron/atjobs/" + name, "x")
        os.chown(box.at("/var/spool/cron/atjobs/" + name), uid, uid)
    box.apply()
    assert sorted(path.name for path in box.at("/var/spool/cron/atjobs").iterdir()) == ["a2", "a3"]


def test_other_accounts_keep_everything(box):
    box.apply()
    assert box.row("shadow", "bob") == FILES["/etc/shadow"].splitlines()[4].split(":")
    assert "bob:x:1000:1000:Bob \udce9:/home/bob:/bin/bash" in box.read("/etc/passwd")


def test_empty_passwords_are_locked_and_only_who_has_no_other_way_in_is_disabled(box):
    box.write("/home/guest/.ssh/authorized_keys", KEYS["mallory"])
    box.add("/etc/passwd", "idle:x:1005:1005::/:/bin/bash\nsvc2:x:901:901::/:/usr/sbin/nologin\n")
    box.add("/etc/shadow", "idle:::::::::\nidle2::19000::::::\nidle::19000::::::\nsvc2::19000::::::\n")
    found = box.apply(leftover=["test"])
    assert box.row("shadow", "guest")[7] == ""  # a key opens it
    assert box.row("passwd", "guest")[6] == ""
    assert box.row("shadow", "guest")[1] == "!"
    assert "guest" in found["adopted"]
    assert box.row("shadow", "svc2")[7] == ""
    assert "\nidle:!:19000:::::1:\n" in box.read("/etc/shadow")
    assert "\nidle2:!:19000::::::\n" in box.read("/etc/shadow")


def test_removed_is_taken_out_of_every_database_and_keeps_its_home(box):
    box.apply(removed=["bob"])
    for database in ("passwd", "shadow", "group", "gshadow", "subuid"):
        assert not any(line.startswith("bob:") for line in box.read("/etc/" + database).splitlines())
    assert box.row("group", "users")[3] == ""
    assert box.at("/home/bob/.profile").exists()


def test_leftover_names_of_system_accounts_stay(box):
    box.add("/etc/passwd", "demo:x:700:700::/opt/demo:/usr/sbin/nologin\n")
    box.add("/etc/shadow", "demo:!:19000::::::\n")
    box.apply(leftover=["test", "demo", "bin"])
    assert box.row("shadow", "demo")[7] == ""


def test_a_declared_account_is_no_leftover(box):
    box.apply(admins=[{"name": "test", "ssh_keys": [KEYS["alice"]]}])
    assert box.row("passwd", "test")[6] == "/bin/bash"
    assert box.row("shadow", "test")[1] == HASH
    assert box.read("/home/test/.ssh/authorized_keys") == KEYS["alice"] + "\n"
    assert not box.at("/etc/sudoers.d/test").exists() or "NOPASSWD" not in box.read("/etc/sudoers.d/test")


def test_an_absent_admin_is_disabled_and_one_that_comes_back_can_get_in(box):
    box.apply()
    box.apply(admins=[{"name": "alice", "state": "absent"}, {"name": "bob", "ssh_keys": [KEYS["mallory"]]}])
    assert box.row("shadow", "alice")[7] == "1"
    assert box.row("group", "ssh-login")[3] == "robot,bob"
    assert not box.at("/home/alice/.ssh/authorized_keys").exists()
    box.apply(admins=[{"name": "alice", "ssh_keys": [KEYS["alice"]]}, {"name": "bob", "ssh_keys": [KEYS["mallory"]]}])
    assert box.row("shadow", "alice")[7] == ""
    assert box.row("passwd", "alice")[6] == "/bin/bash"
    assert box.at("/home/alice/.ssh/authorized_keys").exists()


# --- letting in


def test_new_people(box):
    box.write("/home/someone/x", "")
    found = box.apply()
    assert box.row("passwd", "alice") == ["alice", "x", "1004", "1004", "", "/home/alice", "/bin/bash"]
    assert box.row("shadow", "alice") == ["alice", "*", str(TODAY), "", "", "", "", "", ""]
    assert box.row("group", "alice") == ["alice", "x", "1004", ""]
    assert box.row("gshadow", "alice") == ["alice", "!", "", ""]
    assert box.row("subuid", "alice") == ["alice", "165536", "65536"]
    assert box.read("/home/alice/.ssh/authorized_keys") == KEYS["alice"] + "\n"
    homes = {entry["path"]: (entry["mode"], entry["owner"]) for entry in found["files"] if "alice" in entry["path"]}
    assert homes == {"/home/alice": ("0700", 1004), "/home/alice/.ssh": ("0700", 1004),
                     "/home/alice/.ssh/authorized_keys": ("0600", 1004)}  # fmt: skip
    assert box.row("group", "ssh-login")[3] == "alice,robot"
    assert 100 <= int(box.row("group", "ssh-login")[2]) <= 999


def test_the_automation_account_has_no_password_that_could_be_guessed(box):
    box.add("/etc/passwd", "robot:x:1010:1010::/home/robot:/bin/bash\n")
    box.add("/etc/shadow", f"robot:{HASH}:19000:0:99999:7:::\n")
    box.apply()
    assert box.row("shadow", "robot")[1] == "*"
    assert "robot ALL=(ALL:ALL) NOPASSWD: ALL\n" in box.read("/etc/sudoers.d/rampart")


def test_people_have_no_nopasswd(box):
    box.apply()
    lines = [line for line in box.read("/etc/sudoers.d/rampart").splitlines() if line.startswith("alice")]
    assert lines == ["alice ALL=(ALL:ALL) ALL", "alice ALL=(root) NOPASSWD: /usr/local/sbin/rampart-first-password"]
    box.apply(first_password=False)
    assert "alice ALL=(root)" not in box.read("/etc/sudoers.d/rampart")
    assert not box.at("/usr/local/sbin/rampart-first-password").exists()


def test_a_password_hash_is_for_who_has_no_password_yet(box):
    box.apply(admins=[{"name": "alice", "ssh_keys": [KEYS["alice"]], "password_hash": HASH2},
                      {"name": "bob", "ssh_keys": [KEYS["alice"]], "password_hash": HASH2}])  # fmt: skip
    assert box.row("shadow", "alice")[1] == HASH2
    assert box.row("shadow", "alice")[4] == "90"
    assert box.row("shadow", "bob")[1] == HASH


def test_an_admin_without_sudo_has_none(box):
    box.add("/etc/sudoers", "bob ALL=(ALL) ALL\n")
    box.write("/etc/group", FILES["/etc/group"].replace("sudo:x:27:test", "sudo:x:27:test,bob"))
    box.apply(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]], "sudo": False}])
    assert box.row("group", "sudo")[3] == ""
    assert "bob" not in box.read("/etc/sudoers") + box.read("/etc/sudoers.d/rampart")
    assert "bob" in box.row("group", "ssh-login")[3]


def test_further_groups(box):
    box.apply(admins=[{"name": "alice", "groups": ["users"], "ssh_keys": []}])
    assert box.row("group", "users")[3] == "bob,alice"
    assert "group nix of alice does not exist" in box.plan(admins=[{"name": "alice", "groups": ["nix"]}])["refuse"][0]


def test_numbers_that_are_taken_are_not_given_out(box):
    box.add("/etc/group", "other:x:1004:\nalice:x:50:\n")
    box.known["user", 1005] = box.known["group", 1006] = ("somebody",)
    box.apply(automation={"name": "robot"})
    assert box.row("passwd", "alice")[2:4] == ["1004", "50"]  # a group of that name is used as it is
    assert box.row("passwd", "robot")[2:4] == ["1006", "1005"]
    assert "uid 1000 of carol" in box.plan(admins=[{"name": "carol", "uid": 1000}])["refuse"][0]


@as_root
def test_a_home_left_behind_goes_on_being_its_owners(box):
    box.write("/home/alice/notes", "")
    os.chown(box.at("/home/alice"), 1777, 1777)
    box.apply()
    assert box.row("passwd", "alice")[2] == "1777"


def test_nis_lines_comments_and_odd_lines_stay_where_they_are(box):
    box.add("/etc/passwd", "# a comment\nbroken line\n\n+@ops::::::\n-mallory::::::\n")
    box.add("/etc/group", "+:::\n")
    box.apply()
    lines = box.read("/etc/passwd").splitlines()
    assert lines[-5:] == ["alice:x:1004:1004::/home/alice:/bin/bash", "robot:x:1005:1005::/home/robot:/bin/bash",
                          "", "+@ops::::::", "-mallory::::::"] or lines.index("+@ops::::::") > lines.index(
        "robot:x:1005:1005::/home/robot:/bin/bash")  # fmt: skip
    assert "broken line" in lines and "# a comment" in lines
    assert box.read("/etc/group").splitlines()[-1] == "+:::"


@pytest.mark.parametrize("name", ["gshadow", "subuid", "login.defs", "pam.d/login", "sudoers"])
def test_what_is_missing_is_not_made(tmp_path, name):
    missing = "/etc/" + name
    box = Box(tmp_path, {**FILES, missing: None})
    box.apply()
    assert not box.at(missing).exists()


def test_without_a_shadow_file_passwords_are_locked_where_they_are(tmp_path):
    box = Box(tmp_path, {**FILES, "/etc/shadow": None, "/etc/passwd": f"root:{HASH}:0:0::/root:/bin/bash\n"})
    box.apply()
    assert box.row("passwd", "root")[1] == "!" + HASH
    assert box.row("passwd", "alice")[1] == "*"


def test_a_last_line_without_a_newline(box):
    box.write("/etc/passwd", FILES["/etc/passwd"].rstrip("\n"))
    box.apply()
    assert box.row("passwd", "nobody")[6] == "/usr/sbin/nologin"
    assert box.row("passwd", "alice")


def test_an_account_of_a_directory_is_not_made_anew(box):
    box.known["user", "alice"] = ("alice",)
    found = box.apply()
    assert box.row("passwd", "alice") is None
    assert "alice" in box.row("group", "ssh-login")[3]
    assert any("alice comes from a directory" in note for note in found["notes"])


# --- keys


def test_only_listed_keys_open_an_admin(box):
    box.write("/home/bob/.ssh/authorized_keys", f'# mine\nfrom="10.0.0.1" {KEYS["alice"]}\n{KEYS["mallory"]}\n')
    box.write("/home/bob/.ssh/authorized_keys2", KEYS["mallory"])
    box.apply(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]]}])
    # what the site tied a listed key to stays
    assert box.read("/home/bob/.ssh/authorized_keys") == f'# mine\nfrom="10.0.0.1" {KEYS["alice"]}\n'
    assert not box.at("/home/bob/.ssh/authorized_keys2").exists()


def test_a_certificate_authority_stays(box):
    box.write("/home/bob/.ssh/authorized_keys", f"cert-authority {KEYS['mallory']}\n")
    box.apply(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]]}])
    assert box.read("/home/bob/.ssh/authorized_keys") == f"cert-authority {KEYS['mallory']}\n{KEYS['alice']}\n"


def test_keys_stay_where_none_are_listed_or_the_control_is_waived(box):
    box.write("/home/bob/.ssh/authorized_keys", KEYS["mallory"] + "\n")
    box.apply(admins=[{"name": "bob"}])
    assert box.read("/home/bob/.ssh/authorized_keys") == KEYS["mallory"] + "\n"
    box.params["controls"].remove("accounts.admin_keys")
    box.apply(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]]}])
    assert box.read("/home/bob/.ssh/authorized_keys") == f"{KEYS['mallory']}\n{KEYS['alice']}\n"


def test_keys_are_written_where_sshd_reads_them(box):
    box.sshd = "authorizedkeysfile /etc/ssh/keys/%u .ssh/authorized_keys\n"
    box.write("/etc/ssh/keys/root", KEYS["mallory"])
    found = box.apply()
    assert box.read("/etc/ssh/keys/alice") == KEYS["alice"] + "\n"
    entry = next(entry for entry in found["files"] if entry["path"] == "/etc/ssh/keys/alice")
    assert (entry["mode"], entry["owner"]) == ("0644", 0)
    assert not box.at("/etc/ssh/keys/root").exists()
    assert not box.at("/root/.ssh/authorized_keys").exists()


def test_a_file_that_all_accounts_share_is_left_alone(box):
    box.sshd = "authorizedkeysfile /etc/ssh/everybody .ssh/authorized_keys\n"
    box.write("/etc/ssh/everybody", KEYS["mallory"])
    box.apply()
    assert box.at("/etc/ssh/everybody").exists()


def test_keys_that_come_from_elsewhere_stay_there(box):
    box.sshd = "authorizedkeysfile none\ntrustedusercakeys /etc/ssh/ca.pub\n"
    found = box.apply()
    assert any("TrustedUserCAKeys" in note for note in found["notes"])
    assert not box.at("/home/alice/.ssh").exists()
    box.sshd = "authorizedkeysfile none\ntrustedusercakeys none\n"
    assert any("could not log in" in reason for reason in box.plan()["refuse"])


def test_links_in_a_home_are_never_followed(box):
    box.at("/home/bob/.ssh").symlink_to("../../root/.ssh")
    reasons = box.plan(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]]}])["refuse"]
    assert reasons == ["keys of bob: /home/bob/.ssh is a link"]
    box.at("/home/bob/.ssh").unlink()
    box.write("/home/bob/.ssh/x", "")
    box.at("/home/bob/.ssh/authorized_keys").symlink_to("/etc/shadow")
    assert "/home/bob/.ssh/authorized_keys is a link" in box.plan()["refuse"][0]


def test_a_link_in_the_home_of_a_disabled_account_goes_and_what_it_leads_to_stays(box):
    box.at("/home/test/.ssh/authorized_keys").unlink()
    box.at("/home/test/.ssh").rmdir()
    box.at("/home/test/.ssh").symlink_to("../bob/.ssh")
    box.write("/home/bob/.ssh/authorized_keys", KEYS["mallory"])
    box.apply()
    assert box.at("/home/bob/.ssh/authorized_keys").exists()
    assert not box.at("/home/test/.ssh").is_symlink()


@as_root
def test_files_of_others_in_a_home_are_refused(box):
    box.write("/home/bob/.ssh/authorized_keys", "")
    os.chown(box.at("/home/bob/.ssh"), 1001, 1001)
    admins = [{"name": "bob", "ssh_keys": [KEYS["alice"]]}]
    assert "/home/bob/.ssh belongs to another account" in box.plan(admins=admins)["refuse"][0]
    os.chown(box.at("/home/bob/.ssh"), 1000, 1000)
    os.chown(box.at("/home/bob"), 1001, 1001)
    assert any("home /home/bob of bob belongs to uid 1001" in reason for reason in box.plan()["refuse"])


@as_root
def test_a_home_that_others_may_write_is_mended(box):
    os.chown(box.at("/home/bob"), 1000, 1000)
    box.at("/home/bob").chmod(0o777)
    box.apply(admins=[{"name": "bob", "ssh_keys": [KEYS["alice"]]}])
    assert box.at("/home/bob").stat().st_mode & 0o777 == 0o755


def test_a_link_that_root_made_outside_homes_is_followed(box):
    box.at("/srv/home").mkdir(parents=True)
    for path in list(box.at("/home").iterdir()):
        path.rename(box.at("/srv/home") / path.name)
    box.at("/home").rmdir()
    box.at("/home").symlink_to("/srv/home")
    assert "/srv/home/alice" in touched(box.plan())


# --- who else may go on logging in


def test_who_could_log_in_is_adopted_once(box):
    box.write("/home/bob/.ssh/authorized_keys", KEYS["mallory"])
    assert box.apply()["adopted"] == ["bob"]
    assert box.row("group", "ssh-login")[3] == "alice,robot,bob"
    assert box.read("/etc/rampart/adopted_logins").splitlines()[-1] == "bob"
    box.add("/etc/passwd", "late:x:1050:1050::/home/late:/bin/bash\n")
    box.write("/home/late/.ssh/authorized_keys", KEYS["mallory"])
    found = box.apply()
    assert box.row("group", "ssh-login")[3] == "alice,robot,bob"
    assert any(note.startswith("late has keys but may not log in") for note in found["notes"])
    box.apply(logins=["late"])
    assert box.row("group", "ssh-login")[3] == "alice,robot,bob,late"


def test_who_is_no_longer_declared_is_out_of_the_group_and_of_sudo(box):
    box.apply(admins=[{"name": "alice", "ssh_keys": [KEYS["alice"]]}, {"name": "bob", "ssh_keys": [KEYS["mallory"]]}])
    box.apply(admins=[{"name": "alice", "ssh_keys": [KEYS["alice"]]}])
    assert box.row("group", "ssh-login")[3] == "alice,robot"
    assert "bob" not in box.read("/etc/sudoers.d/rampart")


def test_a_partner_whom_a_match_block_names_is_adopted(box):
    box.add("/etc/passwd", "partner:x:1050:1050::/srv/in:/usr/sbin/nologin\nftp:x:1051:1051::/srv/f:/bin/false\n")
    box.add("/etc/group", "sftponly:x:300:ftp\n")
    box.write("/etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n")
    box.write("/etc/ssh/sshd_config.d/p.conf", "Match User partner\n  X11Forwarding no\nMatch Group sftponly\n")
    assert box.apply()["adopted"] == ["partner", "ftp"]


def test_allowusers_of_the_site_keeps_its_word(box):
    box.write("/home/bob/.ssh/authorized_keys", KEYS["mallory"])
    box.sshd = "authorizedkeysfile .ssh/authorized_keys\nallowusers alice robot\n"
    assert box.apply()["adopted"] == []


def test_certificates_let_people_in_but_no_system_accounts(box):
    box.sshd = "authorizedkeysfile .ssh/authorized_keys\ntrustedusercakeys /etc/ssh/ca.pub\n"
    assert box.apply()["adopted"] == ["bob", "old"]


def test_a_directory_that_cannot_be_listed_is_refused_by_name(box):
    box.sshd = "authorizedkeysfile .ssh/authorized_keys\nauthorizedkeyscommand /usr/bin/sss_ssh_authorizedkeys\n"
    box.write("/etc/nsswitch.conf", "passwd: files systemd sss\n")
    assert "accounts from sss may log in" in box.plan()["refuse"][0]
    box.known["group", "ssh-login"] = ("ssh-login",)
    assert box.plan()["refuse"] == []
    assert "/etc/group" in touched(box.plan())  # for the people's own groups
    box.known.clear()
    box.known["user", "carol"] = ("carol",)
    box.apply(logins=["carol"])
    assert "carol" in box.row("group", "ssh-login")[3]


# --- sudo


def test_an_undeclared_account_with_sudo_is_refused_by_name(box):
    box.add("/etc/sudoers", "bob ALL=(ALL) ALL\n")
    found = box.plan()
    assert found["refuse"] == ["bob may become root with sudo (/etc/sudoers) and is not declared: add it to "
                               "hardening_admins or to admin_accounts_disabled"]  # fmt: skip
    box.apply(disabled=["bob"])
    assert "bob" not in box.read("/etc/sudoers")


def test_rights_that_cannot_be_used_are_no_reason_to_refuse(box):
    box.add("/etc/sudoers", "svc ALL=(ALL) ALL\nnobody ALL=(root) NOPASSWD: /bin/x\n")
    box.apply()


def test_a_service_with_everything_is_refused_by_name(box):
    box.add("/etc/sudoers", "svc ALL=(ALL) NOPASSWD: ALL\n")
    assert "svc may become root without a password (/etc/sudoers)" in box.plan()["refuse"][0]
    box.params["controls"].remove("accounts.sudo_nopasswd")
    box.apply()


def test_a_rule_for_everybody_is_named_once(box):
    box.add("/etc/sudoers", "ALL ALL=(ALL) ALL\n")
    assert box.plan()["refuse"] == ["/etc/sudoers lets every account become root: take that rule out"]


def test_the_cloud_images_account_keeps_its_login_and_has_to_give_a_password(box):
    box.add("/etc/passwd", "debian:x:1050:1050::/home/debian:/bin/bash\n")
    box.add("/etc/shadow", "debian:!:19000:0:99999:7:::\n")
    box.write("/home/debian/.ssh/authorized_keys", KEYS["mallory"])
    box.write("/etc/cloud/cloud.cfg", "users:\n - default\nsystem_info:\n   distro: debian\n   default_user:\n"
              "     # who\n     lock_passwd: True\n     name: debian\n   paths:\n      cloud_dir: /x\n")  # fmt: skip
    box.write("/etc/sudoers.d/90-cloud-init-users", "# User rules for debian\ndebian ALL=(ALL) NOPASSWD:ALL\n")
    assert "debian is the account this run connects as" in box.plan(connection_user="debian")["refuse"][0]
    found = box.apply(connection_user="robot")
    assert found["adopted"] == ["debian"]
    assert box.read("/etc/sudoers.d/90-cloud-init-users") == "# User rules for debian\ndebian ALL = (ALL) ALL\n"
    box.apply(admins=[{"name": "debian", "ssh_keys": [KEYS["alice"]]}])
    assert "debian ALL=(ALL:ALL) ALL" in box.read("/etc/sudoers.d/rampart")


def test_the_cloud_images_account_as_automation_keeps_all(box):
    box.write("/etc/sudoers.d/90-cloud-init-users", "bob ALL=(ALL) NOPASSWD:ALL\n")
    box.apply(automation={"name": "bob", "ssh_keys": [KEYS["robot"]]}, connection_user="bob")
    assert box.read("/etc/sudoers.d/90-cloud-init-users") == "bob ALL=(ALL) NOPASSWD:ALL\n"


def test_what_a_site_writes_later_does_not_undo_ours(box):
    box.write("/etc/sudoers.d/zz-site", "Defaults !use_pty, !authenticate, timestamp_timeout=-1, insults\n"
              "Defaults rootpw\n%ssh-login ALL=(ALL) ALL\nalice ALL=(ALL) NOPASSWD: ALL\n")  # fmt: skip
    box.apply()
    assert box.read("/etc/sudoers.d/zz-site") == ("Defaults insults\n%ssh-login ALL=(ALL) ALL\nalice ALL = (ALL) ALL\n")
    # the last rule that fits decides, and the automation account is in that group
    assert box.read("/etc/sudoers").endswith("\n#include /etc/sudoers.d/rampart\n")


def test_settings_of_the_site_that_do_no_harm_stay(box):
    box.add("/etc/sudoers", "Defaults logfile=/var/log/mine, timestamp_timeout=0, requiretty\n")
    box.apply()
    ours = box.read("/etc/sudoers.d/rampart")
    assert "logfile" not in ours and "timestamp_timeout" not in ours
    assert "Defaults:robot !requiretty\n" in ours
    assert "Defaults logfile=/var/log/mine, timestamp_timeout=0, requiretty\n" in box.read("/etc/sudoers")


def test_sudo_ignores_the_current_directory_and_rules_that_forbid_single_commands_are_named(box):
    box.write("/etc/sudoers.d/zz", "Defaults !ignore_dot\nCmnd_Alias X = ALL, !/bin/su\nbob ALL = /bin/a, !/bin/b\n")
    found = box.plan(controls=[*CONTROLS, "accounts.sudo_negations"])
    text = {one["path"]: one for one in found["files"]}
    assert "Defaults ignore_dot\n" in text["/etc/sudoers.d/rampart"]["content"]
    assert "ignore_dot" not in text["/etc/sudoers.d/zz"]["content"]
    assert sum("forbids single commands" in note for note in found["notes"]) == 2


def test_what_does_not_fit_in_the_databases_is_named_and_left(box):
    assert set(said := box.plan()["notes"]) & {"the password of old is in /etc/passwd, which everybody reads"}, said
    for path, text in {
        "/etc/passwd": "eve:x:1000:0::/nowhere:/bin/sh\nmail2:x:950:4711::/:/bin/false\n",
        "/etc/group": "again:x:1000:\nshadow:x:42:bob\nbob:x:4000:\nwheel:x:0:\n",
        "/etc/shadow": f"eve:!:{TODAY + 1}::::::\n",
    }.items():
        box.add(path, text)
    found = box.plan()["notes"]
    for said in ("the uid 1000 is there twice", "the gid 1000 is there twice", "the group bob is there twice",
                 "the group wheel has the gid of root", "eve is in the group of root",
                 "the home of eve does not exist", "the group 4711 of mail2 does not exist",
                 "bob is in the group shadow", "the password of eve was changed in the future"):  # fmt: skip
        assert said in found, said
    assert not any("uid 0" in note for note in found)


def test_a_sudoers_that_reads_no_directory_reads_ours_and_nothing_else(box):
    box.write("/etc/sudoers", "root ALL=(ALL) ALL")
    box.write("/etc/sudoers.d/dormant", "mallory ALL=(ALL) NOPASSWD: ALL\n")
    box.apply()
    assert box.read("/etc/sudoers") == "root ALL=(ALL) ALL\n#include /etc/sudoers.d/rampart\n"


def test_a_group_that_cannot_be_left_is_overruled(box):
    box.write("/etc/passwd", FILES["/etc/passwd"].replace("test:x:1001:1001", "test:x:1001:27"))
    box.apply()
    assert "test ALL=(ALL:ALL) !ALL\n" in box.read("/etc/sudoers.d/rampart")


# --- consoles, shells, the sealed account


def test_the_console_refuses_uid_0_before_anything_can_accept_it(box):
    box.apply()
    lines = box.read("/etc/pam.d/login").splitlines()
    at = lines.index("account requisite pam_succeed_if.so quiet uid ne 0")
    assert lines[at + 1] == "@include common-account"
    box.params["controls"].remove("accounts.root_console")
    box.apply()
    assert box.read("/etc/pam.d/login") == FILES["/etc/pam.d/login"]


def test_a_module_that_pam_lacks_is_not_named(tmp_path):
    box = Box(tmp_path, {**FILES, "/lib/security/pam_succeed_if.so": None})
    box.apply()
    assert box.read("/etc/pam.d/login") == FILES["/etc/pam.d/login"]


def test_the_sealed_account(box):
    box.add("/etc/passwd", "fire:x:1060:1060::/home/fire:/bin/bash\n")
    box.add("/etc/shadow", f"fire:{HASH}:19000:0:99999:7:::\n")
    box.write("/home/fire/.ssh/authorized_keys", KEYS["mallory"])
    box.apply(break_glass={"name": "fire", "password_hash": HASH2}, alarm=["curl", "-d", "it's on", "http://x"])
    assert box.row("shadow", "fire")[1] == HASH2
    assert not box.at("/home/fire/.ssh/authorized_keys").exists()
    assert "fire" not in box.row("group", "ssh-login")[3]
    assert "fire ALL=(ALL:ALL) ALL\n" in box.read("/etc/sudoers.d/rampart")
    for service in ("login", "su"):
        last = box.read("/etc/pam.d/" + service).splitlines()[-1]
        assert last == "session optional pam_exec.so quiet /usr/local/sbin/rampart-alarm"
    assert """curl -d 'it'"'"'s on' http://x""" in box.read("/usr/local/sbin/rampart-alarm")
    box.apply(break_glass=None, disabled=["fire"])
    assert box.read("/etc/pam.d/su") == FILES["/etc/pam.d/su"]
    assert not box.at("/usr/local/sbin/rampart-alarm").exists()


def test_system_accounts_that_nobody_works_as_have_no_shell(box):
    box.apply()
    assert box.row("passwd", "svc")[6] == "/usr/sbin/nologin"
    assert box.row("passwd", "sync")[6] == "/bin/sync"


@as_root
def test_a_service_that_owns_its_home_keeps_its_shell_at_level_1(box):
    box.write("/opt/svc/data", "")
    os.chown(box.at("/opt/svc"), 900, 900)
    box.apply()
    assert box.row("passwd", "svc")[6] == "/bin/bash"
    box.params["controls"].append("accounts.service_shells")
    box.apply(service_shells=["svc"])
    assert box.row("passwd", "svc")[6] == "/bin/bash"
    box.apply(service_shells=[])
    assert box.row("passwd", "svc")[6] == "/usr/sbin/nologin"


# --- the whole


def test_nothing_in_force_changes_nothing(box):
    found = box.plan(controls=[])
    assert touched(found) == set()
    assert found["active"] == found["activate"] == []


@pytest.mark.parametrize("control", CONTROLS)
def test_each_control_can_be_waived(box, control):
    box.params["controls"].remove(control)
    if control == "accounts.leftover":
        assert "test may become root" in box.plan()["refuse"][0]
        box.params["disabled"] = ["test"]
    box.apply()


def test_the_first_contact_makes_the_automation_account_and_nothing_else(box):
    found = box.apply(controls=["accounts.automation"], admins=[], leftover=[])
    assert touched(found) == {
        "/home/robot", "/home/robot/.ssh", "/home/robot/.ssh/authorized_keys", "/etc/sudoers.d/rampart",
        "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow", "/etc/subuid",
    }  # fmt: skip
    assert box.read("/etc/passwd").startswith(FILES["/etc/passwd"])


def test_secrets_are_marked(box):
    marked = {entry["path"] for entry in box.plan()["files"] if entry.get("sensitive")}
    assert marked == {"/etc/shadow", "/etc/gshadow"}


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"admins": [{"name": "root"}]}, "root is root (uid 0)"),
        ({"admins": [{"name": "toor"}]}, "toor is root (uid 0)"),
        ({"admins": [{"name": "Bad Name"}]}, "is not a name"),
        ({"admins": [{"name": "daemon"}]}, "daemon is a system account"),
        ({"admins": [{"name": "alice"}, {"name": "alice"}]}, "alice is declared twice"),
        ({"admins": [{"name": "alice", "password_hash": "secret"}]}, "not a hash"),
        ({"admins": [{"name": "alice", "ssh_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}]}, "not one line"),
        ({"disabled": ["alice"]}, "alice is to be disabled and declared at once"),
        ({"disabled": ["robot"]}, "robot is to be disabled and declared at once"),
        ({"disabled": ["root"]}, "root is locked, never disabled"),
        ({"disabled": ["bob"], "connection_user": "bob"}, "bob is the account this run connects as"),
        ({"connection_user": "toor"}, "toor is the account this run connects as"),
    ],
)
def test_refusals(box, wish, reason):
    found = box.plan(**wish)
    assert any(reason in refusal for refusal in found["refuse"]), found["refuse"]
    assert "secret" not in str(found["refuse"])


def test_one_person_may_be_the_automation_account_as_well(box):
    box.apply(admins=[{"name": "robot", "ssh_keys": [KEYS["alice"]]}])
    assert box.read("/home/robot/.ssh/authorized_keys") == f"{KEYS['alice']}\n{KEYS['robot']}\n"
    assert box.read("/etc/sudoers.d/rampart").count("robot ALL") == 1


# --- the survey


def test_the_survey_tells_states_and_no_secrets(box):
    seen = survey_accounts.collect(box.run, root=str(box.root))
    assert HASH not in json.dumps(seen) and "AAAAC3" not in json.dumps(seen)
    people = {one["name"]: one for one in seen["logins"]}
    assert set(people) == {"root", "bob", "test", "toor", "guest", "old"}
    assert (people["test"]["sudo"], people["test"]["keys"], people["test"]["password"]) == ("nopasswd", 1, "set")
    assert people["guest"]["password"] == "empty"
    assert people["bob"]["ssh"] == "" and people["test"]["ssh"] == "key"
    assert seen["uid0"] == ["root", "toor"]
    assert seen["login_group"] == {"name": "ssh-login", "exists": False, "members": []}
    assert seen["authorized_keys_files"] == [".ssh/authorized_keys", ".ssh/authorized_keys2"]
    assert seen["sudo"] is False


def test_the_survey_of_an_empty_host(tmp_path):
    assert survey_accounts.collect(lambda argv: (127, "", ""), root=str(tmp_path))["logins"] == []


def test_the_running_sshd_is_asked_with_its_own_options(box):
    box.write("/proc/77/cmdline", "sshd: /usr/sbin/sshd -D -f /etc/ssh/other -o Port=22 [listener] 0 of 10-100\0")
    asked = []
    box.run = lambda argv: asked.append(argv) or (1, "", "")
    account_db.Host(str(box.root), box.run).key_files("bob")
    assert asked[0][-4:] == ["-f", "/etc/ssh/other", "-o", "Port=22"]
