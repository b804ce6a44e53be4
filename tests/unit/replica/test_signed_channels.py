"""Signed channel lines between devices: published keys, what waits for them, what is never written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from fleetsync import datasets
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import END, START, Group, Item, Outcome
from fleetsync.records import ed25519, keyrings
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Signed, Verdict
from fleetsync.replica.publishing import ROW
from fleetsync.replica.verification import REASONS
from tests.fakes.laptops import Laptop, meet
from tests.fakes.samples import EVENTS, YAML, event, manifest
from tests.fakes.signers import Signer
from tests.faults.scenarios import NOW

CHANNEL = "fleet-dev"
ON_ONE, ON_TWO, STRANGER = Signer("qa", 1, 2), Signer("qa", 3), Signer("qa", 9)


@pytest.fixture
def pair(pair: tuple[Laptop, Laptop]) -> tuple[Laptop, Laptop]:
    """Two laptops with one channel, and an agent of the same name on each."""
    one, two = pair
    for laptop in (one, two):
        _put(laptop, YAML, manifest())
        laptop.replica.expect([one.device, two.device])
    return pair


def _put(laptop: Laptop, path: str, data: bytes) -> None:
    target = laptop.path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    laptop.replica.scan([path])


def _install(laptop: Laptop, signer: Signer) -> None:
    """What mur leaves in the directory of an agent, and under keys/."""
    _put(laptop, f"keys/{signer.agent}/identity.key", bytes(range(32)))
    _put(laptop, f"agents/{signer.agent}/identity.pub", signer.identity_pub)
    _put(laptop, f"agents/{signer.agent}/rotations.jsonl", signer.rotations)


def _offer(laptop: Laptop, sender: Laptop, *lines: bytes) -> list[Outcome]:
    verdicts = laptop.replica.apply([Group(EVENTS, list(lines))], sender.device)
    return [verdict.outcome for verdict in verdicts]


def _written(laptop: Laptop) -> int:
    path = laptop.path(EVENTS)
    return len([line for line in path.read_bytes().split(b"\n") if line]) if path.exists() else 0


def _record(laptop: Laptop) -> str:
    return datasets.publication(ROW, laptop.device)


def test_a_signed_line_is_written_where_its_writers_key_is_known(pair: tuple[Laptop, Laptop]) -> None:
    """Byte for byte but its number, although an agent of the same name has another key here."""
    one, two = pair
    _install(one, ON_ONE)
    _install(two, ON_TWO)
    _put(one, EVENTS, b"".join(ON_ONE.line(CHANNEL, n, f"n{n}", key_version=n) + b"\n" for n in range(2)))
    _put(two, EVENTS, ON_TWO.line(CHANNEL, 0, "here") + b"\n")
    meet(one, two)
    assert _written(one) == _written(two) == 3
    assert two.replica.condition().parked == 0


def test_a_line_that_came_before_its_key_is_written_when_the_key_comes(pair: tuple[Laptop, Laptop]) -> None:
    """Until then it is a member that waits; nobody is accused of anything."""
    one, two = pair
    _install(two, ON_TWO)
    line = ON_ONE.line(CHANNEL, 0, "early")
    assert _offer(two, one, line) == [Outcome.NEW]
    assert _written(two) == 0
    assert two.replica.condition().parked == 1
    assert two.replica.condition().alerts == []
    _install(one, ON_ONE)
    meet(one, two)
    assert _written(two) == 1
    assert two.replica.condition().parked == 0


def test_a_key_that_was_rotated_meanwhile_is_waited_for(pair: tuple[Laptop, Laptop]) -> None:
    """The chain that is known here is a beginning of the one that its writer has."""
    one, two = pair
    _install(one, Signer("qa", 1))
    meet(one, two)
    _offer(two, one, ON_ONE.line(CHANNEL, 0, "rotated", key_version=1))
    assert (_written(two), two.replica.condition().alerts) == (0, [])
    _install(one, ON_ONE)
    meet(one, two)
    assert _written(two) == 1


def test_a_line_that_its_writer_did_not_sign_waits_and_the_author_is_named(
    pair: tuple[Laptop, Laptop], tmp_path: Path
) -> None:
    """Whoever brought it: the alert names the device whose agent it claims to be from."""
    one, two = pair
    _install(one, ON_ONE)
    meet(one, two)
    bringer = Laptop(tmp_path, "c")
    assert _offer(two, bringer, STRANGER.line(CHANNEL, 0, "forged")) == [Outcome.NEW]
    bringer.replica.close()
    assert _written(two) == 0
    [alert] = two.replica.condition().alerts
    assert alert.code == "signature-wrong"
    assert f"agent qa of {one.device[:7]}" in alert.detail
    assert bringer.device[:7] not in alert.detail
    two.reopen()
    two.replica.scan(None)
    assert [alert.code for alert in two.replica.condition().alerts] == ["signature-wrong"]


def test_a_forged_line_does_not_take_the_idempotency_key_of_a_good_one(pair: tuple[Laptop, Laptop]) -> None:
    """It is judged before anything else is concluded from it."""
    one, two = pair
    _install(one, ON_ONE)
    meet(one, two)
    good = event(1, '{"text":"x"}', extra=',"idempotency_key":"k"')
    forged = event(0, '{"text":"y"}', extra=f',"idempotency_key":"k","sig":"z{"1" * 64}"')
    assert _offer(two, one, forged, good) == [Outcome.NEW] * 2
    assert b'"text":"x"' in two.path(EVENTS).read_bytes()
    assert _written(two) == 1


def test_unsigned_lines_wait_only_while_signatures_are_required(pair: tuple[Laptop, Laptop]) -> None:
    """Required: they are parked; no longer: they are written, without a restart."""
    one, two = pair
    two.replica.require_signatures(True)
    _offer(two, one, event(0, '{"text":"a"}'))
    assert (_written(two), two.replica.condition().parked) == (0, 1)
    two.replica.require_signatures(False)
    assert (_written(two), two.replica.condition().parked) == (1, 0)
    two.replica.require_signatures(True)
    assert _written(two) == 1


def test_only_the_device_itself_publishes_its_keys(pair: tuple[Laptop, Laptop]) -> None:
    """A record that another device has minted is refused, and so is a deletion of it."""
    one, two = pair
    _install(one, ON_ONE)
    meet(one, two)
    forged = keyrings.publish({"qa": keyrings.PublicFiles(STRANGER.public[0])})
    for device, value in ((two.device, forged), (one.device, None)):
        stamp = Stamp(NOW, NOW, device, register.digest_of(value))
        body = register.encode(Version(Dot(device, NOW), {}, stamp, value))
        [verdict] = two.replica.apply([Group(_record(one), [body])], two.device)
        assert verdict.outcome is Outcome.REFUSED


def test_a_record_that_was_published_in_our_name_is_replaced_when_it_comes_home(
    pair: tuple[Laptop, Laptop],
) -> None:
    """A paired device can lie about whose record it carries; the truth covers the lie."""
    one, two = pair
    _install(one, ON_ONE)
    forged = keyrings.publish({"qa": keyrings.PublicFiles(STRANGER.public[0])})
    later = NOW + 60_000_000
    stamp = Stamp(later, later, one.device, register.digest_of(forged))
    body = register.encode(Version(Dot(one.device, later), {one.device: later - 1}, stamp, forged))
    assert two.replica.apply([Group(_record(one), [body])], two.device)[0].outcome is Outcome.NEW
    meet(one, two)
    one.replica.scan(None)
    meet(one, two)
    _offer(two, one, ON_ONE.line(CHANNEL, 0, "good"), STRANGER.line(CHANNEL, 1, "forged"))
    assert _written(two) == 1


def _items(laptop: Laptop) -> list[Item]:
    return [item for page in laptop.replica.between(START, END) for item in page]


def test_no_private_key_is_read_and_nothing_is_written_among_the_agents(pair: tuple[Laptop, Laptop]) -> None:
    """What travels are the two public files' lines; the other device gets no file for them."""
    one, two = pair
    _install(one, ON_ONE)
    one.path("keys/qa/identity.key").chmod(0)
    meet(one, two)
    assert not two.path("agents").exists()
    assert not two.path("keys").exists()
    assert not two.path("devices").exists()
    bodies = b"".join(item.body for item in _items(one))
    assert bytes(range(32)) not in bodies
    assert ON_ONE.public[-1].encode() in bodies


