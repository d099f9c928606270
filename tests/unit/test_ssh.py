# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What SSH has to be on a host, given what the survey found there."""

from __future__ import annotations

import pytest
from ansible_collections.rampart.hardening.plugins.module_utils import survey_ssh
from ansible_collections.rampart.hardening.plugins.plugin_utils import flows, ssh

MAIN = survey_ssh.SERVER_CONFIG
DROPIN = survey_ssh.SERVER_DROPIN
KEY = "/etc/ssh/ssh_host_{}_key"
ALL = {
    "ssh.password_authentication", "ssh.login_group", "ssh.host_keys", "ssh.post_quantum", "ssh.config_permissions",
}  # fmt: skip
CONTENT = """# ours
PermitRootLogin no
MaxAuthTries 4
AllowGroups ssh-login

Match User automation
    PubkeyAuthentication no

# always
Match all
    PermitRootLogin no
"""


def directive(line, path=MAIN, number=1, match=""):
    name, __, value = line.partition(" ")
    return dict(file=path, line=number, keyword=name.lower(), name=name, value=value, match=match)


def file(path=MAIN, match="", position=0, **more):
    return dict(path=path, real=path, match=match, position=position, exists=True, mode="0600", owner="root", **more)


def key(kind="ed25519", bits=256, **more):
    names = {"ed25519": "ssh-ed25519", "rsa": "ssh-rsa", "dsa": "ssh-dss", "ecdsa": f"ecdsa-sha2-nistp{bits}"}
    path = KEY.format(kind)
    facts = dict(
        path=path, real=path, type=names[kind], bits=bits, exists=True, mode="0600", owner="root", group="root"
    )
    return {**facts, **more}


def survey(*directives, files=None, keys=None, **more):
    config = dict(file(), text="Port 22\n", directives=list(directives))
    config["files"] = [file(), file(DROPIN)] if files is None else files
    return {
        "installed": True,
        "binary": "/usr/sbin/sshd",
        "version": [9, 2],
        "version_text": "OpenSSH_9.2p1",
        "valid": True,
        "error": "",
        "service": "ssh.service",
        "pid_file": "/run/sshd.pid",
        "listeners": [{"pid": 1}],
        "command_lines": [],
        "config": config,
        "host_keys": [key("rsa", 3072), key("ecdsa"), key()] if keys is None else keys,
        "algorithms": {"kex": [], "cipher": [], "mac": [], "signature": []},
        "client": {"installed": False},
        **more,
    }


def plan(found, **more):
    return ssh.plan(found, **{"controls": ALL, "people": ["alice", "automation"], **more})


def refusals(found, **more):
    return "\n".join(plan(found, **more)["refuse"])


# --- the whole configuration, as sshd reads it


@pytest.fixture
def config(tmp_path):
    def read(**texts):
        for name, text in texts.items():
            (tmp_path / f"{name}.conf").write_text(text.replace("HERE", str(tmp_path)), encoding="utf-8")
        return survey_ssh.config_facts(str(tmp_path / "main.conf"), [str(tmp_path / "d0.conf")], ("match",))

    return read


def seen(facts):
    return [(one["file"].rpartition("/")[2], one["line"], one["value"], one["match"]) for one in facts["directives"]]


def test_includes_are_followed_in_order_and_keep_the_scope_of_their_match(config):
    facts = config(
        main='# no\nport = 22\nInclude HERE/d*.conf\nPort "2 3" # x\nMatch User bob\nInclude HERE/e.conf\nPort 5\n',
        d2="Port 8\n",
        d1="Match Address 10.0.0.0/8\n Port 7\n",
        e="Port 9\nMatch Group x\nPort 10\n",
    )
    assert seen(facts) == [
        ("main.conf", 2, "22", ""),
        ("d1.conf", 2, "7", "Match Address 10.0.0.0/8"),
        ("d2.conf", 1, "8", ""),
        ("main.conf", 4, "2 3", ""),
        ("e.conf", 1, "9", "Match User bob"),
        ("e.conf", 3, "10", "Match User bob and Match Group x"),
        ("main.conf", 7, "5", "Match User bob"),
    ]
    # the drop-in is not there yet, and would be read after the first line
    assert [(one["path"].rpartition("/")[2], one["position"], one["exists"]) for one in facts["files"]] == [
        ("main.conf", 0, True), ("d0.conf", 1, False), ("d1.conf", 1, True), ("d2.conf", 2, True), ("e.conf", 4, True),
    ]  # fmt: skip


