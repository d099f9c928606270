# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment in TOTP, on the controller alone: secrets go from memory into files that ansible-vault has encrypted."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pathlib
import sys
import tempfile
from collections.abc import Mapping

import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.rampart.hardening.plugins.plugin_utils import mfa, totp

display = Display()

VARIABLE = "hardening_totp_secrets"


def refused(why: str) -> AnsibleActionFail:
    return AnsibleActionFail(f"{why}. Nothing was made.")


class ActionModule(ActionBase):
    """Neither arguments nor results ever hold a secret, so that nothing has to be hidden from logs."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        dummy, args = self.validate_argument_spec(
            {
                "variables": {"type": "path"},
                "output": {"type": "path", "default": "rampart-mfa"},
                "issuer": {"type": "str", "default": "rampart"},
                "reenrol": {"type": "list", "elements": "str", "default": []},
                "revoke": {"type": "list", "elements": "str", "default": []},
                "vault_id": {"type": "str"},
            }
        )
        variables, output = self.places(args, task_vars)
        vault = VaultLib(self._loader._vault.secrets)
        key = self.key(vault, args["vault_id"])
        kept, used = self.read(variables, vault)
        if used and not args["vault_id"]:
            key = used
        hosts = self.hosts(task_vars)
        reenrol, revoke = ({name.strip() for name in args[option]} for option in ("reenrol", "revoke"))
        people = set().union(*(needed for needed, dummy in hosts.values()))
        supplied = set().union(*(given for dummy, given in hosts.values())) - set(kept)
        self.check_names(people, kept, supplied, reenrol, revoke, variables)

        enrolled = (people - set(kept) - supplied - revoke) | (reenrol - set(kept))
        new, revoked = sorted(enrolled | reenrol), sorted(revoke & set(kept))
        self.check_in_force(hosts, kept, new, enrolled, revoke, variables)
        self.check_writing(new, [variables.parent, *([output] if new else [])], args["issuer"])
        result.update(
            changed=bool(new or revoked),
            enrolled=sorted(enrolled),
            reenrolled=sorted(reenrol & set(kept)),
            revoked=revoked,
            already=sorted((people & {*kept, *supplied}) - reenrol - revoke),
            variables=str(variables),
            files=[str(output / f"{name}.{kind}") for name in new for kind in ("txt", "png")],
        )
        if self._task.diff and result["changed"]:
            after = {*kept, *new} - revoke
            result["diff"] = {
                "before_header": str(variables),
                "before": "".join(f"{name}\n" for name in sorted(kept)),
                "after_header": str(variables),
                "after": "".join(f"{name}\n" for name in sorted(after)),
            }
        if self._task.check_mode or not result["changed"]:
            return result

        made = {name: totp.make() for name in new}
        # First what people are handed: a secret that nobody was given must not come into force
        files = {
            output / f"{name}.{kind}": content
            for name, entry in made.items()
            for kind, content in totp.sheet(name, entry, args["issuer"]).items()
        }
        left = {name: entry for name, entry in {**kept, **made}.items() if name not in revoke}
        files[variables] = totp.document(left)
        vault_id, secret = key
        try:
            if new:
                output.mkdir(mode=0o700, parents=True, exist_ok=True)
            variables.parent.mkdir(parents=True, exist_ok=True)
            self.write({path: vault.encrypt(content, secret, vault_id) for path, content in files.items()})
        except OSError as error:
            raise AnsibleActionFail(f"{error}. {variables} is as before.") from None
        return result

    # --- what is there

    @staticmethod
    def places(args, task_vars):
        """The file of variables, and the directory for what people are handed."""
        variables = args["variables"]
        if not variables:
            if not os.path.isabs(str(task_vars["inventory_dir"])):  # None, or the word "None"
                raise refused("this inventory is no file: say which file is to hold the secrets (mfa_enrol_variables)")
            variables = pathlib.Path(task_vars["inventory_dir"], "group_vars", "all", "totp.yml")
        return pathlib.Path(variables).resolve(), pathlib.Path(args["output"]).absolute()

    @staticmethod
    def key(vault, wanted):
        """The vault id that encrypts, and its secret."""
        known = {}
        for name, secret in vault.secrets or []:
            known.setdefault(name, secret)
        if not known:
            raise refused(
                "enrolment writes secrets, and nobody has said which vault password encrypts them: add "
                "--ask-vault-pass, --vault-password-file FILE or --vault-id NAME@FILE"
            )
        name = wanted or C.DEFAULT_VAULT_ENCRYPT_IDENTITY or next(iter(known))
        if name not in known:
            raise refused(f"there is no vault id {name}; this run knows {', '.join(known)}")
        return name, known[name]

    @staticmethod
    def read(path, vault):
        """Who has a secret in the file of variables, and the vault id and secret that it is encrypted with."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return {}, None
        except OSError as error:
            raise refused(str(error)) from None
        if not is_encrypted(content):
            raise refused(f"{path} is not encrypted: run ansible-vault encrypt on it, or name another file")
        try:
            plain, *used = vault.decrypt_and_get_vault_id(content)
        except AnsibleError:
            raise refused(f"{path} cannot be decrypted with the vault passwords of this run") from None
        try:
            document = yaml.safe_load(plain) or {}
        except yaml.YAMLError:  # whose words would show what is in it
            raise refused(f"{path} is not YAML") from None
        if not isinstance(document, dict) or set(document) - {VARIABLE}:
            raise refused(f"{path} holds more than {VARIABLE}: name another file with mfa_enrol_variables")
        kept = document.get(VARIABLE) or {}
        if not isinstance(kept, dict):
            raise refused(f"{path}: {'; '.join(totp.problems(kept))}")
        return {str(name): entry for name, entry in kept.items()}, used

    @staticmethod
    def hosts(task_vars):
        """For each host of the play who needs a secret there, and which are defined there."""
        found = {}
        for host in task_vars["ansible_play_hosts_all"]:
            policy = task_vars["hostvars"][host]
            admins, sealed, given = (
                policy.get(name) or {} for name in ("hardening_admins", "hardening_break_glass", VARIABLE)
            )
            if not all(isinstance(one, Mapping) and one.get("name") for one in admins):
                raise refused(f"hardening_admins of {host} has to be a list of people, each with a name")
            for name, value in (("hardening_break_glass", sealed), (VARIABLE, given)):
                if not isinstance(value, Mapping):
                    raise refused(f"{name} of {host} has to be a mapping")
            needed = {
                str(one["name"])
                for one in admins
                if one.get("state", "present") != "absent"
                and "totp" in mfa.words(one.get("mfa") or policy.get("hardening_mfa_factors", "totp"))
            }
            found[host] = needed | ({str(sealed["name"])} if sealed.get("name") else set()), dict(given)
        return found

    # --- what stands against it

    @staticmethod
    def check_names(people, kept, supplied, reenrol, revoke, variables):
        """Refuse names that no file can have, people of whom nobody knows, and secrets that are not ours to change."""
        if odd := sorted(name for name in people if not mfa.NAME.fullmatch(name)):
            raise refused(f"not a name of an account: {', '.join(map(repr, odd))}")
        for option, asked, known in (("mfa_reenrol", reenrol, people), ("mfa_revoke", revoke, people | {*kept})):
            if unknown := asked - known - supplied:
                raise refused(f"{option}: nobody here is called {mfa.listed(unknown)}; there are {mfa.listed(known)}")
        if elsewhere := (reenrol | revoke) & supplied:
            raise refused(f"the secrets of {mfa.listed(elsewhere)} are not in {variables}: change them where they are")
        if both := reenrol & revoke:
            raise refused(f"mfa_reenrol and mfa_revoke both name {mfa.listed(both)}")

    @staticmethod
    def check_in_force(hosts, kept, new, enrolled, revoke, variables):
        """Refuse to make secrets that a host would not see: a variable has one value, wherever else it is set."""
        for host, (needed, given) in hosts.items():
            if given and not (kept and all(given.get(name) == entry for name, entry in kept.items())):
                unseen = (needed - set(given)) | ((needed | set(given)) & {*new, *revoke})
                trouble = (
                    f"{host} takes {VARIABLE} from elsewhere than {variables}, and one of the two hides the "
                    f"other: bring all secrets together in that file (ansible-vault edit), or see to these people "
                    f"there: {mfa.listed(unseen)}"
                )
                if unseen & enrolled:
                    raise refused(trouble)
            else:
                unseen = needed - {*given, *new} - revoke
                trouble = f"{host} sees no secret of {mfa.listed(unseen)}: is {variables} read for it?"
            if unseen:
                display.warning(trouble)

    @staticmethod
    def check_writing(new, directories, issuer):
        """Refuse what would fail half-way."""
        if ":" in issuer or not issuer.strip():
            raise refused("authenticators want an issuer, and no colon in it")
        if new and importlib.util.find_spec("segno") is None:
            raise refused(
                "segno, which draws QR codes, is missing beside the Python that runs Ansible. "
                f"Run: {sys.executable} -m pip install segno"
            )
        for directory in directories:
            there = next(path for path in (directory, *directory.parents) if os.path.lexists(path))
            if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
                raise refused(f"{there} is no directory that can be written to")

    @staticmethod
    def write(files):
        """Replace these files by ones that only their owner reads; nothing is replaced before all are on the disk."""
        with contextlib.ExitStack() as stack:
            staged = {}
            for path, content in files.items():
                handle, temp = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
                stack.callback(pathlib.Path(temp).unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                staged[temp] = path
            for temp, path in staged.items():
                os.replace(temp, path)
