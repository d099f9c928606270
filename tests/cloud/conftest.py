# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The servers that stand in for the clouds, started by the first test that wants one."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def aws_server():
    from aws_server import Server

    return Server()


@pytest.fixture
def aws(aws_server):
    """An empty account at Amazon."""
    aws_server.reset()
    return aws_server
