"""Whose signature stands on the lines of a channel, found out by a command on its own.

Judges as the daemon does: by the keys that the journal has from other devices, those of the agents here,
and the devices that are trusted. Needs no daemon and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleetsync.cli.session import Session
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Verdict

if TYPE_CHECKING:
    from fleetsync.records.keyrings import KeyRing, PublicFiles

NONE = "none"
SHOWN = {
    Verdict.UNSIGNED: NONE,
    Verdict.VERIFIED: "valid",
    Verdict.KEY_UNKNOWN: "unknown-key",
    Verdict.WRONG: "invalid",
}
"""What `log --verify` says."""
_HERE = DeviceId("a" * 52)  # stands for a device that has no id yet


def signatures(session: Session, channel: str, lines: Sequence[bytes]) -> list[str]:
    """What is known of the signature on each line of a channel, in order."""
    from fleetsync.records.channels import signed_event

    events = {at: event for at, line in enumerate(lines) if (event := signed_event(line)) is not None}
    judged = (
        dict(zip(events, _ring(session).judge(channel, list(events.values())), strict=True)) if events else {}
    )
    return [SHOWN[judged[at].verdict] if at in judged else NONE for at in range(len(lines))]


def _ring(session: Session) -> KeyRing:
    from fleetsync.cli.journal import open_journal, own_device
    from fleetsync.devices import notary
    from fleetsync.records import keyrings
    from fleetsync.records.keyrings import KeyRing

    state = session.state_path()
    here = DeviceId(own_device(state) or _HERE)
    with open_journal(state) as known:
        published = known.published()
    ours = keyrings.published(published[here]) if here in published else {}
    published[here] = keyrings.publish({**ours, **_files_here(session)})
    ring = KeyRing(notary.check)
    for device, value in published.items():
        ring.learn(device, value)
    ring.expect(_fleet(session))
    return ring


def _files_here(session: Session) -> dict[str, PublicFiles]:
    from fleetsync.files import Folder
    from fleetsync.replica.publishing import public_files

    try:
        with Folder.open(session.home_path()) as root:
            return public_files(root, {})
    except FileNotFoundError:
        return {}


def _fleet(session: Session) -> list[DeviceId]:
    """The devices that are trusted here."""
    from fleetsync.devices.identity import load_identity
    from fleetsync.devices.trust import FLEET_FILE, Fleet

    state = session.state_path()
    identity = load_identity(state) if (state / FLEET_FILE).exists() else None
    return [] if identity is None else list(Fleet.load(state, identity).trusted())
