"""Connections: servers are checked as ever, plain or encrypted, straight or after a redirect."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from showtell.mllm.call import connections
from showtell.mllm.call.connections import make_client

pytest.importorskip("cryptography")
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def make_certificate(path, name):
    """Write the key and the certificate that a server of this name signed for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "showtell test")])
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(text + certificate.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    name = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return make_certificate(tmp_path_factory.mktemp("tls") / "here.pem", name)


@pytest.fixture(scope="module")
def other_certificate(tmp_path_factory):
    return make_certificate(
        tmp_path_factory.mktemp("tls") / "elsewhere.pem", x509.DNSName("elsewhere.example")
    )


class Handler(BaseHTTPRequestHandler):
    """Sends ``/to?URL`` on to URL and says hello to the rest."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, _, target = self.path.partition("/to?")
        self.send_response(307 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that hangs up on us is what some tests are about."""


@contextlib.contextmanager
def serving(certificate=None):
    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        scheme = "http" if certificate is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def get(*urls):
    """Fetch all at once with one client; texts, or the error of the first that failed."""

    async def fetch():
        async with make_client() as client:
            found = await asyncio.gather(
                *(client.get(url, follow_redirects=True) for url in urls), return_exceptions=True
            )
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return [one.text for one in found]

    return asyncio.run(fetch())


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_plain_server_is_asked_many_things_at_once():
    with serving() as url:
        assert get(*[f"{url}/{number}" for number in range(20)]) == ["hello"] * 20


def test_an_encrypted_server_that_nobody_vouches_for_is_refused(certificate):
    with serving(certificate) as url, pytest.raises(httpx2.ConnectError, match="CERTIFICATE"):
        get(url)


def test_an_encrypted_server_is_known_by_the_certificates_of_the_environment(
    certificate, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(certificate) as url:
        assert get(url, url, url) == ["hello"] * 3


def test_certificates_are_those_of_the_environment_at_the_time(certificate, monkeypatch):
    with serving(certificate) as url:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(url) == ["hello"]
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE"):
            get(url)


def test_a_server_under_another_name_is_refused(other_certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(other_certificate))
    with (
        serving(other_certificate) as url,
        pytest.raises(httpx2.ConnectError, match="CERTIFICATE"),
    ):
        get(url)


def test_a_redirect_from_plain_to_encrypted_is_checked_too(certificate, monkeypatch):
    with serving() as plain, serving(certificate) as encrypted:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE"):
            get(f"{plain}/to?{encrypted}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert get(f"{plain}/to?{encrypted}/") == ["hello"]


def test_a_plain_server_needs_no_certificates(monkeypatch):
    def never():
        raise AssertionError("read for nothing")

    connections._known_authorities.cache_clear()
    monkeypatch.setattr(httpx2, "create_ssl_context", never)
    with serving() as url:
        assert get(url) == ["hello"]


def test_a_proxy_of_the_environment_is_obeyed(monkeypatch):
    with serving() as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "")
        assert get("http://nowhere.example/") == ["hello"]


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_longer_than_any_can_be_is_broken_off_before_it_fills_the_memory(packed):
    """A body without an end: no more of it is read than an answer may have."""
    n_sent = 0

    class Endless(httpx2.AsyncByteStream):
        async def __aiter__(self):
            nonlocal n_sent
            while True:
                n_sent += 1_000_000
                yield b" " * 1_000_000

    headers = {"content-encoding": "gzip"} if packed else {}
    transport = httpx2.MockTransport(
        lambda request: httpx2.Response(200, headers=headers, stream=Endless())
    )

    async def ask():
        client = connections.make_client()
        client._transport = transport
        async with client:
            await client.post("http://h/v1")

    with pytest.raises((httpx2.ReadError, httpx2.DecodingError)):
        asyncio.run(ask())
    assert n_sent <= (1_000_000 if packed else 17_000_000)
