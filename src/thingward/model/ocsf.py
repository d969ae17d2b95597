"""OCSF 1.x class numbers that thingward uses, and our extension classes.

Source: schema.ocsf.io, version pinned in OCSF_VERSION. Extension 999 is the one that OCSF's registry leaves to
extensions that are not registered; a class of it is numbered 999 * 100,000 + category * 1,000 + n.
"""

from __future__ import annotations

from typing import Final

OCSF_VERSION: Final = "1.8.0"

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

EXTENSION_UID: Final = 999
MQTT_ACTIVITY: Final = 99_904_101
TLS_ACTIVITY: Final = 99_904_102
MALFORMED_INPUT: Final = 99_904_103
SOURCE_STATUS: Final = 99_906_101
LOG_LINE: Final = 99_901_101

SEVERITY_NAMES: Final = {
    0: "Unknown",
    1: "Informational",
    2: "Low",
    3: "Medium",
    4: "High",
    5: "Critical",
    6: "Fatal",
}
