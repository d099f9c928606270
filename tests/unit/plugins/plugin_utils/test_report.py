# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import html.parser
import re

import pytest
from ansible_collections.rampart.hardening.plugins.plugin_utils import evidence, report

ODD = "<script>alert('1')</script>\"}</style>&{{ 7 * 7 }}"
VOID = ("meta", "br")


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text, and complains of tags that do not match."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], ""
        self.feed(source)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def values(self, name):
        return [value for _tag, key, value in self.attributes if key == name]


def waiver(control, days_left, name):
    return {
        "control": control,
        "hosts": [name],
        "reason": ODD,
        "owner": ODD,
        "until": "2027-01-31",
        "days_left": days_left,
        "expired": days_left < 0,
    }


def sample(text=ODD, previous=None, hosts=3, first="fail"):
    """Hosts with every verdict, and the given text wherever a text can stand."""
    controls = {
        f"ssh.c{number}": {
            "id": f"ssh.c{number}",
            "role": "ssh",
            "title": text,
            "why": text,
            "level": 1,
            "references": [text],
            "may_break": text,
        }
        for number in range(6)
    }
    names = [f"host{number} {text}" for number in range(hosts)]
    policy = {
        name: {
            "groups": [text],
            "level": 1,
            "test": list(controls),
            "waivers": [waiver("ssh.c4", -12, name), waiver("ssh.c3", 68, name), waiver("ssh.c2", 10, name)],
        }
        for name in names
    }
    observed = {
        "ssh.c0": first,
        "ssh.c1": "error",
        "ssh.c2": "pass",
        "ssh.c3": "fail",
        "ssh.c4": "na",
        "ssh.c5": "pass",
    }
    results = [
        {
            "host": name,
            "control": control,
            "test": "t",
            "observed": observed[control],
            "message": text,
            "seen": [text, "line\n" * 30],
            "duration": 1.0,
            "reachable": True,
            "facts": {"os": text, "kernel": text, "addresses": [text]},
        }
        for name in names[:-1]
        for control in controls
    ] + [
        {
            "host": names[-1],
            "control": control,
            "test": "t",
            "observed": "error",
            "message": f"not reachable {text}",
            "seen": [],
            "duration": 1.0,
            "reachable": False,
            "facts": {},
        }
        for control in controls
    ]
    run = {
        "id": "20261124T105139Z",
        "started": "2026-11-24T10:51:39+00:00",
        "duration": 75.0,
        "collection": "0.1.0",
        "ansible": "2.19.14",
        "filters": {"hosts": names, "roles": [], "controls": []},
    }
    return evidence.build(run, policy, controls, results, previous)


@pytest.fixture(scope="module")
def page():
    return Page(report.render(sample(previous=sample(first="pass"))))


def test_the_page_needs_nothing_else_and_runs_nothing(page):
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(page.tags)
    assert [value for tag, key, value in page.attributes if key in ("src", "style") or key.startswith("on")] == []
    assert all(value.startswith("#") for value in page.values("href"))
    source = report.render(sample())
    assert "default-src 'none'" in source
    assert not re.search(r"url\(|@import", source)


def test_everything_from_outside_is_escaped(page):
    assert page.text.count(ODD) > 50
    source = report.render(sample())
    assert "<script" not in source
    style = source[source.index("<style>") : source.index("</style>")]
    assert "alert" not in style


def test_links_lead_somewhere(page):
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href")} <= set(ids)


def test_what_a_reader_looks_for_is_there(page):
    for words in (
        "Not compliant",
        "run 20261124T105139Z",
        "took 1 min 15 s",
        "Needs attention",
        "could not be verified",
        "expired 12 days ago, enforced again",
        "68 days",
        "! 10 days",
        "was pass in the last run",
        "Without the waiver this fails.",
        "The host complies: the waiver is not needed.",
        "30 lines",
        "Only these hosts were verified",
    ):
        assert words in " ".join(page.text.split()), words


def test_a_verdict_is_never_told_by_colour_alone(page):
    for verdict, word in report.WORDS.items():
        assert f"{report.GLYPHS[verdict]} {word}" in page.text


def test_filters_know_every_host_role_and_verdict(page):
    values = page.values("value")
    assert values == ["", "h0", "h1", "h2", "", "r0", "", *evidence.VERDICTS]
    assert "h0-fail" in page.values("data-has")[0].split()
    source = report.render(sample())
    for value in filter(None, values):
        assert f"option[value={value}]:checked" in source


def test_an_empty_history_and_a_green_fleet():
    green = evidence.build(
        {
            "id": "20261124T105139Z",
            "started": "2026-11-24T10:51:39+00:00",
            "duration": 2.0,
            "collection": "0.1.0",
            "ansible": "2.19.14",
            "filters": {"hosts": [], "roles": [], "controls": []},
        },
        {"web": {"groups": [], "level": 1, "test": ["ssh.a"], "waivers": []}},
        {"ssh.a": {"role": "ssh", "title": "t", "why": "w", "level": 1, "references": []}},
        [
            {
                "host": "web",
                "control": "ssh.a",
                "test": "t",
                "observed": "pass",
                "message": "",
                "seen": [],
                "duration": 1,
                "reachable": True,
                "facts": {"addresses": []},
            }
        ],
    )
    text = Page(report.render(green)).text
    assert "Compliant" in text
    assert "Needs attention" not in text
    assert "There is no earlier evidence" in text
    again = Page(report.render({**green, "run": {**green["run"], "previous": "20261123T000000Z"}})).text
    assert "Every verdict is as it was in run 20261123T000000Z" in again


def test_a_large_fleet_is_drawn_with_upright_names():
    assert 'class="matrix many"' in report.render(sample(text="x", hosts=20))
    assert 'class="matrix"' in report.render(sample(text="x", hosts=4))
