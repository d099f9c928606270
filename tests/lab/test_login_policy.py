# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role login_policy on hosts with a history: real passwords typed at real programs, keys, cron, and the clock."""

from __future__ import annotations

import time

import pexpect
import pytest
from hardened import Host, container, releases, run

PASSWORD = "Tr0ub4dor-and-3-staples"
NEXT = "An0ther-l0ng-sentence"
BREAK = r"""
rm /etc/security/pwquality.conf.d/rampart.conf /etc/profile.d/zz-rampart.sh
sed -i -E '/pam_faillock|pam_pwhistory|no_pass_expiry|pam_tmpdir/d; s/yescrypt/md5/' /etc/pam.d/common-*
sed -i -E 's/success=[0-9]/success=1/' /etc/pam.d/common-auth
sed -i -E 's/^(PASS_MAX_DAYS|UMASK).*/\1 99999/' /etc/login.defs; sed -i '/^UMASK/d' /etc/login.defs
sed -i 's/pam_umask.so.*/pam_umask.so umask=022/' /etc/pam.d/common-session*
echo 'Debian GNU/Linux \n \l' >/etc/issue
sed -i '/pam_wheel/d' /etc/pam.d/su
chmod 0755 /home/alice
usermod -s /bin/sh games
touch /home/bob/.rhosts
echo 'PATH=/tmp:$PATH' >>/root/.profile
"""
# A site's own settings, in the places where such settings stand
HISTORY = r"""
printf 'minlen = 6\nminclass = 4\n' >>/etc/security/pwquality.conf
sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 90/; s/^UMASK.*//' /etc/login.defs; echo 'UMASK 077' >>/etc/login.defs
printf 'deny = 3\n' >>/etc/security/faillock.conf
echo 'Property of Example Ltd.' >/etc/issue
useradd -m -s /bin/bash oldtimer; echo oldtimer:OldPassw0rdOfTheSite | chpasswd; chage -d 2020-01-01 oldtimer
mkdir /home/oldtimer/public_html; chmod 0755 /home/oldtimer
useradd -m -s /bin/bash neighbour; chmod 0755 /home/neighbour
"""


# What a session has: its account, and its TMPDIR with owner and mode
TMPDIR = """#!/bin/sh
echo "$(id -un) ${TMPDIR:-none} $(stat -c '%U %a' "${TMPDIR:-/tmp}")"
"""
MANIFEST = """
cd /etc && find pam.d login.defs default security issue* profile.d tmpfiles.d dpkg -type f -exec sha256sum {} + | sort
"""


@pytest.fixture(scope="module", params=releases("bookworm"))
def host(request):
    made = Host(f"login-{'12' if request.param == 'bookworm' else '13'}", request.param, "login_policy",
                hardening_level=2)  # fmt: skip
    made.sh(HISTORY)
    made.before = made.sh(MANIFEST)
    made.site(tags="admin_accounts,ssh")
    made.sh("cat >/usr/local/bin/tmpdir; chmod 0755 /usr/local/bin/tmpdir", input=TMPDIR)
    made.tmpdirs = tmpdirs(made)
    made.predicted = made.site("--check", "--diff").stdout
    made.said = made.site("--diff").stdout
    yield made
    made.down()


def terminal(host, argv, dialogue, user=None):
    """Types the answers to the questions that a program asks; (all that was said, exit status)."""
    words = ["exec", "-it", *(["--user", user] if user else []), container(host.name), *argv]
    child, said = pexpect.spawn("podman", words, encoding="utf-8", timeout=20), ""
    for answer in dialogue:
        if child.expect([r"(?i)password[^:\n]*: ?$", pexpect.EOF]) == 1:
            break
        said += child.before + child.after
        child.sendline(answer)
    child.expect([pexpect.EOF, r"(?i)password[^:\n]*: ?$"])
    said += child.before
    child.close()
    return said, child.exitstatus


def passwd(host, user, old, new):
    return terminal(host, ["passwd"], [old, new, new], user=user)


def tmpdirs(host):
    """What TMPDIR says of sessions of several kinds."""
    said = [host.login("alice", "tmpdir")[1], host.login("automation", "sudo -n tmpdir")[1],
            host.login("automation", "sudo -n -u nobody tmpdir")[1], host.sh("su neighbour -c tmpdir"),
            host.sh("su - bob -c tmpdir")]  # fmt: skip
    return [one.splitlines()[-1] for one in said]


