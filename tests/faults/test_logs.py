"""What callers send is not in the log, whether it is served or refused; and SIGHUP."""

import re
import signal
import ssl
from pathlib import Path

import grpc
import pytest

from clipsearch.access.file import editing, revoke
from clipsearch.access.keys import new_key
from clipsearch.access.scopes import Scope
from clipsearch.client import Client, ClientError, NewItem, RetryPolicy
from tests.integration.certificates import Authority
from tests.integration.test_access import add_key
from tests.unit.encoders.test_isolation import picture
from tests.waiting import eventually

from .served import Server

TEXT, ID, META, CONDITION, PICTURE = (
    "zanzibarquux",
    "id-of-plumbus",
    "meta-of-gromit",
    "frobnicate",
    b"blorpingtonesque",
)


def session(address: str, api_key: str) -> list[str]:
    """Everything that a caller may say, right and wrong; returns the reasons of what was refused."""
    refused = []
    with Client(address, api_key=api_key, retry=RetryPolicy(max_attempts=1), timeout=30) as client:
        client.embed_text(TEXT)
        client.catalogue.upsert([NewItem(ID, text=TEXT, metadata={"title": META}), NewItem(ID + "2", image=picture())])
        assert client.search(text=TEXT, filter=f'title = "{META}"').hits
        for wrong in (
            lambda: client.search(text=TEXT, filter=f"title = = {CONDITION}"),
            lambda: client.search(text=TEXT * 2000),
            lambda: client.search(item_id=ID + "3"),
            lambda: client.search(text=TEXT, collection=CONDITION),
            lambda: client.embed_image(PICTURE),
            lambda: client.embed_image(picture()[:200] + PICTURE),
            lambda: client.catalogue.create_collection(f"{CONDITION}/.."),
            lambda: client.catalogue.import_items(f"{CONDITION}.npy"),
        ):
            with pytest.raises(ClientError) as caught:
                wrong()
            refused.append(caught.value.reason)
    with Client(address, api_key=api_key + TEXT, retry=RetryPolicy(max_attempts=1)) as client:
        with pytest.raises(ClientError) as caught:
            client.embed_text(TEXT)
        refused.append(caught.value.reason)
    return refused


@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_log_holds_nothing_that_callers_sent(tmp_path: Path, level: str) -> None:
    file = tmp_path / "keys.json"
    whole = add_key(file, *Scope)
    with Server(tmp_path / "data", "--keys-file", str(file), "--log-level", level) as server:
        refused = session(server.address, whole)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for(r"keys\.json holds 1 keys that are good$")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=60) == 0
    assert {"FILTER_MALFORMED", "TEXT_TOO_LARGE", "IMAGE_UNSUPPORTED_FORMAT", "IMAGE_CORRUPT", "KEY_INVALID"} <= {
        *refused
    }
    log = "\n".join(server.log)
    said = [TEXT, ID, META, CONDITION, PICTURE.decode(), whole, whole.split("_", 2)[2]]
    assert [word for word in said if word in log] == []
    assert "serving" in log


def test_sighup_reads_certificates_and_keys_again_and_ends_no_call(tmp_path: Path) -> None:
    ours = Authority("ours")
    cert, key = ours.sign("first").files(tmp_path, "server")
    ca = ours.file(tmp_path, "ca")
    file = tmp_path / "keys.json"
    doomed = add_key(file, *Scope)
    stays, entry = new_key("stays", Scope, None, "now")
    with editing(file) as known:
        known.append(entry)
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--keys-file", str(file))
    with Server(tmp_path / "data", *flags) as server:
        port = int(server.address.rpartition(":")[2])
        credentials = grpc.ssl_channel_credentials(ca.read_bytes())
        with Client(server.address, credentials=credentials, api_key=stays, timeout=30) as client:
            stream = client.stream_embed(((n, f"text {n}") for n in range(2000)), window=4)
            assert next(stream)[0] < 4  # any that the window let in: workers overtake each other
            before = ssl.get_server_certificate(("127.0.0.1", port))
            ours.sign("second").write(cert, key)
            with editing(file) as known:
                revoke(known, doomed.split("_")[1], "now")
            server.process.send_signal(signal.SIGHUP)
            server.wait_for(r"keys\.json holds 1 keys")
            # A front has them a moment after the engine.
            eventually(lambda: ssl.get_server_certificate(("127.0.0.1", port)) != before)
            assert sum(not isinstance(result, ClientError) for _, result in stream) == 1999
        with (
            Client(server.address, credentials=credentials, api_key=doomed, retry=RetryPolicy(max_attempts=1)) as late,
            pytest.raises(ClientError, match=re.escape("UNAUTHENTICATED (KEY_REVOKED)")),
        ):
            late.model()
    assert not server.troubles()
