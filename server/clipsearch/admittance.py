"""Who is let in, wired from the settings: certificates and keys, read at start and again on SIGHUP."""

import logging
import time
from pathlib import Path

from clipsearch.access.file import read_keys
from clipsearch.access.keys import Keyring
from clipsearch.errors import ConfigError
from clipsearch.rpc.gate import Gate
from clipsearch.rpc.tls import Certificates, TlsFiles, read_pem
from clipsearch.settings import Settings

logger = logging.getLogger(__name__)


class Admittance:
    """What the transport asks about each connection (``certificates``) and each call (``gate``); None: nothing."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError where a file is not usable."""
        self._keys_file = settings.keys_file
        self._tls_files = _tls_files(settings)
        self.certificates = None if self._tls_files is None else Certificates(read_pem(self._tls_files))
        keyring = None if settings.keys_file is None else _keyring(settings.keys_file, None)
        closes = keyring is not None or not settings.admin_rpcs
        self.gate = Gate(keyring, admin=settings.admin_rpcs) if closes else None

    def reload(self) -> None:
        """Read certificates and keys again; what is not usable is logged, and what was in force then still is."""
        if self.certificates is not None and self._tls_files is not None:
            try:
                self.certificates.replace(read_pem(self._tls_files))
                logger.info("read the certificates again; connections from now on see them")
            except ConfigError as error:
                logger.error("the certificates stay as they were: %s", error.message)
        if self.gate is not None and self._keys_file is not None:
            try:
                self.gate.keyring = _keyring(self._keys_file, self.gate.keyring)
            except ConfigError as error:
                logger.error("the keys stay as they were: %s", error.message)


def _keyring(path: Path, before: Keyring | None) -> Keyring:
    keyring = Keyring(read_keys(path), time.monotonic, before)
    log = logger.info if len(keyring) else logger.warning
    log("%s holds %d keys that are good", path, len(keyring))
    return keyring


def _tls_files(settings: Settings) -> TlsFiles | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return TlsFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
