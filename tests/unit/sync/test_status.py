"""The documents of CLI.md from the engine's values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleetsync.cli.status import verdict
from fleetsync.devices.notes import Direction
from fleetsync.errors import HomeMissing, SafetyStop, StorageFailed, Unreachable
from fleetsync.ports import Alert, Condition, Head, HomeState
from fleetsync.sync import status
from fleetsync.sync.exchange import Ending, Exchange, Traffic
from fleetsync.sync.tempo import Tempo
from fleetsync.sync.views import EngineView, PeerState, PeerView
from tests.fakes.fleet import START as NOW
from tests.fakes.fleet import device_id

LOCAL = Head(b"epoch--8", 12, 10, bytes(range(16)))
REMOTE = Head(b"epoch--9", 40, 9, bytes(16))
DEVICE = status.Device(device_id("a"), "laptop-a", "0.1.0", "[::]:8473", "/home/user/.mur")
PEER = PeerView(
    device=device_id("b"),
    name="laptop-b",
    state=PeerState.CONNECTED,
    direction=Direction.BOTH,
    cut_proven=True,
    unsent_seconds=0.0,
    converged_at=NOW - 60,
    known_since=NOW - 1000,
    remote=REMOTE,
    clock_offset=-0.25,
    error=None,
)
CONDITION = Condition(
    HomeState.OK, 1, 2, 3, malformed=4, collisions=5, alerts=[], parked_for={"no live manifest": 1}
)
VIEW = EngineView(LOCAL, CONDITION, None, (PEER,))


def document(view: EngineView = VIEW) -> status.Document:
    return status.status_document(DEVICE, view, {PEER.device: ["10.0.0.2:8473"]}, NOW)


def test_status_has_exactly_its_keys():
    """The document is that of CLI.md, key by key."""
    assert document() == {
        "device": {"id": "a" * 52, "name": "laptop-a", "version": "0.1.0", "listen": "[::]:8473"},
        "home": {
            "path": "/home/user/.mur",
            "items": 10,
            "fingerprint": "000102030405060708090a0b0c0d0e0f",
            "state": "ok",
        },
        "peers": [
            {
                "id": "b" * 52,
                "name": "laptop-b",
                "addresses": ["10.0.0.2:8473"],
                "state": "connected",
                "direction": "both",
                "converged": True,
                "last_converged_at": "2026-09-21T14:12:20.000Z",
                "items_local": 10,
                "items_remote": 9,
                "fingerprint_local": "000102030405060708090a0b0c0d0e0f",
                "fingerprint_remote": "0" * 32,
                "lag_seconds": 0.0,
                "clock_offset_seconds": -0.25,
                "stale": False,
                "excluded": [],
                "error": None,
                "error_code": None,
                "error_next": None,
            }
        ],
        "parked": 1,
        "parked_for": {"no live manifest": 1},
        "kept_here": {},
        "held": 2,
        "refused": 3,
        "malformed": 4,
        "collisions": 5,
        "alerts": [],
    }


def test_what_is_not_known_is_null():
    """A peer that was never met has no items, no lag and no time."""
    stranger = replace(
        PEER,
        state=PeerState.OFFLINE,
        cut_proven=False,
        unsent_seconds=None,
        converged_at=None,
        remote=None,
        clock_offset=None,
        error=Unreachable("no route"),
    )
    found = status.peer_document(stranger, LOCAL, [], NOW)
    unknown = {
        "last_converged_at",
        "items_remote",
        "fingerprint_remote",
        "lag_seconds",
        "clock_offset_seconds",
    }
    assert {key for key, value in found.items() if value is None} == unknown
    assert (found["error"], found["converged"]) == ("no route", False)


@pytest.mark.parametrize(
    ("proven", "unsent", "expected"),
    [(True, 0.0, True), (True, Tempo().lag, True), (True, Tempo().lag + 0.1, False), (False, 0.0, False)],
)
def test_converged_is_a_proven_cut_and_nothing_left_behind(proven, unsent, expected):
    """The last cut succeeded and nothing unsent is older than twice the push interval."""
    assert replace(PEER, cut_proven=proven, unsent_seconds=unsent).converged is expected


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (PEER, False),
        (replace(PEER, converged_at=NOW - Tempo().stale - 1), True),
        (replace(PEER, converged_at=None, known_since=NOW - Tempo().stale - 1), True),
        (replace(PEER, converged_at=None, known_since=NOW - 10), False),
        (replace(PEER, converged_at=NOW + 9e6, known_since=NOW - Tempo().stale - 1), True),
        (replace(PEER, converged_at=NOW + 9e6, known_since=NOW - 10), False),
        (replace(PEER, converged_at=None, known_since=NOW + 9e6), False),
        (replace(PEER, converged_at=NOW - Tempo().stale - 1, state=PeerState.PAUSED), False),
    ],
)
def test_stale_is_a_day_without_converging(peer, expected):
    """Counted from the last time or, if it never did, from when the peer became known; what the clock said
    when it was ahead hides nothing.
    """
    assert peer.stale(NOW) is expected
    codes = [alert["code"] for alert in document(replace(VIEW, peers=(peer,)))["alerts"]]
    assert codes == ["peer-stale"] * expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (VIEW, 0),
        (replace(VIEW, peers=()), 0),
        (replace(VIEW, peers=(replace(PEER, cut_proven=False),)), 3),
        (replace(VIEW, peers=(PEER, replace(PEER, cut_proven=False))), 0),
        (replace(VIEW, peers=(PEER, replace(PEER, converged_at=NOW - Tempo().stale - 1))), 3),
        (replace(VIEW, trouble=SafetyStop("many things gone")), 5),
    ],
)
def test_the_exit_code(view, expected):
    """3 if a peer is stale or none of them converged, 5 if guarded."""
    assert verdict(document(view)) == expected


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (None, "ok"),
        (HomeMissing("gone"), "missing"),
        (SafetyStop("stop"), "guarded"),
        (StorageFailed("full"), "degraded"),
    ],
)
def test_trouble_shows_in_the_state_of_home(trouble, expected):
    """Why home cannot be read is a state and an alert."""
    found = document(replace(VIEW, trouble=trouble))
    assert found["home"]["state"] == expected
    assert [alert["detail"] for alert in found["alerts"]] == ([trouble.message] if trouble else [])


def test_storages_own_alerts_come_first_and_once():
    """What storage explains already is not repeated."""
    alert = Alert("home-missing", "Gone.", "mount it", "mount")
    view = replace(VIEW, condition=replace_condition([alert]), trouble=HomeMissing("gone"))
    assert [found["detail"] for found in document(view)["alerts"]] == ["mount it"]


def test_an_exchange_is_one_row_of_sync():
    """The row of `fleetsync sync`."""
    exchange = Exchange(
        PEER.device, Ending.FAILED, 3, 4, Traffic(100, 200, 5), 0.5, StorageFailed("disk full")
    )
    assert status.exchange_document(exchange) == {
        "id": "b" * 52,
        "outcome": "failed",
        "received": 3,
        "sent": 4,
        "bytes_in": 100,
        "bytes_out": 200,
        "round_trips": 5,
        "seconds": 0.5,
        "error": "disk full",
    }


def test_a_preview_is_one_row_of_a_dry_run():
    """Per path how many items would travel."""
    exchange = Exchange(PEER.device, Ending.PARTIAL, would_receive={"b": 2, "a": 1}, would_send={"c": 3})
    found = status.preview_document(exchange)
    assert found["would_receive"] == [{"path": "a", "items": 1}, {"path": "b", "items": 2}]
    assert found["would_send"] == [{"path": "c", "items": 3}]


def replace_condition(alerts: list[Alert]) -> Condition:
    """A condition with these alerts."""
    return Condition(HomeState.OK, 0, 0, 0, 0, 0, alerts)
