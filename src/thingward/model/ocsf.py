"""OCSF 1.x class numbers that thingward uses, and our extension classes.

Source: schema.ocsf.io, version pinned in OCSF_VERSION; the extension range of ours is 9,900 and up.
"""

from __future__ import annotations

from typing import Final

OCSF_VERSION: Final = "1.3.0"

NETWORK_ACTIVITY: Final = 4001
HTTP_ACTIVITY: Final = 4002
DNS_ACTIVITY: Final = 4003
DHCP_ACTIVITY: Final = 4004
AUTHENTICATION: Final = 3002
INVENTORY_INFO: Final = 5001
VULNERABILITY_FINDING: Final = 2002
COMPLIANCE_FINDING: Final = 2003
DETECTION_FINDING: Final = 2004
INCIDENT_FINDING: Final = 2005
REMEDIATION_ACTIVITY: Final = 7001
API_ACTIVITY: Final = 6003
APPLICATION_LIFECYCLE: Final = 6002

EXTENSION_UID: Final = 990
MQTT_ACTIVITY: Final = 990_4101
TLS_ACTIVITY: Final = 990_4102
MALFORMED_INPUT: Final = 990_4103
SOURCE_STATUS: Final = 990_6101
LOG_LINE: Final = 990_1101

SEVERITY_NAMES: Final = {
    0: "Unknown",
    1: "Informational",
    2: "Low",
    3: "Medium",
    4: "High",
    5: "Critical",
    6: "Fatal",
}
