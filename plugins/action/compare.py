# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hold what all roles of the play want against the host in one round trip, so that a host in order costs no more."""

from __future__ import annotations

import json
import pathlib

from ansible.plugins.action import ActionBase
from ansible.template import Templar
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.rampart.hardening.plugins.action.confirmed_change import ActionModule as ConfirmedChange
from ansible_collections.rampart.hardening.plugins.action.integrity import warnings
from ansible_collections.rampart.hardening.plugins.plugin_utils.confirmed import run_id

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
FILES = ("files", "derive", "active")
OWN = {"admin_accounts": "accounts", "integrity": "integrity"}  # roles whose change a module of their own works out


class ActionModule(ConfirmedChange):
    """Every role keeps what it wants in `__ROLE_change`, what it would install in `__ROLE_missing`."""

    def run(self, tmp=None, task_vars=None):
        result = ActionBase.run(self, tmp, task_vars)
        task_vars = task_vars or {}
        host = self._task_host(task_vars)
        try:
            wanted = self.wanted(task_vars)
            text = json.dumps(wanted)
        except Exception as exc:  # the role whose policy this is says it better
            self._display.vv(f"not compared at once: {exc!r}", host=host)
            wanted = None
        if wanted is None:
            return dict(result, changed=False)
        answer = self._execute_module(module_name="rampart.hardening.compare", task_vars=task_vars,
                                      module_args={"_wanted": text})  # fmt: skip
        if not answer.get("settled"):
            self._display.vv(f"not compared at once: {answer.get('msg', 'something differs')}", host=host)
            return dict(result, changed=False)
        seen = answer.get("integrity") or {}
        for warning in warnings(seen, (wanted["integrity"] or {}).get("controls") or []):
            self._display.warning(f"{host}: {warning}")
        return dict(result, changed=False, settled=True, integrity=seen, ansible_facts={
            "rampart_compared": {"run": run_id(task_vars), "roles": self.roles(task_vars)}})  # fmt: skip

    def wanted(self, task_vars):
        """What all roles want, as the module takes it; None where one of them has its say first."""
        found = {"accounts": None, "integrity": None, "sensitive": {}, **{key: [] for key in FILES}}
        for role in self.roles(task_vars):
            variables = RoleVariables(role, self._loader, task_vars)
            if not variables.get("applies", True):
                continue
            for name in ("survey", "controls", "plan"):
                variables.fix(name)
            plan = variables.get("change")
            if plan.get("refuse") or variables.get("missing"):
                return None
            if role in OWN:
                found[OWN[role]] = {**plan, "controls": variables.get("controls")}
                continue
            args = self.arguments({"role": role, "plan": plan}, task_vars)
            found["sensitive"].update(args.pop("_sensitive"))
            for key in FILES:  # two roles may want the same of a file
                found[key] += [one for one in args.get(key) or [] if one not in found[key]]
        return found

    @staticmethod
    def roles(task_vars):
        """The roles of the play that have a change to compare."""
        names = dict.fromkeys(name.rpartition(".")[2] for name in task_vars.get("ansible_play_role_names", []))
        return [name for name in names if f"__{name}_change" in task_vars and (ROLES / name).is_dir()]


class RoleVariables:
    """The variables `__ROLE_…`, templated as in one of the role's own tasks: its templates lie in its own directory."""

    def __init__(self, role, loader, task_vars):
        self.role, self.loader = role, loader
        self.place = dict(task_vars, ansible_search_path=[str(ROLES / role)], role_path=str(ROLES / role))

    def get(self, name, default=None):
        if f"__{self.role}_{name}" not in self.place:
            return default
        # Not a copy of the task's: before ansible-core 2.19 lookups in it would still see the task's own variables
        return Templar(loader=self.loader, variables=self.place).template(self.place[f"__{self.role}_{name}"])

    def fix(self, name):
        """Have a variable worked out now, and not again wherever another mentions it."""
        if f"__{self.role}_{name}" in self.place:
            self.place[f"__{self.role}_{name}"] = wrap_var(self.get(name))  # what it came to is no template