def set_password(host, user, password):
    """As an administrator does: a hash, which no rule judges."""
    host.sh(f"usermod -p \"$(openssl passwd -6 '{password}')\" {user}")


def test_a_second_run_changes_nothing_and_check_mode_predicted_the_first(host):
    assert "changed=2 " in host.predicted  # the other is libpam-tmpdir
    headers = [line for line in host.said.splitlines() if line.startswith("--- before: ")]
    assert headers == [line for line in host.predicted.splitlines() if line.startswith("--- before: ")]
    assert "changed=0 " in host.site("--diff").stdout
    assert "changed=0 " in host.site("--check").stdout


def test_the_sites_stricter_settings_stay_and_weaker_ones_are_named(host):
    assert "overrides /etc/security/pwquality.conf:" in host.said and "minlen = 6" in host.said
    assert host.sh("grep -E '^PASS_MAX_DAYS|^UMASK' /etc/login.defs").split() == ["PASS_MAX_DAYS", "90", "UMASK", "077"]
    assert "deny=3" in host.sh("cat /etc/pam.d/common-auth")
    assert host.sh("cat /etc/issue") == "Property of Example Ltd.\n"
    assert "oldtimer stays open to others" in host.said
    assert host.sh("stat -c %a /home/oldtimer /home/neighbour").split() == ["755", "750"]


def test_verify_is_green(host):
    assert {verdict for verdict, _said in host.verdicts().values()} == {"pass"}, host.verdicts()


def test_a_new_password_is_judged_hashed_and_not_taken_twice(host):
    set_password(host, "neighbour", PASSWORD)
    host.sh("chage -m 0 neighbour")
    said, status = passwd(host, "neighbour", PASSWORD, "Summer2026")
    assert "BAD PASSWORD" in said and status != 0, said
    said, status = passwd(host, "neighbour", PASSWORD, NEXT)
    assert status == 0, said
    assert host.sh("getent shadow neighbour").split(":")[1].startswith("$y$")
    said, status = passwd(host, "neighbour", NEXT, PASSWORD)
    assert "already used" in said and status != 0, said


def test_wrong_passwords_lock_sudo_for_a_while_and_a_key_gets_in_all_the_same(host):
    set_password(host, "bob", PASSWORD)
    for _attempt in range(3):
        terminal(host, ["sudo", "-k", "true"], ["wrong", "wrong", "wrong"], user="bob")
    said, status = terminal(host, ["sudo", "-k", "true"], [PASSWORD, PASSWORD, PASSWORD], user="bob")
    assert status != 0, f"the right password of a locked account: {said}"
    assert host.login("bob")[0] == 0
    host.sh("faillock --user bob --reset")
    said, status = terminal(host, ["sudo", "-k", "true"], [PASSWORD], user="bob")
    assert status == 0, said


def test_root_is_never_locked(host):
    host.sh("usermod -aG sudo alice")
    for _attempt in range(6):
        terminal(host, ["su", "-c", "true"], ["wrong"], user="alice")
    said, _status = terminal(host, ["su", "-c", "true"], ["wrong"], user="alice")
    host.sh("faillock --user root --reset")
    assert "assword" in said, said


@pytest.mark.parametrize("days", [400, 4000])
def test_people_who_use_only_keys_log_in_whatever_the_age_of_their_password(host, days):
    set_password(host, "bob", PASSWORD)
    for person in ("bob", "alice"):
        host.sh(f"chage -d $(date -d '-{days} days' +%F) -M 90 -I 1 {person}")
    assert host.login("bob")[0] == 0
    assert host.login("alice")[0] == 0
    # who has no password at all, as the automation account: dates that a careless tool has set change nothing
    host.sh(f"chage -d $(date -d '-{days} days' +%F) -M 90 -I 1 automation")
    assert host.login("automation", "sudo -n id -u")[1].split()[-1] == "0"
    assert "changed=" in host.site().stdout
    host.sh("chage -d -1 -M -1 -I -1 automation; chage -d -1 -M -1 -I -1 alice; chage -I -1 bob")


def test_without_the_role_they_would_not(host):
    """The story that this is about: sshd asks PAM, and PAM sees a password that is too old."""
    host.sh("chage -d 2024-01-01 -M 90 -I 1 bob; cp /etc/pam.d/common-account /root/; "
            "sed -i 's/ no_pass_expiry//' /etc/pam.d/common-account")  # fmt: skip
    assert host.login("alice")[0] == 0
    code, said = host.login("bob")
    host.sh("cp /root/common-account /etc/pam.d/common-account; chage -I -1 bob")
    assert code != 0, said


