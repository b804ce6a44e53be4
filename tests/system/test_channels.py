"""Channels between real daemons: signed lines, a rule that changes, mur's list of channels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tests.fakes.samples import event, manifest
from tests.fakes.signers import Signer
from tests.system.fleet import Document, Fleet, Laptop, all_equal, until

CHANNEL = "fleet-dev"
EVENTS, YAML = f"channels/{CHANNEL}/events.jsonl", f"channels/{CHANNEL}/channel.yaml"
ON_DESK, ON_TRAVEL, STRANGER = Signer("qa", 1), Signer("qa", 2), Signer("qa", 9)
KEY_UNKNOWN = "the key of its writer is not known yet"
WRONG = "its writer did not sign it"
UNSIGNED = "it is not signed, and signatures are required"


def install(laptop: Laptop, signer: Signer) -> None:
    """An agent as mur leaves it: its private key apart from its two public files."""
    laptop.write(f"keys/{signer.agent}/identity.key", bytes(range(32)))
    laptop.write(f"agents/{signer.agent}/identity.pub", signer.identity_pub)
    laptop.write(f"agents/{signer.agent}/rotations.jsonl", signer.rotations)


def channel(fleet: Fleet, config: str = "") -> tuple[Laptop, Laptop]:
    """Two paired laptops with one channel."""
    desk, travel = fleet.pair(config)
    desk.write(YAML, manifest())
    until(partial(travel.has, YAML, manifest()), "the channel is there")
    return desk, travel


def waits_for(laptop: Laptop, reason: str, count: int = 1) -> bool:
    """Whether so many lines are parked there for this reason."""
    parked: dict[str, int] = laptop.status()["parked_for"]
    return parked.get(reason) == count


def test_a_signed_line_waits_for_its_key_and_a_forged_one_for_good(fleet: Fleet) -> None:
    """The line comes before the key: it is written when the key is there. One that is not signed by the
    agent that it names never is, and status says whose it claims to be.
    """
    desk, travel = channel(fleet)
    install(travel, ON_TRAVEL)
    desk.append([ON_DESK.line(CHANNEL, 0, "early"), STRANGER.line(CHANNEL, 1, "forged")], EVENTS)
    until(partial(waits_for, travel, KEY_UNKNOWN, 2), "both wait")
    assert travel.read(EVENTS) == b""
    install(desk, ON_DESK)
    until(partial(travel.mentions, b'"early"', EVENTS), "the line is written")
    until(partial(waits_for, travel, WRONG), "the other is known to be forged")
    [alert] = travel.status()["alerts"]
    assert alert["code"] == "signature-wrong"
    assert desk.device[:7] in alert["detail"]
    all_equal(desk, travel)
    said = travel.documents("log", f"channel:{CHANNEL}", "--verify")
    assert [(d["line"]["payload"]["text"], d["state"], d["signature"]) for d in said] == [
        ("early", "applied", "valid"),
        ("forged", "parked", "invalid"),
    ]
    assert travel.read("agents/qa/identity.pub") == ON_TRAVEL.identity_pub


def test_required_signatures_are_a_rule_that_may_change(fleet: Fleet) -> None:
    """With the rule, unsigned lines wait; when it is taken back they are written, without a restart."""
    desk, travel = channel(fleet)
    travel.configure("channels.require_signatures = true")
    travel.ask("reload")
    desk.append([event(0, '{"text":"plain"}')], EVENTS)
    until(partial(waits_for, travel, UNSIGNED), "the line waits")
    assert travel.read(EVENTS) == b""
    travel.configure()
    travel.ask("reload")
    until(partial(travel.mentions, b'"plain"', EVENTS), "the line is written")
    assert travel.status()["parked"] == 0
    all_equal(desk, travel)


def test_a_memory_of_approvals_stays_where_it_is(fleet: Fleet) -> None:
    """Also when the channel was there before its marker, and the other device has it too: both go on,
    converged, and say what stays.
    """
    desk, travel = channel(fleet)
    desk.append([event(0, '{"text":"before"}')], EVENTS)
    until(partial(travel.mentions, b'"before"', EVENTS), "an ordinary channel")
    desk.write("agents/qa/hitl-channel", CHANNEL.encode())
    desk.append([event(1, '{"hitl_id":"h","allow":true}', kind="hitl-response")], EVENTS)
    until(lambda: f"channels/{CHANNEL}" in desk.status()["kept_here"], "it is told")
    travel.append([event(2, '{"text":"from elsewhere"}')], EVENTS)
    travel.write("channels/c2/channel.yaml", manifest())
    travel.append([event(0, '{"text":"another"}')], "channels/c2/events.jsonl")
    until(partial(desk.mentions, b'"another"', "channels/c2/events.jsonl"), "other channels go on")
    assert desk.ask("sync", "--wait", "20")["peers"][0]["outcome"] == "converged"
    assert b"hitl_id" not in travel.read(EVENTS)
    assert b"elsewhere" not in desk.read(EVENTS)


def test_an_agent_from_elsewhere_is_named_with_the_next_command(fleet: Fleet) -> None:
    """Its profile comes without the blocks of the other device, no key is made, status and doctor tell."""
    desk, travel = fleet.pair()
    blocks = b"identity:\n  pubkey: z1\ntransport:\n  stdio: true\n"
    desk.write("agents/qa/profile.yaml", b"schema: 1\nname: qa\n" + blocks)
    until(partial(travel.read, "agents/qa/profile.yaml"), "the profile is there")
    assert travel.read("agents/qa/profile.yaml") == b"schema: 1\nname: qa\n"
    [alert] = until(lambda: travel.status()["alerts"], "it is told")
    assert alert["code"] == "needs-key"
    assert "agent qa" in alert["detail"]
    checks = {check["name"]: check for check in travel.ask("doctor", code=1)["checks"]}
    assert "mur agent rekey qa" in checks["home-state"]["next"]
    assert not (travel.home / "keys").exists()
    assert desk.status()["alerts"] == []


def stub(fleet: Fleet, body: str) -> Path:
    """A `mur` that notes its calls and then does what `body` says."""
    path, calls = fleet.root / "mur-stub", fleet.root / "calls"
    path.write_text(f'#!/bin/sh\necho "$MUR_HOME $*" >> "{calls}"\n{body}\n')
    path.chmod(0o755)
    calls.touch()
    return path


def calls_for(fleet: Fleet, laptop: Laptop) -> int:
    """How often the stub was called for a home."""
    wanted = f"{laptop.home} internals reindex"
    return (fleet.root / "calls").read_text().splitlines().count(wanted)


def alerts(laptop: Laptop) -> list[Document]:
    """What status tells of the list of channels."""
    return [alert for alert in laptop.status()["alerts"] if alert["code"] == "reindex-failed"]


def test_a_batch_is_followed_by_one_reindex_where_it_was_written(fleet: Fleet) -> None:
    """Once for many lines, never where mur itself wrote, and not for skills."""
    desk, travel = channel(fleet, f'channels.mur = "{stub(fleet, "")}"')
    until(partial(calls_for, fleet, travel), "the new channel is indexed")
    before = calls_for(fleet, travel)
    for number in range(20):
        desk.append([event(number, f'{{"text":"{number}"}}')], EVENTS)
    until(partial(travel.has_lines, 20, EVENTS), "all are there")
    until(lambda: calls_for(fleet, travel) > before, "they are indexed")
    assert calls_for(fleet, travel) == before + 1
    assert calls_for(fleet, desk) == 0
    assert alerts(travel) == []


def test_a_reindex_that_fails_is_told_and_stops_nothing(fleet: Fleet) -> None:
    """The alert has mur's own words, and goes when the next one succeeds."""
    desk, travel = channel(fleet, f'channels.mur = "{stub(fleet, "echo the list is locked >&2; exit 3")}"')
    [alert] = until(partial(alerts, travel), "it is told")
    assert "the list is locked" in alert["detail"]
    assert "reindex" in travel.said()
    stub(fleet, "")
    desk.append([event(0, '{"text":"more"}')], EVENTS)
    until(partial(travel.mentions, b'"more"', EVENTS), "lines come all the same")
    until(lambda: not alerts(travel), "the alert is gone")
