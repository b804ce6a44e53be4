"""The identity's two files: made once, whole, private, and repaired after a crash."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleetsync import files
from fleetsync.devices import seal
from fleetsync.devices.identity import Identity, ensure_identity, load_identity
from fleetsync.devices.roster import device_of
from fleetsync.errors import IdentityUnusable


def ensure(state: Path) -> Identity:
    return ensure_identity(state, create=seal.new_credentials)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_start_makes_a_private_identity(tmp_path):
    """A directory 0700 with two files 0600, whatever the umask; the same identity from then on."""
    state = tmp_path / "deep" / "state"
    before = os.umask(0)
    try:
        made = ensure_identity(state)  # as the daemon does it, in a child process
    finally:
        os.umask(before)
    assert mode(state) == 0o700
    assert {p.name: mode(p) for p in state.iterdir()} == {"identity.key": 0o600, "identity.crt": 0o600}
    assert made.device == device_of(made.certificate)
    assert load_identity(state) == ensure(state) == made


def test_there_is_no_identity_before_the_first_start(tmp_path):
    """Loading makes nothing."""
    assert load_identity(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o610])
def test_a_key_that_others_can_read_is_refused(tmp_path, bits):
    """With an error that names the file and the command that mends it."""
    made = ensure(tmp_path)
    made.key_path.chmod(bits)
    for attempt in (lambda: load_identity(tmp_path), lambda: ensure(tmp_path), made.key):
        with pytest.raises(IdentityUnusable) as caught:
            attempt()
        assert str(made.key_path) in caught.value.message
        assert f"chmod 600 {made.key_path}" in caught.value.next


def test_a_crash_between_key_and_certificate_is_repaired(tmp_path, monkeypatch):
    """The key that was written stays; the next start gives it its certificate."""
    real = files.replace_private

    def crash(path: Path, data: bytes) -> None:
        if path.name == "identity.crt":
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(files, "replace_private", crash)
    with pytest.raises(KeyboardInterrupt):
        ensure(tmp_path)
    monkeypatch.undo()
    key = (tmp_path / "identity.key").read_bytes()
    assert load_identity(tmp_path) is None
    assert ensure(tmp_path).key() == key


def test_a_certificate_without_its_key_is_no_new_device(tmp_path):
    """A lost key is said to be lost, not quietly replaced."""
    ensure(tmp_path).key_path.unlink()
    with pytest.raises(IdentityUnusable, match=r"identity\.key is missing"):
        ensure(tmp_path)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    """Two halves of two identities are none."""
    ensure(tmp_path / "one")
    other = ensure(tmp_path / "other")
    (tmp_path / "one" / "identity.key").write_bytes(other.key())
    with pytest.raises(IdentityUnusable, match="do not work together"):
        load_identity(tmp_path / "one")


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_damaged_file_is_named(tmp_path, content):
    """Whatever is in them, the error names the file."""
    ensure(tmp_path)
    (tmp_path / "identity.crt").write_bytes(content)
    with pytest.raises(IdentityUnusable, match=r"identity\.crt"):
        load_identity(tmp_path)


def test_an_encrypted_key_is_refused_without_asking(tmp_path):
    """A daemon has no terminal to ask for a password on."""
    from cryptography.hazmat.primitives import serialization

    made = ensure(tmp_path)
    key = serialization.load_pem_private_key(made.key(), None)
    made.key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(IdentityUnusable):
        load_identity(tmp_path)


def test_two_first_starts_at_once_make_one_device(tmp_path):
    """Whoever comes second finds what the first has made."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: ensure(tmp_path), range(8)))
    assert len({identity.device for identity in made}) == 1


def test_an_identity_does_not_show_its_key(tmp_path):
    """Its text names the device, and holds no secret that could reach a log."""
    made = ensure(tmp_path)
    assert made.device[:7] in repr(made)
    assert "PRIVATE" not in repr(made)
