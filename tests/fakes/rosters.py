"""Devices that sign roster records without cryptography: a signature is a hash that only they make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha512
from itertools import count

from fleetsync.devices.roster import (
    Claim,
    Record,
    Removal,
    Vouch,
    device_of,
    write_record,
)

_nonces = count(1)


class Someone:
    """A device that vouches for others and removes them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.certificate = f"certificate of {name}".encode()
        self.device = device_of(self.certificate)

    def __repr__(self) -> str:
        return self.name

    def sign(self, message: bytes) -> bytes:
        return signature(self.certificate, message)

    def vouch(self, other: Someone, overrides: Iterable[Record] = (), nonce: int | None = None) -> Record:
        ids = tuple(record.id for record in overrides)
        said = Vouch(self.device, other.device, other.certificate, other.name, ids, _nonce(nonce))
        return write_record(said, self.sign)

    def remove(self, other: Someone, keeps: Iterable[Record] = (), nonce: int | None = None) -> Record:
        said = Removal(self.device, other.device, tuple(record.id for record in keeps), _nonce(nonce))
        return write_record(said, self.sign)


def _nonce(number: int | None) -> bytes:
    return (next(_nonces) if number is None else number).to_bytes(16, "big")


def signature(certificate: bytes, message: bytes) -> bytes:
    return sha512(certificate + message).digest()


def verify(claims: Sequence[Claim]) -> list[bool]:
    return [claim.signature == signature(claim.author, claim.message) for claim in claims]


def pairing(one: Someone, other: Someone, overrides: Iterable[Record] = ()) -> tuple[Record, Record]:
    """Both vouches of a pairing that a person made."""
    overrides = list(overrides)
    return one.vouch(other, overrides), other.vouch(one, overrides)