def test_an_include_of_itself_ends(config):
    assert len(seen(config(main="Port 1\nInclude HERE/main.conf\n"))) == survey_ssh.MAX_DEPTH + 1


def test_what_is_no_text_is_reported_as_such(config, tmp_path):
    facts = config(main="")
    assert facts["text"] == ""
    (tmp_path / "main.conf").write_bytes(b"Banner \xff\n")
    assert config()["text"] is None
    assert config()["exists"]


def test_old_names_are_known_by_their_new_ones(config):
    facts = config(main="ChallengeResponseAuthentication yes\n")
    assert facts["directives"][0]["keyword"] == "kbdinteractiveauthentication"
    assert facts["directives"][0]["name"] == "ChallengeResponseAuthentication"


@pytest.mark.parametrize(
    ("argv", "found"),
    [
        ("-D", (None, [])),
        ("-D -o PermitRootLogin=yes -oPort=22 -f /x -4", ("/x", ["PermitRootLogin=yes", "Port=22"])),
        ("-D -u0 $SSHD_OPTS -o A=b", (None, ["A=b"])),
    ],
)
def test_command_lines(argv, found):
    assert survey_ssh.options(argv.split()) == found


def test_a_host_without_a_server_is_no_trouble(monkeypatch):
    monkeypatch.setattr(survey_ssh.shutil, "which", lambda *_args, **_kwargs: None)
    facts = survey_ssh.collect(lambda _argv: (127, "", ""))
    assert not facts["installed"]
    assert ssh.plan(facts, ALL)["refuse"] == []
    assert ssh.change(facts, ssh.plan(facts, ALL))["files"] == []


