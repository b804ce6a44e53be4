"""Everything that can go wrong, in one file.

Each class is one situation: its docstring is the sentence a person reads, `code` is what a script
matches, `next_step` says what to do now, and the message names the file, peer or key at fault.
Three families say whose fault it is: this device (`LocalError`), another device (`PeerError`), the
person at the keyboard (`UserError`). Exit codes live in `cli/exits.py`, HTTP statuses in
`wire/statuses.py`; nothing here knows either. Foreign exceptions are converted where they appear.
"""

from __future__ import annotations

from typing import ClassVar, Self


class FleetsyncError(Exception):
    """Something went wrong in fleetsync."""

    code: ClassVar[str] = "error"
    next_step: ClassVar[str] = "run `fleetsync doctor`"

    def __init__(self, message: str = "", *, next_step: str | None = None) -> None:
        self.message = message or self.title()
        self.next = next_step or type(self).next_step
        super().__init__(self.message)

    @classmethod
    def unexpected(cls, error: Exception) -> Self:
        """A fault of ours, as an error like any other; who makes it logs the traceback."""
        return cls(f"unexpected {type(error).__name__}: {error}")

    @classmethod
    def title(cls) -> str:
        """The sentence a person reads: the first line of the class docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def document(self) -> dict[str, str]:
        """The error as scripts see it: `code`, `message` and `next` (CLI contract)."""
        return {"code": self.code, "message": self.message, "next": self.next}


# --- this device ---------------------------------------------------------------------------------


class LocalError(FleetsyncError):
    """Something on this device stands in the way."""

    code = "local"


class StorageFailed(LocalError):
    """A file could not be read or written."""

    code = "storage-failed"
    next_step = "free some space or mend the permissions, then run `fleetsync sync`"


class LockBusy(LocalError):
    """Another program held a lock for too long."""

    code = "lock-busy"
    next_step = "nothing: it is tried again by itself"


class DuplicateRecord(LocalError):
    """There is a record of that name already."""

    code = "duplicate-record"
    next_step = "give it another id"


class FileChanged(LocalError):
    """A file was replaced while it was being written; nothing of the write counts."""

    code = "file-changed"
    next_step = "nothing: it is tried again by itself"


class IndexDamaged(LocalError):
    """The index is damaged; it is only a cache and is built again."""

    code = "index-damaged"
    next_step = "nothing: it is rebuilt by itself"


class SafetyStop(LocalError):
    """A safety rule stopped fleetsync before it could do harm."""

    code = "safety-stop"


class JournalDamaged(SafetyStop):
    """The journal is damaged; it holds what cannot be recomputed."""

    code = "journal-damaged"
    next_step = "restore journal.db from a backup, or run `fleetsync doctor --rebuild-journal`"


class HomeMissing(SafetyStop):
    """The home directory that was being synced is gone."""

    code = "home-missing"
    next_step = "mount or restore it; absence is never taken for deletion"


class AlreadyRunning(LocalError):
    """Another daemon already uses this state directory."""

    code = "already-running"
    next_step = "run `fleetsync status`"


class IdentityUnusable(LocalError):
    """This device's key or certificate cannot be used."""

    code = "identity-unusable"
    next_step = "restore identity.key and identity.crt from a backup, or delete both and pair again"


class FleetDamaged(SafetyStop):
    """The list of paired devices is damaged; it cannot be recomputed."""

    code = "fleet-damaged"
    next_step = "restore fleet.json from a backup, or delete it and pair the devices again"


class NotarySilent(LocalError):
    """The helper process that makes and checks signatures did not work."""

    code = "notary-silent"
    next_step = "run `fleetsync doctor`; reinstalling fleetsync mends a broken installation"


class ServiceFailed(LocalError):
    """The system's service manager could not be made to do it."""

    code = "service-failed"
    next_step = "see `fleetsync service status`; `fleetsync run` works without a service manager"


class DemoFailed(LocalError):
    """The demonstration did not go as it should."""

    code = "demo-failed"
    next_step = "please report this with the lines above it"


# --- another device ------------------------------------------------------------------------------


class PeerError(FleetsyncError):
    """Another device did something that cannot be accepted."""

    code = "peer"
    next_step = "run `fleetsync peers` to see that device"


class Unreachable(PeerError):
    """The other device could not be reached."""

    code = "unreachable"
    next_step = "check that it is awake and on a network that this device can reach"


class NetworkForbidden(Unreachable):
    """The system keeps fleetsync away from the local network."""

    code = "network-forbidden"
    next_step = "allow fleetsync under System Settings → Privacy & Security → Local Network, then restart it"


class NotTrusted(PeerError):
    """The other device does not trust this one, or is not trusted by it."""

    code = "not-trusted"
    next_step = "pair the two again with `fleetsync pair`"


class ProtocolMismatch(PeerError):
    """The other device speaks no protocol version that this one knows."""

    code = "protocol-mismatch"
    next_step = "upgrade the older of the two"


class MalformedMessage(PeerError):
    """The other device sent a message that breaks the protocol."""

    code = "malformed-message"


class TooLarge(PeerError):
    """The other device sent more than the protocol allows."""

    code = "too-large"


class Unresponsive(PeerError):
    """The other device did not answer in time."""

    code = "unresponsive"
    next_step = "nothing: it is tried again by itself"


class PeerInTrouble(PeerError):
    """The other device has trouble of its own and could not answer."""

    code = "peer-in-trouble"
    next_step = "run `fleetsync status` on that device"


class UnknownRequest(PeerInTrouble):
    """The other device does not know what it was asked."""

    code = "unknown-request"
    next_step = "bring fleetsync up to date there"


class DishonestPeer(PeerError):
    """The other device sent something else than it announced."""

    code = "dishonest-peer"


class ClonedDevice(PeerError):
    """Two machines use the same device key."""

    code = "cloned-device"
    next_step = "delete the state directory on one of the two and pair it again"


class NotProven(PeerError):
    """Exchanges end without proof that both devices have the same."""

    code = "not-proven"
    next_step = "run `fleetsync doctor` on both devices"


class Paused(PeerError):
    """Syncing with this device is paused."""

    code = "paused"
    next_step = "run `fleetsync peers resume`"


# --- records: bytes that do not mean what they should ---------------------------------------------


class MalformedRecord(FleetsyncError):
    """These bytes cannot be read as the record they should be."""

    code = "malformed-record"
    next_step = "run `fleetsync doctor` to see the file and line"


class IllegalName(MalformedRecord):
    """This path or name is not one that may be synced."""

    code = "illegal-name"


# --- the person ----------------------------------------------------------------------------------


class UserError(FleetsyncError):
    """The command cannot be carried out as given."""

    code = "usage"
    next_step = "run the command with --help"


class NotFound(UserError):
    """There is nothing of that name."""

    code = "not-found"


class InvalidQuery(UserError):
    """This is not something that can be asked or written there."""

    code = "invalid-query"
    next_step = "mend what it names; docs/experience.md says what is taken"


class BrokenConfig(UserError):
    """The configuration file cannot be used."""

    code = "broken-config"
    next_step = "mend the key it names; config.example.toml lists every key with its default"


class DaemonNotRunning(UserError):
    """The daemon is not running."""

    code = "daemon-not-running"
    next_step = "start it with `fleetsync service install` or `fleetsync run`"


class NotConverged(UserError):
    """Not everything has reached every device yet."""

    code = "not-converged"
    next_step = "run `fleetsync status`"


class PairingFailed(UserError):
    """The two devices could not be paired."""

    code = "pairing-failed"
    next_step = "run `fleetsync pair` again for a new code"
