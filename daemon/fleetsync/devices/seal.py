"""Keys, certificates and signatures: the only module that imports `cryptography`.

It has no files, no trust and no opinion on what is signed. Rule of the file: a key or a signature that
could be forged for somebody else (small-order points, unreduced scalars) is as good as none. Commands
that pair use it in process; the daemon asks it through `notary`, as a child that reads one MessagePack
value on stdin and answers with one on stdout:

    python -m fleetsync.devices.seal create    key PEM or nil → [key PEM, certificate PEM]
    python -m fleetsync.devices.seal verify    claims → booleans
    python -m fleetsync.devices.seal check     signatures on channel lines → booleans
    python -m fleetsync.devices.seal sign      [key PEM, messages] → signatures
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetsync.devices.notary import Credentials, SigningOrder
from fleetsync.devices.roster import MAX_CERTIFICATE, Claim, Sign
from fleetsync.records.signatures import Signed, small_order

# Clocks lie: a certificate is valid whatever a device believes the year to be.
_NOT_BEFORE = datetime(2000, 1, 1, tzinfo=UTC)
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature)


# --- making ----------------------------------------------------------------------------------------


def new_credentials(key: bytes | None) -> Credentials:
    """A self-signed certificate for this private key (PEM), or for a fresh one.

    Raises `ValueError` when `key` is not an Ed25519 private key.
    """
    private = _private_key(key) if key else Ed25519PrivateKey.generate()
    return Credentials(_pem(private), _certify(private).public_bytes(serialization.Encoding.PEM))


def _certify(private: Ed25519PrivateKey) -> x509.Certificate:
    public = private.public_key()
    label = f"fleetsync {public.public_bytes_raw().hex()[:16]}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
    )
    for extension, critical in _extensions(public):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(private, None)


def _extensions(public: Ed25519PublicKey) -> list[tuple[x509.ExtensionType, bool]]:
    """No authority over others, both ends of a connection, and the identifiers that strict TLS asks for."""
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.KeyUsage(True, *[False] * 8), True),  # digital signature and nothing else
        (x509.ExtendedKeyUsage(usage), False),
        (x509.SubjectKeyIdentifier.from_public_key(public), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False),
    ]


def _pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _private_key(pem: bytes) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004 - the file's content is wrong, not a caller's type
    return key


# --- signing ---------------------------------------------------------------------------------------


def signer(key: bytes) -> Sign:
    """What signs with this private key (PEM). Raises `ValueError` when it is none."""
    return _private_key(key).sign


def sign_many(order: SigningOrder) -> list[bytes]:
    """The signatures of several messages, in order."""
    sign = signer(order.key)
    return [sign(message) for message in order.messages]


# --- verifying -------------------------------------------------------------------------------------


def verify_many(claims: Sequence[Claim]) -> list[bool]:
    """Which claims hold, in order; never raises for what a claim contains."""
    return [verify(claim) for claim in claims]


def verify(claim: Claim) -> bool:
    """Whether the author's key signed the message and all certificates in it can be a device's."""
    if claim.subject and device_key(claim.subject) is None:
        return False
    key = device_key(claim.author)
    return key is not None and verify_raw(key, claim.message, claim.signature)


def device_key(certificate: bytes) -> bytes | None:
    """The public key (32 bytes) of a certificate (DER) that can serve as a device's, else None.

    It must be self-signed with Ed25519 and claim no authority over other certificates: in a trust
    store, one that did could make up further devices.
    """
    if len(certificate) > MAX_CERTIFICATE:
        return None
    try:
        return _own_key(x509.load_der_x509_certificate(certificate))
    except Exception:  # noqa: BLE001 - the library's errors have no base in common, and bytes may be anything
        return None


def _own_key(certificate: x509.Certificate) -> bytes | None:
    public = certificate.public_key()
    authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    if not isinstance(public, Ed25519PublicKey) or authority:
        return None
    certificate.verify_directly_issued_by(certificate)
    raw = public.public_bytes_raw()
    return None if small_order(raw) else raw


def verify_raw(key: bytes, message: bytes, signature: bytes) -> bool:
    """Strict Ed25519: neither the key nor the signature's point may be of small order."""
    if len(signature) != 64 or small_order(key) or small_order(signature[:32]):
        return False
    return _holds(key, message, signature)


def check(claims: Sequence[Signed]) -> list[bool]:
    """Which claims of `records/signatures.py` hold by plain Ed25519, in order."""
    return [_holds(claim.key, claim.message, claim.signature) for claim in claims]


def _holds(key: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except _UNREADABLE:
        return False
    return True


# --- as a child process ----------------------------------------------------------------------------


def _answer(task: str, question: bytes) -> object:
    if task == "create":
        return new_credentials(msgspec.msgpack.decode(question, type=bytes | None))
    if task == "verify":
        return verify_many(msgspec.msgpack.decode(question, type=list[Claim]))
    if task == "check":
        return check(msgspec.msgpack.decode(question, type=list[Signed]))
    if task == "sign":
        return sign_many(msgspec.msgpack.decode(question, type=SigningOrder))
    raise ValueError(f"no task named {task!r}")


def main(
    arguments: Sequence[str],
    read: Callable[[], bytes] = sys.stdin.buffer.read,
    write: Callable[[bytes], object] = sys.stdout.buffer.write,
) -> None:
    """One question on stdin, one answer on stdout."""
    write(msgspec.msgpack.encode(_answer(arguments[0], read())))


if __name__ == "__main__":
    main(sys.argv[1:])
