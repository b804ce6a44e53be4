"""This device's key and certificate: `identity.key` and `identity.crt` in the state directory.

The device id is a hash of the certificate, so losing either file means to be another device. Rule of
the file: the key is written first, the certificate last and each whole, so that whatever a crash left
is completed at the next start; a key that others can read is refused, not quietly mended, because
others may have read it. Loading never imports `cryptography`. Implements DESIGN §7 and §10.
"""

from __future__ import annotations

import ssl
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fleetsync import files
from fleetsync.devices import notary
from fleetsync.devices.notary import Credentials
from fleetsync.devices.roster import MAX_CERTIFICATE, device_of
from fleetsync.errors import IdentityUnusable
from fleetsync.records.names import DeviceId

KEY_FILE = "identity.key"
CERTIFICATE_FILE = "identity.crt"
_MAX_FILE = 16 << 10

Create = Callable[[bytes | None], Credentials]
"""A certificate for a private key (PEM), or both anew: `notary.new_credentials`, or `seal`'s."""


class Identity(NamedTuple):
    """Who this device is. The private key itself stays in its file."""

    device: DeviceId
    certificate: bytes  # DER
    key_path: Path
    certificate_path: Path

    def __repr__(self) -> str:
        return f"<Identity {self.device[:7]} in {self.key_path.parent}>"

    def key(self) -> bytes:
        """The private key, PEM. Raises `IdentityUnusable` if others could read it."""
        key = _private(self.key_path)
        if key is None:
            raise IdentityUnusable(f"{self.key_path} is missing")
        return key


def load_identity(state: Path) -> Identity | None:
    """The identity in the state directory, None if none has been made (or not to the end).

    Raises `IdentityUnusable`, naming the file, if what is there must not or cannot be used.
    """
    key_path, certificate_path = state / KEY_FILE, state / CERTIFICATE_FILE
    key, certificate = _private(key_path), _content(certificate_path)
    if certificate is None:
        return None
    if key is None:
        raise IdentityUnusable(f"{key_path} is missing, but {certificate_path} is there")
    _require_pair(key_path, certificate_path)
    der = ssl.PEM_cert_to_DER_cert(certificate.decode("ascii"))
    if len(der) > MAX_CERTIFICATE:
        raise IdentityUnusable(f"{certificate_path} is larger than a device's certificate may be")
    return Identity(device_of(der), der, key_path, certificate_path)


def ensure_identity(state: Path, create: Create = notary.new_credentials) -> Identity:
    """The identity in the state directory, made now if there is none; blocks for some 100 ms then.

    Two processes may do this at once: one makes it, both return it. Raises `IdentityUnusable`,
    `NotarySilent`, `StorageFailed`, `LockBusy`.
    """
    files.ensure_private_dir(state)
    with files.Folder.open(state) as folder, files.flocked(folder.fd, str(state)):
        return load_identity(state) or _make(state, create)


def _make(state: Path, create: Create) -> Identity:
    key = _private(state / KEY_FILE)
    credentials = create(key)
    if key is None:
        files.replace_private(state / KEY_FILE, credentials.key)
    files.replace_private(state / CERTIFICATE_FILE, credentials.certificate)
    made = load_identity(state)
    assert made is not None, "both files have just been written"
    return made


def _private(path: Path) -> bytes | None:
    """A file that only its owner can read, None if there is none."""
    content = _content(path)
    if content is not None and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise IdentityUnusable(
            f"{path} can be read by others",
            next_step=f"run `chmod 600 {path}`; if others may have read it, delete it and pair again",
        )
    return content


def _content(path: Path) -> bytes | None:
    try:
        with files.storage_errors(path), path.open("rb") as file:
            return file.read(_MAX_FILE)
    except FileNotFoundError:
        return None


def _require_pair(key_path: Path, certificate_path: Path) -> None:
    """Whether the two belong together is what TLS would find out at the first connection."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate_path, key_path, password=_no_password)
    except ssl.SSLError as error:
        reason = error.reason or "unreadable"
        raise IdentityUnusable(f"{certificate_path} and {key_path} do not work together: {reason}") from error


def _no_password() -> bytes:
    """OpenSSL would ask on the terminal for the password of an encrypted key."""
    return b""
