"""HTTP and RTSP exchanges, and log-ins in them."""

import pytest

from thingward.model.record import Malformed, Secret
from thingward.wire.forms import find_form_login, hide_secrets
from thingward.wire.http import MAX_EXCHANGES, HttpDecoder, HttpExchange
from thingward.wire.message import Credential
from thingward.wire.rtsp import RtspDecoder, RtspExchange

GET = b"GET /setup?x=1 HTTP/1.1\r\nHost: Hub.local\r\nUser-Agent: app/2\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nServer: micro/1\r\nContent-Length: 5\r\n\r\nhello"


def run(*steps: tuple[str, bytes], decoder: HttpDecoder | None = None) -> list:
    decoder = decoder or HttpDecoder()
    found = [message for side, data in steps for message in decoder.feed(side == ">", data)]
    return found + decoder.finish()


def test_request_and_answer_are_one_exchange():
    (exchange,) = run((">", GET), ("<", OK))
    assert exchange == HttpExchange(
        method="GET", host="hub.local", path="/setup?x=1", user_agent="app/2", status=200, server="micro/1"
    )


def test_a_request_without_answer_is_told_at_the_end():
    (exchange,) = run((">", GET))
    assert (exchange.method, exchange.status) == ("GET", 0)


def test_an_answer_without_request_still_names_the_server():
    (exchange,) = run(("<", OK))
    assert (exchange.method, exchange.server, exchange.from_initiator) == ("", "micro/1", True)


def test_pipelined_requests_are_matched_in_order():
    found = run((">", GET + GET.replace(b"setup", b"second")), ("<", OK + OK.replace(b"200", b"404")))
    assert [(one.path, one.status) for one in found] == [("/setup?x=1", 200), ("/second?x=1", 404)]


def test_bodies_split_anywhere_are_passed_over():
    stream = OK * 3
    decoder = HttpDecoder()
    decoder.feed(True, GET * 3)
    found = [message for byte in stream for message in decoder.feed(False, bytes([byte]))]
    assert [one.status for one in found] == [200, 200, 200]


def test_after_a_body_of_unknown_length_the_next_head_is_found():
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    found = run((">", GET), ("<", chunked), ("<", b"more\r\n\r\n"), (">", GET), ("<", OK))
    assert [(one.method, one.status) for one in found] == [("GET", 200), ("GET", 200)]


def test_roles_follow_the_content():
    (exchange,) = run(("<", GET), (">", OK))
    assert (exchange.status, exchange.from_initiator) == (200, False)


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "success"), (401, "failure"), (302, "unknown"), (500, "unknown")]
)
def test_basic_credentials_are_judged_by_the_answer(status, outcome):
    request = GET[:-2] + b"Authorization: Basic YWRtaW46czNjcmV0\r\n\r\n"
    exchange, credential = run((">", request), ("<", b"HTTP/1.0 %d x\r\n\r\n" % status))
    assert exchange.status == status
    assert credential == Credential(scheme="http-basic", user="admin", password=Secret("s3cret"), outcome=outcome)
    assert "s3cret" not in repr(credential)


def test_the_realm_of_a_challenge_is_kept():
    answer = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="Cam 9000"\r\nContent-Length: 0\r\n\r\n'
    (exchange,) = run((">", GET), ("<", answer))
    assert exchange.realm == "Cam 9000"


def post(body: bytes, kind: bytes) -> bytes:
    return b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (
        kind,
        len(body),
        body,
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"username=root&password=p%40ss", b"application/x-www-form-urlencoded"),
        (b'{"UserName": "root", "pwd": "p@ss"}', b"application/json"),
    ],
)
def test_form_logins_are_found_wherever_the_body_is_split(body, kind):
    request = post(body, kind)
    for cut in (1, len(request) - len(body), len(request) - 3, len(request)):
        _, credential = run((">", request[:cut]), (">", request[cut:]), ("<", OK))
        assert (credential.scheme, credential.user, credential.password) == ("http-form", "root", Secret("p@ss"))
        assert credential.outcome == "unknown"


def test_a_login_in_the_query_is_found_and_hidden():
    exchange, credential = run((">", b"GET /cgi?loginuse=admin&loginpas=8888&n=1 HTTP/1.0\r\n\r\n"), ("<", OK))
    assert (credential.user, credential.password) == ("admin", Secret("8888"))
    assert exchange.path == "/cgi?loginuse=admin&loginpas=***&n=1"


@pytest.mark.parametrize(
    ("path", "hidden"),
    [
        (b"/a", b"/a"),
        (b"/a?b=c", b"/a?b=c"),
        (b"/a?access_token=x&b", b"/a?access_token=***&b"),
        (b"/shell?cd+/tmp;wget", b"/shell?cd+/tmp;wget"),
        (b"/a?PASSWORD=x", b"/a?PASSWORD=***"),
    ],
)
def test_secret_looking_fields_lose_their_values(path, hidden):
    assert hide_secrets(path) == hidden


def test_forms_without_a_password_are_no_login():
    assert find_form_login(b"user=a&next=b", b"") is None
    assert find_form_login(b'["password"]', b"json") is None
    assert find_form_login(b"\xff\xfe", b"json") is None


def test_no_secret_of_a_password_is_kept_in_a_path_that_is_cut():
    exchange, _ = run((">", b"GET /l?user=a&password=" + b"x" * 900 + b" HTTP/1.1\r\n\r\n"), ("<", OK))
    assert "xxx" not in exchange.path


def test_tls_behind_a_proxy_is_followed():
    from tests.unit.wire.test_tls import HELLO, record

    connect = b"CONNECT maker.example:443 HTTP/1.1\r\nHost: maker.example:443\r\n\r\n"
    exchange, hello = run((">", connect), ("<", b"HTTP/1.1 200 OK\r\n\r\n"), (">", record(HELLO)))
    assert exchange.method == "CONNECT"
    assert hello.sni == "hub.maker.example"


def test_what_is_no_request_is_malformed():
    (problem,) = run((">", b"\x01\x02\x03 this is not http at all"))
    assert isinstance(problem, Malformed)
    assert problem.reason == "http: not a request"


def test_a_head_without_end_is_bounded():
    decoder = HttpDecoder()
    found = [
        message
        for _ in range(40)
        for message in decoder.feed(True, b"GET / HTTP/1.1\r\n" if not _ else b"a: b\r\n" * 200)
    ]
    assert [one.reason for one in found] == ["http: head too long"]


def test_the_number_of_exchanges_is_bounded():
    decoder = HttpDecoder()
    found = [message for _ in range(100) for message in decoder.feed(True, GET) + decoder.feed(False, OK)]
    assert len(found) <= MAX_EXCHANGES
    assert decoder.done


def test_rtsp_tells_cameras_and_viewers():
    request = (
        b"DESCRIBE rtsp://10.0.0.5/live RTSP/1.0\r\nCSeq: 2\r\nUser-Agent: viewer\r\nAuthorization: Basic YTpi\r\n\r\n"
    )
    answer = b'RTSP/1.0 401 Unauthorized\r\nServer: Cam/1\r\nWWW-Authenticate: Basic realm="Cam"\r\n\r\n'
    exchange, credential = run((">", request), ("<", answer), decoder=RtspDecoder())
    assert isinstance(exchange, RtspExchange)
    assert (exchange.host, exchange.path, exchange.server, exchange.realm) == ("10.0.0.5", "/live", "Cam/1", "Cam")
    assert (credential.scheme, credential.user, credential.outcome) == ("rtsp", "a", "failure")
