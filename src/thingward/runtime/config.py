"""Settings: defaults, then a TOML file, then the environment, then flags; an unknown key is an error with its place.

Every setting carries its description here; docs/reference/settings.md is generated from it.
"""

from __future__ import annotations

import os
import pwd
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from thingward.model.errors import ThingwardError

ENV_PREFIX = "THINGWARD_"
# Names with the prefix that are not settings: where to find things, read before any settings exist.
_ENV_RESERVED = frozenset({"CONFIG", "TEST_DATA", "CACHE_DIR", "TOKEN", "TOKEN_FILE", "URL"})


class SettingsError(ThingwardError):
    """A setting is unknown or has a value that cannot be used."""

    code = "settings.invalid"
    status = 422


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections."""


class SiteSettings(_Section, frozen=True, kw_only=True):
    """The site that this platform watches."""

    name: Annotated[str, Meta(description="Name of the site, shown in the console.", min_length=1)] = "home"
    networks: Annotated[
        tuple[str, ...],
        Meta(
            description="Address ranges of the site in CIDR form; empty means the private ranges of RFC 1918 and 4193."
        ),
    ] = ()
    simulated: Annotated[bool, Meta(description="Marks every record of this site as simulated (set by the demo).")] = (
        False
    )


class ServerSettings(_Section, frozen=True, kw_only=True):
    """Console and REST."""

    host: Annotated[str, Meta(description="Address to listen on; anything but loopback needs TLS.")] = "127.0.0.1"
    port: Annotated[int, Meta(description="TCP port; 0 takes a free one.", ge=0, le=65535)] = 8443
    tls_certificate: Annotated[str, Meta(description="PEM file with the certificate chain.")] = ""
    tls_key: Annotated[str, Meta(description="PEM file with the certificate's key.")] = ""
    session_hours: Annotated[float, Meta(description="A session ends after this many hours.", gt=0)] = 12.0
    upload_limit_mb: Annotated[
        int, Meta(description="Largest capture that may be dropped on the console, MiB.", gt=0)
    ] = 512
    capture_time_limit_s: Annotated[
        int, Meta(description="A dropped capture's guard run is ended after this time, seconds.", gt=0)
    ] = 600
    capture_memory_mb: Annotated[
        int, Meta(description="Address space that a dropped capture's guard run may use, MiB.", gt=0)
    ] = 4096


class StoreSettings(_Section, frozen=True, kw_only=True):
    """Where data is kept."""

    control_url: Annotated[
        str, Meta(description="SQLAlchemy URL of the control database; empty means SQLite in the data folder.")
    ] = ""
    events_url: Annotated[
        str, Meta(description="URL of the event store; empty means DuckDB in the data folder, in the store process.")
    ] = ""
    retention_days: Annotated[
        float, Meta(description="Events older than this are deleted, and old versions of profiles.", gt=0)
    ] = 30.0
    finding_days: Annotated[
        float, Meta(description="Findings older than this that belong to no case are deleted.", gt=0)
    ] = 365.0
    case_days: Annotated[
        float, Meta(description="Cases closed for longer are deleted, with findings and ended actions.", gt=0)
    ] = 730.0
    events_limit_mb: Annotated[
        int, Meta(description="Largest size of the event store, MiB; beyond it the oldest events go first.", ge=256)
    ] = 8192
    events_memory_mb: Annotated[int, Meta(description="Memory that the event store may use, MiB.", ge=128)] = 512
    journal_limit_mb: Annotated[int, Meta(description="Largest size of core's journal, MiB.", ge=16)] = 1024


class SensorSettings(_Section, frozen=True, kw_only=True):
    """What is listened to."""

    interfaces: Annotated[tuple[str, ...], Meta(description="Interfaces to watch.")] = ()
    promiscuous: Annotated[bool, Meta(description="Also take frames addressed to others (needed on mirror ports).")] = (
        True
    )
    spool_limit_mb: Annotated[
        int, Meta(description="Observations kept on disk while core is away, MiB; telemetry is dropped first.", ge=1)
    ] = 256
    zeek_folders: Annotated[tuple[str, ...], Meta(description="Folders of Zeek logs to follow.")] = ()
    eve_files: Annotated[tuple[str, ...], Meta(description="Suricata EVE JSON files to follow.")] = ()
    syslog_listen: Annotated[
        str, Meta(description="Address and port for syslog over UDP and TCP, for example 127.0.0.1:5514; empty is off.")
    ] = ""


class EnforceSettings(_Section, frozen=True, kw_only=True):
    """How approved profiles reach the network."""

    path: Annotated[
        Literal["auto", "router", "bridge", "both", "off"],
        Meta(description="Which packets this host sees: it routes, bridges, both; `off` never touches the rules."),
    ] = "auto"
    dnsmasq_snippet: Annotated[
        str, Meta(description="File that dnsmasq includes; names are enforced through it. Empty: in the data folder.")
    ] = ""
    dnsmasq_restart: Annotated[
        str,
        Meta(
            description="Command that makes dnsmasq read the snippet, for example `systemctl restart dnsmasq` "
            "(a signal does not); empty: whoever runs dnsmasq watches the file."
        ),
    ] = ""
    never_block: Annotated[
        tuple[str, ...], Meta(description="Hardware addresses, addresses or prefixes that nothing may ever block.")
    ] = ()


class RegistrarSettings(_Section, frozen=True, kw_only=True):
    """Enrolment: certificates for devices."""

    enabled: Annotated[bool, Meta(description="Run the registrar: a CA of its own, EST, OCSP and CRL for devices.")] = (
        False
    )
    host: Annotated[str, Meta(description="Address that devices reach; EST by TLS, OCSP and CRL by HTTP.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, Meta(description="TCP port of EST.", ge=1, le=65535)] = 8444
    status_port: Annotated[int, Meta(description="TCP port of OCSP and CRL.", ge=1, le=65535)] = 8445
    name: Annotated[
        str,
        Meta(description="Name or address by which devices reach it, written into certificates; empty: this host's."),
    ] = ""
    certificate_days: Annotated[
        float, Meta(description="How long a device's certificate lasts, less up to a tenth at random.", gt=0, le=825)
    ] = 30.0
    grace_days: Annotated[
        float, Meta(description="How long after its end a certificate still brings its device back.", ge=0)
    ] = 30.0
    passphrase_file: Annotated[
        str, Meta(description="File with the passphrase that encrypts the CA's keys, owner-only; empty: none.")
    ] = ""


class LimitSettings(_Section, frozen=True, kw_only=True):
    """Bounds of automatic and manual response; may be changed in the console, these are the first values."""

    fleet_share_per_hour: Annotated[
        float, Meta(description="At most this share of a site's devices is quarantined per hour.", gt=0, le=1)
    ] = 0.10
    min_devices_per_hour: Annotated[int, Meta(description="But this many are always possible.", ge=0)] = 1
    max_ttl_hours: Annotated[float, Meta(description="Longest quarantine, hours.", gt=0)] = 168.0


class WebhookSettings(_Section, frozen=True, kw_only=True):
    """Webhook: JSON by POST, signed by HMAC-SHA256."""

    url: Annotated[str, Meta(description="Address to post to; empty is off.")] = ""
    secret_file: Annotated[str, Meta(description="File with the HMAC secret, owner-only.")] = ""


class EmailSettings(_Section, frozen=True, kw_only=True):
    """E-mail by SMTP."""

    host: Annotated[str, Meta(description="SMTP server; empty is off.")] = ""
    port: Annotated[int, Meta(description="SMTP port.", ge=1, le=65535)] = 587
    security: Annotated[Literal["starttls", "tls", "none"], Meta(description="How the connection is protected.")] = (
        "starttls"
    )
    user: Annotated[str, Meta(description="User name; empty: no log-in.")] = ""
    password_file: Annotated[str, Meta(description="File with the password, owner-only.")] = ""
    sender: Annotated[str, Meta(description="From address.")] = ""
    to: Annotated[tuple[str, ...], Meta(description="To addresses.")] = ()


class SyslogSettings(_Section, frozen=True, kw_only=True):
    """Findings and actions as syslog (RFC 5424)."""

    address: Annotated[
        str, Meta(description="`udp://host:514`, `tcp://host:601` or `tls://host:6514`; empty is off.")
    ] = ""
    tls_ca: Annotated[str, Meta(description="PEM file of the CA for tls://; empty: the system's.")] = ""


class NotifySettings(_Section, frozen=True, kw_only=True):
    """Ways out."""

    webhook: WebhookSettings = WebhookSettings()
    email: EmailSettings = EmailSettings()
    syslog: SyslogSettings = SyslogSettings()
    ocsf_file: Annotated[
        str, Meta(description="File to which findings and actions are written as OCSF JSON lines.")
    ] = ""
    console_url: Annotated[
        str, Meta(description="Address at which people reach the console, for links in messages; empty for no links.")
    ] = ""
    daily_budget: Annotated[
        int, Meta(description="Messages to people per day; what is beyond waits for the digest.", ge=1)
    ] = 20
    digest_hour: Annotated[int, Meta(description="Hour of the day (UTC) at which the digest is sent.", ge=0, le=23)] = 7
    min_severity: Annotated[int, Meta(description="Least severity (1 to 5) that is sent at once.", ge=1, le=5)] = 4


class Settings(_Section, frozen=True, kw_only=True):
    """All settings."""

    data_dir: Annotated[str, Meta(description="Folder for everything that thingward keeps; made owner-only.")] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="Least level logged.")] = "info"
    site: SiteSettings = SiteSettings()
    server: ServerSettings = ServerSettings()
    store: StoreSettings = StoreSettings()
    sensor: SensorSettings = SensorSettings()
    enforce: EnforceSettings = EnforceSettings()
    registrar: RegistrarSettings = RegistrarSettings()
    limits: LimitSettings = LimitSettings()
    notify: NotifySettings = NotifySettings()

    @property
    def home(self) -> Path:
        """The data folder; default `$XDG_DATA_HOME/thingward`, or `~/.local/share/thingward`."""
        return Path(self.data_dir) if self.data_dir else default_data_dir(os.environ)

    @property
    def run_dir(self) -> Path:
        """Where the sockets are."""
        return self.home / "run"


def default_data_dir(environ: Mapping[str, str]) -> Path:
    """Where data goes when no setting says otherwise."""
    base = environ.get("XDG_DATA_HOME") or str(_home_folder(environ) / ".local/share")
    return Path(base) / "thingward"


def _home_folder(environ: Mapping[str, str]) -> Path:
    """Give `$HOME`, else what the list of users says; `/` for a user whom it does not know."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def load_settings(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Read settings in their order: defaults < file < environment < overrides.

    Args:
        path: TOML file; None takes `$THINGWARD_CONFIG`, else `thingward.toml` in the data folder if it is there.
        environ: environment to read; `THINGWARD_SERVER__PORT=9000` sets `server.port`.
        overrides: dotted names to values, from flags.
    Raises:
        SettingsError: unknown key or unusable value; the message names the place.
    """
    environ = os.environ if environ is None else environ
    merged: dict[str, Any] = {}
    file = path or _config_file(environ)
    if file is not None:
        _merge(merged, _read_toml(file), str(file))
    for dotted, text in _from_environment(environ):
        _assign(merged, dotted, _coerce(dotted, text), f"environment {ENV_PREFIX}{dotted.upper().replace('.', '__')}")
    for dotted, value in (overrides or {}).items():
        if value is not None:
            _assign(merged, dotted, value, f"flag for {dotted}")
    try:
        return msgspec.convert(merged, Settings, strict=True)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings cannot be used: {error}.", hint=f"See {file or 'the flags'}.") from error


def describe_settings() -> list[tuple[str, str, str, str]]:
    """List every setting as (dotted name, type, default, description), in reading order."""
    return list(_describe(Settings, "", Settings()))


def _describe(section: type[msgspec.Struct], prefix: str, defaults: Any) -> list[tuple[str, str, str, str]]:
    rows: list[tuple[str, str, str, str]] = []
    hints = get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        value = getattr(defaults, field.name)
        if isinstance(value, _Section):
            rows += _describe(type(value), f"{prefix}{field.name}.", value)
            continue
        hint = hints[field.name]
        meta = next(item for item in hint.__metadata__ if isinstance(item, Meta))
        kind = str(hint.__origin__).replace("typing.", "").removeprefix("<class '").removesuffix("'>")
        rows.append((prefix + field.name, kind, repr(value), meta.description or ""))
    return rows


def _config_file(environ: Mapping[str, str]) -> Path | None:
    named = environ.get(f"{ENV_PREFIX}CONFIG")
    if named:
        return Path(named)
    data_dir = environ.get(f"{ENV_PREFIX}DATA_DIR")
    candidate = (Path(data_dir) if data_dir else default_data_dir(environ)) / "thingward.toml"
    return candidate if candidate.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            return tomllib.load(stream)
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}.", hint="Check the path and its rights.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is no valid TOML: {error}.") from error


def _merge(into: dict[str, Any], values: Mapping[str, Any], place: str, prefix: str = "") -> None:
    for key, value in values.items():
        if isinstance(value, Mapping):
            if not isinstance(_default(f"{prefix}{key}", place), _Section):
                raise SettingsError(f"{place}: {prefix}{key} is a value, not a section.")
            _merge(into, value, place, f"{prefix}{key}.")
        else:
            _assign(into, f"{prefix}{key}", value, place)


def _assign(into: dict[str, Any], dotted: str, value: Any, place: str) -> None:
    if isinstance(_default(dotted, place), _Section):
        raise SettingsError(f"{place}: {dotted} is a section, not a value.")
    *sections, name = dotted.split(".")
    for section in sections:
        into = into.setdefault(section, {})
    into[name] = value


def _default(dotted: str, place: str) -> Any:
    value: Any = Settings()
    for part in dotted.split("."):
        if not isinstance(value, _Section) or part not in value.__struct_fields__:
            known = ", ".join(value.__struct_fields__) if isinstance(value, _Section) else ""
            raise SettingsError(f"{place}: unknown setting {dotted}.", hint=f"Known here: {known}.")
        value = getattr(value, part)
    return value


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    found = []
    for key, text in sorted(environ.items()):
        name = key.removeprefix(ENV_PREFIX)
        if key.startswith(ENV_PREFIX) and name not in _ENV_RESERVED:
            found.append((name.lower().replace("__", "."), text))
    return found


def _coerce(dotted: str, text: str) -> Any:
    default = _default(dotted, f"environment {ENV_PREFIX}{dotted.upper().replace('.', '__')}")
    try:
        if isinstance(default, bool):
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
    except (ValueError, KeyError) as error:
        raise SettingsError(
            f"environment: {dotted} cannot be {text!r}.", hint=f"The default is {default!r}."
        ) from error
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    return text