def test_a_backup_that_was_put_back_takes_no_key_away(pair: tuple[Laptop, Laptop]) -> None:
    """Nor does an agent that is gone: what they have signed stays good."""
    one, two = pair
    _install(one, ON_ONE)
    meet(one, two)
    _install(one, Signer("qa", 1))
    one.replica.scan(None)
    for name in ("identity.pub", "rotations.jsonl"):
        one.path(f"agents/qa/{name}").unlink()
    one.replica.scan(None)
    meet(one, two)
    _offer(two, one, ON_ONE.line(CHANNEL, 0, "late", key_version=1))
    assert _written(two) == 1


def test_a_waiting_line_is_verified_once(tmp_path: Path) -> None:
    """A sweep asks every minute; only a new key is a reason to verify again."""
    asked: list[int] = []

    def counted(claims: Sequence[Signed]) -> list[bool]:
        asked.append(len(claims))
        return ed25519.check(claims)

    laptop = Laptop(tmp_path, "a", check=counted)
    _put(laptop, YAML, manifest())
    _install(laptop, ON_ONE)
    _offer(laptop, laptop, *(STRANGER.line(CHANNEL, n, f"{n}") for n in range(5)))
    before = list(asked)
    for _ in range(3):
        laptop.replica.scan(None)
        laptop.replica.settle()
    assert asked == before
    _install(laptop, Signer("other", 4))
    assert asked != before
    laptop.replica.close()


def test_a_device_in_the_fleet_that_has_published_nothing_keeps_doubt_alive(
    pair: tuple[Laptop, Laptop],
) -> None:
    """What fits no key may be its line: it waits as one whose key is unknown, until all have spoken."""
    one, two = pair
    _install(two, ON_TWO)
    _offer(two, one, STRANGER.line(CHANNEL, 0, "whose"))
    assert _reasons(two) == {REASONS[Verdict.KEY_UNKNOWN]: 1}
    meet(one, two)
    one.replica.scan(None)
    meet(one, two)
    assert _reasons(two) == {REASONS[Verdict.WRONG]: 1}  # it has said that it has no agents
    two.replica.expect([two.device, DeviceId("c" * 52)])
    assert _reasons(two) == {REASONS[Verdict.KEY_UNKNOWN]: 1}


def _reasons(laptop: Laptop) -> dict[str, int]:
    return laptop.replica.condition().parked_for
