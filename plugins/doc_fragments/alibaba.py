# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What every module for Alibaba Cloud takes: ALI_ARGS of module_utils.cloud_ali."""

    DOCUMENTATION = r'''
options:
  access_key_id:
    description:
      - The AccessKey to work with. Without it the SDK looks where it always does, in this order - the environment
        (E(ALIBABA_CLOUD_ACCESS_KEY_ID), E(ALIBABA_CLOUD_ACCESS_KEY_SECRET), E(ALIBABA_CLOUD_SECURITY_TOKEN)), an OIDC
        token, the files of the command-line tool, the RAM role of the instance.
    type: str
  access_key_secret:
    description: The secret that belongs to O(access_key_id).
    type: str
  security_token:
    description: The token that belongs to temporary credentials.
    type: str
  region:
    description:
      - Where instances are looked up, such as V(cn-hangzhou).
      - E(ALIBABA_CLOUD_REGION_ID) unless set.
    type: str
  endpoint:
    description: Another place that answers for all services, as C(https://host:port), for private clouds and tests.
    type: str
requirements:
  - alibabacloud-tea-openapi >= 0.4.0 (Python package)
notes:
  - Runs where Ansible runs, with C(connection=local) or delegated to localhost, and connects to the cloud's API alone.
'''
