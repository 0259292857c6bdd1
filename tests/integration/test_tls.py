"""TLS and mTLS: who is let in, who is refused and how, and certificates replaced under load."""

import logging
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from clipsearch.app import App
from clipsearch.client import Client, ClientError, RetryPolicy, Unavailable, tls_credentials
from clipsearch.errors import ConfigError
from clipsearch.settings import Settings
from tests.integration.certificates import Authority, Pair
from tests.integration.support import SAMPLE_BUNDLE, Running
from tests.waiting import eventually

EXPIRED = timedelta(days=-1)
CA, STRANGER = Authority("ours"), Authority("somebody else's")


@pytest.fixture(autouse=True)
def _quiet_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")


@contextmanager
def served(directory: Path, server: Pair, client_ca: Authority | None = None) -> Iterator[Running]:
    """A server with this certificate; it asks clients for one of ``client_ca``."""
    cert, key = server.files(directory, "server")
    CA.file(directory, "ca")
    asks = None if client_ca is None else client_ca.file(directory, "client-ca")
    settings = Settings(
        bundle=SAMPLE_BUNDLE,
        listen="127.0.0.1:0",
        device="cpu",
        decode_isolation="none",
        tls_cert=cert,
        tls_key=key,
        tls_client_ca=asks,
    )
    with Running(settings) as running:
        yield running


def call(running: Running, credentials: grpc.ChannelCredentials | None) -> None:
    """Make one call on a connection of its own; raises what the client raises."""
    with Client(running.address, credentials=credentials, retry=RetryPolicy(max_attempts=1), timeout=20) as client:
        assert client.embed_text("a red dress").vector.shape


def lets_in(running: Running, credentials: grpc.ChannelCredentials) -> bool:
    try:
        call(running, credentials)
    except Unavailable:
        return False
    return True


def refused(running: Running, credentials: grpc.ChannelCredentials | None) -> str:
    with pytest.raises(ClientError) as caught:
        call(running, credentials)
    assert isinstance(caught.value, Unavailable), caught.value
    return caught.value.message


def test_only_tls_gets_in_and_only_a_client_that_trusts_the_authority_comes(tmp_path: Path) -> None:
    with served(tmp_path, CA.sign("server")) as running:
        call(running, tls_credentials(ca=tmp_path / "ca.pem"))
        refused(running, None)
        assert "CERTIFICATE_VERIFY_FAILED" in refused(running, tls_credentials(STRANGER.file(tmp_path, "other")))
        call(running, tls_credentials(ca=tmp_path / "ca.pem"))


def test_a_servers_expired_certificate_is_refused_by_the_client(tmp_path: Path) -> None:
    with served(tmp_path, CA.sign("server", EXPIRED)) as running:
        assert "expired" in refused(running, tls_credentials(ca=tmp_path / "ca.pem"))


def test_mutual_tls_lets_in_only_clients_of_its_authority(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    with served(tmp_path, CA.sign("server"), client_ca=CA) as running:
        call(running, tls_credentials(ca, *CA.sign("friend").files(tmp_path, "friend")))
        refused(running, tls_credentials(ca))
        refused(running, tls_credentials(ca, *STRANGER.sign("stranger").files(tmp_path, "stranger")))
        refused(running, tls_credentials(ca, *CA.sign("late", EXPIRED).files(tmp_path, "late")))
        call(running, tls_credentials(ca, *CA.sign("friend").files(tmp_path, "friend")))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda cert, key: CA.sign("other").files(key.parent, "server-2")[1].replace(key), "not a certificate and"),
        (lambda cert, key: cert.write_text("nonsense"), "not a certificate and its own"),
        (lambda cert, key: key.unlink(), "cannot read .*server.key: No such file"),
    ],
    ids=["key of another", "no certificate", "no key"],
)
def test_files_that_make_no_tls_end_the_start_in_a_sentence(
    tmp_path: Path, spoil: Callable[[Path, Path], object], sentence: str
) -> None:
    cert, key = CA.sign("server").files(tmp_path, "server")
    spoil(cert, key)
    with pytest.raises(ConfigError, match=sentence):
        App(Settings(bundle=SAMPLE_BUNDLE, listen="127.0.0.1:0", device="cpu", tls_cert=cert, tls_key=key))


def test_an_authority_without_certificates_ends_the_start_in_a_sentence(tmp_path: Path) -> None:
    cert, key = CA.sign("server").files(tmp_path, "server")
    with pytest.raises(ConfigError, match=r"server\.key holds no certificates"):
        App(Settings(bundle=SAMPLE_BUNDLE, device="cpu", tls_cert=cert, tls_key=key, tls_client_ca=key))


def shown(running: Running) -> str:
    """The name on the certificate that a new connection sees."""
    pem = ssl.get_server_certificate(("127.0.0.1", running.app.port))
    (name,) = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def test_new_certificates_under_load_drop_no_call(tmp_path: Path) -> None:
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    with served(tmp_path, CA.sign("server 0")) as running:
        credentials = tls_credentials(ca=tmp_path / "ca.pem")
        stopping = threading.Event()

        def load(reconnects: bool) -> int:
            made = 0
            with Client(running.address, credentials=credentials, retry=RetryPolicy(max_attempts=1)) as client:
                while not stopping.is_set():
                    if reconnects:
                        # Of their own, or gRPC would share the connection that is open.
                        call(running, tls_credentials(ca=tmp_path / "ca.pem"))
                    else:
                        assert client.embed_text(f"number {made}").vector.shape
                    made += 1
            return made

        with ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(load, reconnects) for reconnects in (False, False, True, True)]
            try:
                for number in range(1, 9):
                    CA.sign(f"server {number}").write(cert, key)
                    running.app.admittance.reload()
                    # A front hears of it a moment later.
                    eventually(lambda number=number: shown(running) == f"server {number}")  # type: ignore[misc]
            finally:
                stopping.set()
            # An exception of a caller is raised here: not one call may fail.
            assert min(caller.result(timeout=60) for caller in callers) > 0


def test_what_cannot_be_served_leaves_what_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with served(tmp_path, CA.sign("server")) as running:
        (tmp_path / "server.pem").write_text("half a certi")
        with caplog.at_level(logging.ERROR):
            running.app.admittance.reload()
        assert "the certificates stay as they were" in caplog.text
        call(running, tls_credentials(ca=tmp_path / "ca.pem"))
        assert shown(running) == "server"


def test_the_authority_of_clients_is_replaced_too(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    friend = CA.sign("friend").files(tmp_path, "friend")
    stranger = STRANGER.sign("stranger").files(tmp_path, "stranger")
    with served(tmp_path, CA.sign("server"), client_ca=CA) as running:
        call(running, tls_credentials(ca, *friend))
        STRANGER.file(tmp_path, "client-ca")
        running.app.admittance.reload()
        eventually(lambda: lets_in(running, tls_credentials(ca, *stranger)))
        refused(running, tls_credentials(ca, *friend))


def test_a_clients_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="go together"):
        tls_credentials(cert=CA.file(tmp_path, "ca"))
