"""Experience syncs like any log: by the exact line, into a home that has no such stream yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetsync.experience_port import Recorded
from fleetsync.ports import Group, Outcome
from fleetsync.records.experience_queries import ArtifactQuery, EventQuery
from fleetsync.stores.experience_ledger import ExperienceLedger
from fleetsync.stores.experience_opening import open_experience_ledger
from tests.contracts.storage import bodies, give, outcomes
from tests.contracts.test_replica import DiskSite
from tests.fakes.experiences import outcome, respelled, transition

PATH = "experience/engine/events.jsonl"


def exchange(one: DiskSite, two: DiskSite) -> None:
    """What each has, the other gets."""
    for giver, taker in ((one, two), (two, one)):
        lines = bodies(giver.storage, PATH)
        if lines:
            taker.storage.apply([Group(PATH, lines)], giver.device)


@pytest.fixture
def sites(tmp_path: Path):
    """Two devices with homes on disk."""
    pair = DiskSite(tmp_path, "a"), DiskSite(tmp_path, "b")
    yield pair
    for site in pair:
        site.storage.close()


def ledger_of(tmp_path: Path, letter: str) -> ExperienceLedger:
    """The ledger of a site's home."""
    root = tmp_path / letter
    return open_experience_ledger(root / "home", root / "state", "", letter)


def shown(ledger: ExperienceLedger) -> list[Recorded]:
    """Everything."""
    found = ledger.query_events(EventQuery(all_tenants=True))
    ledger.close()
    return found


def test_two_homes_end_with_the_same_lines(sites: tuple[DiskSite, DiskSite], tmp_path: Path) -> None:
    """Appended by the command on one, by another program on the other; asked on both."""
    one, two = sites
    ledger = ledger_of(tmp_path, "a")
    ledger.append_events([outcome("e-1"), transition("e-2", "Draft", "Approved")], stream="engine")
    ledger.close()
    one.storage.scan([PATH])
    two.write(PATH, outcome("e-3").line)
    exchange(one, two)
    assert sorted(bodies(one.storage, PATH)) == sorted(bodies(two.storage, PATH))
    assert one.storage.head().fingerprint == two.storage.head().fingerprint
    for letter in "ab":
        found = shown(ledger_of(tmp_path, letter))
        assert {each.experience.event_id for each in found} == {"e-1", "e-2", "e-3"}
        ledger = ledger_of(tmp_path, letter)
        assert [artifact.state for artifact in ledger.query_artifacts(ArtifactQuery())] == ["Approved"]
        ledger.close()


def test_spellings_and_conflicts_travel_and_none_is_dropped(
    sites: tuple[DiskSite, DiskSite], tmp_path: Path
) -> None:
    """Each line is a member; what is shown once, and what is a conflict, is alike on both."""
    one, two = sites
    one.write(PATH, outcome("e-1").line, outcome("evt-0", tokens=1).line)
    two.write(PATH, respelled(outcome("e-1")).line, outcome("evt-0", tokens=2).line)
    exchange(one, two)
    assert len(bodies(one.storage, PATH)) == len(bodies(two.storage, PATH)) == 4
    for letter in "ab":
        found = shown(ledger_of(tmp_path, letter))
        assert sorted((each.experience.event_id, each.conflict) for each in found) == [
            ("e-1", False),
            ("evt-0", True),
            ("evt-0", True),
        ]


def test_what_cannot_be_keyed_does_not_sync(sites: tuple[DiskSite, DiskSite]) -> None:
    """No JSON object, no member; an object that is no envelope is carried."""
    verdicts = give(sites[0].storage, PATH, b"[]", b"{", b'{"a":1}', outcome().line)
    assert outcomes(verdicts) == [Outcome.REFUSED, Outcome.REFUSED, Outcome.NEW, Outcome.NEW]
