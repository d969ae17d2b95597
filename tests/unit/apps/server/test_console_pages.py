"""Pages of the console: strict policy, everything escaped, unknown shown as unknown, empty states that say what to do."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import msgspec
import pytest

from tests.unit.apps.server.sample import uid_of
from thingward.apps.server.headers import CONTENT_SECURITY_POLICY
from thingward.model.device import Device, Mode
from thingward.model.finding import Case, Finding, Suppression
from thingward.ports.control_store import Put

HALL, GARAGE = uid_of("cam-hall"), uid_of("cam-garage")
PAGES = (
    "/",
    "/doors",
    "/devices",
    f"/devices/{GARAGE}",
    f"/devices/{uid_of('speaker-living')}",
    f"/devices/{uid_of('espressif-b81c')}",
    f"/devices/{uid_of('')}",
    f"/devices/{HALL}/edit",
    f"/devices/{HALL}/quarantine",
    f"/approve?scope=device&target={HALL}",
    "/approve?scope=kind&target=bulb",
    "/findings",
    "/findings?show=all",
    "/suppressions",
    "/cases",
    "/cases?state=closed",
    "/approvals",
    "/in-force",
    "/live",
    "/captures",
    "/evidence",
    "/audit",
    "/settings",
    "/users",
    "/account",
    "/status",
    "/docs",
    "/docs/api",
    "/docs/adr/0001-the-house",
)


class Reader(HTMLParser):
    """Collects what a strict policy forbids, addresses elsewhere, ids and labels."""

    def __init__(self, text):
        super().__init__()
        self.faults, self.ids, self.labels, self.hrefs, self.fields = [], [], [], [], []
        self.depth = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        for name, value in attrs:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.faults.append(f"<{tag} {name}=...>")
            if name in ("href", "src", "action") and re.match(r"^([a-z]+:)?//|^(javascript|data):", value or ""):
                self.faults.append(f"<{tag} {name}={value}>")
        if tag == "style" or (tag == "script" and "src" not in values):
            self.faults.append(f"inline <{tag}>")
        if "id" in values:
            self.ids.append(values["id"])
        if tag == "a":
            self.hrefs.append(values.get("href", ""))
        self.depth += tag == "label"
        if tag in ("input", "select", "textarea") and values.get("type") not in ("hidden", "submit"):
            self.fields.append((values.get("name"), bool(self.depth or "aria-label" in values)))

    def handle_endtag(self, tag):
        self.depth -= tag == "label"


@pytest.mark.parametrize("path", PAGES)
def test_page(browser, path):
    answer = browser("admin").get(path)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    page = Reader(answer.text)
    assert not page.faults
    assert len(page.ids) == len(set(page.ids)), "an id stands twice"
    assert all(named for _, named in page.fields), [name for name, named in page.fields if not named]
    assert "Skip to content" in answer.text
    assert "<h1" in answer.text


@pytest.mark.parametrize("path", PAGES)
def test_viewer_sees_no_button_that_would_be_refused(browser, path):
    answer = browser("vera").get(path)
    if answer.status_code == 403:
        return
    forms = set(re.findall(r'<form method="post" action="([^"]+)"', answer.text))
    assert {re.sub(r"/[a-z]-[0-9a-f]+", "/*", form) for form in forms} <= {
        "/logout",
        "/account/password",
        "/account/tokens",
        "/settings/limits",
    }


def test_policy_is_strict():
    for word in ("unsafe", "*", "http", "data:", "nonce"):
        assert word not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


def test_errors_carry_the_headers_too(http, core):
    answer = http.get("/static/nothing.css")
    assert answer.status_code == 404
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY


def test_names_of_devices_cannot_break_out(browser, core):
    evil = '"><script>alert(1)</script>{{7*7}}<img src=x onerror=alert(1)>'
    device = core.control.get("default", Device, HALL)
    bad = msgspec.structs.replace(device, label=evil, names=(evil,), maker=evil, kind=evil, conflicts=(evil,))
    core.control.commit("default", [Put(bad)])
    for path in ("/", "/devices", f"/devices/{HALL}", f"/devices/{HALL}/edit", "/live", "/approvals", "/findings"):
        text = browser("admin").get(path).text
        assert "<script>alert" not in text, path
        assert "<img src=x" not in text, path
        assert not Reader(text).faults, path


def test_search_text_is_escaped(browser):
    text = browser("vera").get('/devices?q="><script>x</script>').text
    assert "<script>x" not in text


def test_unknown_is_shown_as_unknown_and_never_as_clean(browser):
    page = browser("vera")
    text = page.get(f"/devices/{uid_of('espressif-b81c')}").text
    assert "Unknown" in text
    assert "no reason to trust it" in text
    overview = page.get("/").text
    assert "2 devices are unknown" in overview
    assert "not a proof that the device is clean" in page.get(f"/devices/{uid_of('meter')}").text


def test_overview_says_the_gravest_first(browser):
    text = browser("vera").get("/").text
    assert "2 cases need you." in text
    assert text.index("serious case") < text.index("profiles have settled") < text.index("devices are unknown")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/devices", "Drop a capture, or watch an interface."),
        ("/findings", "No finding yet"),
        ("/cases", "No case yet"),
        ("/approvals", "Nothing waits for you"),
        ("/in-force", "Nothing is enforced"),
        ("/live", "Nothing yet"),
        ("/captures", "No capture yet"),
        ("/evidence", "No bundle yet"),
        ("/audit", "Nothing yet"),
        ("/settings", "Without a rule nothing is ever shut out"),
        ("/status", "everything is blind time"),
    ],
)
def test_empty_states_say_what_to_do(http, empty, path, says):
    from tests.unit.apps.server.conftest import Browser

    assert says in Browser(http, empty, "admin").get(path).text


def test_first_page_has_three_doors_until_something_is_known(http, empty):
    from tests.unit.apps.server.conftest import Browser

    text = Browser(http, empty, "admin").get("/").text
    for door in ("Drop a capture", "Watch an interface", "Enrol a device"):
        assert door in text
    assert "Coming" in text


def test_quarantine_shows_its_plan_then_acts_then_is_undone_in_one_click(browser, core):
    page = browser("olaf")
    plan = page.post(f"/devices/{HALL}/quarantine/plan", reason="test", ttl_s="900").text
    assert "dropped for 15 min" in plan
    assert core.control.get("default", Device, HALL).mode is Mode.ENFORCE
    done = page.post(f"/devices/{HALL}/quarantine", follow=True, reason="test", ttl_s="900").text
    assert "Hall camera is shut out for 15 min." in done
    assert f'action="/devices/{HALL}/release"' in done
    assert core.control.get("default", Device, HALL).mode is Mode.QUARANTINE
    back = page.post(f"/devices/{HALL}/release", follow=True).text
    assert "exactly as before" in back
    assert core.control.get("default", Device, HALL).mode is Mode.ENFORCE
    assert "exactly as before" not in page.get(f"/devices/{HALL}").text, "a message is shown once"


def test_refusals_of_core_are_said_on_the_page(browser):
    page = browser("olaf")
    gateway = uid_of("gateway")
    assert "would be refused" in page.post(f"/devices/{gateway}/quarantine/plan", reason="x").text
    text = page.post(f"/devices/{gateway}/quarantine", follow=True, reason="x").text
    assert 'class="flash bad"' in text
    assert "gateway" in text


def test_bulk_approval_by_kind(browser):
    page = browser("ann")
    assert "bulb" in page.post("/approve/plan", scope="kind", target="bulb").text.lower()
    text = page.post("/approve", follow=True, scope="kind", target="bulb", comment="fine").text
    assert "Approved." in text
    assert "Bulb" not in text[text.index("Settled") : text.index("Decided lately")]


def test_case_notes_close_and_reopen(browser, core):
    page = browser("olaf")
    case = next(row for row in core.control.page("default", Case).items if row.state == "open")
    assert "looked at it" in page.post(f"/cases/{case.uid}/notes", follow=True, note="looked at it").text
    closed = page.post(f"/cases/{case.uid}/close", follow=True, resolution="false alarm").text
    assert "Reopen" in closed
    assert core.control.get("default", Case, case.uid).resolution == "false alarm"
    page.post(f"/cases/{case.uid}/reopen")
    assert core.control.get("default", Case, case.uid).state == "open"


def test_findings_are_called_expected_and_taken_back(browser, core):
    page = browser("olaf")
    finding = next(row for row in core.control.page("default", Finding).items if row.device and row.key)
    assert "of every device" not in page.get(f"/findings/{finding.uid}").text
    page.post(f"/findings/{finding.uid}/suppress", reason="<b>ours</b>", scope="device", days="7")
    (said,) = core.control.page("default", Suppression).items
    assert (said.rule, said.device, said.key) == (finding.rule, finding.device, "")
    assert said.until - said.time == 7 * 86_400
    text = page.get("/suppressions").text
    assert "&lt;b&gt;ours&lt;/b&gt;" in text
    assert "7 d</time> more" in text
    page.post(f"/suppressions/{said.uid}/remove")
    text = page.get("/suppressions").text
    assert "Nothing is suppressed" in text
    assert "removed by olaf" in text


def test_correction(browser, core):
    page = browser("olaf")
    page.post(
        f"/devices/{uid_of('espressif-b81c')}/edit", label="Fish tank", kind="sensor", maker="Espressif", model=""
    )
    device = core.control.get("default", Device, uid_of("espressif-b81c"))
    assert (device.label, device.kind, device.identified) == ("Fish tank", "sensor", True)


def test_settings_forms(browser, core):
    page = browser("admin")
    text = page.post(
        "/settings/limits", follow=True, share="25", least="2", max_hours="48", never_block="192.168.1.1\n192.168.1.2"
    ).text
    assert "25 %" in text
    assert "192.168.1.2" in text
    page.post("/settings/rules", name="r1", rules="scan.*, login.*", min_severity="5", minutes="30", enabled="1")
    text = page.get("/settings").text
    assert "acts by itself" in text
    assert "scan.*, login.*" in text
    assert "is 3 now" in page.post("/settings/value", follow=True, name="notify.min_severity", value="3").text
    assert "lies between" in page.post("/settings/value", follow=True, name="notify.min_severity", value="9").text
    assert "went out by webhook" in page.post("/settings/test", follow=True, channel="webhook").text


def test_packs_are_imported_shown_and_removed(browser):
    page = browser("ann")
    assert "unknown, not ruled out" in page.get("/settings").text
    text = page.post("/settings/packs", follow=True, name="my-list", list="198.51.100.7\nbad line here\n").text
    assert "1 indicators, 1 lines were none" in text
    assert "my-list" in text
    assert "No indicator in" in page.post("/settings/packs", follow=True, name="x", list="nothing at all here").text
    assert "is no name of a pack" in page.post("/settings/packs", follow=True, name="../x", list="198.51.100.7").text
    assert "is removed" in page.post("/settings/packs/my-list/remove", follow=True).text


def test_secrets_are_shown_once(browser):
    page = browser("admin")
    answer = page.post("/account/tokens", **{"name": "t", "scope devices:read": "1", "days": "3"})
    secret = re.search(r"twt_[\w-]+", answer.text).group()
    assert secret not in page.get("/account").text
    link = page.post("/users/link", name="vera")
    secret = re.search(r"login/(twl_[\w-]+)", link.text).group(1)
    assert secret not in page.get("/users").text


def test_audit_page_names_people_and_devices(browser):
    page = browser("admin")
    page.post(f"/devices/{HALL}/quarantine", reason="test", ttl_s="900")
    text = page.get("/audit").text
    assert "Quarantined" in text
    assert "Hall camera" in text
    assert "admin" in text


def test_demo_banner_and_button(browser):
    page = browser("olaf")
    assert "Simulated site." in page.get("/").text
    assert "Turn one device Mirai-like" in page.get("/").text
    assert page.post("/demo/attack").headers["location"] == "/live"
    assert "Doorbell tries default passwords" in page.get("/findings").text
    assert "Turn one device" not in browser("vera").get("/").text


def test_docs_are_served_from_here_and_nothing_else(browser):
    page = browser("vera")
    assert page.get("/docs/adr/0001-the-house.md").headers["location"] == "/docs/adr/0001-the-house"
    for path in ("/docs/../pyproject", "/docs/%2e%2e/pyproject", "/docs/adr/..%2f..%2fREADME", "/docs/nothing"):
        assert page.get(path).status_code == 404, path


def test_parts_for_htmx_are_parts(browser):
    part = browser("olaf").get(
        f"/devices/{HALL}/quarantine", headers={"hx-request": "true", "hx-request-type": "partial"}
    )
    assert part.text.lstrip().startswith("<form")
    assert "<html" not in part.text


def test_htmx_is_sent_to_sign_in_when_the_session_is_over(http, core):
    answer = http.get("/", headers={"hx-request": "true"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/login")


def test_what_is_in_force_can_be_taken_to_another_router(browser):
    text = browser("vera").get("/in-force").text
    for form in ("nftables", "openwrt", "dnsmasq"):
        assert f'href="/api/v1/sites/home/export?form={form}" download' in text
