# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations


class ModuleDocFragment:
    """What every module for Azure takes: AZURE_ARGS of module_utils.cloud_azure."""

    DOCUMENTATION = r'''
options:
  subscription_id:
    description: The subscription. E(AZURE_SUBSCRIPTION_ID) unless set.
    type: str
    required: true
  resource_manager_url:
    description:
      - Where the resource manager is, for other clouds than the public one.
      - Their logins are elsewhere too, which E(AZURE_AUTHORITY_HOST) says.
    type: str
    default: https://management.azure.com
requirements:
  - azure-identity >= 1.15
notes:
  - Runs where the Python packages for Azure are, as a rule on the controller with C(delegate_to=localhost).
  - The credential is the one that C(DefaultAzureCredential) of azure-identity finds, so the environment variables
    E(AZURE_CLIENT_ID) and its kin, a managed identity, or C(az login).
'''