@pytest.mark.parametrize(
    ("blob", "facts"),
    [
        ("AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ("ssh-ed25519", 256)),
        ("AAAAB3NzaC1yc2EAAAADAQABAAAAAgD/", ("ssh-rsa", 8)),
        ("AAAAE2VjZHNhLXNoYTItbmlzdHAzODQ=", ("ecdsa-sha2-nistp384", 384)),
    ],
)
def test_host_keys_are_read_from_their_public_half(tmp_path, blob, facts):
    (tmp_path / "key").write_text("secret", encoding="utf-8")
    (tmp_path / "key.pub").write_text(f"x {blob} comment\n", encoding="utf-8")
    found = survey_ssh.host_key(str(tmp_path / "key"), lambda argv: pytest.fail(f"{argv}"))
    assert (found["type"], found["bits"]) == facts
    assert "secret" not in str(found)


def test_a_host_key_without_a_public_half_is_asked_about(tmp_path):
    (tmp_path / "key").write_text("secret", encoding="utf-8")
    found = survey_ssh.host_key(str(tmp_path / "key"), lambda _argv: (0, "3072 SHA256:x root@x (RSA)\n", ""))
    assert (found["type"], found["bits"], found["public"]) == ("ssh-rsa", 3072, False)


# --- algorithms


def test_algorithms_are_what_the_host_knows_post_quantum_first():
    found = survey(algorithms={"kex": ["curve25519-sha256", "sntrup761x25519-sha512@openssh.com", "ecdh-sha2-nistp256"],
                               "cipher": ["aes256-ctr", "3des-cbc"], "mac": ["hmac-md5"], "signature": []})  # fmt: skip
    assert plan(found)["kex"] == ["sntrup761x25519-sha512@openssh.com"]
    assert plan(found, controls=ALL - {"ssh.post_quantum"})["kex"][1:] == ["curve25519-sha256"]
    assert plan(found)["ciphers"] == ["aes256-ctr"]


def test_a_host_without_post_quantum_algorithms_keeps_the_classic_ones():
    found = survey(algorithms={"kex": ["curve25519-sha256"], "cipher": [], "mac": [], "signature": []})
    assert plan(found)["kex"] == ["curve25519-sha256"]


# --- who gets in


def test_lists_of_the_site_are_completed():
    access = plan(survey(directive("AllowUsers bob"), directive("AllowGroups admins x")))["access"]
    assert access["add_users"] == ["alice", "automation"]
    assert access["allow_users"] == ["alice", "automation", "bob"]
    assert access["allow_groups"] == ["ssh-login", "admins", "x"]
    assert plan(survey())["access"]["allow_users"] == []


@pytest.mark.parametrize(
    ("line", "match", "reason"),
    [
        ("DenyUsers al*", "", "shuts out alice"),
        ("DenyUsers alice@10.0.0.1", "Match Address 10.0.0.0/8", "shuts out alice"),
        ("DenyUsers alice", "Match User bob,carol", ""),
        ("DenyUsers mallory", "", ""),
        ("DenyGroups contractors", "", "shuts out the group contractors"),
        ("DenyGroups guests", "", ""),
        ("AllowUsers bob", "Match Address 10.0.0.0/8", "would shut out alice"),
        ("AllowUsers alice automation", "Match Address 10.0.0.0/8", ""),
        ("AllowUsers bob", "Match User b*", ""),
        ("AuthenticationMethods password", "", "cannot be met by a key without a password"),
        ("AuthenticationMethods publickey,password", "Match User bob", "cannot be met by a key"),
        ("AuthenticationMethods publickey,keyboard-interactive keyboard-interactive", "", "without a key"),
        ("AuthenticationMethods publickey password", "", ""),
        ("AuthenticationMethods any", "", ""),
    ],
)
def test_what_would_shut_people_out_is_refused(line, match, reason):
    said = refusals(survey(directive(line, match=match)), groups=["contractors"])
    assert reason in said if reason else not said


def test_a_second_factor_keeps_its_dialogue():
    asked = "AuthenticationMethods publickey,keyboard-interactive:pam"
    assert plan(survey(directive(asked)))["second_factor"] == {"refuse": [], "wanted": True, "key_alone": False}
    some = plan(survey(directive(asked, match="Match Group x")))["second_factor"]
    assert some == {"refuse": [], "wanted": True, "key_alone": True}
    assert not plan(survey(directive("AuthenticationMethods publickey")))["second_factor"]["wanted"]


def test_our_own_drop_in_is_not_the_site():
    ours = [directive(line, DROPIN) for line in ("AllowUsers alice", "AuthenticationMethods password", "Banner /x")]
    assert plan(survey(*ours))["access"]["add_users"] == []
    assert plan(survey(*ours))["banner"] == ""
    assert not refusals(survey(*ours))


def test_limits_of_the_site_may_be_stricter():
    found = survey(
        directive("MaxAuthTries 2", match="Match User a"),
        directive("MaxSessions 20", match="Match User a"),
        directive("ClientAliveInterval 0", match="Match User a"),
    )
    limits = {"MaxAuthTries": 4, "MaxSessions": 10, "ClientAliveInterval": 60}
    assert plan(found, limits=limits)["laxer_limits"] == ["MaxSessions", "ClientAliveInterval"]


def test_old_and_broken_servers_are_refused():
    assert "too old" in refusals(survey(version=[8, 4], version_text="OpenSSH_8.4p1"))
    assert "broken as it is: line 3" in refusals(survey(valid=False, error="line 3"))


# --- host keys


def test_strong_host_keys_are_offered():
    keys = plan(survey())["host_keys"]
    assert keys["load"] == [KEY.format("ed25519"), KEY.format("rsa")]
    assert keys["algorithms"] == ["ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"]
    assert not keys["generate"]
    keys = plan(survey(keys=[key("rsa", 2048), key()]))["host_keys"]
    assert keys["load"] == [KEY.format("ed25519")]
    assert keys["algorithms"] == ["ssh-ed25519"]


def test_a_missing_key_is_made_but_not_in_an_image():
    missing = key(type="", exists=False)
    assert plan(survey(keys=[key("rsa", 2048), missing]))["host_keys"]["generate"]
    keys = plan(survey(keys=[key("rsa", type="", exists=False), missing]))["host_keys"]
    assert not keys["generate"]
    assert keys["algorithms"] == ["ssh-ed25519"]


def test_host_keys_that_the_site_chose_stay_its_choice():
    own = [key(path="/own", real="/own"), key("ecdsa"), key()]
    keys = plan(survey(directive("HostKey /own"), directive(f"HostKey {KEY.format('ecdsa')}"), keys=own))["host_keys"]
    assert keys["load"] == []
    assert keys["algorithms"] == ["ssh-ed25519"]
    weak = plan(survey(directive(f"HostKey {KEY.format('ecdsa')}"), keys=[key("ecdsa")]))["host_keys"]
    assert weak["load"] == [KEY.format("ed25519")]
    assert weak["generate"]


def test_certificates_of_the_host_go_on_working():
    certificate = {"path": "/c", "type": "ssh-ed25519-cert-v01@openssh.com"}
    algorithms = plan(survey(host_certificates=[certificate]))["host_keys"]["algorithms"]
    assert algorithms[:2] == ["ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"]
    other = {"path": "/c", "type": "ecdsa-sha2-nistp256-cert-v01@openssh.com"}
    assert "/c is not of a key" in refusals(survey(host_certificates=[other]))


def test_weak_keys_go_and_readable_ones_are_shut():
    found = survey(
        keys=[key(mode="0644"), key("rsa", 3072, mode="0640", group="ssh_keys"), key("dsa", 1024, mode="0644")]
    )
    keys = plan(found)["host_keys"]
    assert keys["modes"] == [KEY.format("ed25519")]
    assert keys["remove"] == [KEY.format("dsa")]
    files = {one["path"]: one for one in ssh.host_key_files(keys)}
    assert files[KEY.format("ed25519")]["mode"] == "0600"
    assert files[KEY.format("dsa")]["state"] == "absent"
    assert all(one.get("sensitive") for path, one in files.items() if not path.endswith(".pub"))


def test_keys_are_left_alone_where_the_control_is_waived():
    keys = plan(survey(keys=[key(mode="0644")]), controls=set())["host_keys"]
    assert (keys["load"], keys["algorithms"], keys["modes"]) == ([], [], [])


# --- what stands against the drop-in


def test_what_is_overridden_is_named():
    found = survey(
        directive("PermitRootLogin yes", number=3),
        directive("PermitRootLogin prohibit-password", number=7, match="Match Address 10.0.0.0/8"),
        directive("MaxAuthTries 2", number=8, match="Match User bob"),
        directive("PermitRootLogin no", number=9),
        directive("AllowGroups x", number=10),
    )
    assert ssh.takeover(found, CONTENT) == {
        "refuse": [],
        "main": {},
        "overridden": [
            f"{MAIN}:3 PermitRootLogin yes",
            f"{MAIN}:7 PermitRootLogin prohibit-password (Match Address 10.0.0.0/8)",
        ],
    }


@pytest.mark.parametrize(
    ("files", "before", "taken"),
    [
        ([file(), file(DROPIN, position=1)], "Port 2222", False),
        ([file(), file(DROPIN, position=1)], "MaxAuthTries 4", False),
        ([file(), file(DROPIN, position=1)], "MaxAuthTries 20", True),
        ([file()], "Port 22", True),
    ],
    ids=["harmless", "the-same", "settings-first", "no-include"],
)
def test_the_drop_in_is_included_first_where_it_would_not_win(files, before, taken):
    main = ssh.takeover(survey(directive(before), files=files), CONTENT)["main"]
    assert bool(main) == taken
    if taken:
        assert main["content"] == "Include /etc/ssh/sshd_config.d/00-rampart*.conf\nPort 22\n"


def test_an_include_inside_a_match_block_is_refused():
    said = ssh.takeover(survey(files=[file(), file(DROPIN, "Match User bob", 1)]), CONTENT)["refuse"]
    assert "stands inside 'Match User bob'" in said[0]


def test_an_earlier_match_block_makes_it_included_first():
    early = directive("Banner /x", "/etc/ssh/sshd_config.d/00-aaa.conf", match="Match User root")
    found = survey(early, files=[file(), file(early["file"]), file(DROPIN, position=1)])
    assert ssh.takeover(found, CONTENT)["main"]


def test_a_main_file_that_is_no_text_is_refused():
    found = survey(files=[file()])
    found["config"]["text"] = None
    assert "not UTF-8" in ssh.takeover(found, CONTENT)["refuse"][0]


@pytest.mark.parametrize(
    ("config", "options", "reason"),
    [
        (None, ["PermitRootLogin=yes"], "sets PermitRootLogin=yes"),
        (None, ["permitrootlogin yes"], "sets permitrootlogin yes"),
        (None, ["AllowGroups=ssh-login"], "sets AllowGroups"),
        (None, ["PermitRootLogin=no", "Port=2222"], ""),
        (MAIN, [], ""),
        ("/etc/ssh/other", [], "reads /etc/ssh/other instead"),
    ],
)
def test_command_lines_that_win_over_files_are_refused(config, options, reason):
    way = {"source": "/etc/default/ssh", "config": config, "options": options}
    said = ssh.takeover(survey(command_lines=[way]), CONTENT)["refuse"]
    assert len(said) == bool(reason)
    assert all(reason in one for one in said)


def test_the_change_has_every_file_once():
    files = [file(), file("/d"), file(DROPIN, position=1)]
    for one in files[:2]:
        one["mode"] = "0644"
    found = survey(directive("MaxAuthTries 20"), files=files)
    change = ssh.change(found, plan(found), server=CONTENT, banner={"path": "/b", "text": "hello"})
    files = {one["path"]: one for one in change["files"]}
    assert len(files) == len(change["files"])
    assert files[DROPIN]["content"] == CONTENT
    assert files[MAIN]["content"].startswith("Include")
    assert files[MAIN]["mode"] == files["/d"]["mode"] == "0600"
    assert change["validate"] == [["/usr/sbin/sshd", "-t"]]
    assert change["activate"][1] == ["systemctl", "reload", "ssh.service"]


def test_validation_makes_the_directory_that_sshd_misses():
    found = survey(error="Missing privilege separation directory: /run/sshd")
    assert ssh.validation(found)[0] == ["install", "-d", "-m", "0755", "/run/sshd"]


def test_activation_fits_what_runs():
    assert plan(survey(socket="ssh.socket"))["activate"][1] == ["systemctl", "try-restart", "ssh.service"]
    assert plan(survey(service="", pid_file="/p"))["activate"][1][-1] == "/p"
    assert plan(survey(service="", listeners=[]))["activate"] == []  # by socket, or in an image
    assert plan(survey(pid_file=""))["active"] == []


# --- the client


def test_hosts_of_the_site_keep_their_client_settings():
    config = dict(file(survey_ssh.CLIENT_CONFIG), text="", files=[file(survey_ssh.CLIENT_DROPIN)], directives=[
        directive("Ciphers aes128-cbc", match="Host old1 *.old !new"),
        directive("ForwardAgent yes", match="Match host build,ci user x"),
        directive("ForwardAgent yes", match="Host *"),
        directive("SendEnv LANG", match="Host other"),
    ])  # fmt: skip
    found = survey(client={"installed": True, "config": config})
    assert plan(found)["client_except"] == ["*.old", "build", "ci", "old1"]
    content = "Host * !build\n    ForwardAgent no\n    Ciphers aes256-ctr\n"
    took = ssh.client_takeover(found, content)
    assert took["overridden"] == [f"{MAIN}:1 ForwardAgent yes (Host *)"]
    assert not took["main"]
    config["files"] = []
    assert ssh.client_takeover(found, content)["main"]["content"] == "Include /etc/ssh/ssh_config.d/00-rampart*.conf\n"


# --- from where the automation account comes


def test_the_automation_account_comes_through_the_jump_servers():
    groups = {"all": ["j1", "j2", "w1"], "jump": ["j1", "j2"]}
    hostvars = {
        "j1": {"hardening_addresses": ["192.0.2.1", "2001:db8::1"]},
        "j2": {"ansible_host": "192.0.2.2"},
        "w1": {"ansible_host": "10.0.0.1"},
    }

    def sources(host, controllers=("198.51.100.7", "203.0.113.0/24"), jump_groups=("jump",)):
        return ssh.automation_sources(host, groups, hostvars, jump_groups, controllers)

    controllers = ["198.51.100.7", "203.0.113.0/24"]
    assert sources("w1") == [*controllers, "192.0.2.1", "2001:db8::1", "192.0.2.2"]
    assert sources("j1") == controllers
    assert sources("j1", controllers=()) == ["192.0.2.2"]
    assert sources("w1", controllers=(), jump_groups=("none",)) == []
    with pytest.raises(flows.FlowError, match="hardening_controllers"):
        sources("w1", controllers=["everywhere!"])
