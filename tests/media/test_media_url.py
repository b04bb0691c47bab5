"""URLs: fetched from a real local server where allowed, refused where the rules say so."""

from __future__ import annotations

import http.server
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import traceback

import pytest
from tests.spoiled import encoded, exif_bytes, toy_photo

from showtell.errors import MediaError, MediaFormatError, MediaLimitError, MediaUrlError
from showtell.media import Crop, Limits, content_hash, open_image, read_media, url

PHOTO = encoded(toy_photo(), "JPEG", exif=exif_bytes(6))
LOCAL = Limits(allow_private=True, timeout=10)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path; remembers what was asked."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers and "Transfer_Encoding" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.server.requests.append((self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        if path.startswith("/hop/"):
            left = int(path.rpartition("/")[2])
            where = "/photo.jpg" if left == 0 else f"/hop/{left - 1}"
            return self.send(302, Location=where)
        if path.startswith("/to/"):
            return self.send(301, Location=self.server.redirect)
        if path == "/missing.jpg":
            return self.send(404, b"<html>no such page</html>")
        if path == "/odd-status":
            return self.send(599)
        if path == "/page.jpg":
            return self.send(200, b"<!DOCTYPE html><html></html>", Content_Type="image/jpeg")
        if path == "/empty.jpg":
            return self.send(200)
        if path == "/short.jpg":
            self.close_connection = True
            return self.send(200, PHOTO[:100], Content_Length=str(len(PHOTO)))
        if path == "/large.jpg":
            return self.send(200, Content_Length="999999999999")
        if path == "/packed.jpg":
            return self.send(200, b"x", Content_Encoding="gzip")
        if path == "/endless.jpg":
            return self.endless()
        if path == "/drip.jpg":
            return self.drip()
        if path == "/chunked.jpg":
            body = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (PHOTO[:7], PHOTO[7:]))
            return self.send(200, body + b"0\r\n\r\n", Transfer_Encoding="chunked")
        if path == "/cut-chunk.jpg":
            self.close_connection = True
            return self.send(200, b"ffff\r\nabc", Transfer_Encoding="chunked")
        if path == "/nonsense":
            self.close_connection = True
            return self.wfile.write(b"HELLO THIS IS NOT HTTP\r\n\r\n")
        return self.send(200, PHOTO, Content_Type="image/jpeg")

    def endless(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        self.close_connection = True
        try:
            for _ in range(4000):  # 260 MB
                self.wfile.write(chunk)
                self.server.sent += 65536
        except OSError:
            pass

    def drip(self):
        """One header line that never ends, a byte at a time."""
        self.close_connection = True
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(1200):
                if self.server.is_left.wait(0.05):
                    return
                self.wfile.write(b"x")
            self.server.was_endured = True
        except OSError:
            pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list = []
        self.redirect = ""
        self.sent = 0
        self.is_left, self.was_endured = threading.Event(), False
        self.port = self.server_address[1]
        self.base = f"http://127.0.0.1:{self.port}"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def look_up(monkeypatch):
    """Answer look-ups from a table instead of the network; count them."""
    table: dict[str, list[str]] = {}
    asked: list[str] = []

    def getaddrinfo(host, port, *args, **kwargs):
        asked.append(host)
        if host not in table:
            raise socket.gaierror(-2, "Name or service not known")
        rows = []
        for address in table[host]:
            v6 = ":" in address
            where = (address, port, 0, 0) if v6 else (address, port)
            rows.append((socket.AF_INET6 if v6 else socket.AF_INET, 1, 6, "", where))
        return rows

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    table["asked"] = asked
    return table


def refusal(address, limits=LOCAL, kind=MediaUrlError):
    with pytest.raises(MediaError) as caught:
        open_image(address, limits=limits)
    assert type(caught.value) is kind, caught.value
    assert len(str(caught.value).splitlines()) == 1
    return caught.value.reason


# --- what works ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/photo.jpg", "/chunked.jpg", "/hop/0", "/hop/4", "/photo.jpg#top"]
)
def test_a_url_gives_the_picture_upright_and_its_bytes_hash(server, path):
    address = server.base + path
    assert open_image(address, limits=LOCAL).size == (64, 96)
    raw = read_media(address, limits=LOCAL)
    assert raw.name == address
    assert raw.digest == content_hash(PHOTO)
    assert open_image(Crop(image=address, box=(0, 0, 5, 7)), limits=LOCAL).size == (5, 7)


