"""Every number that a rule compares with, in one place. docs/findings.md says why each is what it is."""

from __future__ import annotations

import msgspec


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Counts are reached (>=) within the span named beside them; spans and durations in seconds, rates per second."""

    # scans
    scan_ports: int = 15
    scan_ports_span_s: float = 60.0
    scan_ports_slow: int = 60
    scan_ports_slow_span_s: float = 3600.0
    scan_ports_udp: int = 20
    scan_ports_udp_bytes: int = 300
    scan_ports_udp_min_s: float = 1.0
    scan_worm_hosts: int = 4
    scan_worm_span_s: float = 60.0
    scan_worm_slow_hosts: int = 10
    scan_worm_slow_span_s: float = 3600.0
    scan_ssh_hosts: int = 8
    scan_hosts: int = 25
    scan_hosts_span_s: float = 60.0
    scan_icmp_hosts: int = 25
    scan_arp_targets: int = 40
    scan_arp_span_s: float = 30.0
    # log-ins
    login_attempts: int = 6
    login_span_s: float = 60.0
    login_pairs: int = 4
    login_pairs_slow: int = 10
    login_blind_attempts: int = 12
    login_connections: int = 15
    login_connections_span_s: float = 120.0
    login_connection_max_s: float = 30.0
    login_connection_max_bytes: int = 9_000
    mirai_pairs: int = 3
    # floods
    flood_span_s: float = 5.0
    flood_syn: int = 500
    flood_udp_packets: int = 15_000
    flood_udp_small_packets: int = 5_000
    flood_udp_small_bytes: int = 700
    flood_udp_replies: float = 0.02
    flood_icmp_packets: int = 500
    flood_other_packets: int = 2_500
    # MQTT
    mqtt_flood_span_s: float = 10.0
    mqtt_flood_packets: int = 1_000
    mqtt_flood_bytes: int = 250_000
    mqtt_connections: int = 50
    mqtt_connections_span_s: float = 10.0
    mqtt_malformed: int = 3
    mqtt_malformed_span_s: float = 60.0
    # site
    reach_settle_s: float = 30.0
    reach_contact_s: float = 3600.0
    arp_flap_span_s: float = 3600.0
    dhcp_span_s: float = 60.0
    new_device_after_s: float = 3600.0
    unidentified_after_s: float = 600.0
    malformed_burst: int = 20
    malformed_span_s: float = 300.0
