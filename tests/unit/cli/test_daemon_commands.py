"""The commands that ask the running daemon: status, peers, sync, restore, keep-local, reload."""

from __future__ import annotations

import pytest

from fleetsync.errors import BrokenConfig, NotFound
from tests.fakes.daemon import HISTORY_ENTRY, OFFICE, TRAVEL, FakeDaemon, exchange_document
from tests.unit.cli.conftest import Person

NEED_THE_DAEMON = [
    ["status"],
    ["peers"],
    ["peers", "list"],
    ["peers", "pause", "x"],
    ["sync"],
    ["sync", "--dry-run"],
    ["restore", "skills/deploy"],
    ["keep-local", "skills/deploy"],
    ["reload"],
    ["pair"],
    ["pair", "7-orbit-falcon", "--at", "192.0.2.1:1", "--yes"],
]


@pytest.mark.parametrize("line", NEED_THE_DAEMON)
def test_without_the_daemon_exit_code_4_and_the_next_step(line: list[str], person: Person) -> None:
    """A daemon that is not there is found out at once, before anything else happens."""
    said = person.types(*line, "--json")
    assert said.code == 4
    assert said.document["error"]["code"] == "daemon-not-running"
    assert said.err == ""


# --- status ----------------------------------------------------------------------------------------


def test_status_is_the_daemons_document(person: Person, daemon: FakeDaemon) -> None:
    """--json prints the document of the contract, whole."""
    said = person.types("status", "--json")
    assert said.code == 0
    assert set(said.document) == {
        "device",
        "home",
        "selection",
        "peers",
        "parked",
        "parked_for",
        "kept_here",
        "held",
        "refused",
        "malformed",
        "collisions",
        "alerts",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ([{}, {}], 0),
        ([{"stale": True}, {}], 3),
        ([{"converged": False}, {}], 0),
        ([{"converged": False}, {"converged": False}], 3),
        ([], 0),
    ],
)
def test_status_is_3_if_a_peer_is_stale_or_none_has_converged(
    changes: list[dict[str, object]], code: int, person: Person, daemon: FakeDaemon
) -> None:
    """No peers at all is no failure."""
    daemon.known = [{**peer, **change} for peer, change in zip(daemon.known, changes, strict=False)]
    assert person.types("status").code == code


def test_status_is_5_when_a_safety_rule_has_stopped_home(person: Person, daemon: FakeDaemon) -> None:
    """Guarded outranks stale; the alert and its next step are on the screen."""
    daemon.home_state = "guarded"
    daemon.known[0]["stale"] = True
    daemon.alerts = [
        {"code": "guard", "title": "Stopped", "detail": "9 skills gone", "next": "fleetsync guard"}
    ]
    said = person.types("status")
    assert said.code == 5
    assert "9 skills gone" in said.out
    assert "fleetsync guard" in said.out


def test_status_shows_what_is_left_out(person: Person, daemon: FakeDaemon) -> None:
    """Whoever has left something out sees it at once; whoever has not sees no word of it."""
    assert "carries" not in person.types("status").out
    daemon.selection |= {"exclude": ["experience"], "private": ["diary", "tax-*"]}
    said = person.types("status")
    assert "carries a part of home: exclude: experience; private: diary, tax-*" in said.out
    assert person.types("status", "--json").document["selection"]["private"] == ["diary", "tax-*"]


# --- peers -----------------------------------------------------------------------------------------


def test_peers_lists_them_with_or_without_the_word_list(person: Person, daemon: FakeDaemon) -> None:
    """`peers` is `peers list`."""
    said = person.types("peers", "--json")
    assert [peer["name"] for peer in said.document["peers"]] == ["office", "travel"]
    assert said == person.types("peers", "list", "--json") == person.types("--json", "peers", "list")


@pytest.mark.parametrize("named", ["office", OFFICE, OFFICE[:3]])
def test_what_a_person_calls_a_peer_reaches_the_daemon(
    named: str, person: Person, daemon: FakeDaemon
) -> None:
    """A name, an id, the beginning of an id; the peer is shown as it is afterwards."""
    said = person.types("peers", "pause", named, "--json")
    assert said.code == 0
    assert (said.document["peer"]["id"], said.document["peer"]["state"]) == (OFFICE, "paused")
    assert daemon.orders == [("paused", OFFICE)]


def test_a_name_with_odd_characters_is_one_name(person: Person, daemon: FakeDaemon) -> None:
    """Slashes, blanks, umlauts and percent signs arrive as they were typed."""
    daemon.known[0]["name"] = "Büro 1/2 %41?"
    assert person.types("peers", "pause", "Büro 1/2 %41?").code == 0


def test_a_peer_that_is_not_there_is_exit_1_and_an_ambiguous_one_2(
    person: Person, daemon: FakeDaemon
) -> None:
    """Nothing is changed by either."""
    daemon.known[1]["id"] = OFFICE[:-1] + "b"
    nobody, anybody = (
        person.types("peers", "pause", "x", "--json"),
        person.types("peers", "pause", "off", "--json"),
    )
    assert (nobody.code, nobody.document["error"]["code"]) == (1, "not-found")
    assert (anybody.code, anybody.document["error"]["code"]) == (2, "usage")
    assert daemon.orders == []


