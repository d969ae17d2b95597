"""When several host names of one service are one wildcard: numbered hosts, regions, many labels of one owner."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

MANY_NAMES: Final = 2

# Below these, neighbouring names belong to different owners: a wildcard would open them all.
_SHARED: Final = frozenset({
    "amazonaws.com", "awsglobalaccelerator.com", "cloudfront.net", "elasticbeanstalk.com", "azure-api.net",
    "azure-devices.net", "azureedge.net", "azurefd.net", "azurewebsites.net", "cloudapp.net", "cloudapp.azure.com",
    "trafficmanager.net", "windows.net", "appspot.com", "run.app", "web.app", "firebaseapp.com", "firebaseio.com",
    "cloudfunctions.net", "googleapis.com", "googleusercontent.com", "1e100.net", "akamai.net", "akamaiedge.net",
    "akamaized.net", "akamaitechnologies.com", "edgekey.net", "edgesuite.net", "akadns.net", "fastly.net",
    "fastlylb.net", "cdn77.org", "llnwd.net", "hwcdn.net", "b-cdn.net", "cdn.cloudflare.net", "workers.dev",
    "pages.dev", "r2.dev", "herokuapp.com", "netlify.app", "vercel.app", "github.io", "gitlab.io", "aliyuncs.com",
    "alicdn.com", "aliyun.com", "myqcloud.com", "tencentcs.com", "huaweicloud.com", "myhuaweicloud.com", "bcebos.com",
    "ksyuncs.com", "digitaloceanspaces.com", "ondigitalocean.app", "linodeobjects.com", "wasabisys.com",
    "backblazeb2.com", "oraclecloud.com", "appdomain.cloud", "duckdns.org", "dyndns.org", "no-ip.org", "ddns.net",
    "hopto.org", "zapto.org", "myds.me", "in-addr.arpa", "ip6.arpa", "local", "lan", "home.arpa", "internal",
})  # fmt: skip
# One owner, but so much below it, also what strangers may write to, that a wildcard would mean nothing.
_BROAD: Final = frozenset({
    "google.com", "amazon.com", "apple.com", "microsoft.com", "live.com", "office.com", "icloud.com", "facebook.com",
    "yahoo.com", "baidu.com", "qq.com", "yandex.ru", "yandex.net", "github.com", "wikipedia.org",
})  # fmt: skip
_SECOND_LEVEL: Final = frozenset({"ac", "co", "com", "edu", "go", "gov", "mil", "ne", "net", "nom", "or", "org"})


@functools.lru_cache(maxsize=8192)
def is_shared(domain: str) -> bool:
    """Tell whether a domain, or one that it is part of, has many owners below it; single labels do."""
    labels = domain.split(".")
    if len(labels) < 2 or (len(labels) == 2 and labels[0] in _SECOND_LEVEL and len(labels[1]) == 2):
        return True
    return any(".".join(labels[i:]) in _SHARED for i in range(len(labels)))


def wildcard_for(name: str, others: Iterable[str], *, is_web: bool = True) -> str:
    """Give a wildcard that a new name and its siblings are better written as, empty if there is none.

    Two names below one domain show a service that uses more than one label: a third is to be expected. The nearest
    domain that holds them is taken, and only if one owner has all of it. Below domains as broad as a search engine's
    it takes two names that differ in digits only (`edge-u011`, `edge-u012`): numbered hosts of one service.

    Args:
        others: names of the same service (direction, protocol, port), without wildcards.
        is_web: the service is the web, where broad domains hold everything.
    """
    siblings = [other for other in others if other != name]
    labels = name.split(".")
    for start in range(1, len(labels) - 1):
        domain = ".".join(labels[start:])
        if is_shared(domain):
            return ""
        below = [other for other in siblings if other.endswith("." + domain)]
        if domain in _BROAD and is_web:
            return ""
        is_numbered = any(_shape(other) == _shape(name) for other in below)
        is_broad = any(domain == wide or domain.endswith(f".{wide}") for wide in _BROAD)
        if is_numbered or (len(below) >= MANY_NAMES - 1 and not is_broad):
            return f"*.{domain}"
    return ""


@functools.lru_cache(maxsize=8192)
def _shape(name: str) -> str:
    """Write runs with digits in them as `#`: numbers, and hexadecimal of at least four."""
    return re.sub(r"[0-9a-f]{4,}(?=[^a-z]|$)|\d+", "#", name)
