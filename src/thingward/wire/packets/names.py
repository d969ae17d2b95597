"""Numbers that the packet kernels share: kinds of frames, Ethernet types, reasons and tunnels by index."""

from __future__ import annotations

import numpy as np

from thingward.model.columns import PROBLEMS, TUNNELS

F_NONE = 0
F_ETHER = 1
F_IP = 2
F_PPP = 3
F_DOT11 = 4
F_SLL = 5
F_SLL2 = 6
F_NULL = 7
F_RADIOTAP = 8
F_PRISM = 9
F_PPI = 10
F_FDDI = 11
F_NFLOG = 12
F_LLC = 13
F_PFLOG = 14
F_MPLS = 15
F_ENC = 16
F_HDLC = 17
F_PPPOE = 18
F_PKTAP = 19
F_SFLOW = 20
F_UNKNOWN = 255

LINK_LIMIT = 300
_FRAMES_BY_LINK = {
    0: F_NULL,
    1: F_ETHER,
    9: F_PPP,
    10: F_FDDI,
    12: F_IP,
    14: F_IP,
    50: F_PPP,
    51: F_PPPOE,
    100: F_LLC,
    101: F_IP,
    104: F_HDLC,
    105: F_DOT11,
    108: F_NULL,
    109: F_ENC,
    113: F_SLL,
    117: F_PFLOG,
    119: F_PRISM,
    123: F_LLC,
    127: F_RADIOTAP,
    149: F_PKTAP,
    163: F_PRISM,
    192: F_PPI,
    219: F_MPLS,
    228: F_IP,
    229: F_IP,
    239: F_NFLOG,
    258: F_PKTAP,
    276: F_SLL2,
}
FRAME_OF_LINK = np.full(LINK_LIMIT, F_UNKNOWN, np.uint8)
for _link, _kind in _FRAMES_BY_LINK.items():
    FRAME_OF_LINK[_link] = _kind

# What follows a link header: an Ethernet type, or one of these that are none.
E_NONE = 0
E_LLC = 1
E_PPP = 2
E_IP = 3
E_CUT = 4
E_ETHER = 5
E_IP4 = 0x0800
E_ARP = 0x0806
E_VLAN = 0x8100
E_IP6 = 0x86DD
E_MPLS = 0x8847
E_MPLS_MULTICAST = 0x8848
E_PPPOE = 0x8864
E_QINQ = 0x88A8
E_QINQ_OLD = 0x9100
E_PBB = 0x88E7
E_FABRICPATH = 0x8903
E_VNTAG = 0x8926
E_TRANSPARENT = 0x6558

P_ICMP = 1
P_IPIP = 4
P_TCP = 6
P_UDP = 17
P_DCCP = 33
P_IP6 = 41
P_GRE = 47
P_ICMP6 = 58
P_ETHERIP = 97
P_SCTP = 132
P_UDPLITE = 136

T_IP = TUNNELS.index("ip")
T_GRE = TUNNELS.index("gre")
T_ERSPAN = TUNNELS.index("erspan")
T_EOIP = TUNNELS.index("eoip")
T_VXLAN = TUNNELS.index("vxlan")
T_GENEVE = TUNNELS.index("geneve")
T_GTP = TUNNELS.index("gtp")
T_TEREDO = TUNNELS.index("teredo")
T_ETHERIP = TUNNELS.index("etherip")
T_TZSP = TUNNELS.index("tzsp")
T_SFLOW = TUNNELS.index("sflow")
T_MPLS = TUNNELS.index("mpls")
T_PBB = TUNNELS.index("pbb")
T_PPP = TUNNELS.index("ppp")
T_BRIDGED = TUNNELS.index("bridged")

X_LINK_UNKNOWN = PROBLEMS.index("link: unknown type")
X_LINK_CUT = PROBLEMS.index("link: header cut")
X_IP_CUT = PROBLEMS.index("ip: header cut")
X_IP_VERSION = PROBLEMS.index("ip: bad version")
X_IP_HEADER = PROBLEMS.index("ip: bad header length")
X_IP_TOTAL = PROBLEMS.index("ip: bad total length")
X_IP_EXTENSIONS = PROBLEMS.index("ip: too many extension headers")
X_TCP_CUT = PROBLEMS.index("tcp: header cut")
X_TCP_HEADER = PROBLEMS.index("tcp: bad header length")
X_UDP_CUT = PROBLEMS.index("udp: header cut")
X_UDP_LENGTH = PROBLEMS.index("udp: bad length")
X_ICMP_CUT = PROBLEMS.index("icmp: header cut")
X_ARP_CUT = PROBLEMS.index("arp: cut")
X_TUNNEL_CUT = PROBLEMS.index("tunnel: header cut")
X_TUNNEL_DEPTH = PROBLEMS.index("tunnel: too deep")
X_LINK_TAGS = PROBLEMS.index("link: too many tags")
