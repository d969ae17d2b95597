"""What connections mean: names asked for, software on both sides, and log-ins in the clear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from thingward.model.observation import (
    CredentialData,
    Data,
    Endpoint,
    HttpData,
    MqttData,
    TlsData,
    pair_digest,
)
from thingward.sensing.attributes import identity
from thingward.wire.http import HttpExchange
from thingward.wire.lines import ServiceBanner
from thingward.wire.message import Credential
from thingward.wire.mqtt import MqttConnect, MqttTopic
from thingward.wire.rtsp import RtspExchange
from thingward.wire.tls import TlsClientHello, TlsServerHello

Bodies = Iterator[tuple[Endpoint | None, Endpoint | None, Data]]


def _credential(sender: Endpoint, receiver: Endpoint, message: Credential) -> Bodies:
    """Keep the user and a digest of the pair; the password itself ends here."""
    password = None if message.password is None else message.password.reveal()
    yield (
        sender,
        receiver,
        CredentialData(
            protocol=message.scheme,
            user=message.user,
            pair="" if password is None else pair_digest(message.user, password),
            password_empty=password == "",
            outcome=cast(Literal["success", "failure", "unknown"], message.outcome),
        ),
    )


def _client_hello(sender: Endpoint, receiver: Endpoint, message: TlsClientHello) -> Bodies:
    yield sender, receiver, TlsData(sni=message.sni, alpn=message.alpn, version=message.version, ja4=message.ja4)
    body = identity("tls", ("tls.sni", message.sni), ("tls.ja4", message.ja4), confidence=0.5)
    if body is not None:
        yield sender, receiver, body


def _server_hello(sender: Endpoint, receiver: Endpoint, message: TlsServerHello) -> Bodies:
    names = message.certificate
    subject = "" if names is None else names.subject
    yield receiver, sender, TlsData(version=message.version, certificate_subject=subject)
    if names is None:
        return
    body = identity(
        "tls",
        ("tls.certificate_subject", names.subject),
        ("tls.certificate_organisation", names.organisation),
        ("tls.certificate_issuer", names.issuer),
        ("tls.certificate_names", ",".join(names.dns_names)),
        confidence=0.7,
    )
    if body is not None:
        yield sender, receiver, body


def _http(sender: Endpoint, receiver: Endpoint, message: HttpExchange) -> Bodies:
    if message.method:
        yield (
            sender,
            receiver,
            HttpData(
                method=message.method,
                host=message.host,
                path=message.path,
                user_agent=message.user_agent,
                status=message.status,
            ),
        )
    yield from _exchange_identity("http", sender, receiver, message)


def _rtsp(sender: Endpoint, receiver: Endpoint, message: RtspExchange) -> Bodies:
    yield from _exchange_identity("rtsp", sender, receiver, message)


def _exchange_identity(protocol: str, sender: Endpoint, receiver: Endpoint, message: HttpExchange) -> Bodies:
    client = identity(protocol, (f"{protocol}.user_agent", message.user_agent), confidence=0.7)
    if client is not None:
        yield sender, receiver, client
    server = identity(
        protocol, (f"{protocol}.server", message.server), (f"{protocol}.realm", message.realm), confidence=0.8
    )
    if server is not None:
        yield receiver, sender, server


def _mqtt_connect(sender: Endpoint, receiver: Endpoint, message: MqttConnect) -> Bodies:
    yield (
        sender,
        receiver,
        MqttData(
            operation="connect",
            client_id=message.client_id,
            user=message.user,
            topic=message.will_topic,
            return_code=message.return_code,
            version=message.version,
        ),
    )
    body = identity("mqtt", ("mqtt.client_id", message.client_id))
    if body is not None:
        yield sender, receiver, body


def _mqtt_topic(sender: Endpoint, receiver: Endpoint, message: MqttTopic) -> Bodies:
    yield (
        sender,
        receiver,
        MqttData(
            operation=message.operation,
            client_id=message.client_id,
            topic=message.topic,
            version=message.version,
        ),
    )


def _banner(sender: Endpoint, receiver: Endpoint, message: ServiceBanner) -> Bodies:
    name = "smtp.helo" if message.scheme == "smtp" and message.role == "client" else f"{message.scheme}.banner"
    body = identity(message.scheme, (name, message.text))
    if body is not None:
        yield sender, receiver, body


STREAM_BODIES: dict[type, Callable[[Endpoint, Endpoint, Any], Bodies]] = {
    Credential: _credential,
    TlsClientHello: _client_hello,
    TlsServerHello: _server_hello,
    HttpExchange: _http,
    RtspExchange: _rtsp,
    MqttConnect: _mqtt_connect,
    MqttTopic: _mqtt_topic,
    ServiceBanner: _banner,
}