def test_renaming_resuming_and_removing_show_the_peer(person: Person, daemon: FakeDaemon) -> None:
    """Each prints the peer; a removed one as it was."""
    assert person.types("peers", "rename", "travel", "train", "--json").document["peer"]["name"] == "train"
    assert person.types("peers", "resume", "train", "--json").document["peer"]["state"] == "connecting"
    assert person.types("peers", "remove", "train", "--json").document["peer"]["name"] == "train"
    assert [peer["id"] for peer in daemon.known] == [OFFICE]
    assert daemon.orders[-1] == ("remove", TRAVEL)


@pytest.mark.parametrize("way", ["both", "receive", "send"])
def test_a_direction_is_chosen_and_shown(way: str, person: Person, daemon: FakeDaemon) -> None:
    """The peer is shown as it is then, and the list says it too."""
    said = person.types("peers", "direction", "office", way, "--json")
    assert (said.code, said.document["peer"]["direction"]) == (0, way)
    assert daemon.orders == [(way, OFFICE)]
    assert way in person.types("peers").out
    assert person.types("peers", "direction", "office", "sideways").code == 2


# --- sync ------------------------------------------------------------------------------------------


def test_sync_prints_what_came_of_each_exchange(person: Person, daemon: FakeDaemon) -> None:
    """Progress is for people on a terminal; the document has one entry per peer."""
    daemon.progress = [{"id": OFFICE, "left": 5, "total": 9}]
    said = person.types("sync", "office", "--wait", "3", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.document == {"peers": daemon.outcomes}
    assert daemon.orders == [("sync", "office", 3.0)]


@pytest.mark.parametrize("outcome", ["partial", "failed", "unreachable"])
def test_sync_is_3_unless_all_have_converged(outcome: str, person: Person, daemon: FakeDaemon) -> None:
    """One that has not is enough."""
    daemon.outcomes.append(exchange_document(TRAVEL, outcome=outcome, error="why"))
    said = person.types("sync")
    assert said.code == 3
    assert outcome in said.out


def test_a_failure_half_way_is_an_error_like_any_other(person: Person, daemon: FakeDaemon) -> None:
    """An error after the first progress document ends the command with the daemon's error."""
    daemon.progress = [{"id": OFFICE, "left": 5, "total": 9}]
    daemon.guard()
    said = person.types("sync", "--json")
    assert (said.code, said.document["error"]["code"]) == (5, "safety-stop")


def test_dry_run_says_what_would_move(person: Person, daemon: FakeDaemon) -> None:
    """Per peer and path, and no exchange takes place."""
    said = person.types("sync", "--dry-run", "--json")
    (entry,) = said.document["peers"]
    assert entry["would_receive"] == [{"path": "skills/deploy/events.jsonl", "items": 4}]
    assert entry["would_send"] == []
    assert daemon.orders == [("dry-run", None)]
    assert "receive\t4\tskills/deploy/events.jsonl" in person.types("sync", "--dry-run").out


def test_a_dry_run_that_reached_not_everybody_is_exit_3(person: Person, daemon: FakeDaemon) -> None:
    """What would move with the others is still said."""
    daemon.plan.append({"id": TRAVEL, "would_receive": [], "would_send": [], "error": "asleep"})
    said = person.types("sync", "--dry-run")
    assert said.code == 3
    assert "receive" in said.out
    assert "asleep" in said.err


# --- restore, keep-local, reload -------------------------------------------------------------------


def test_restore_and_keep_local_print_the_new_entry(person: Person, daemon: FakeDaemon) -> None:
    """PATH may also be given absolutely, inside home, or with a slash at the end."""
    absolute = str(person.home / "skills/deploy/skill.yaml")
    assert person.types("restore", absolute, "--version", "7", "--json").document == HISTORY_ENTRY
    assert person.types("keep-local", "skills/deploy/", "--json").document == HISTORY_ENTRY
    assert daemon.orders == [("restore", "skills/deploy/skill.yaml", 7), ("keep-local", "skills/deploy")]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "skills/../../x", ""])
def test_a_path_that_leads_out_of_home_is_refused_before_the_daemon_is_asked(
    path: str, person: Person, daemon: FakeDaemon
) -> None:
    """It is a usage error, whichever command is given it."""
    for act in ("restore", "keep-local", "history"):
        assert person.types(act, path, "--json").code == 2
    assert daemon.orders == []


def test_an_error_of_the_daemon_keeps_its_code_message_and_next_step(
    person: Person, daemon: FakeDaemon
) -> None:
    """What the daemon raised is what the person reads, with the exit code of its kind."""
    daemon.fail(NotFound("no version 9", next_step="look at history"))
    said = person.types("restore", "skills/deploy/skill.yaml", "--json")
    assert said.code == 1
    assert said.document == {
        "error": {"code": "not-found", "message": "no version 9", "next": "look at history"}
    }


def test_reload_tells_when_the_configuration_is_broken(person: Person, daemon: FakeDaemon) -> None:
    """The running daemon keeps the last good one; the error names the place."""
    assert person.types("reload", "--json").code == 0
    daemon.fail(BrokenConfig("config.toml, line 3, sync.push: too small"))
    said = person.types("reload")
    assert said.code == 2
    assert "line 3" in said.err