def test_a_request_says_who_asks_and_nothing_more(server):
    open_image(f"{server.base}/photo.jpg?q=a b&u=ü%20#part", limits=LOCAL)
    ((path, headers),) = server.requests
    assert path == "/photo.jpg?q=a%20b&u=%C3%BC%20"
    assert headers["Host"] == f"127.0.0.1:{server.port}"
    assert headers["User-Agent"].startswith("showtell/")
    assert headers["Accept-Encoding"] == "identity"
    assert not {"Authorization", "Cookie", "Referer"} & set(headers)


def test_the_host_name_reaches_the_server(server, look_up):
    look_up["photos.test"] = ["127.0.0.1"]
    open_image(f"http://PHOTOS.test:{server.port}/photo.jpg", limits=LOCAL)
    assert server.requests[0][1]["Host"] == f"photos.test:{server.port}"
    assert look_up["asked"] == ["photos.test"]


def test_a_second_address_is_tried_when_the_first_does_not_answer(server, look_up):
    with socket.socket() as closed:
        closed.bind(("127.0.0.2", 0))  # bound but not listening: refuses
        look_up["photos.test"] = ["127.0.0.2", "127.0.0.1"]
        # the guard of the tests knows 127.0.0.1 only, so the first attempt must fail in itself
        with pytest.MonkeyPatch.context() as patch:
            connect = socket.socket.connect

            def first_fails(self, where):
                if where[0] == "127.0.0.2":
                    raise ConnectionRefusedError(111, "Connection refused")
                return connect(self, where)

            patch.setattr(socket.socket, "connect", first_fails)
            assert open_image(f"http://photos.test:{server.port}/a.jpg", limits=LOCAL).size == (
                64,
                96,
            )


