"""`log channel:ID --verify`: whose signature stands on each line, without the daemon."""

from __future__ import annotations

import json

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.records import channels, keyrings
from fleetsync.records.names import DeviceId
from fleetsync.replica.journal import Journal, ParkedLine, StoredVersion
from fleetsync.replica.publishing import ROW
from tests.fakes.samples import event
from tests.fakes.signers import Signer
from tests.unit.cli.conftest import Person, Said

PEER = DeviceId("p" * 52)
HERE, THERE, STRANGER = Signer("qa", 1), Signer("qa", 2), Signer("qa", 9)
PATH = "channels/c1/events.jsonl"


def _channel(person: Person, *lines: bytes) -> None:
    target = person.home / PATH
    target.parent.mkdir(parents=True)
    target.write_bytes(b"".join(line + b"\n" for line in lines))


def _agent(person: Person, signer: Signer) -> None:
    directory = person.home / "agents" / signer.agent
    directory.mkdir(parents=True)
    (directory / "identity.pub").write_bytes(signer.identity_pub)
    (directory / "rotations.jsonl").write_bytes(signer.rotations)


def _journal(person: Person) -> Journal:
    person.state_dir.mkdir(mode=0o700)
    return Journal.open(person.state_dir / "journal.db")


def _publish(journal: Journal, device: DeviceId, signer: Signer) -> None:
    files = keyrings.public_files(signer.identity_pub, signer.rotations)
    assert files is not None
    value = keyrings.publish({signer.agent: files})
    body = register.encode(Version(Dot(device, 1), {}, Stamp(1, 1, device, register.digest_of(value)), value))
    path = datasets.publication(ROW, device)
    journal.add_version(StoredVersion(datasets.identify(path, body).id, path, body, device), [])


def _signatures(said: Said) -> dict[str, str]:
    assert said.code == 0
    return {document["line"]["payload"]["text"]: document["signature"] for document in said.documents}


def test_every_line_has_its_verdict(person: Person) -> None:
    """By the keys of the agents here and by those that other devices have published."""
    journal = _journal(person)
    _publish(journal, PEER, THERE)
    journal.close()
    _agent(person, HERE)
    _channel(
        person,
        HERE.line("c1", 0, "here"),
        THERE.line("c1", 1, "there"),
        STRANGER.line("c1", 2, "forged"),
        THERE.line("c2", 3, "of another channel"),
        Signer("other", 3).line("c1", 4, "unheard of"),
        event(5, '{"text":"plain"}'),
    )
    assert _signatures(person.types("log", "channel:c1", "--verify", "--json")) == {
        "here": "valid",
        "there": "valid",
        "forged": "invalid",
        "of another channel": "invalid",
        "unheard of": "unknown-key",
        "plain": "none",
    }


def test_parked_lines_are_judged_too(person: Person) -> None:
    """The line stands in the document as it travels, and says that it is parked."""
    journal = _journal(person)
    line = channels.without_seq(STRANGER.line("c1", 0, "forged"))
    key = datasets.identify(PATH, line)
    journal.park([ParkedLine(key.id, PATH, key.ts, line, "its writer did not sign it", PEER)])
    journal.close()
    _agent(person, HERE)
    document = person.types("log", "channel:c1", "--verify", "--json").document
    assert (document["state"], document["signature"], document["device"]) == ("parked", "invalid", PEER)
    assert document["line"] == json.loads(line)


def test_without_any_key_nothing_is_called_forged(person: Person) -> None:
    """A home without agents, and no daemon ever: what is signed has an unknown key."""
    _channel(person, HERE.line("c1", 0, "here"))
    assert _signatures(person.types("log", "channel:c1", "--verify", "--json")) == {"here": "unknown-key"}


def test_people_get_a_column(person: Person) -> None:
    """And only when they ask for it; a skill's lines are never signed."""
    _agent(person, HERE)
    _channel(person, HERE.line("c1", 0, "here"))
    assert "valid" in person.types("log", "channel:c1", "--verify").out
    assert "SIGNATURE" not in person.types("log", "channel:c1").out
    assert "signature" not in person.types("log", "channel:c1", "--json").document
    person.skill("deploy", '{"kind":"retrieval","ts":"2026-05-30T00:00:01Z","device_id":"d"}')
    assert person.types("log", "deploy", "--verify", "--json").document["signature"] == "none"
