"""Log-in dialogues in lines: FTP, POP3, IMAP, SMTP, telnet; and SSH's banners."""

import base64

import pytest

from thingward.model.record import Malformed, Secret
from thingward.wire.ftp import FtpDecoder
from thingward.wire.lines import MAX_LINE_BYTES, MAX_LOGINS, LineBuffer
from thingward.wire.mail import ImapDecoder, PopDecoder, SmtpDecoder, split_quoted
from thingward.wire.message import Credential
from thingward.wire.ssh import SshDecoder
from thingward.wire.telnet import OptionFilter, TelnetDecoder

PLAIN = base64.b64encode(b"\0bob\0hunter2")


def run(decoder, script: str) -> list:
    """`> line` is the client, `< line` the server; lines end with CR LF."""
    found = []
    for line in script.strip().splitlines():
        side, _, text = line.strip().partition(" ")
        found += decoder.feed(side == ">", text.encode() + b"\r\n")
    return found + decoder.finish()


def logins(found: list) -> list:
    return [
        (one.user, None if one.password is None else one.password.reveal(), one.outcome)
        for one in found
        if isinstance(one, Credential)
    ]


@pytest.mark.parametrize(
    ("decoder", "script", "expected"),
    [
        (FtpDecoder, "< 220 ready\n> USER root\n< 331 pw\n> PASS vizxv\n< 530 no", [("root", "vizxv", "failure")]),
        (FtpDecoder, "< 220 ready\n> user root\n> pass x\n< 230 in", [("root", "x", "success")]),
        (FtpDecoder, "< 220 ready\n> USER ftp\n< 230 in", [("ftp", None, "success")]),
        (FtpDecoder, "> USER a\n> PASS b\n> USER c\n> PASS d", [("a", "b", "unknown"), ("c", "d", "unknown")]),
        (PopDecoder, "< +OK hi\n> USER bob\n< +OK\n> PASS pw\n< -ERR no\n> PASS pw2\n< +OK in", [("bob", "pw", "failure"), ("bob", "pw2", "success")]),
        (PopDecoder, f"< +OK hi\n> AUTH PLAIN {PLAIN.decode()}\n< +OK in", [("bob", "hunter2", "success")]),
        (PopDecoder, f"< +OK hi\n> AUTH PLAIN\n< + \n> {PLAIN.decode()}\n< +OK in", [("bob", "hunter2", "success")]),
        (PopDecoder, "< +OK hi\n> APOP bob c4c9334bac560ecc\n< +OK in", [("bob", None, "success")]),
        (ImapDecoder, '< * OK hi\n> a1 LOGIN "bob" "p\\"w"\n< a1 NO no', [("bob", 'p"w', "failure")]),
        (ImapDecoder, f"< * OK hi\n> a AUTHENTICATE PLAIN\n< +\n> {PLAIN.decode()}\n< a OK in", [("bob", "hunter2", "success")]),
        (SmtpDecoder, f"< 220 hi\n> EHLO cam\n> AUTH PLAIN {PLAIN.decode()}\n< 235 in", [("bob", "hunter2", "success")]),
        (SmtpDecoder, "< 220 hi\n> AUTH LOGIN\n< 334 x\n> Ym9i\n< 334 y\n> cHc=\n< 535 no", [("bob", "pw", "failure")]),
    ],
)  # fmt: skip
def test_logins_in_lines(decoder, script, expected):
    found = run(decoder(), script)
    assert logins(found) == expected
    assert all("pw" not in repr(one) and "hunter2" not in repr(one) for one in found)


def test_greetings_and_names_are_kept():
    found = run(SmtpDecoder(), "< 220 mail.example ESMTP\n> EHLO printer-3\n< 250 ok")
    assert [(one.scheme, one.role, one.text, one.from_initiator) for one in found] == [
        ("smtp", "server", "mail.example ESMTP", False),
        ("smtp", "client", "printer-3", True),
    ]


@pytest.mark.parametrize(
    ("decoder", "script"),
    [
        (FtpDecoder, "< 220 x\n> AUTH TLS\n< 234 go"),
        (SmtpDecoder, "< 220 x\n> EHLO a\n< 250 STARTTLS\n> STARTTLS\n< 220 go"),
        (PopDecoder, "< +OK x\n> STLS\n< +OK go"),
        (ImapDecoder, "< * OK x\n> a STARTTLS\n< a OK go"),
    ],
)
def test_tls_is_followed_once_agreed(decoder, script):
    from tests.unit.wire.test_tls import HELLO, record

    machine = decoder()
    run(machine, script)
    assert not machine.done
    (hello,) = machine.feed(True, record(HELLO))
    assert hello.sni == "hub.maker.example"


