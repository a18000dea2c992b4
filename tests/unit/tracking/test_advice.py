"""What a person is told where a server refuses, or something else answers; small real servers."""

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lanflow.core.errors import StoreError, StoreUnavailableError
from lanflow.tracking.client import connect
from lanflow.tracking.experiments import ensure_experiment
from lanflow.tracking.store import resolve_store

PAGE = b"<!doctype html>\n<html><head><title>Welcome</title></head><body>" + b"x" * 5000


@contextmanager
def answering(
    status: int, body: bytes, *, kind: str = "text/html", certificate: Path | None = None
) -> Iterator[str]:
    """A server that gives every request the same answer; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_CONNECT = answer  # noqa: N815 names of http.server

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that does not trust the certificate hangs up

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def refusal(uri: str) -> str:
    """The message of a store that cannot be opened, and is not worth asking again."""
    with pytest.raises(StoreError) as caught:
        connect(resolve_store(uri=uri))
    assert not isinstance(caught.value, StoreUnavailableError)
    message = str(caught.value)
    assert message.startswith(f"MLflow store {resolve_store(uri=uri).shown_uri}: cannot be opened")
    assert "\n" not in message
    assert len(message) < 1200
    return message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"You are not authenticated.", "text/plain"),
        (401, PAGE, "text/html"),
        (401, b'{"error_code": "UNAUTHENTICATED", "message": "who?"}', "application/json"),
        (403, b"Permission denied", "text/plain"),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "not you"}', "application/json"),
    ],
)
def test_a_server_that_wants_credentials_names_their_variables(
    status: int, body: bytes, kind: str
) -> None:
    with answering(status, body, kind=kind) as uri:
        message = refusal(uri)
    for variable in ("USERNAME", "PASSWORD", "TOKEN"):
        assert f"MLFLOW_TRACKING_{variable}" in message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, PAGE, "text/html"),
        (404, b'{"detail": "Not Found"}', "application/json"),
        (404, b"no such page", "text/plain"),
        (200, PAGE, "text/html"),
    ],
)
def test_where_no_mlflow_answers_the_path_prefix_is_asked_for(
    status: int, body: bytes, kind: str
) -> None:
    with answering(status, body, kind=kind) as uri:
        message = refusal(uri)
    assert "no MLflow server answers at this path" in message
    assert "path prefix" in message
    assert "<html>" not in message


def test_a_run_that_is_not_there_is_no_wrong_path() -> None:
    body = b'{"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}'
    with answering(404, body, kind="application/json") as uri:
        assert "path prefix" not in refusal(uri)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_a_certificate_that_nobody_here_trusts_names_the_variables_and_they_help(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b'{"experiments": []}'
    with answering(200, body, kind="application/json", certificate=certificate) as uri:
        message = refusal(uri)
        assert "set MLFLOW_TRACKING_SERVER_CERT_PATH" in message
        assert "MLFLOW_TRACKING_INSECURE_TLS=true" in message
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate.with_name("none")))
        assert "set MLFLOW_TRACKING_SERVER_CERT_PATH" in refusal(uri)
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        connect(resolve_store(uri=uri))


def test_https_to_a_server_without_it_says_so() -> None:
    with answering(200, PAGE) as uri:
        assert "try http:// in place of https://" in refusal(uri.replace("http:", "https:"))


@pytest.mark.parametrize(("scheme", "status"), [("http", 403), ("http", 503), ("https", 403)])
def test_an_answer_of_a_proxy_names_it_and_how_to_go_around(
    scheme: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(status, PAGE) as proxy:
        for variable in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(variable, proxy.replace("//", "//ada:secret@"))
        for variable in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(variable, raising=False)
        with pytest.raises(StoreError) as caught:
            connect(resolve_store(uri=f"{scheme}://mlflow.example:5000"))
    message = str(caught.value)
    assert f"through the proxy {proxy.replace('//', '//***@')}" in message
    assert "add mlflow.example to NO_PROXY" in message
    assert "secret" not in message


def test_a_request_to_an_open_store_names_it_too() -> None:
    with answering(200, b'{"experiments": []}', kind="application/json") as uri:
        store = resolve_store(uri=uri.replace("//", "//ada:secret@"))
        client = connect(store)
    with pytest.raises(StoreUnavailableError) as caught:
        ensure_experiment(client, store, "x")
    assert str(caught.value).startswith(f"MLflow store {store.shown_uri}: opening the experiment f")
