"""The console in a real Chromium, on the sample site: policy, keyboard, phone width, themes, live events, actions."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import msgspec
import pytest
import uvicorn

from tests.conftest import chromium
from tests.unit.apps.server.sample import NOW, PASSWORD, empty_site, finding, link_secret, sample_site, uid_of
from tests.unit.apps.server.site import Switch, options_for
from thingward.apps.server.app import create_app
from thingward.model.action import Action
from thingward.model.device import Device, Mode
from thingward.model.finding import Case, Finding
from thingward.model.principal import AuditEntry
from thingward.ports.control_store import Put
from thingward.runtime.desk_identity import user_uid

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
HALL, GARAGE = uid_of("cam-hall"), uid_of("cam-garage")
PAGES = {
    "overview": "/",
    "doors": "/doors",
    "devices": "/devices",
    "device": f"/devices/{GARAGE}",
    "device-enforced": f"/devices/{uid_of('speaker-living')}",
    "device-unknown": f"/devices/{uid_of('espressif-b81c')}",
    "findings": "/findings?show=all",
    "cases": "/cases",
    "approvals": "/approvals",
    "in-force": "/in-force",
    "live": "/live",
    "captures": "/captures",
    "evidence": "/evidence",
    "audit": "/audit",
    "settings": "/settings",
    "users": "/users",
    "account": "/account",
    "status": "/status",
    "docs": "/docs/adr/0001-the-house",
    "api": "/docs/api",
    "quarantine": f"/devices/{HALL}/quarantine",
    "approve": f"/approve?scope=device&target={HALL}",
    "nowhere": "/devices/d-nobody",
}


class Console:
    """The server in a thread, its platform exchangeable."""

    def __init__(self, folder):
        self.switch = Switch(empty_site())
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        config = uvicorn.Config(
            create_app(self.switch, options_for(folder, demo=True)), log_config=None, timeout_graceful_shutdown=1
        )
        self.server = uvicorn.Server(config)
        self.server.capture_signals = contextlib.nullcontext
        self.loop = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.until(lambda: self.server.started)

    def _run(self):
        async def serve():
            self.loop = asyncio.get_running_loop()
            await self.server.serve(sockets=[self.listener])

        asyncio.run(serve())

    def until(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.02)

    def reset(self, core):
        self.switch.core = core

    def take(self, records):
        """Let records pass, as if core pushed them."""

        async def run():
            self.switch.core.take(records)

        asyncio.run_coroutine_threadsafe(run(), self.loop).result(10)

    def close(self):
        self.server.should_exit = True
        self.thread.join(10)


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    running = Console(tmp_path_factory.mktemp("console"))
    yield running
    running.close()


@pytest.fixture(scope="module")
def chrome():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield browser
        browser.close()


class Watched:
    """A page whose complaints and foreign requests are kept."""

    def __init__(self, page, address):
        self.page = page
        self.complaints = []
        page.on(
            "console", lambda line: self.complaints.append(line.text) if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "request", lambda asked: self.complaints.append(asked.url) if not asked.url.startswith(address) else None
        )


@pytest.fixture
def open_console(console, chrome):
    """Give a signed-in page: `open_console(core, user=..., width=..., scheme=...)`."""
    contexts = []

    def make(core=None, user="admin", width=1440, height=900, scheme="light"):
        console.reset(core or sample_site())
        context = chrome.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        watched = Watched(context.new_page(), console.address)
        page = watched.page
        page.goto(f"{console.address}/login/{link_secret(console.switch.core, user)}")
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{console.address}/")
        watched.complaints.clear()
        return watched

    yield make
    for context in contexts:
        context.close()


def overflow(page):
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


#: What scrolls sideways inside the page: a button or a column beyond the edge is as good as not there.
SIDEWAYS = """[...document.querySelectorAll("main *")].filter(part => {
  const style = getComputedStyle(part);
  return part.clientWidth && part.scrollWidth > part.clientWidth + 1 && ["auto", "scroll", "hidden"].includes(style.overflowX)
    && !part.querySelector(":scope > .data.small") && !part.closest("pre, .prose, .plot, .api-op, svg, .visually-hidden, input, select, .anchors, .toc") && style.textOverflow !== "ellipsis";
}).map(part => `${part.tagName}.${part.className} ${part.scrollWidth} > ${part.clientWidth}`)"""
LONG = "tcp/8081 to d-4e7f66e7c145a66597d4 and fe80::0200:5eff:fe00:5310 is outside the approved profile"


def wide_site():
    """The sample site with names and titles as long as real ones get."""
    core = sample_site()
    put = core.control.commit
    for case in core.control.page("default", Case, limit=100).items:
        put("default", [Put(msgspec.structs.replace(case, title=LONG))])
    for index, row in enumerate(core.control.page("default", Device, limit=100).items):
        label = "an-unbroken-name-that-somebody-gave-to-a-thing.local" if index % 2 else LONG
        put(
            "default",
            [Put(msgspec.structs.replace(row, label=label, addresses=("fe80::200:5eff:fe00:5310", *row.addresses)))],
        )
    for row in core.control.page("default", Finding, limit=100).items:
        put("default", [Put(msgspec.structs.replace(row, title=LONG, reason=LONG * 2))])
    for row in core.control.page("default", Action, limit=100).items:
        put("default", [Put(msgspec.structs.replace(row, reason=LONG))])
    entry = {
        "tenant": "default",
        "source": "desk",
        "principal": user_uid("default", "admin"),
        "address": "2001:db8::1234:5678:9abc:def0",
    }
    for index, action in enumerate(
        ("quarantine_device", "note_export", "import_records", "call_findings_expected_for_a_long_time")
    ):
        row = AuditEntry(
            uid=f"a-{index}",
            time=NOW,
            action=action,
            target=f"capture:{LONG}"[:120],
            result="refused" if index else "ok",
            detail=LONG,
            **entry,
        )
        put("default", [Put(row)])
    return core


@pytest.mark.parametrize("site", [sample_site, wide_site])
def test_nothing_stands_beyond_the_edge_of_a_phone(console, open_console, screenshots, site):
    watched = open_console(core=site(), width=390, height=844)
    page = watched.page
    wrong = {}
    for name, path in PAGES.items():
        page.goto(console.address + path)
        page.wait_for_timeout(150)
        for part in page.locator("main details").all():
            part.evaluate("part => { part.open = true }")
        if found := page.evaluate(SIDEWAYS):
            wrong[name] = found
        if overflow(page) > 0:
            wrong[name] = ["the page", *found]
        page.screenshot(path=screenshots / f"phone-{site.__name__}-{name}.png", full_page=True)
    assert not wrong, "\n".join(f"{name}: {parts}" for name, parts in wrong.items())


@pytest.mark.parametrize(("width", "height", "scheme"), [(1440, 900, "light"), (390, 844, "dark")])
def test_no_page_breaks_the_policy_or_its_width(console, open_console, screenshots, width, height, scheme):
    watched = open_console(width=width, height=height, scheme=scheme)
    page = watched.page
    for name, path in PAGES.items():
        answer = page.goto(console.address + path)
        page.wait_for_timeout(400 if name in ("overview", "device", "live") else 80)
        assert overflow(page) <= 0, f"{name} is wider than {width} pixels"
        expected = [line for line in watched.complaints if name == "nowhere" and "404" in line]
        assert watched.complaints == expected, name
        assert answer.status == (404 if name == "nowhere" else 200), name
        page.screenshot(path=screenshots / f"console-{name}-{width}-{scheme}.png", full_page=True)
        watched.complaints.clear()


def test_the_policy_really_forbids_inline_code(console, open_console):
    watched = open_console()
    watched.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.broken = 1\">')")
    watched.page.evaluate(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.broken = 1';"
        " document.body.append(s); })()"
    )
    watched.page.wait_for_timeout(200)
    assert watched.page.evaluate("window.broken") is None
    assert any("Content Security Policy" in line for line in watched.complaints)


def test_login_link_works_once(console, chrome):
    console.reset(sample_site())
    link = f"{console.address}/login/{link_secret(console.switch.core)}"
    pages = [chrome.new_context().new_page() for _ in range(2)]
    for page in pages:
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_load_state()
    assert pages[0].get_by_role("heading", name="Home").is_visible()
    assert pages[1].get_by_role("alert").inner_text().startswith("The login link is unknown, used or past its end")
    for page in pages:
        page.context.close()


def test_password_sign_in_and_out(console, chrome):
    console.reset(sample_site())
    page = chrome.new_context().new_page()
    page.goto(f"{console.address}/cases")
    page.get_by_label("User").fill("vera")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{console.address}/cases")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{console.address}/login")
    page.goto(f"{console.address}/devices")
    assert "/login" in page.url
    page.context.close()


def test_quarantine_with_its_plan_and_undo_in_one_click(console, open_console):
    watched = open_console(user="olaf")
    page, core = watched.page, console.switch.core
    page.goto(f"{console.address}/devices/{GARAGE}")
    page.get_by_role("button", name="Quarantine…").click()
    dialog = page.locator("#dialog")
    assert dialog.locator(".plan li").first.inner_text(timeout=5000).startswith("Garage camera: everything from and to")
    dialog.get_by_label("15 min").check()
    dialog.locator(".plan li", has_text="15 min").wait_for()
    assert core.control.get("default", Device, GARAGE).mode is Mode.OBSERVE, "a plan changes nothing"
    dialog.get_by_role("button", name="Shut it out").click()
    flash = page.locator(".flash.good")
    assert "Garage camera is shut out for 15 min." in flash.inner_text()
    assert core.control.get("default", Device, GARAGE).mode is Mode.QUARANTINE
    flash.get_by_role("button", name="Undo").click()
    page.get_by_text("exactly as before").wait_for()
    assert core.control.get("default", Device, GARAGE).mode is Mode.OBSERVE
    assert not watched.complaints


def test_bulk_approval(console, open_console):
    watched = open_console(user="ann")
    page = watched.page
    page.goto(f"{console.address}/approvals")
    page.get_by_role("button", name="Approve all of this kind…").first.click()
    page.locator("#dialog .plan li").first.wait_for()
    page.locator("#dialog").get_by_role("button", name="Approve").click()
    page.get_by_text("Approved. What no entry allows is refused").wait_for()
    assert console.switch.core.control.get("default", Device, uid_of("bulb-stairs")).mode is Mode.ENFORCE
    assert not watched.complaints


def test_keyboard(console, open_console):
    page = open_console().page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.locator("body").press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("garage")
    page.keyboard.press("Enter")
    page.wait_for_url("**/devices?q=garage")
    assert page.locator("tbody tr").count() == 1
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/devices/{GARAGE}")
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    for key, path in (("c", "/cases"), ("a", "/approvals"), ("i", "/in-force"), ("d", "/devices")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"{console.address}{path}")


def test_search_filters_as_you_type(console, open_console):
    watched = open_console()
    page = watched.page
    page.goto(f"{console.address}/devices")
    page.locator("#filters input[name=q]").type("plug")
    playwright.expect(page.locator("#list tbody tr")).to_have_count(3)
    assert page.url.endswith("q=plug&kind=&maker=&mode=&device_class=&known=&sort=need")
    page.locator("#filters select[name=known]").select_option("no")
    page.get_by_text("No device matches").wait_for()
    assert not watched.complaints


def test_theme_follows_the_system_until_chosen(console, open_console):
    page = open_console(scheme="dark").page
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Dark or light").click()
    light = page.evaluate(ground)
    assert sum(map(int, light[4:-1].split(","))) > sum(map(int, dark[4:-1].split(",")))
    page.reload()
    assert page.evaluate(ground) == light, "the choice is kept"


def test_menu_on_a_phone(console, open_console):
    page = open_console(width=390, height=844).page
    link = page.locator("#nav a[href='/findings']")
    assert not link.is_visible()
    page.get_by_role("button", name="Menu").click()
    link.click()
    page.wait_for_url(f"{console.address}/findings")
    assert overflow(page) <= 0


def test_live_events_arrive_without_a_reload(console, open_console):
    watched = open_console()
    page = watched.page
    page.goto(f"{console.address}/live?severity=4")
    page.get_by_text("live", exact=True).wait_for()
    console.until(lambda: console.switch.core.listened)
    console.take([finding("meter", "scan.ports", "Meter <b>scans</b> the site", "r", 5, NOW)])
    row = page.locator("#live li[data-uid^=f-]", has_text="Meter <b>scans</b> the site")
    row.wait_for()
    assert row.locator(".pill").inner_text() == "Critical"
    page.get_by_role("button", name="Pause").click()
    console.take([finding("meter", "scan.ports", "Second", "r", 5, NOW + 1)])
    page.get_by_text("paused, ").wait_for()
    assert page.locator("#live li[data-uid^=f-]").count() == 1
    assert not watched.complaints


def test_plots_are_drawn(console, open_console):
    page = open_console().page
    page.locator("[data-plot] canvas").wait_for()
    page.goto(f"{console.address}/devices/{HALL}")
    page.locator("[data-plot] canvas").wait_for()
    page.get_by_role("button", name="1 h").click()
    playwright.expect(page.get_by_role("button", name="1 h")).to_have_attribute("aria-pressed", "true")
    page.locator("[data-plot] canvas, .plot-empty").wait_for()


def test_demo_attack_is_watched_and_shut_out(console, open_console):
    watched = open_console()
    page = watched.page
    page.get_by_role("button", name="Turn one device Mirai-like").click()
    page.wait_for_url(f"{console.address}/live")
    page.goto(f"{console.address}/findings")
    page.get_by_text("Doorbell tries default passwords on Storage").wait_for()
    assert not watched.complaints


def test_first_page_of_a_new_platform(console, open_console, screenshots):
    watched = open_console(core=empty_site())
    page = watched.page
    assert page.get_by_role("heading", name="Drop a capture").is_visible()
    page.screenshot(path=screenshots / "console-empty.png")
    assert not watched.complaints
