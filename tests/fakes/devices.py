"""Devices with real keys and certificates, made as the identity of a device must be."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fleetsync.devices.identity import Identity
from fleetsync.devices.roster import device_of


def make_device(directory: Path, name: str = "fleetsync", issuer: Identity | None = None) -> Identity:
    """A new device; with `issuer` its certificate is signed by that device, as none should be."""
    key = Ed25519PrivateKey.generate()
    certificate = _certificate(key, name, issuer)
    certificate_path, key_path = directory / f"{name}.crt", directory / f"{name}.key"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Identity(device_of(der), der, key_path, certificate_path)


def _certificate(key: Ed25519PrivateKey, name: str, issuer: Identity | None) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    public = key.public_key()
    signer = key
    signing_subject = subject
    if issuer is not None:
        loaded = serialization.load_pem_private_key(issuer.key_path.read_bytes(), None)
        assert isinstance(loaded, Ed25519PrivateKey)
        signer = loaded
        signing_subject = x509.load_der_x509_certificate(issuer.certificate).subject
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(signing_subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, None)
    )
