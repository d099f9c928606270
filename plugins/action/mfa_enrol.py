# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment in TOTP, on the controller alone: secrets go from memory into files that ansible-vault has encrypted."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import sys
import tempfile

import yaml
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.parsing.vault import VaultLib, is_encrypted
from ansible.plugins.action import ActionBase
from ansible_collections.rampart.hardening.plugins.plugin_utils import mfa, totp

VARIABLE = "hardening_totp_secrets"
HEAD = "# Made by rampart.hardening.mfa_enrol, and encrypted as a whole: ansible-vault view\n"


class ActionModule(ActionBase):
    """Neither arguments nor results ever hold a secret, so that nothing has to be hidden from logs."""

    _supports_check_mode = True
    _supports_diff = True
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        dummy, args = self.validate_argument_spec(
            {
                "variables": {"type": "path", "required": True},
                "output": {"type": "path", "default": "rampart-mfa"},
                "issuer": {"type": "str", "default": "rampart"},
                "reenrol": {"type": "list", "elements": "str", "default": []},
                "revoke": {"type": "list", "elements": "str", "default": []},
                "vault_id": {"type": "str"},
            }
        )
        for option in ("reenrol", "revoke"):
            args[option] = [str(name) for name in args[option]]
        variables, output = (pathlib.Path(args[key]).expanduser().absolute() for key in ("variables", "output"))
        vault_id, key = self.vault_secret(args["vault_id"])
        vault = VaultLib(self._loader._vault.secrets)
        kept = self.read(variables, vault)
        people, elsewhere = self.people(task_vars, kept)
        self.check_names(people, {*kept}, args)
        again = [name for name in args["reenrol"] if name in kept]
        new = sorted((people - {*kept, *elsewhere} - {*args["revoke"]}) | {*args["reenrol"]})
        revoked = [name for name in args["revoke"] if name in kept]
        result.update(
            changed=bool(new or revoked), enrolled=[name for name in new if name not in again], reenrolled=again,
            revoked=revoked, already=sorted((people & {*kept, *elsewhere}) - {*again, *revoked}),
            variables=str(variables), files=[str(output / f"{name}.{kind}") for name in new for kind in ("txt", "png")],
        )  # fmt: skip
        if self._task.diff and result["changed"]:
            after = sorted(({*kept} | {*new}) - {*revoked})
            result["diff"] = {
                "before_header": str(variables), "before": "".join(f"{name}\n" for name in sorted(kept)),
                "after_header": str(variables), "after": "".join(f"{name}\n" for name in after),
            }  # fmt: skip
        if self._task.check_mode or not result["changed"]:
            return result
        made = {name: totp.make() for name in new}
        entries = {name: entry for name, entry in {**kept, **made}.items() if name not in revoked}
        document = HEAD + yaml.safe_dump({VARIABLE: dict(sorted(entries.items()))})
        sheets = {name: totp.sheet(name, entry, args["issuer"]) for name, entry in made.items()}
        try:
            output.mkdir(mode=0o700, parents=True, exist_ok=True)
            variables.parent.mkdir(parents=True, exist_ok=True)
            # first what people are handed: a secret that nobody was given must not come into force
            for name, contents in sheets.items():
                for kind, content in zip(("txt", "png"), contents, strict=True):
                    self.write(output / f"{name}.{kind}", vault.encrypt(content, key, vault_id))
            self.write(variables, vault.encrypt(document.encode(), key, vault_id))
        except OSError as error:
            raise AnsibleActionFail(f"{error}; {variables} is as before") from error
        return result

    def vault_secret(self, wanted):
        """The vault id to encrypt with, and its secret."""
        known = self._loader._vault.secrets or []
        if not known:
            raise AnsibleActionFail(
                "enrolment writes secrets, and nobody has said which vault password encrypts them: add "
                "--ask-vault-pass, --vault-password-file FILE or --vault-id NAME@FILE. Nothing was made."
            )
        if importlib.util.find_spec("segno") is None:
            raise AnsibleActionFail(
                f"segno, which draws QR codes, is missing beside the Python that runs Ansible. Nothing was made. "
                f"Run: {sys.executable} -m pip install segno"
            )
        for name, secret in known:
            if wanted in (None, name):
                return name, secret
        raise AnsibleActionFail(
            f"there is no vault id {wanted}; this run knows {', '.join(name for name, dummy in known)}. "
            "Nothing was made."
        )

    def read(self, path, vault):
        """Who has a secret in the file of variables."""
        if not path.exists():
            return {}
        content, trouble = path.read_bytes(), ""
        try:
            if not is_encrypted(content):
                trouble = "is not encrypted: encrypt it with ansible-vault first"
            else:
                document = yaml.safe_load(vault.decrypt(content)) or {}
                if not isinstance(document, dict) or set(document) - {VARIABLE}:
                    trouble = f"holds more than {VARIABLE}: give another file (mfa_enrol_variables)"
        except (AnsibleError, yaml.YAMLError):
            trouble = "cannot be read with the vault passwords of this run"
        if trouble:
            raise AnsibleActionFail(f"{path} {trouble}. Nothing was made.")
        return document.get(VARIABLE) or {}

    def people(self, task_vars, kept):
        """Who needs a secret on any host of the play, and who has one from elsewhere."""
        people, elsewhere = set(), set()
        for host in task_vars["ansible_play_hosts_all"]:
            own = task_vars["hostvars"][host]

            def variable(name, default, own=own):
                return self._templar.template(own.get(name, default))

            factors = variable("hardening_mfa_factors", ["totp"])
            for person in variable("hardening_admins", []):
                if person.get("state", "present") != "absent" and "totp" in mfa.words(person.get("mfa") or factors):
                    people.add(str(person["name"]))
            sealed = variable("hardening_break_glass", {}).get("name")
            people |= {str(sealed)} if sealed else set()
            elsewhere |= set(variable(VARIABLE, {})) - set(kept)
        return people, elsewhere

    def check_names(self, people, kept, args):
        """Refuse names that no file can have, and people of whom nobody knows."""
        odd = sorted(name for name in people if not mfa.NAME.fullmatch(str(name)))
        if odd:
            raise AnsibleActionFail(f"not a name of an account: {', '.join(map(repr, odd))}. Nothing was made.")
        for option, known in (("reenrol", people), ("revoke", kept)):
            unknown = sorted({*args[option]} - known)
            if unknown:
                raise AnsibleActionFail(
                    f"mfa_{option}: nobody here is called {', '.join(unknown)}; there are {', '.join(sorted(known))}. "
                    "Nothing was made."
                )

    @staticmethod
    def write(path, content):
        """Replace the file by one that only its owner reads, all of it or not at all."""
        handle, temp = tempfile.mkstemp(prefix=f".{re.sub(r'[^a-z]', '', path.name)}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temp, path)
        except OSError:
            os.unlink(temp)
            raise
