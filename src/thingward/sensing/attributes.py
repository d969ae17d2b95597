"""The names of identity attributes: one list for the code, docs/protocols.md and whoever weighs the evidence."""

from __future__ import annotations

from thingward.model.observation import IdentityData

MAX_VALUE = 256

ATTRIBUTES: dict[str, str] = {
    "arp.ip": "address that the device answers for",
    "dhcp.hostname": "host name the client sends (option 12)",
    "dhcp.fqdn": "full name the client sends (option 81; DHCPv6 option 39)",
    "dhcp.vendor_class": "vendor class (option 60; DHCPv6 option 16)",
    "dhcp.user_class": "user class (option 77)",
    "dhcp.client_id": "client identifier (option 61) or DHCPv6 DUID, hexadecimal",
    "dhcp.parameters": "options asked for, in order (option 55), a fingerprint of the software",
    "ftp.banner": "greeting of an FTP server",
    "http.realm": "realm of a log-in challenge",
    "http.server": "Server field of answers",
    "http.user_agent": "User-Agent field of requests",
    "imap.banner": "greeting of an IMAP server",
    "lldp.capabilities": "enabled capabilities",
    "lldp.chassis": "chassis identifier",
    "lldp.description": "system description",
    "lldp.firmware": "LLDP-MED firmware revision",
    "lldp.maker": "LLDP-MED manufacturer",
    "lldp.model": "LLDP-MED model",
    "lldp.port": "port identifier",
    "lldp.serial": "LLDP-MED serial number",
    "lldp.system_name": "system name",
    "llmnr.name": "name the host answers for",
    "mdns.category": "HomeKit category number (TXT ci)",
    "mdns.firmware": "firmware version in a TXT record",
    "mdns.friendly_name": "name for people in a TXT record",
    "mdns.instance": "service instance that the device offers",
    "mdns.maker": "maker in a TXT record",
    "mdns.model": "model in a TXT record",
    "mdns.name": "host name the device claims under .local",
    "mdns.service": "service type that the device offers",
    "mqtt.client_id": "client identifier of CONNECT",
    "mud.url": "MUD URL (DHCP option 161, DHCPv6 option 112, LLDP)",
    "nbns.group": "NetBIOS group or domain",
    "nbns.name": "NetBIOS name the host registers",
    "ntp.mode": "the host gives the time (server, broadcast)",
    "pop3.banner": "greeting of a POP3 server",
    "rtsp.realm": "realm of a log-in challenge",
    "rtsp.server": "Server field of answers",
    "rtsp.user_agent": "User-Agent field of requests",
    "sip.software": "User-Agent or Server field",
    "smtp.banner": "greeting of a mail server",
    "smtp.helo": "name that a client gives to a mail server",
    "snmp.descr": "sysDescr",
    "snmp.name": "sysName",
    "snmp.object_id": "sysObjectID",
    "software.version": "software seen by another engine (Zeek software.log)",
    "ssdp.friendly_name": "friendly name header",
    "ssdp.location": "address of the UPnP description",
    "ssdp.search": "service type the host looks for",
    "ssdp.server": "Server field: system and product",
    "ssdp.type": "device or service type it offers",
    "ssdp.user_agent": "User-Agent field of searches",
    "ssdp.usn": "unique service name",
    "ssh.banner": "identification string",
    "stun.software": "SOFTWARE attribute",
    "syslog.host": "host name in the device's own log lines",
    "tls.certificate_issuer": "issuer in the server's certificate, not verified",
    "tls.certificate_names": "DNS names in the server's certificate, not verified",
    "tls.certificate_organisation": "organisation in the server's certificate, not verified",
    "tls.certificate_subject": "common name in the server's certificate, not verified",
    "tls.ja4": "JA4 fingerprint of the client's hello",
    "tls.sni": "server name the client asks for",
    "wsd.model": "hardware in ONVIF's scopes",
    "wsd.name": "name in ONVIF's scopes",
    "wsd.type": "device type it offers by WS-Discovery",
}


def identity(protocol: str, *pairs: tuple[str, str], confidence: float = 1.0) -> IdentityData | None:
    """Build an identity body of the pairs that have a value, each once; None if none has."""
    kept: dict[tuple[str, str], None] = {}
    for name, value in pairs:
        assert name in ATTRIBUTES, name
        if value:
            kept[name, value[:MAX_VALUE]] = None
    return IdentityData(protocol=protocol, attributes=tuple(kept), confidence=confidence) if kept else None
