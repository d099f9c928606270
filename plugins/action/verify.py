# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controller half, and only half, of rampart.hardening.verify: policy in, tests run, evidence out."""

from __future__ import annotations

import datetime
import importlib.util
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

import yaml
from ansible import constants as C
from ansible import context
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import connection_loader
from ansible.release import __version__
from ansible.utils.display import Display
from ansible_collections.rampart.hardening.plugins.plugin_utils import evidence, policy, report

display = Display()

COLLECTION = pathlib.Path(__file__).resolve().parents[2]
TESTS = COLLECTION / "tests" / "baseline"
SECRET = re.compile(r"pass(word|wd|phrase)?$|secret|token|hash$|private_key$|skey$|credential", re.IGNORECASE)
SSH = ("ssh", "ansible.builtin.ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.paramiko_ssh")
LOCAL = ("local", "ansible.builtin.local")
SUDO = ("sudo", "ansible.builtin.sudo")
OLD_TEMPLATES = tuple(map(int, __version__.split(".")[:2])) < (2, 19)
WORKERS_PER_CORE = 4  # a worker mostly waits for its host


def missing(find=importlib.util.find_spec) -> str:
    """What verify needs and does not have, with the remedy."""
    for module, package in (("pytest", "pytest"), ("testinfra", "pytest-testinfra"), ("xdist", "pytest-xdist")):
        if find(module) is None:
            return (
                f"{package} is missing beside the Python that runs Ansible. "
                f"Run: {sys.executable} -m pip install pytest-testinfra pytest-xdist"
            )
    return ""


def without_secrets(value):
    if isinstance(value, dict):
        return {str(key): without_secrets(item) for key, item in value.items() if not SECRET.search(str(key))}
    if isinstance(value, (list, tuple)):
        return [without_secrets(item) for item in value]
    return value


def words(value) -> list[str]:
    return value.replace(",", " ").split() if isinstance(value, str) else list(value or [])


