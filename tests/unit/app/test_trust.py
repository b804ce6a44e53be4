"""app/trust.py: what a peer says of the fleet is followed to the end."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from fleetsync.app.trust import FleetRoster
from fleetsync.devices import roster, seal
from fleetsync.devices.identity import Identity, ensure_identity
from fleetsync.devices.roster import Vouch
from fleetsync.devices.trust import Fleet
from fleetsync.records.names import DeviceId
from fleetsync.wire.messages import RosterOffer


def _vouch(author: Identity, subject: Identity) -> bytes:
    said = Vouch(author.device, subject.device, subject.certificate, "somebody", (), os.urandom(16))
    return roster.write_record(said, seal.signer(author.key())).raw


@pytest.fixture
def devices(tmp_path: Path) -> list[Identity]:
    return [
        ensure_identity(tmp_path / name, create=seal.new_credentials) for name in ("anna", "bert", "cora")
    ]


@pytest.fixture
def fleet(tmp_path: Path, devices: list[Identity]) -> Fleet:
    """Anna's, paired with Bert."""
    anna, bert, _ = devices
    fleet = Fleet.load(tmp_path / "anna", anna)
    fleet.pair(bert.certificate, "bert", [], [_vouch(anna, bert), _vouch(bert, anna)])
    return fleet


async def test_whoever_asked_may_go_away_meanwhile(devices: list[Identity], fleet: Fleet) -> None:
    """A link that ends while what its peer said is followed takes nothing of it back: records that are
    known are news to nobody, so the rest of what follows from them would never be done.
    """
    _, bert, cora = devices
    vouch = await anyio.to_thread.run_sync(_vouch, bert, cora)
    followed: list[set[DeviceId]] = []

    async def changed() -> None:
        link.cancel()
        await anyio.lowlevel.checkpoint()
        followed.append(set(fleet.trusted()))

    offer = RosterOffer([vouch], {}, "bert", 0)
    book = FleetRoster(fleet, "anna", 8473, changed)
    with anyio.CancelScope() as link:
        await book.take(offer, bert.device)
    assert followed == [{bert.device, cora.device}]
