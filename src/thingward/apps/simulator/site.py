"""Who lives at the sample site and what each of them does: the one description for live and recorded simulation.

Names end in `.example` and outside addresses come from the ranges kept for documentation, so that nobody takes them
for real. Hardware addresses carry makers' real prefixes, so that identification has its evidence.
"""

from __future__ import annotations

import random
from typing import Final, Literal

import msgspec

NAME: Final = "Sample site (simulated)"
NETWORK: Final = "192.168.77.0/24"
ROUTER: Final = "192.168.77.1"
ROUTER_WAN: Final = "198.51.100.2"
CLOUD: Final = "198.51.100.1"
CLOUD_NETWORK: Final = "203.0.113.0/24"
BRIDGE: Final = "br-site"
BRIDGE_MAC: Final = "9c:3d:cf:10:77:01"
VICTIM: Final = "203.0.113.250"
LEASE_S: Final = 600

Way = Literal["tls", "http", "mqtt", "mqtts", "ntp", "udp", "tcp"]


class Talk(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a device does again and again.

    Attributes:
        peer: a name of the cloud, or `device:<key>` for another device.
        every_s: mean time between two of it, in seconds of the recorded site; live they pass faster.
        up, down: bytes of payload each way.
    """

    way: Way
    peer: str
    port: int
    every_s: float
    up: int = 200
    down: int = 600
    path: str = "/"


class Listen(msgspec.Struct, frozen=True, kw_only=True):
    """A service that a device offers."""

    port: int
    what: Literal["http", "telnet", "rtsp", "lines"]
    banner: str = ""


class SimDevice(msgspec.Struct, frozen=True, kw_only=True):
    """One device.

    Attributes:
        mdns: service types that it announces, with their TXT text. ssdp: (notification type, server) or empty.
        vendor_class, parameters: what it says in DHCP.
    """

    key: str
    hostname: str
    mac: str
    address: str
    vendor_class: str = ""
    parameters: tuple[int, ...] = (1, 3, 6, 12, 15, 28, 42)
    mdns: tuple[tuple[str, str], ...] = ()
    ssdp: tuple[str, str] = ("", "")
    agent: str = ""
    talks: tuple[Talk, ...] = ()
    listens: tuple[Listen, ...] = ()


class SampleSite(msgspec.Struct, frozen=True, kw_only=True):
    """The whole site: devices, and the cloud's names with the addresses that they may resolve to."""

    devices: tuple[SimDevice, ...]
    names: dict[str, tuple[str, ...]]
    seed: int

    def device(self, key: str) -> SimDevice | None:
        """Find a device by key, address, hardware address or host name; None if there is none."""
        return next((item for item in self.devices if key in (item.key, item.address, item.mac, item.hostname)), None)

    @property
    def rogue(self) -> SimDevice:
        """The device that turns bad unless another one is named."""
        return self.devices[0]


def ntp(every_s: float = 900.0) -> Talk:
    """Ask the time."""
    return Talk(way="ntp", peer="time.pool.example", port=123, every_s=every_s, up=48, down=48)


def tls(name: str, every_s: float, *, port: int = 443, up: int = 400, down: int = 900) -> Talk:
    """Call a cloud over TLS."""
    return Talk(way="tls", peer=name, port=port, every_s=every_s, up=up, down=down)


def _cameras() -> tuple[SimDevice, ...]:
    porch = SimDevice(
        key="camera", hostname="ipcam-porch", mac="3c:33:00:5a:10:21", address="192.168.77.21",
        vendor_class="udhcp 1.21.1", parameters=(1, 3, 6, 12, 15, 28, 40, 41, 42),
        ssdp=("urn:schemas-upnp-org:device:Basic:1", "Linux/3.10 UPnP/1.0 IPCamera/2.1"),
        talks=(
            tls("p2p.ipcam.example", 120.0), tls("upload.ipcam.example", 300.0, up=6000, down=200),
            ntp(600.0), Talk(way="udp", peer="relay.ipcam.example", port=32100, every_s=30.0, up=44, down=44),
        ),
        listens=(
            Listen(port=23, what="telnet", banner="ipcam login: "),
            Listen(port=554, what="rtsp"), Listen(port=80, what="http", banner="IPCamera-Webs"),
        ),
    )  # fmt: skip
    doorbell = SimDevice(
        key="doorbell", hostname="doorbell-front", mac="54:e0:19:7c:44:22", address="192.168.77.22",
        vendor_class="dhcpcd-6.8.2", mdns=(("_doorbell._tcp", "model=Front"),),
        talks=(tls("api.doorbell.example", 180.0), tls("video.doorbell.example", 600.0, up=9000), ntp()),
    )  # fmt: skip
    recorder = SimDevice(
        key="recorder", hostname="dvr-office", mac="44:19:b6:20:0d:32", address="192.168.77.32",
        vendor_class="udhcp 1.18.4", mdns=(("_nvr._tcp", "channels=8"),),
        talks=(
            ntp(1200.0), tls("health.recorder.example", 900.0),
            Talk(way="tcp", peer="device:camera", port=554, every_s=60.0, up=120, down=2400),
        ),
        listens=(Listen(port=23, what="telnet", banner="dvr login: "),),
    )  # fmt: skip
    return porch, doorbell, recorder


def _home() -> tuple[SimDevice, ...]:
    thermostat = SimDevice(
        key="thermostat", hostname="thermostat-hall", mac="44:61:32:0b:91:23", address="192.168.77.23",
        vendor_class="dhcpcd-5.5.6", mdns=(("_hap._tcp", "md=Thermostat ci=9"),),
        talks=(tls("home.thermostat.example", 90.0, port=8190), tls("weather.example", 1800.0), ntp()),
    )  # fmt: skip
    plug = SimDevice(
        key="plug", hostname="plug-kitchen", mac="50:c7:bf:3a:08:24", address="192.168.77.24",
        parameters=(1, 3, 6, 15, 31, 33), vendor_class="",
        talks=(tls("devs.plugcloud.example", 300.0), ntp(1800.0)),
        listens=(Listen(port=9999, what="lines", banner='{"system":{"relay_state":1}}'),),
    )  # fmt: skip
    lamps = SimDevice(
        key="lamps", hostname="lamp-bridge", mac="ec:b5:fa:1d:77:25", address="192.168.77.25",
        vendor_class="udhcp 1.25.1", mdns=(("_hue._tcp", "bridgeid=ecb5fafffe1d7725 modelid=BSB002"),),
        ssdp=("upnp:rootdevice", "Hue/1.0 UPnP/1.0 IpBridge/1.50"),
        talks=(tls("bridge.lamps.example", 240.0), tls("firmware.lamps.example", 7200.0, down=20000), ntp()),
        listens=(Listen(port=80, what="http", banner="nginx"),),
    )  # fmt: skip
    lock = SimDevice(
        key="lock", hostname="lock-door", mac="78:db:2f:66:02:33", address="192.168.77.33",
        mdns=(("_hap._tcp", "md=Lock ci=6"),), talks=(tls("keys.lock.example", 600.0), ntp(3600.0)),
    )  # fmt: skip
    vacuum = SimDevice(
        key="vacuum", hostname="vacuum-robot", mac="b0:4a:39:91:6e:29", address="192.168.77.29",
        vendor_class="udhcp 1.24.1",
        talks=(Talk(way="mqtts", peer="mqtt.vacuum.example", port=8883, every_s=45.0, up=180, down=40), ntp()),
    )  # fmt: skip
    return thermostat, plug, lamps, lock, vacuum


def _rooms() -> tuple[SimDevice, ...]:
    speaker = SimDevice(
        key="speaker", hostname="speaker-lounge", mac="5c:aa:fd:44:b2:26", address="192.168.77.26",
        mdns=(("_sonos._tcp", "location=Lounge"),),
        ssdp=("urn:schemas-upnp-org:device:ZonePlayer:1", "Linux UPnP/1.0 Sonos/70.3"),
        talks=(tls("feature.speaker.example", 400.0), tls("music.example", 150.0, down=30000), ntp()),
    )  # fmt: skip
    printer = SimDevice(
        key="printer", hostname="printer-study", mac="30:05:5c:12:e0:27", address="192.168.77.27",
        mdns=(("_ipp._tcp", "ty=Laser printer"), ("_printer._tcp", "ty=Laser printer")),
        talks=(tls("ink.printer.example", 3600.0), ntp(3600.0)),
        listens=(Listen(port=80, what="http", banner="debut/1.30"),),
    )  # fmt: skip
    tv = SimDevice(
        key="tv", hostname="tv-lounge", mac="64:1c:ae:0f:53:28", address="192.168.77.28",
        agent="SmartTV/4.0", ssdp=("urn:schemas-upnp-org:device:MediaRenderer:1", "Linux/4.1 UPnP/1.0 TV/1.0"),
        talks=(
            tls("cdn1.stream.example", 100.0, down=60000), tls("guide.stream.example", 500.0),
            Talk(way="http", peer="ads.stream.example", port=80, every_s=700.0, path="/banner"), ntp(),
        ),
    )  # fmt: skip
    weather = SimDevice(
        key="weather", hostname="weather-roof", mac="24:0a:c4:8e:21:30", address="192.168.77.30",
        parameters=(1, 3, 28, 6), vendor_class="",
        talks=(Talk(way="mqtt", peer="broker.weather.example", port=1883, every_s=20.0, up=90, down=4), ntp(1200.0)),
    )  # fmt: skip
    hub = SimDevice(
        key="hub", hostname="home-hub", mac="b8:27:eb:70:c3:31", address="192.168.77.31",
        vendor_class="dhcpcd-9.4.1:Linux-5.15:aarch64:BCM2711", mdns=(("_home-assistant._tcp", "base_url=http://home-hub"),),
        talks=(
            Talk(way="tcp", peer="device:plug", port=9999, every_s=30.0, up=40, down=60),
            Talk(way="http", peer="device:lamps", port=80, every_s=45.0, path="/api/config"),
            tls("version.hub.example", 3600.0), tls("weather.example", 1200.0), ntp(),
        ),
    )  # fmt: skip
    return speaker, printer, tv, weather, hub


def sample_site(seed: int = 1) -> SampleSite:
    """Build the site; the seed moves periods and the cloud's addresses, never who lives there."""
    draw = random.Random(seed)  # noqa: S311 - a simulation must repeat itself
    devices = tuple(
        msgspec.structs.replace(
            device,
            talks=tuple(msgspec.structs.replace(t, every_s=t.every_s * draw.uniform(0.85, 1.15)) for t in device.talks),
        )
        for device in (*_cameras(), *_home(), *_rooms())
    )
    wanted = sorted({talk.peer for device in devices for talk in device.talks if not talk.peer.startswith("device:")})
    pool = list(range(10, 240))
    draw.shuffle(pool)
    names = {name: tuple(f"203.0.113.{pool.pop()}" for _ in range(1 + (draw.random() < 0.4))) for name in wanted}
    return SampleSite(devices=devices, names=names, seed=seed)