def test_attempts_are_bounded():
    decoder = FtpDecoder()
    found = []
    for number in range(200):
        found += decoder.feed(True, b"USER a\r\nPASS %d\r\n" % number) + decoder.feed(False, b"530 no\r\n")
    assert decoder.done
    assert len(found) <= MAX_LOGINS + 1


def test_long_lines_are_cut_and_the_next_is_whole():
    buffer = LineBuffer()
    assert buffer.feed(b"a" * 5000) == []
    first, second = buffer.feed(b"a" * 5000 + b"\r\nshort\r\n")
    assert (len(first), second) == (MAX_LINE_BYTES, b"short")


def test_imap_words():
    assert split_quoted(b'a "b c" d') == [b"a", b"b c", b"d"]
    assert split_quoted(b'"open') == [b"open"]


def test_ssh_banners_of_both_sides():
    decoder = SshDecoder()
    (server,) = decoder.feed(False, b"notice\r\nSSH-2.0-dropbear_2019\r\n")
    assert decoder.feed(True, b"SSH-2.0-") == []
    (client,) = decoder.feed(True, b"libssh_0.9\r\n\0\0\1")
    assert (server.text, server.role) == ("SSH-2.0-dropbear_2019", "server")
    assert (client.text, client.role) == ("SSH-2.0-libssh_0.9", "client")
    assert decoder.done


def test_ssh_without_banner_ends():
    decoder = SshDecoder()
    (problem,) = decoder.feed(False, b"line\r\n" * 40)
    assert isinstance(problem, Malformed)


def telnet(*steps: tuple[str, bytes]) -> list:
    decoder = TelnetDecoder()
    found = [message for side, data in steps for message in decoder.feed(side == ">", data)]
    return found + decoder.finish()


PROMPT = ("<", b"\xff\xfd\x18\xff\xfb\x01cam login: ")


def test_telnet_success():
    found = telnet(
        PROMPT,
        (">", b"\xff\xfc\x18root\r\n"),
        ("<", b"root\r\nPassword: "),
        (">", b"xc3511\r\0"),
        ("<", b"\r\n\r\nBusyBox v1.1\r\n# "),
    )
    assert logins(found) == [("root", "xc3511", "success")]


def test_telnet_failures_in_a_row():
    steps = [PROMPT]
    for password in (b"admin", b"12345", b""):
        steps += [
            (">", b"root\n"),
            ("<", b"\r\nPassword: "),
            (">", password + b"\n"),
            ("<", b"\r\nLogin incorrect\r\ncam login: "),
        ]
    assert logins(telnet(*steps)) == [
        ("root", "admin", "failure"),
        ("root", "12345", "failure"),
        ("root", "", "failure"),
    ]


def test_telnet_character_by_character_with_corrections():
    typed = [(">", bytes([byte])) for byte in b"rooy\x7ft\r\n"]
    found = telnet(
        PROMPT, *typed, ("<", b"\r\nPassword:"), *[(">", bytes([byte])) for byte in b"pw\r"], ("<", b"\r\nwelcome")
    )
    assert logins(found) == [("root", "pw", "success")]


def test_telnet_without_answers_is_guessed_from_two_lines():
    assert logins(telnet((">", b"root\r\n"), (">", b"vizxv\r\n"), (">", b"enable\r\n"))) == [
        ("root", "vizxv", "unknown")
    ]


def test_telnet_without_verdict_is_unknown():
    found = telnet(PROMPT, (">", b"a\r\n"), ("<", b"Password: "), (">", b"b\r\n"))
    assert logins(found) == [("a", "b", "unknown")]
    assert found[0].password == Secret("b")


def test_other_text_on_port_23_is_no_login():
    assert telnet(("<", b"MENU 1) open 2) close\r\n> "), (">", b"1\r\n"), ("<", b"opened\r\n> ")) == []


def test_telnet_options_are_taken_out_at_any_split():
    data = b"a\xff\xfb\x01b\xff\xfa\x18\x00xterm\xff\xf0c\xff\xffd\xff\xf1e"
    for cut in range(len(data)):
        options = OptionFilter()
        assert options.feed(data[:cut]) + options.feed(data[cut:]) == b"abc\xffde"
