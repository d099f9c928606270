# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to become of the keys to clouds that the survey found on a host: pure policy."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence

CONTROL = "cloud.no_static_keys"
KINDS = (
    "aws_access_key",
    "alibaba_access_key",
    "azure_service_principal",
    "azure_storage_key",
    "azure_user_login",
    "gcp_service_account_key",
    "gcp_user_login",
)


def line(item: Mapping) -> str:
    """One finding, for people."""
    used = f", used by {', '.join(item['used'])}" if item["used"] else ""
    return f"{item['path']}: {', '.join(item['kinds'])} (line {item['line']}), {item['owner']} {item['mode']}{used}"


def plan(
    survey: Mapping,
    controls: Sequence[str] = (),
    allowed: Sequence[Mapping] = (),
    remove: bool | str | Sequence = False,
) -> dict:
    """`change`, the arguments of the confirmed change; `found`, the keys that stay though nobody allowed them."""
    if CONTROL not in controls:
        return {"change": {"files": [], "refuse": [], "notes": []}, "found": []}
    if isinstance(remove, str):  # from the command line
        remove = {"true": True, "yes": True, "false": False, "no": False}.get(remove.lower(), [remove])
    wanted = [] if isinstance(remove, bool) else [str(one) for one in remove]
    refuse = [
        f"cloud_remove: {one!r} is neither a path nor one of {', '.join(KINDS)}"
        for one in wanted
        if one not in KINDS and not one.startswith("/")
    ]
    refuse += [f"cloud_allowed: {one['path']} has no reason" for one in allowed if not one.get("reason")]
    files, notes = [], []
    found = [f"not looked at: {one}" for one in survey["cloud"]["skipped"]]
    for item in survey["cloud"]["found"]:
        if any(fnmatch.fnmatchcase(item["path"], one["path"]) for one in allowed):
            continue
        named = item["path"] in wanted
        if named or (item["alone"] and not item["used"] and (remove is True or set(item["kinds"]) & set(wanted))):
            files.append({"path": item["path"], "state": "absent", "sensitive": True, "seen": item["stamp"]})
            notes.append(f"removes {line(item)}; the journal of the host keeps it, for root alone")
        else:
            found.append(line(item) + ("" if item["alone"] else ", among other things"))
    return {"change": {"files": files, "refuse": refuse, "notes": notes}, "found": found}