def test_a_password_goes_to_its_server_only_and_into_no_message(server, look_up):
    look_up["127.0.0.1"] = ["127.0.0.1"]
    look_up["other.test"] = ["127.0.0.1"]
    secret = f"http://me:p%40ss@127.0.0.1:{server.port}"
    open_image(f"{secret}/hop/0", limits=LOCAL)
    sent = [headers.get("Authorization") for _, headers in server.requests]
    assert sent == ["Basic bWU6cEBzcw=="] * 2  # me:p@ss, kept on the same server
    server.requests.clear()
    server.redirect = f"http://other.test:{server.port}/photo.jpg"
    open_image(f"{secret}/to/other", limits=LOCAL)
    assert [headers.get("Authorization") for _, headers in server.requests] == [
        "Basic bWU6cEBzcw==",
        None,
    ]
    for path in ("/missing.jpg?api_key=K3Y", "/short.jpg?api_key=K3Y", "/page.jpg?api_key=K3Y"):
        try:
            open_image(secret + path, limits=LOCAL)
        except MediaError:
            text = traceback.format_exc()
        assert f"127.0.0.1:{server.port}{path[:8]}" in text
        for word in ("p%40ss", "p@ss", "K3Y", "bWU6"):
            assert word not in text
    raw = read_media(f"{secret}/photo.jpg?token=K3Y", limits=LOCAL)
    assert "K3Y" not in repr(raw)
    assert "p%40ss" not in repr(raw)


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ftp://example.org/a.jpg", "only http:// and https:// can be read, not ftp:"),
        ("file:///etc/passwd", "not file:; give the path itself"),
        ("FILE:///etc/passwd", "not file:"),
        ("gopher://example.org/a", "not gopher:"),
        ("data:image/png;base64,iVBORw0KGgo=", "not data:"),
        ("s3://bucket/a.jpg", "not s3:"),
        ("http:///a.jpg", "no valid host name"),
        ("http://:80/a.jpg", "no valid host name"),
        ("http://a b/c.jpg", "no valid host name"),
        ("http://example.org:99999/a.jpg", "not well formed"),
        ("http://example.org:port/a.jpg", "not well formed"),
        ("http://[::1/a.jpg", "not well formed"),
        ("http://example.org/a.jpg\r\nHost: evil", "control character"),
        ("http://" + "é" * 70 + ".org/a.jpg", "not well formed"),
    ],
)
def test_other_schemes_and_malformed_urls_are_refused(address, words):
    assert words in refusal(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.8.9.1", "localhost", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
        "198.18.0.1", "[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fec0::1]", "[ff02::1]",
        "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]",
        "[2002:7f00:1::]", "[2001:db8::1]", "[2001:0:7f00:1::]", "2130706433", "0x7f.1", "127.1",
        "017700000001",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public_are_refused(host):
    assert "not on the public internet" in refusal(f"http://{host}/a.jpg", Limits())


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses_are_allowed(address):
    assert url._is_public(address)


def test_a_word_that_is_no_address_is_not_public():
    assert not url._is_public("example.org")


def test_a_name_that_leads_inside_is_refused_without_connecting(server, look_up):
    look_up["inside.test"] = ["127.0.0.1"]
    reason = refusal(f"http://inside.test:{server.port}/photo.jpg", Limits())
    assert reason == (
        "inside.test leads to 127.0.0.1, which is not on the public internet; "
        "Limits(allow_private=True) allows that"
    )
    assert server.requests == []


def test_the_name_is_looked_up_once_and_only_the_checked_address_is_connected_to(monkeypatch):
    """DNS rebinding: a second answer would lead inside."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    asked, connected = [], []

    def getaddrinfo(host, port, *args, **kwargs):
        asked.append(host)
        return [(socket.AF_INET, 1, 6, "", (a, port)) for a in next(answers)]

    def connect(self, where):
        connected.append(where)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect", connect)
    for key in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(key, raising=False)
    reason = refusal("http://example.org/a.jpg", Limits())
    assert reason == "cannot connect to example.org port 80 (Connection refused)"
    assert asked == ["example.org"]
    assert connected == [("93.184.216.34", 80)]


def test_of_mixed_answers_only_public_addresses_are_tried(monkeypatch, look_up):
    look_up["mixed.test"] = ["10.0.0.1", "93.184.216.34", "::1"]
    connected = []

    def connect(self, where):
        connected.append(where[0])
        raise OSError(113, "No route to host")

    monkeypatch.setattr(socket.socket, "connect", connect)
    assert "No route to host" in refusal("https://mixed.test/a.jpg", Limits())
    assert connected == ["93.184.216.34"]


def test_environment_proxies_are_not_used_and_the_message_says_so(server, monkeypatch, look_up):
    look_up["example.org"] = ["93.184.216.34"]
    for key in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(key, server.base)

    def connect(self, where):
        assert where[0] == "93.184.216.34"
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    reason = refusal("http://example.org/a.jpg", Limits())
    assert reason.endswith("; proxies named in the environment are not used")
    assert server.requests == []


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("http://127.0.0.1/secret", "not on the public internet"),
        ("http://169.254.169.254/latest/meta-data/", "not on the public internet"),
        ("file:///etc/passwd", "not file:"),
        ("ftp://example.org/a.jpg", "not ftp:"),
        ("//[::1]/a", "not on the public internet"),
    ],
)
def test_every_redirect_is_checked(server, monkeypatch, target, words):
    """The first request is let through, so that it is the redirect that is refused."""
    server.redirect = target
    first = iter([True])
    real = url._is_public
    monkeypatch.setattr(url, "_is_public", lambda a: next(first, False) or real(a))
    assert words in refusal(f"{server.base}/to/x", Limits())
    assert len(server.requests) == 1


def test_a_redirect_to_a_name_in_utf_8_is_followed(server):
    server.redirect = "/käse.jpg".encode().decode("latin-1")  # the bytes that go over the wire
    assert open_image(f"{server.base}/to/x", limits=LOCAL).size == (64, 96)
    assert [path for path, _ in server.requests] == ["/to/x", "/k%C3%A4se.jpg"]


def test_six_redirects_are_too_many(server):
    open_image(f"{server.base}/hop/4", limits=LOCAL)  # 5 redirects
    assert refusal(f"{server.base}/hop/5") == "the server redirects more than 5 times"


# --- what fails ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "words"),
    [
        ("/missing.jpg", MediaUrlError, "the server answers 404 Not Found"),
        ("/odd-status", MediaUrlError, "the server answers 599"),
        ("/page.jpg", MediaFormatError, "it is a web page (HTML), not a picture"),
        ("/empty.jpg", MediaFormatError, "the file is empty (0 bytes)"),
        ("/packed.jpg", MediaUrlError, "the server sent it compressed (gzip)"),
        ("/cut-chunk.jpg", MediaUrlError, "the server's answer is no valid HTTP (IncompleteRead)"),
        ("/nonsense", MediaUrlError, "the server's answer is no valid HTTP (BadStatusLine)"),
        ("/large.jpg", MediaLimitError, "it has more than the 100,000,000 bytes allowed"),
    ],
)
def test_failures_are_told_in_words(server, path, kind, words):
    assert words in refusal(server.base + path, kind=kind)


def test_an_answer_that_ends_early_is_an_error(server):
    reason = refusal(f"{server.base}/short.jpg")
    assert reason == f"the connection ended early, after 100 of {len(PHOTO):,} bytes"


def test_an_endless_answer_is_stopped_at_the_limit(server):
    limits = Limits(allow_private=True, max_bytes=1_000_000)
    assert "more than the 1,000,000 bytes" in refusal(
        f"{server.base}/endless.jpg", limits, MediaLimitError
    )
    assert server.sent < 20_000_000


@pytest.mark.parametrize("path", ["/drip.jpg"])
def test_a_dripping_server_is_left_when_the_time_is_up(server, path):
    """It drips for a minute, unless the test goes on before."""
    limits = Limits(allow_private=True, timeout=0.4)
    reason = refusal(server.base + path, limits, MediaLimitError)
    server.is_left.set()
    assert reason == "it took longer than the 0.4 seconds allowed (Limits.timeout)"
    assert not server.was_endured


def test_a_silent_server_is_left_when_the_time_is_up():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        limits = Limits(allow_private=True, timeout=0.3)
        for scheme in ("http", "https"):
            with pytest.raises(MediaError, match=r"longer than the 0\.3 seconds"):
                open_image(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a.jpg", limits=limits)


def test_a_slow_look_up_is_left_when_the_time_is_up(monkeypatch):
    release, ended = threading.Event(), threading.Event()

    def look_up(*arguments, **more):
        release.wait(60)
        ended.set()
        return []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    reason = refusal("http://example.org/a.jpg", Limits(timeout=0.2), MediaLimitError)
    assert not ended.is_set()
    release.set()
    assert "longer than the 0.2 seconds" in reason


@pytest.mark.parametrize("host", ["nowhere.test", "a" * 70 + ".test", "a..b"])
def test_an_unknown_host_says_so(host, monkeypatch):
    if host == "nowhere.test":

        def fail(*args, **kwargs):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert f"the host {host} was not found" in refusal(f"http://{host}/a.jpg")


def test_nobody_listening_says_so(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        reason = refusal(f"http://127.0.0.1:{port}/a.jpg")
    assert f"cannot connect to 127.0.0.1 port {port} (Connection refused)" in reason


def test_connections_are_closed(server):
    for path in ("/photo.jpg", "/missing.jpg", "/large.jpg", "/hop/2", "/nonsense"):
        try:  # an unclosed socket would be a ResourceWarning, which fails the test
            open_image(server.base + path, limits=LOCAL)
        except MediaError:
            continue


# --- TLS ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for photos.test, made on the spot."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("the openssl program, which makes the test certificate, is not installed")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "2",
         "-subj", "/CN=photos.test", "-addext", "subjectAltName=DNS:photos.test"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture
def secure_server(server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    server.names = []
    context.sni_callback = lambda sock, name, context: server.names.append(name)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_tls_keeps_the_name_for_certificate_and_host_header(
    secure_server, certificate, look_up, monkeypatch
):
    trusting = ssl.create_default_context(cafile=certificate / "cert.pem")
    monkeypatch.setattr(url, "_tls", lambda: trusting)
    look_up["photos.test"] = look_up["other.test"] = ["127.0.0.1"]
    port = secure_server.port
    assert open_image(f"https://photos.test:{port}/photo.jpg", limits=LOCAL).size == (64, 96)
    assert secure_server.names == ["photos.test"]
    assert secure_server.requests[0][1]["Host"] == f"photos.test:{port}"
    reason = refusal(f"https://other.test:{port}/photo.jpg")
    assert reason.startswith("the certificate of other.test is not valid (Hostname mismatch")


def test_an_unknown_certificate_is_refused(secure_server, look_up):
    look_up["photos.test"] = ["127.0.0.1"]
    reason = refusal(f"https://photos.test:{secure_server.port}/photo.jpg")
    assert reason.startswith("the certificate of photos.test is not valid (self-signed")
    assert secure_server.requests == []


def test_plain_http_behind_https_says_so(server):
    reason = refusal(f"https://127.0.0.1:{server.port}/photo.jpg")
    assert reason.startswith("no secure connection with 127.0.0.1 (")
