"""The command line as a client of the REST API: it can do nothing that the API cannot."""

from __future__ import annotations

import os
import ssl
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import Parameter

from thingward.model.errors import InvalidInput, ThingwardError, Unavailable
from thingward.runtime.config import load_settings
from thingward.runtime.local_access import read_local_access

Format = Literal["table", "json", "ndjson"]
Output = Annotated[Format, Parameter(name=["--output", "-o"], help="How to print.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", help="Only tell what would be done.")]
MAX_PAGES = 1000
TIMEOUT_S = 60.0


class Refused(ThingwardError):
    """The platform answered with an error; code, status and `errors` (line by line) are its own."""

    def __init__(self, problem: Mapping[str, Any], status: int) -> None:
        hint = str(problem.get("hint") or "")
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"), hint=hint)
        self.code = str(problem.get("code") or "internal")
        self.status = status
        self.retryable = bool(problem.get("retryable"))
        self.errors = tuple(str(line) for line in problem.get("errors") or ())


class Client:
    """One platform, found by `THINGWARD_URL` and a token, else by the data folder."""

    def __init__(self, url: str, token: str, ca_file: str = "") -> None:
        import httpx

        verify: ssl.SSLContext | bool = ssl.create_default_context(cafile=ca_file) if ca_file else True
        headers = {"authorization": f"Bearer {token}", "user-agent": "thingward-cli"}
        self.url = url.rstrip("/")
        base = self.url + "/api/v1"
        self._http = httpx.Client(base_url=base, headers=headers, verify=verify, timeout=TIMEOUT_S, trust_env=False)

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        dry_run: bool = False,
    ) -> Any:
        """Ask and give the decoded answer.

        Raises:
            Unavailable: nobody answers. Refused: the platform says no.
        """
        return self._decode(self.raw(method, path, params=params, body=body, dry_run=dry_run))

    def raw(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        content: bytes | None = None,
        dry_run: bool = False,
        key: str = "",
    ) -> bytes:
        """Ask and give the answer's bytes; `content` is sent as it is instead of JSON. Errors as for `call`.

        Args:
            key: the Idempotency-Key of a change; default: a new one.
        """
        import httpx

        query = {key: value for key, value in (params or {}).items() if value not in (None, "", 0, False, ())}
        headers = {"content-type": "application/json" if content is None else "application/octet-stream"}
        if method != "GET":
            headers["idempotency-key"] = key or uuid.uuid4().hex
            if dry_run:
                query["dry_run"] = "true"
        if content is None and body is not None:
            content = msgspec.json.encode(body)
        try:
            answer = self._http.request(method, path, params=query, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"no platform answers ({type(error).__name__}).", hint="Start it with thingward up."
            ) from error
        if answer.status_code >= 400:
            raise Refused(_problem(answer.content), answer.status_code)
        return answer.content

    def pages(self, path: str, *, params: Mapping[str, Any] | None = None, most: int = 0) -> Iterator[dict[str, Any]]:
        """Iterate the items of all pages, at most `most` (0 is all)."""
        cursor, given = "", 0
        for _ in range(MAX_PAGES):
            page = self.call("GET", path, params={**(params or {}), "cursor": cursor})
            for item in page["items"]:
                yield item
                given += 1
                if given == most:
                    return
            cursor = page.get("cursor", "")
            if not cursor:
                return

    def send_file(self, path: str, file: Path, *, params: Mapping[str, Any]) -> Any:
        """Send a file as the body, piece by piece, and give the decoded answer. Errors as for `call`."""
        import httpx

        try:
            with file.open("rb") as stream:
                answer = self._http.request("POST", path, params=dict(params), content=stream, timeout=None)
        except httpx.HTTPError as error:
            raise Unavailable(
                f"no platform answers ({type(error).__name__}).", hint="Start it with thingward up."
            ) from error
        if answer.status_code >= 400:
            raise Refused(_problem(answer.content), answer.status_code)
        return self._decode(answer.content)

    @staticmethod
    def _decode(content: bytes) -> Any:
        return msgspec.json.decode(content) if content else None


