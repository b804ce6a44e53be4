"""TLS between paired devices: contexts in which exactly the given certificates are trusted.

TLS 1.3 only, both ends present a self-signed certificate, a paired device's certificate is its own
trust anchor, and nothing is resumed (a resumed session would skip the check). Names and addresses
prove nothing here: a device is the hash of its certificate. Implements docs/protocol.md, "Connection".
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from fleetsync.devices.identity import Identity


def server_context(own: Identity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    """A listener's context; only the certificates in `trusted` (DER) get past the handshake."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, own, trusted)
    context.num_tickets = 0
    return context


def client_context(own: Identity, peer: bytes) -> ssl.SSLContext:
    """A caller's context; only the device with exactly this certificate (DER) is spoken to."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, own, [peer])


def _context(side: int, own: Identity, trusted: Iterable[bytes]) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_cert_chain(own.certificate_path, own.key_path)
    for certificate in trusted:
        context.load_verify_locations(cadata=certificate)
    return context