def unresolved(value) -> bool:
    """Whether a template is left over: ansible-core before 2.19 hands it out as it is where a variable is undefined."""
    if isinstance(value, dict):
        return any(unresolved(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(unresolved(item) for item in value)
    return isinstance(value, str) and "{{" in value and not getattr(value, "__UNSAFE__", False)


def resolved(variables, name, *prefixes, strict=True) -> dict:
    """The variables of one host that begin with a prefix, as templates resolve them."""
    values = {}
    for key in variables:
        if key.startswith(prefixes) and not SECRET.search(key):
            try:
                values[key] = variables[key]
                if OLD_TEMPLATES and unresolved(values[key]):
                    raise AnsibleError(f"a variable in {values.pop(key)!r} is undefined")
            except AnsibleError as error:
                if strict:
                    raise AnsibleActionFail(f"{name}: {key} has no value: {error}") from error
    return values


def connection(name, variables) -> dict:
    """How ansible would reach this host, for a program that is not ansible."""
    own = {"inventory_hostname": name, **resolved(variables, name, "ansible_", strict=False)}
    kind = own.get("ansible_connection") or context.CLIARGS.get("connection") or C.DEFAULT_TRANSPORT
    if kind in LOCAL:
        return {"type": "local", "logins": [{"user": "root" if os.geteuid() == 0 else None}]}
    if kind not in SSH:
        return {"type": kind, "problem": f"verify connects by ssh or local, not by {kind}"}
    if own.get("ansible_become_method", C.DEFAULT_BECOME_METHOD) not in SUDO:
        return {"type": kind, "problem": f"verify becomes root by sudo, not by {own['ansible_become_method']}"}
    connection_loader.get("ansible.builtin.ssh", class_only=True)  # makes its options known
    options = C.config.get_plugin_options("connection", "ssh", variables=own)
    args = [] if options["host_key_checking"] else ["-o", "StrictHostKeyChecking=no"]
    for option in ("ssh_args", "ssh_common_args", "ssh_extra_args"):
        args += shlex.split(options[option] or "")
    logins = [{"user": options["remote_user"], "key": options["private_key_file"]}]
    first = resolved(variables, name, "hardening_bootstrap_", strict=False)
    if first:  # a host that was never hardened has only this one
        logins.append(
            {
                "user": first.get("hardening_bootstrap_user", "root"),
                "key": first.get("hardening_bootstrap_private_key_file"),
            }
        )
    for login in logins:
        if login.get("key"):
            login["key"] = os.path.expanduser(login["key"])
    return {"type": "ssh", "host": options["host"] or name, "port": options["port"], "args": args, "logins": logins}


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True  # nothing is changed on any host

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        args = self.validate_argument_spec(
            {
                "output": {"type": "path", "default": "rampart-evidence"},
                "hosts": {"type": "list", "elements": "str"},
                "roles": {"type": "raw"},
                "controls": {"type": "raw"},
                "workers": {"type": "int"},
            }
        )[1]
        if problem := missing():
            raise AnsibleActionFail(problem)
        try:
            document = self.document(args, task_vars)
        except policy.PolicyError as error:
            raise AnsibleActionFail(str(error)) from error
        return self.verify(document, args, task_vars)

    # --- policy in

    def document(self, args, task_vars) -> dict:
        controls = policy.load_controls()
        filters = {key: words(args[key]) for key in ("roles", "controls")}
        known = {"roles": {control["role"] for control in controls.values()}, "controls": set(controls)}
        for key, names in filters.items():
            if unknown := sorted(set(names) - known[key]):
                raise policy.PolicyError(f"verify_{key}: there is no {key[:-1]} {', '.join(unknown)}")
        wanted = [
            name
            for name, control in controls.items()
            if (not filters["roles"] or control["role"] in filters["roles"])
            and (not filters["controls"] or name in filters["controls"])
        ]
        hostvars, groups = task_vars["hostvars"], task_vars["groups"]
        in_play = task_vars["ansible_play_hosts_all"]
        names = [name for name in in_play if args["hosts"] is None or name in args["hosts"]]
        inventory = {"all"}.union(groups, *groups.values())
        prefixes = ("hardening_", *(f"{role}_" for role in sorted(known["roles"])))
        hosts = {}
        for name in names:
            variables = hostvars[name]
            own = resolved(variables, name, *prefixes)
            level = policy.check_level(own.get("hardening_level", 1))
            waivers = policy.check_waivers(own.get("hardening_waivers", []), controls, inventory)
            member_of = list(variables["group_names"])
            hosts[name] = {
                "test": [control for control in policy.baseline(controls, level) if control in wanted],
                "connection": connection(name, variables),
                "level": level,
                "groups": member_of,
                "waivers": [waiver for waiver in waivers if policy.covers(waiver, name, member_of)],
                "policy": without_secrets(
                    {
                        **own,
                        "name": name,
                        "groups": member_of,
                        "hardening_level": level,
                        "set": sorted(key for key in variables if key.startswith(prefixes) and SECRET.search(key)),
                        "controls": policy.in_force(controls, level, waivers, name, member_of),
                    }
                ),
            }
        if not any(host["test"] for host in hosts.values()):
            raise policy.PolicyError(
                "nothing to verify: no host and control is left by verify_hosts, verify_roles, "
                "verify_controls, --limit and hardening_level"
            )
        everywhere = {}
        for name in groups["all"]:
            own = resolved(hostvars[name], name, "hardening_addresses", "ansible_host", strict=False)
            addresses = own.get("hardening_addresses") or [own.get("ansible_host") or name]
            everywhere[name] = {"groups": list(hostvars[name]["group_names"]), "addresses": list(addresses)}
        # through JSON: plain values, whatever Ansible's own types are
        return json.loads(
            json.dumps(
                {
                    "controls": controls,
                    "hosts": hosts,
                    "all_hosts": everywhere,
                    "filters": {**filters, "hosts": names if len(names) < len(groups["all"]) else []},
                },
                default=str,
            )
        )

    # --- tests run

    def verify(self, document, args, task_vars) -> dict:
        hosts = document["hosts"]
        started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
        checks = sum(len(host["test"]) for host in hosts.values())
        display.display(f"verifying {checks} controls on {len(hosts)} hosts")
        with tempfile.TemporaryDirectory(prefix="rampart-verify-") as private:  # mode 0700
            results = self.pytest(pathlib.Path(private), document, args)
        base = pathlib.Path(args["output"]).absolute()
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        previous = self.previous(base)
        directory = self.directory(base, started)
        about = (
            yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))
            if (COLLECTION / "galaxy.yml").exists()
            else json.loads((COLLECTION / "MANIFEST.json").read_text("utf-8"))["collection_info"]
        )
        found = evidence.build(
            run={
                "id": directory.name,
                "started": started.isoformat(timespec="seconds"),
                "duration": round(time.monotonic() - clock, 1),
                "collection": about["version"],
                "ansible": __version__,
                "filters": document["filters"],
            },
            hosts=hosts,
            controls=document["controls"],
            results=results,
            previous=previous,
        )
        self.write(directory / "evidence.json", json.dumps(found, indent=1, ensure_ascii=False).encode() + b"\n")
        self.write(directory / "junit.xml", evidence.junit(found))
        self.write(directory / "report.html", report.render(found).encode())
        self.point(base / "latest", directory.name)
        for line in ["", *evidence.table(found), "", *evidence.complaints(found)]:
            display.display(line)
        place = str(directory / "report.html")
        display.display(f"{found['verdict']}: {place}")
        return {
            "changed": False,
            "failed": found["verdict"] != "compliant",
            "msg": f"{found['verdict']}: {found['summary']['fail']} failed, {found['summary']['error']} errors, "
            f"of {checks} on {len(hosts)} hosts; see {place}",
            "verdict": found["verdict"],
            "summary": found["summary"],
            "output": str(directory),
            "report": place,
        }

    def pytest(self, private, document, args) -> list[dict]:
        policy_file, results_file, log_file = (private / name for name in ("policy.json", "results.jsonl", "log"))
        self.write(policy_file, json.dumps(document).encode())
        results_file.touch(mode=0o600)
        workers = args["workers"] or min(len(document["hosts"]), WORKERS_PER_CORE * (os.cpu_count() or 1))
        wanted = {name for host in document["hosts"].values() for name in host["test"]}
        roles = sorted({document["controls"][name]["role"] for name in wanted})
        files = [str(path) for path in (TESTS / f"test_{role}.py" for role in roles) if path.exists()]
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "xdist.plugin",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            f"--rootdir={TESTS}",
            f"--confcutdir={TESTS}",
            "--import-mode=importlib",
            "-o",
            f"pythonpath={TESTS}",
            "--color=no",
            "--tb=short",
            "-q",
            "-n",
            str(workers),
            f"--rampart-policy={policy_file}",
            f"--rampart-results={results_file}",
            *files,
        ]
        # the user's other plugins and options are for the user's other tests
        env = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        env.update(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
        # a jump server's ssh does not inherit BatchMode: it must not ask on the terminal either
        env.update(SSH_ASKPASS_REQUIRE="force", SSH_ASKPASS="/bin/false")
        with open(log_file, "wb") as log, open(results_file, encoding="utf-8") as lines:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, cwd=private)
            try:
                results = self.follow(process, lines, document["hosts"])
            finally:
                if process.poll() is None:
                    process.terminate()
                    process.wait()
        if process.returncode not in (0, 1) or not results:  # 1: some tests failed
            tail = "\n".join(log_file.read_text("utf-8", "replace").splitlines()[-40:])
            raise AnsibleActionFail(
                f"the tests did not run to their end (pytest exit status {process.returncode}):\n{tail}"
            )
        return results

    @staticmethod
    def follow(process, lines, hosts) -> list[dict]:
        """Read results while they come, and tell of each host that is done."""
        results, begun, left = [], "", {name: set(host["test"]) for name, host in hosts.items() if host["test"]}
        total = len(left)
        while True:
            ended = process.poll() is not None
            for line in lines:
                begun += line
                if not begun.endswith("\n"):  # the rest of it has yet to be written
                    continue
                result, begun = json.loads(begun), ""
                results.append(result)
                name = result["host"]
                if name in left:
                    left[name].discard(result["control"])
                    if not left[name]:
                        del left[name]
                        display.display(f"  {name} done ({total - len(left)}/{total})")
            if ended:
                return results
            time.sleep(0.1)

    # --- evidence out

    @staticmethod
    def directory(base, started) -> pathlib.Path:
        name = started.strftime("%Y%m%dT%H%M%SZ")
        for suffix in ("", *(f"-{number}" for number in range(2, 100))):
            try:
                (base / (name + suffix)).mkdir(mode=0o700)
            except FileExistsError:
                continue
            return base / (name + suffix)
        raise AnsibleActionFail(f"{base}: too many runs in one second")

    @staticmethod
    def previous(base) -> dict | None:
        try:
            found = json.loads((base / "latest" / "evidence.json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return found if found.get("format") == evidence.FORMAT else None

    @staticmethod
    def write(path, content: bytes) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)

    @staticmethod
    def point(link, target) -> None:
        beside = link.with_name(f".latest-{os.getpid()}")
        beside.symlink_to(target)
        beside.replace(link)
