"""The wires of the sample site: a namespace per device behind one bridge, a router, and a cloud behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thingward.apps.simulator.site import (
    BRIDGE,
    BRIDGE_MAC,
    CLOUD,
    CLOUD_NETWORK,
    NETWORK,
    ROUTER,
    ROUTER_WAN,
    SampleSite,
)
from thingward.runtime.netns import new_namespace, own_namespace, run_program

_NO_IPV6: Final = tuple(Path("/proc/sys/net/ipv6/conf") / name / "disable_ipv6" for name in ("all", "default"))
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")


class SampleNetwork:
    """Namespaces by device key; the router is the namespace in which this process was started."""

    def __init__(self, site: SampleSite) -> None:
        self.site = site
        self.router = own_namespace()
        self.cloud = new_namespace()
        self.devices = {device.key: new_namespace() for device in site.devices}

    def build(self) -> None:
        """Lay the wires; raises UnsupportedHere with what the kernel or `ip` said."""
        for namespace in (self.router, self.cloud, *self.devices.values()):
            with namespace.inside():
                for path in _NO_IPV6:
                    if path.exists():
                        path.write_text("1", encoding="ascii")
        self._build_router()
        self.cloud.run(
            "ip", "-batch", "-",
            given=f"link set lo up\naddr add {CLOUD}/24 dev isp0\nlink set isp0 up\n"
            f"route add {NETWORK} via {ROUTER_WAN}\nroute add local {CLOUD_NETWORK} dev lo\n",
        )  # fmt: skip
        _FORWARD.write_text("1", encoding="ascii")
        for namespace in self.devices.values():
            namespace.run("ip", "-batch", "-", given="link set lo up\nlink set eth0 up\n")

    def _build_router(self) -> None:
        lines = [
            "link set lo up",
            f"link add {BRIDGE} address {BRIDGE_MAC} type bridge",
            f"addr add {ROUTER}/24 dev {BRIDGE}",
            f"link set {BRIDGE} up",
            f"link add wan0 type veth peer name isp0 netns {self.cloud.path}",
            f"addr add {ROUTER_WAN}/24 dev wan0",
            "link set wan0 up",
            f"route add {CLOUD_NETWORK} via {CLOUD}",
        ]
        for device in self.site.devices:
            port = f"p-{device.key}"
            peer = f"peer name eth0 address {device.mac} netns {self.devices[device.key].path}"
            lines += [f"link add {port} type veth {peer}", f"link set {port} master {BRIDGE} up"]
        run_program(("ip", "-batch", "-"), "\n".join(lines) + "\n")

    def give_address(self, key: str, address: str) -> None:
        """Configure what a device got by DHCP."""
        self.devices[key].run(
            "ip", "-batch", "-", given=f"addr add {address}/24 dev eth0\nroute add default via {ROUTER}\n"
        )

    def close(self) -> None:
        """Let go of all namespaces but the router's, which goes with this process's last relative."""
        for namespace in (self.cloud, *self.devices.values()):
            namespace.close()
