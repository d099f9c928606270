# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup rendered makes of a template what Ansible's own does."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import lookup_loader
from ansible.template import Templar

TEXTS = [
    "# {{ greeting }}\n{% for one in names %}\n  {{ one }}\n{% endfor %}\nlast\n",
    "no newline at the end",
    '[Section]\nKey={{ "a\\\\b" }}\n\n',
    '{"looks": "like data"}\n',
    "{{ names }}",
    "{% if missing is defined %}\nno\n{% endif %}\n{{ untrusted }}\n",
]


@pytest.fixture
def look(tmp_path):
    (tmp_path / "templates").mkdir()
    variables = {"greeting": "hello", "names": ["a", "b"], "untrusted": "{{ 1 + 1 }}",
                 "ansible_search_path": [str(tmp_path)]}  # fmt: skip

    def run(plugin, text):
        (tmp_path / "templates" / "x.j2").write_text(text, encoding="utf-8")
        loader = DataLoader()
        lookup = lookup_loader.get(plugin, loader=loader, templar=Templar(loader=loader, variables=variables))
        return lookup.run(["x.j2"], variables=variables)

    return run


@pytest.mark.parametrize("text", TEXTS)
def test_it_renders_as_ansible_does(look, text):
    assert look("rampart.hardening.rendered", text) == look("ansible.builtin.template", text)


def test_a_missing_template_is_named(look):
    lookup = lookup_loader.get("rampart.hardening.rendered", loader=DataLoader(), templar=None)
    with pytest.raises(AnsibleError, match=r"no template nowhere\.j2"):
        lookup.run(["nowhere.j2"], variables={"ansible_search_path": ["/nonexistent"]})
