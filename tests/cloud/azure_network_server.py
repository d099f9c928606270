# Copyright: (c) 2026, The rampart authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Azure Resource Manager does with networks, on the server of arm.py.

Security rules: a priority from 100 to 4096 once in each direction, one application security group at an end, either
groups or prefixes, prefixes of one address family. Groups that are named have to be there, interfaces of one group lie
in one virtual network and have the same groups in all of their configurations, and what is in use is not deleted. Who
lets one resource name another needs the right to join that one.
"""

from __future__ import annotations

import ipaddress
import re
from typing import ClassVar

from arm import ArmError, ArmServer, kind

SUBSCRIPTION = "22222222-2222-2222-2222-222222222222"
PROVIDERS = "providers/Microsoft.Network"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/network"
NSG, ASG, NIC = (
    f"microsoft.network/{name}" for name in ("networksecuritygroups", "applicationsecuritygroups", "networkinterfaces")
)
DEFAULTS = [
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
]


def network_id(name: str, place: str, group: str = GROUP) -> str:
    return f"{group}/{PROVIDERS}/{place}/{name}"


def named(value: object) -> list[str]:
    """Every id that a resource names."""
    if isinstance(value, dict):
        own = [value["id"]] if set(value) == {"id"} else []
        return own + [one for item in value.values() for one in named(item)]
    return [one for item in value for one in named(item)] if isinstance(value, list) else []


class NetworkServer(ArmServer):
    long_running: ClassVar[set[str]] = {NSG, ASG, NIC}

    def complete(self, resource, old):
        properties = resource["properties"]
        if resource["type"] == NSG:
            for rule in properties.setdefault("securityRules", []):
                rule["id"] = f"{resource['id']}/securityRules/{rule['name']}"
                rule["etag"] = resource["etag"]
                rule["properties"]["provisioningState"] = "Succeeded"
            properties["defaultSecurityRules"] = [
                {
                    "id": f"{resource['id']}/defaultSecurityRules/{name}",
                    "name": name,
                    "properties": {
                        "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*", "priority": priority,
                        "direction": direction, "access": access, "sourceAddressPrefix": source,
                        "destinationAddressPrefix": destination,
                    },
                }
                for name, priority, direction, access, source, destination in DEFAULTS
            ]  # fmt: skip
        if resource["type"] == NIC and old:  # nobody attaches a machine by writing an interface
            properties["virtualMachine"] = old["properties"].get("virtualMachine")

    def check(self, request, resource, old):
        path = request.path
        if request.method == "DELETE":
            users = [other["id"] for other in self.store.values() if path.lower() in map(str.lower, named(other))]
            if users:
                raise ArmError(400, "InUseResourceCannotBeDeleted", f"{path} is used by {', '.join(users)}.")
            return
        for one in named(resource.get("properties")):
            if kind(one) in (NSG, ASG, NIC) and one.lower() not in self.store:
                raise ArmError(400, "InvalidResourceReference", f"Resource {one} referenced by {path} was not found.")
        if kind(path) == NSG:
            self.check_rules(path, resource["properties"].get("securityRules") or [])
        if kind(path) == NIC:
            self.check_interface(path, resource["properties"]["ipConfigurations"])

    def check_rules(self, path, rules):
        taken = set()
        for rule in rules:
            name, one = rule["name"], rule["properties"]
            if not re.fullmatch(r"[A-Za-z0-9]([\w.-]{0,78}\w)?", name):
                raise ArmError(400, "InvalidResourceName", f"Resource name {name} is invalid.")
            if not 100 <= one["priority"] <= 4096:
                raise ArmError(400, "SecurityRuleInvalidPriority", f"Security rule {name} has invalid priority.")
            if (one["direction"], one["priority"]) in taken:
                raise ArmError(400, "SecurityRuleConflict", f"Security rule {name} conflicts with another rule.")
            taken.add((one["direction"], one["priority"]))
            if one["protocol"] not in ("Tcp", "Udp", "Icmp", "Esp", "Ah", "*"):
                raise ArmError(400, "InvalidRequestFormat", f"{one['protocol']} is no protocol.")
            for side in ("source", "destination"):
                groups = one.get(f"{side}ApplicationSecurityGroups") or []
                prefixes = [
                    *(one.get(f"{side}AddressPrefixes") or []),
                    *filter(None, [one.get(f"{side}AddressPrefix")]),
                ]
                if len(groups) > 1 or bool(groups) is bool(prefixes):
                    raise ArmError(400, "SecurityRuleInvalidApplicationSecurityGroups", f"{name}: {side} is wrong.")
                families = {ipaddress.ip_network(prefix).version for prefix in prefixes if re.search(r"[.:]", prefix)}
                if len(families) > 1:
                    raise ArmError(
                        400, "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies", f"{path}: {name}"
                    )
                if bool(one.get(f"{side}PortRange")) is bool(one.get(f"{side}PortRanges")):
                    raise ArmError(400, "SecurityRuleInvalidPortRange", f"{name}: {side} ports are wrong.")

    def check_interface(self, path, settings):
        groups = [
            frozenset(group["id"].lower() for group in one["properties"].get("applicationSecurityGroups") or [])
            for one in settings
        ]
        if len(set(groups)) > 1:
            raise ArmError(400, "ApplicationSecurityGroupsNotSameForAllIpConfigs", f"{path}: groups differ.")
        own = settings[0]["properties"]["subnet"]["id"].lower().partition("/subnets/")[0]
        for other in self.store.values():
            if other["type"] == NIC and other["id"].lower() != path.lower():
                for one in other["properties"]["ipConfigurations"]:
                    theirs = {group["id"].lower() for group in one["properties"].get("applicationSecurityGroups") or []}
                    if theirs & groups[0] and not one["properties"]["subnet"]["id"].lower().startswith(own + "/"):
                        raise ArmError(
                            400, "ApplicationSecurityGroupsNotInSameVnet", f"{path}: groups are of another network."
                        )

    def linked(self, resource, old):
        joins = {
            (NIC, NSG): "Microsoft.Network/networkSecurityGroups/join/action",
            (NIC, ASG): "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
            (NIC, "microsoft.network/virtualnetworks/subnets"): "Microsoft.Network/virtualNetworks/subnets/join/action",
            (NIC, "microsoft.network/publicipaddresses"): "Microsoft.Network/publicIPAddresses/join/action",
            (NSG, ASG): "Microsoft.Network/applicationSecurityGroups/joinNetworkSecurityRule/action",
        }
        own = kind(resource["id"])
        found = {(joins[own, kind(one)], one) for one in named(resource.get("properties")) if (own, kind(one)) in joins}
        return sorted(found)
