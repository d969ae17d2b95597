"""One application for all tests of the server, a fresh platform behind it for each."""

from __future__ import annotations

import shutil

import pytest
from litestar.testing import TestClient

from tests.unit.apps.server.sample import empty_site, sample_site, session_secret, token_secret
from tests.unit.apps.server.site import Switch, options_for
from thingward.apps.server.app import make_deps, make_litestar, wrap
from thingward.apps.server.callers import COOKIE
from thingward.model.principal import Session


@pytest.fixture(scope="session")
def switch():
    return Switch(empty_site())


@pytest.fixture(scope="session")
def options(tmp_path_factory):
    return options_for(tmp_path_factory.mktemp("server"), demo=True)


@pytest.fixture(scope="session")
def deps(switch, options):
    return make_deps(switch, options)


@pytest.fixture(scope="session")
def litestar(deps):
    return make_litestar(deps)


@pytest.fixture(scope="session")
def running(litestar, options):
    with TestClient(wrap(litestar, options), base_url="http://testserver.local") as client:
        yield client


@pytest.fixture
def core(switch):
    switch.core = sample_site()
    return switch.core


@pytest.fixture
def empty(switch):
    switch.core = empty_site()
    return switch.core


@pytest.fixture
def http(running, deps, options):
    """A client that is nobody."""
    shutil.rmtree(options.data_dir / "bundles", ignore_errors=True)
    running.cookies.clear()
    running.headers.pop("authorization", None)
    deps.throttle.__init__()
    return running


class Api:
    """A client with a token."""

    def __init__(self, client, secret):
        self._client = client
        self._headers = {"authorization": f"Bearer {secret}"}

    def __call__(self, method, path, **more):
        headers = {**self._headers, **more.pop("headers", {})}
        return self._client.request(method, f"/api/v1{path}", headers=headers, **more)

    def get(self, path, **more):
        return self("GET", path, **more)

    def post(self, path, body=None, **more):
        return self("POST", path, json=body if body is not None else {}, **more)


@pytest.fixture
def as_user(http, core):
    """Give a client of the API that has a token of this user with these scopes."""

    def make(user="admin", scopes=("*",)):
        return Api(http, token_secret(core, user, scopes))

    return make


@pytest.fixture
def api(as_user):
    return as_user("admin")


class Browser:
    """A signed-in browser without a screen: keeps its cookie, sends its CSRF token with forms."""

    def __init__(self, client, core, user):
        self.client = client
        self.core = core
        self.secret = session_secret(core, user)
        client.cookies.set(COOKIE, self.secret)
        self.session = core.control.page("default", Session, limit=1).items[0]

    def get(self, path, **more):
        return self.client.get(path, follow_redirects=False, **more)

    def post(self, path, follow=False, csrf=None, **fields):
        fields["csrf"] = self.session.csrf if csrf is None else csrf
        return self.client.post(path, data=fields, follow_redirects=follow)


@pytest.fixture
def browser(http, core):
    """Give a signed-in browser of a user on the sample site."""
    return lambda user="admin": Browser(http, core, user)