def test_sessions_have_a_place_for_temporary_files_that_others_cannot_enter(host):
    assert all(said.split()[1] == "none" for said in host.tmpdirs), host.tmpdirs
    host.sh("systemctl start cron; echo '* * * * * bob /usr/local/bin/tmpdir >~/cron-said' >/etc/cron.d/login-policy")
    found = tmpdirs(host)
    deadline = time.monotonic() + 75
    while time.monotonic() < deadline and not host.sh("cat /home/bob/cron-said", check=False):
        time.sleep(2)
    found.append(host.sh("rm /etc/cron.d/login-policy; cat /home/bob/cron-said").strip())
    for name, place, *rights in (said.split() for said in found):
        assert place.endswith("/user/" + host.sh(f"id -u {name}").strip()) and rights == [name, "700"], found
        if name != "alice":
            code, said = host.login("alice", f"ls {place}")
            assert code != 0 and "Permission denied" in said, said


def test_what_cleans_tmp_leaves_the_sessions_theirs(host):
    place = host.sh("su bob -c 'touch /tmp/stray; echo $TMPDIR'").strip()
    host.sh("echo 'q /tmp 1777 root root 1s' >/etc/tmpfiles.d/tmp.conf; sleep 2; systemd-tmpfiles --clean; "
            "rm /etc/tmpfiles.d/tmp.conf")  # fmt: skip
    assert host.sh(f"ls -d {place} /tmp/stray", check=False) == f"{place}\n"


def test_packages_are_installed_through_sudo_without_a_word_of_their_sandbox(host):
    command = "sudo -n apt-get update && sudo -n env DEBIAN_FRONTEND=noninteractive apt-get -qy install hello acl"
    code, said = host.login("automation", command, timeout=180)
    assert code == 0 and "_apt" not in said and "W:" not in said, said


def test_an_upgrade_brings_no_profile_of_its_own(host):
    host.sh("apt-get -qy install --reinstall libpam-tmpdir debsums && debsums -s libpam-tmpdir && "
            "apt-get -qy purge debsums")  # fmt: skip
    assert host.sh("grep -hc pam_tmpdir /etc/pam.d/common-session*").split() == ["1", "1"]


@pytest.mark.parametrize("pipelining", ["true", "false"])
def test_ansible_becomes_another_account(host, pipelining):
    """Without pipelining its modules lie in a directory that both may enter, for which it needs acl."""
    common = ["-i", host.state / "test.json", "all", "--become", "--become-user", "neighbour", "-e",
              f"ansible_pipelining={pipelining}"]  # fmt: skip
    uid = host.sh("id -u neighbour").strip()
    assert f'"path": "/tmp/user/{uid}/ansible.' in run("ansible", *common, "-m", "ansible.builtin.tempfile").stdout
    run("ansible", *common, "-m", "ansible.builtin.copy", "-a", f"content={pipelining} dest=/home/neighbour/copied")
    assert host.sh("stat -c %U /home/neighbour/copied; cat /home/neighbour/copied") == f"neighbour\n{pipelining}"


def test_cron_goes_on_for_an_account_whose_password_is_too_old(host):
    host.sh("chage -d 2024-01-01 -M 90 bob; systemctl start cron; "
            "echo '* * * * * bob touch ~/cron-was-here' >/etc/cron.d/login-policy")  # fmt: skip
    deadline = time.monotonic() + 75
    while time.monotonic() < deadline and "cron-was-here" not in host.sh("ls /home/bob"):
        time.sleep(2)
    host.sh("rm /etc/cron.d/login-policy")
    assert "cron-was-here" in host.sh("ls /home/bob")


def test_an_old_password_has_to_be_changed_where_it_is_typed(host):
    set_password(host, "bob", PASSWORD)
    host.sh("chage -d 2024-01-01 -M 90 -m 0 bob")
    said, _status = terminal(host, ["login", "bob"], [PASSWORD, PASSWORD])
    assert "change your password" in said.lower(), said
    host.sh("chage -d $(date +%F) bob")


def test_only_members_of_the_group_are_asked_by_su(host):
    set_password(host, "bob", PASSWORD)
    said, status = terminal(host, ["su", "bob", "-c", "id -un"], [PASSWORD], user="neighbour")
    assert status != 0 and "assword" not in said, said
    said, status = terminal(host, ["su", "bob", "-c", "id -un"], [PASSWORD], user="alice")
    assert status == 0 and "bob" in said, said
    assert host.sh("su bob -s /bin/sh -c 'id -un'") == "bob\n"  # programs of root are not asked


