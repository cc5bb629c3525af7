"""The data path over TLS, on either side: the same bytes, the same records."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llm_audit.proxy.server import ServerProtocol
from llm_audit.record.schema import Outcome
from proxy_stage import Client, Stage, UpstreamCall, answer, call, ok, play, response_body, stage

BIG = bytes(range(256)) * 16384


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


async def tls_client(on: Stage, certificate: Path) -> Client:
    """A client of the same proxy, over TLS."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: ServerProtocol(on.service), "127.0.0.1", 0, ssl=serving(certificate)
    )
    port = server.sockets[0].getsockname()[1]
    client = Client(*await asyncio.open_connection("127.0.0.1", port, ssl=trusting(certificate), limit=2**16))
    on.clients.append(client)
    server.close()
    return client


def test_calls_over_tls_go_through_one_after_the_other(tmp_path, certificate):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(b"1")), answer(ok(b"2"))) as on:
            client = await tls_client(on, certificate)
            await client.send(call())
            assert (await client.response())[2] == b"1"
            await client.send(call())
            assert (await client.response())[2] == b"2"
            exchanges = await on.exchanges(2)
            assert [one.end.outcome for one in exchanges] == [Outcome.COMPLETE] * 2
            assert [one.end.delivered_bytes for one in exchanges] == [1, 1]

    play(main)


def test_a_slow_client_over_tls_gets_all_of_a_large_response(tmp_path, certificate):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(BIG))) as on:
            client = await tls_client(on, certificate)
            await client.send(call())
            await client.head()
            body = b""
            while len(body) < len(BIG):
                body += await client.reader.read(65536)
                await asyncio.sleep(0)
            assert body == BIG
            ended = await on.only_exchange()
            assert response_body(ended) == BIG
            assert ended.end.outcome is Outcome.COMPLETE
            assert ended.end.delivered_bytes == len(BIG)

    play(main)


def test_a_client_over_tls_that_leaves_stops_the_model_server(tmp_path, certificate):
    gone = asyncio.Event()

    async def stream(upstream: UpstreamCall) -> None:
        await upstream.read_body()
        await upstream.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await upstream.gone()
        gone.set()

    async def main() -> None:
        async with stage(tmp_path, stream) as on:
            client = await tls_client(on, certificate)
            await client.send(call())
            await client.head()
            await client.reader.readexactly(8)
            client.writer.transport.abort()
            await gone.wait()
            assert (await on.only_exchange()).end.outcome is Outcome.CLIENT_DISCONNECTED

    play(main)


def test_a_broken_response_over_tls_ends_in_order_with_what_came(tmp_path, certificate):
    broken = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n"

    async def main() -> None:
        async with stage(tmp_path, answer(broken)) as on:
            client = await tls_client(on, certificate)
            await client.send(call())
            assert (await client.rest()).endswith(b"\r\n\r\n3\r\nabc\r\n")
            ended = await on.only_exchange()
            assert ended.end.outcome is Outcome.UPSTREAM_ERROR
            assert ended.end.delivered_bytes == 3

    play(main)


def test_a_model_server_behind_tls_is_spoken_to_over_tls(tmp_path, certificate):
    async def main() -> None:
        async with stage(tmp_path, answer(ok(BIG)), answer(ok(b"2"))) as on:
            server = await asyncio.start_server(
                on.model.serve, "127.0.0.1", 0, limit=2**26, ssl=serving(certificate)
            )
            pool = on.service._pool
            pool._port = server.sockets[0].getsockname()[1]
            pool._ssl = trusting(certificate)
            client = await on.client()
            await client.send(call(BIG))
            assert (await client.response())[2] == BIG
            await client.send(call())
            assert (await client.response())[2] == b"2"
            assert on.model.calls[0].body == BIG
            assert on.model.connections == 1
            server.close()

    play(main)