def connect() -> Client:
    """Find the platform; raises Unavailable with what to do if there is none."""
    url = os.environ.get("THINGWARD_URL", "")
    if url:
        return Client(url, _token_from_environment(), os.environ.get("THINGWARD_CA_FILE", ""))
    settings = load_settings()
    access = read_local_access(settings.run_dir)
    if access is None:
        hint = "Start it with `thingward up`, or set THINGWARD_URL and THINGWARD_TOKEN for one on another machine."
        raise Unavailable(f"no platform runs with the data folder {settings.home}.", hint=hint)
    return Client(access.url, access.token, access.ca_file)


def show(output: Format, items: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows: `columns` maps a heading to a field, dotted for nested ones, `time:` before it for moments."""
    if output == "json":
        _write(msgspec.json.format(msgspec.json.encode(items), indent=1) + b"\n")
    elif output == "ndjson":
        for item in items:
            _write(msgspec.json.encode(item) + b"\n")
    else:
        _show_table(items, columns)


def show_result(output: Format, result: Mapping[str, Any]) -> None:
    """Print what came of a change: its plan as lines, or everything as JSON."""
    if output != "table":
        _write(msgspec.json.encode(result) + b"\n")
        return
    lines = [str(line) for line in result.get("plan") or ()]
    if result.get("dry_run"):
        sys.stdout.write("Dry run, nothing was changed. The plan:\n")
        lines = [f"  {line}" for line in lines or ["nothing to tell"]]
    for line in lines or ["done"]:
        sys.stdout.write(f"{line}\n")


def show_one(output: Format, item: Mapping[str, Any]) -> None:
    """Print one record, as indented JSON where a table makes no sense."""
    data = msgspec.json.encode(item)
    _write((data if output == "ndjson" else msgspec.json.format(data, indent=1)) + b"\n")


def show_facts(facts: Mapping[str, str]) -> None:
    """Print a few facts for people, one a line."""
    width = max(map(len, facts), default=0)
    for name, value in facts.items():
        sys.stdout.write(f"{name:<{width}}  {value}\n")


def parse_duration(text: str) -> float:
    """Read `90s`, `15m`, `2h`, `7d` or plain seconds; raises InvalidInput."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        value = float(number) * unit
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no duration.", hint="Write 90s, 15m, 2h or 7d.") from error
    if not 0 < value < 1e9:
        raise InvalidInput(f"{text!r} is no usable duration.")
    return value


def _token_from_environment() -> str:
    token = os.environ.get("THINGWARD_TOKEN", "")
    file = os.environ.get("THINGWARD_TOKEN_FILE", "")
    if file:
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise InvalidInput(f"cannot read {file}: {error.strerror}.") from error
    if not token:
        raise InvalidInput("THINGWARD_URL is set but no token.", hint="Set THINGWARD_TOKEN or THINGWARD_TOKEN_FILE.")
    return token


def _problem(content: bytes) -> Mapping[str, Any]:
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _show_table(items: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading, field in columns.items():
        table.add_column(heading, overflow="fold", no_wrap=field == "uid" or field.startswith("time:"))
    for item in items:
        table.add_row(*(escape(_field(item, field)) for field in columns.values()))
    # A pipe has no width of its own: give rows room, so that they can be searched.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table if items else "None.")


def _field(item: Mapping[str, Any], field: str) -> str:
    from thingward.apps.cli.words import severity_text, time_text

    kind, _, name = field.rpartition(":")
    value: Any = item
    for part in name.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    if kind == "time":
        return time_text(float(value or 0))
    if kind == "severity":
        return severity_text(int(value or 3))
    if isinstance(value, list):
        return ", ".join(str(part) for part in value[:4])
    return str(value)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