def test_files_of_people_are_not_for_everybody_and_idle_shells_end(host):
    mode, timeout = host.login("bob", "bash -lc 'touch new && stat -c %a new; echo $TMOUT'")[1].split()[-2:]
    assert mode[-1] == "0" and timeout == "900"
    words = ["exec", "-it", container(host.name), "su", "-", "bob"]
    child = pexpect.spawn("podman", words, encoding="utf-8", timeout=20)
    child.expect(r"\$ ")
    child.sendline("bash -c 'source /etc/profile; source /etc/profile; echo read twice'")
    child.expect("read twice\r\n")
    child.sendline("TMOUT=0")
    child.expect("readonly variable")
    child.close(force=True)


def test_every_control_is_seen_to_fail(host):
    host.sh("tar -cf /root/whole.tar /etc/pam.d /etc/security /etc/login.defs /etc/profile.d /etc/issue")
    host.sh(BREAK)
    set_password(host, "bob", PASSWORD)
    host.sh("usermod -p '$1$abcdefgh$0123456789abcdefghijk.' bob")
    found = host.verdicts()
    host.sh("tar -xf /root/whole.tar -C /; chmod 0700 /home/alice; usermod -s /usr/sbin/nologin games; "
            "rm /home/bob/.rhosts; sed -i '$d' /root/.profile")  # fmt: skip
    set_password(host, "bob", PASSWORD)
    assert {verdict for verdict, _said in found.values()} == {"fail"} and len(found) == 14, [
        one for one in found.items() if one[1][0] != "fail"]  # fmt: skip


def test_where_the_site_counts_failures_itself_it_is_left_to_it(host):
    host.undo()
    host.sh("sed -i '1i auth required pam_faillock.so preauth deny=4' /etc/pam.d/login")
    said = host.site("--check", "--diff").stdout
    host.sh("sed -i 1d /etc/pam.d/login")
    assert "/etc/pam.d/login:1 counts failed passwords already, and is left to it" in said
    assert "pam_faillock.so preauth silent" not in said
    assert "changed=1 " in host.site().stdout


def test_where_the_site_has_pam_tmpdir_nothing_of_ours_is_added_or_taken_away(host):
    host.undo()
    host.sh("apt-get -qy install --reinstall libpam-tmpdir")
    before = tmpdirs(host)
    assert all(said.endswith(" 700") for said in before), before
    host.site()
    assert host.sh("grep -hc pam_tmpdir /etc/pam.d/common-session*").split() == ["1", "1"]
    assert host.verdicts()["login_policy.private_tmp"][0] == "pass"
    host.undo()
    assert tmpdirs(host) == before
    host.sh("pam-auth-update --package --remove tmpdir; rm /usr/share/pam-configs/tmpdir")
    assert "changed=1 " in host.site().stdout


def test_a_common_file_edited_by_hand_is_refused_by_name(host):
    host.undo()
    host.sh("cp /etc/pam.d/common-auth /root/; echo 'auth optional pam_echo.so' >>/etc/pam.d/common-auth; "
            "sed -i 's/^auth.*pam_unix/auth sufficient pam_unix/' /etc/pam.d/common-auth")  # fmt: skip
    done = host.site(check=False)
    host.sh("cp /root/common-auth /etc/pam.d/common-auth")
    assert done.returncode != 0
    assert "pam-auth-update" in done.stdout and "nothing on this host was changed" in done.stdout


def test_what_is_not_installed_is_installed(host):
    host.sh("DEBIAN_FRONTEND=noninteractive apt-get -q update; apt-get -qy purge libpam-pwquality cracklib-runtime")
    assert "changed=2 " in host.site().stdout
    assert "changed=0 " in host.site().stdout
    said, status = passwd(host, "bob", PASSWORD, "Summer2026")
    assert status != 0, said


def test_undo_puts_everything_back(host):
    host.undo()
    now = host.sh(MANIFEST).splitlines()
    # of admin_accounts; of the package that was put in anew; what passwords were, which PAM keeps
    others = {"pam.d/login", "pam.d/common-password", "security/opasswd", "security/opasswd.old"}
    assert {line.split()[1] for line in set(now) ^ set(host.before.splitlines())} <= others
    assert host.sh("getent shadow oldtimer").split(":")[4] == "90"
    assert tmpdirs(host) == host.tmpdirs
