"""`models.yaml` on a real disk: every entry is a register of its own, all else belongs to this device."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetsync.errors import NotFound
from fleetsync.files import Folder
from fleetsync.merge import register
from fleetsync.merge.register import Dot, Stamp, Version
from fleetsync.ports import Group, HomeState, Outcome
from fleetsync.records import models
from fleetsync.records.names import part_of
from fleetsync.replica.registers import Registers
from fleetsync.selection import EVERYTHING, Selection
from tests.fakes.laptops import SECOND, Laptop, meet

FILE = "models.yaml"
MINE = """\
# the models of this laptop
schema_version: 1
models:
  # the big one
  claude:
    provider: anthropic  # by key
    model: claude-opus
  qwen:
    provider: ollama
    model: %s
roles:
  router: %s
"""


def text(qwen: str = "qwen3", router: str = "claude") -> bytes:
    """A file as a person keeps it."""
    return (MINE % (qwen, router)).encode()


def entry(name: str) -> str:
    """The path of an entry."""
    return f"{FILE}/{part_of(name)}"


def put(laptop: Laptop, data: bytes) -> None:
    """A program writes the file; the daemon sees it some time after whatever came before."""
    laptop.now += 10 * SECOND
    laptop.path(FILE).write_bytes(data)
    laptop.replica.scan([FILE])


def held(laptop: Laptop) -> dict[str, bytes]:
    """The entries in the file, by name."""
    return models.entries(laptop.path(FILE).read_bytes())


def offered(laptop: Laptop, name: str, value: bytes) -> bytes:
    """A version of an entry that a device would mint that keeps no rules."""
    number = laptop.now + 1
    stamp = Stamp(number, number, laptop.device, register.digest_of(value))
    return register.encode(Version(Dot(laptop.device, number), {}, stamp, value))


@pytest.fixture
def pair(pair: tuple[Laptop, Laptop]) -> tuple[Laptop, Laptop]:
    """Two laptops with the same entries, each in a file of its own making."""
    one, two = pair
    put(one, text())
    put(two, text(router="qwen").replace(b"# the models", b"# other words, the models"))
    meet(one, two)
    return pair


def test_only_the_entry_that_changed_travels_and_is_spliced(pair: tuple[Laptop, Laptop]) -> None:
    """Comments, roles, order and the other entries of the receiving file stay byte for byte."""
    one, two = pair
    before = two.path(FILE).read_bytes()
    put(one, text("qwen4", "nobody"))
    meet(one, two)
    assert two.path(FILE).read_bytes() == before.replace(b"qwen3", b"qwen4")
    assert {group.path for group in one.groups()} == {entry("claude"), entry("qwen")}


def test_edits_of_different_entries_at_the_same_time_both_stand(pair: tuple[Laptop, Laptop]) -> None:
    """Each entry is judged by itself; nothing of either edit is a conflict."""
    one, two = pair
    put(one, text("qwen4"))
    put(two, text(router="qwen").replace(b"claude-opus", b"claude-sonnet"))
    meet(one, two)
    assert held(one) == held(two)
    assert b"qwen4" in held(two)["qwen"]
    assert b"claude-sonnet" in held(one)["claude"]
    assert b"by key" in held(two)["claude"]
    kinds = {e.kind for laptop in pair for e in laptop.replica.history.entries()}
    assert kinds == {"replaced"}


def test_a_laptop_without_the_file_gets_one(tmp_path: Path) -> None:
    """The smallest that mur reads, with the entries."""
    one, two = Laptop(tmp_path, "a"), Laptop(tmp_path, "b")
    put(one, text())
    meet(one, two)
    assert held(two) == held(one)
    assert two.path(FILE).read_bytes().startswith(b"schema_version: 1\nmodels:\n")
    for laptop in (one, two):
        laptop.replica.close()


@pytest.mark.parametrize(
    "name", ["gpt-4.1", "openai:gpt/4", ".hidden", "名前", "a b", "100%", "GPT", "gpt", "x" * 128]
)
def test_any_name_travels(name: str, tmp_path: Path) -> None:
    """Names that are no file names are spelled out in the path and come back as they were."""
    one, two = Laptop(tmp_path, "a"), Laptop(tmp_path, "b")
    put(one, f'models:\n  "{name}":\n    provider: p\n  Gpt: {{provider: q}}\n'.encode())
    meet(one, two)
    assert held(two).keys() == {name, "Gpt"}
    for laptop in (one, two):
        laptop.replica.close()


# --- what does not sync -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        "secret: 'cmd:cat ~/.key'",
        "params: &a {x: 1}",
        "params: !x {x: 1}",
        "<<: {provider: q}",
        "provider: q",
    ],
)
def test_an_entry_that_may_not_travel_stays_here_and_is_told(lines: str, pair: tuple[Laptop, Laptop]) -> None:
    """Others of the file sync all the same; the entry is neither sent nor, by a peer's, replaced."""
    one, two = pair
    odd = f"  qwen:\n    provider: ollama\n    {lines}\n"
    put(
        one,
        text().replace(
            b"  qwen:\n    provider: ollama\n    model: qwen3\n", odd.encode() + b"  new: {provider: p}\n"
        ),
    )
    meet(one, two)
    assert b"qwen3" in held(two)["qwen"]
    assert "new" in held(two)
    [alert] = one.replica.condition().alerts
    assert (alert.code, entry("qwen") in alert.detail) == ("left-out", True)
    assert one.replica.condition().refused == 1
    put(two, two.path(FILE).read_bytes().replace(b"qwen3", b"qwen5"))
    meet(one, two)
    assert odd.encode() in one.path(FILE).read_bytes()
    assert one.replica.condition().state is HomeState.DEGRADED


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (entry("x"), b"provider: p\nsecret: cmd:rm\n"),
        (entry("x"), b"provider: p\nsecret: ' CMD :rm'\n"),
        (entry("x"), b"- no mapping\n"),
        (f"{FILE}/%41", b"provider: p\n"),
        (f"{FILE}/%ff", b"provider: p\n"),
        (f"{FILE}/%FF", b"provider: p\n"),
        (f"{FILE}/{'x' * 129}", b"provider: p\n"),
        (f"{FILE}/%3C%3C", b"provider: p\n"),
        (FILE, b"models: {}\n"),
    ],
)
def test_what_no_correct_device_offers_is_refused(
    path: str, value: bytes, pair: tuple[Laptop, Laptop]
) -> None:
    """The one predicate of membership says no, and the file is not touched."""
    one, two = pair
    before = one.path(FILE).read_bytes()
    [verdict] = one.replica.apply([Group(path, [offered(two, "x", value)])], two.device)
    assert verdict.outcome is Outcome.REFUSED
    assert one.path(FILE).read_bytes() == before


def test_a_secret_command_in_what_was_deleted_is_refused_too(pair: tuple[Laptop, Laptop]) -> None:
    """What a deletion carries along may come back to life."""
    one, two = pair
    number = two.now + 1
    stamp = Stamp(number, number, two.device, register.GONE_DIGEST)
    gone = Version(Dot(two.device, number), {}, stamp, None, None, b"secret: cmd:x\n")
    [verdict] = one.replica.apply([Group(entry("x"), [register.encode(gone)])], two.device)
    assert verdict.outcome is Outcome.REFUSED


def test_an_entry_that_mur_here_could_not_read_is_a_member_and_is_not_written(
    pair: tuple[Laptop, Laptop],
) -> None:
    """One unreadable entry would cost mur the whole file."""
    one, two = pair
    before = one.path(FILE).read_bytes()
    body = offered(two, "odd", b"provider: p\ncontext_window: many\n")
    [verdict] = one.replica.apply([Group(entry("odd"), [body])], two.device)
    assert verdict.outcome is Outcome.NEW
    assert one.path(FILE).read_bytes() == before
    assert any(entry("odd") in alert.detail for alert in one.replica.condition().alerts)


def test_a_file_that_does_not_parse_is_never_replaced(pair: tuple[Laptop, Laptop]) -> None:
    """It is told; nothing of it counts as deleted; mended, it takes part again."""
    one, two = pair
    put(two, b"models: [broken\n")
    put(one, text("qwen4"))
    two.replica.apply(one.groups(), one.device)
    two.pass_time(60)
    two.pass_time(60)
    assert two.path(FILE).read_bytes() == b"models: [broken\n"
    alerts = two.replica.condition().alerts
    assert any(FILE in alert.detail for alert in alerts)
    put(two, text(router="qwen"))
    meet(one, two)
    assert b"qwen4" in held(two)["qwen"]
    assert two.replica.condition().alerts == []


# --- secrets --------------------------------------------------------------------------------------------


def told(laptop: Laptop) -> list[tuple[str, str]]:
    """What a person is told: code, and the path it is about."""
    alerts = laptop.replica.condition().alerts
    return sorted((alert.code, alert.detail.partition(": ")[0]) for alert in alerts)


def test_secrets_that_are_not_here_are_told_until_they_are(pair: tuple[Laptop, Laptop]) -> None:
    """References to the environment and the keychain on every device; a path only where it came from
    elsewhere. The entries are written all the same.
    """
    one, two = pair
    secrets = {"good": "env:KEY", "none": "env:NONE", "chain": "keychain:s/a", "path": "file:/x"}
    entries = "".join(f"  {name}: {{provider: p, secret: '{value}'}}\n" for name, value in secrets.items())
    put(one, text().replace(b"roles:", entries.encode() + b"roles:"))
    meet(one, two)
    assert held(two) == held(one)
    degraded = [("degraded", entry("chain")), ("degraded", entry("none"))]
    assert told(one) == degraded
    assert told(two) == [*degraded, ("flagged", entry("path"))]
    assert two.replica.condition().state is HomeState.DEGRADED
    two.secrets |= {"env:NONE", "keychain:s/a"}
    assert told(two) == [("flagged", entry("path"))]


def test_an_entry_that_is_left_out_here_stays_as_it_is(pair: tuple[Laptop, Laptop]) -> None:
    """A selection may name single entries: neither sent, nor taken, nor taken for deleted."""
    one, two = pair
    two.replica.select(Selection((entry("qwen"),)))
    put(one, text("qwen4").replace(b"claude-opus", b"claude-2"))
    two.now = one.now
    two.replica.apply([group for group in one.groups() if group.path != entry("qwen")], one.device)
    two.pass_time(6)
    assert b"qwen3" in held(two)["qwen"]
    assert b"claude-2" in held(two)["claude"]
    assert {group.path for group in two.groups()} == {entry("claude")}
    two.replica.select(EVERYTHING)
    meet(one, two)
    assert held(one) == held(two)


def test_an_entry_that_came_just_before_a_kill_is_not_taken_back(
    pair: tuple[Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first change was put in place less than a minute ago, the daemon died before it put in the second:
    the file, which still has the first, is no edit of the second.
    """
    one, two = pair
    put(one, text("qwen4"))
    meet(one, two)
    put(one, text("qwen5"))
    two.now = one.now
    monkeypatch.setattr(Registers, "apply", lambda *_: False)
    two.replica.apply(one.groups(), one.device)
    assert b"qwen4" in held(two)["qwen"]
    monkeypatch.undo()
    two.reopen()
    meet(one, two)
    assert b"qwen5" in held(one)["qwen"]
    assert b"qwen5" in held(two)["qwen"]


# --- deletions --------------------------------------------------------------------------------------


def without_qwen() -> bytes:
    """The file after its owner has taken an entry out."""
    data = text()
    return data[: data.index(b"  qwen:")] + data[data.index(b"roles:") :]


def test_an_entry_that_is_taken_out_goes_everywhere(pair: tuple[Laptop, Laptop]) -> None:
    """After five seconds it is a deletion like any other; its value is in history and can be restored."""
    one, two = pair
    put(one, without_qwen())
    assert one.replica.due_in() == pytest.approx(5)
    one.pass_time(6)
    meet(one, two)
    assert held(two).keys() == {"claude"}
    assert b"# other words" in two.path(FILE).read_bytes()
    assert [e.kind for e in two.replica.history.entries(entry("qwen"))] == ["deleted"]
    two.replica.restore(entry("qwen"), None)
    meet(one, two)
    assert held(one) == held(two)
    assert b"qwen3" in held(one)["qwen"]


def test_an_entry_that_is_moved_within_five_seconds_is_no_deletion(pair: tuple[Laptop, Laptop]) -> None:
    """A person cuts, saves, pastes and saves."""
    one, _ = pair
    put(one, without_qwen())
    one.path(FILE).write_bytes(text())
    one.replica.scan([FILE])
    assert one.replica.due_in() is None


@pytest.mark.parametrize("left", [None, b"", b"# nothing yet\n\n"[:0] + b"\n"])
def test_a_file_that_is_gone_or_empty_deletes_nothing(
    left: bytes | None, pair: tuple[Laptop, Laptop]
) -> None:
    """All of its entries are put back after five seconds."""
    one, two = pair
    one.now += 10 * SECOND
    if left is None:
        one.path(FILE).unlink()
    else:
        one.path(FILE).write_bytes(left)
    one.pass_time(6)
    one.replica.scan(None)
    assert held(one) == held(two)
    meet(one, two)
    assert held(two).keys() == {"claude", "qwen"}


def many(count: int) -> bytes:
    """A file with that many entries."""
    return (
        b"models:\n"
        + b"".join(b"  m%d:\n    provider: p\n" % n for n in range(count))
        + b"  z: {provider: p}\n"
    )


def test_many_entries_gone_at_once_wait_for_a_person(tmp_path: Path) -> None:
    """The guard counts entries as it counts directories, on both sides."""
    one, two = Laptop(tmp_path, "a"), Laptop(tmp_path, "b")
    put(one, many(12))
    meet(one, two)
    put(one, many(2))
    one.pass_time(6)
    assert one.replica.condition().state is HomeState.GUARDED
    one.replica.decide(confirm=False)
    one.replica.scan(None)
    assert len(held(one)) == 13
    put(one, many(2))
    one.pass_time(6)
    one.replica.decide(confirm=True)
    two.now = one.now
    two.replica.apply(one.groups(), one.device)
    assert two.replica.condition().state is HomeState.GUARDED
    assert len(held(two)) == 13
    two.replica.decide(confirm=True)
    assert len(held(two)) == 3
    meet(one, two)
    for laptop in (one, two):
        laptop.replica.close()


# --- a person's word --------------------------------------------------------------------------------


def test_keep_local_takes_an_entry_or_the_whole_file(pair: tuple[Laptop, Laptop]) -> None:
    """What stands here wins everywhere, though the other edit was later; the loser is in history."""
    one, two = pair
    put(one, text("mine"))
    two.now = one.now + SECOND
    put(two, text("theirs", "qwen"))
    one.now = two.now + SECOND
    assert one.replica.keep_local(entry("qwen")).path == entry("qwen")
    meet(one, two)
    assert b"mine" in held(two)["qwen"]
    assert any(
        e.from_device == two.device for each in pair for e in each.replica.history.entries(entry("qwen"))
    )
    one.replica.keep_local(FILE)
    with pytest.raises(NotFound):
        one.replica.keep_local(entry("none"))


# --- programs that write at the same moment ---------------------------------------------------------


def test_an_edit_at_the_instant_of_the_replacement_is_put_back_and_both_stand(
    pair: tuple[Laptop, Laptop], monkeypatch: pytest.MonkeyPatch
) -> None:
    """mur changes a role and another entry just before the names are exchanged: neither is lost, though
    roles never travel.
    """
    one, two = pair
    exchange, races = Folder.exchange, [text(router="new").replace(b"claude-opus", b"claude-haiku")]

    def late(self: Folder, name: str, target: Folder, target_name: str) -> None:
        if races:
            two.path(FILE).write_bytes(races.pop())
        exchange(self, name, target, target_name)

    put(one, text("qwen4"))
    monkeypatch.setattr(Folder, "exchange", late)
    two.now = one.now
    two.replica.apply(one.groups(), one.device)
    two.replica.scan(None)
    meet(one, two)
    assert two.path(FILE).read_bytes() == text("qwen4", "new").replace(b"claude-opus", b"claude-haiku")
    assert b"claude-haiku" in held(one)["claude"]


def test_a_rewrite_from_before_is_no_edit(pair: tuple[Laptop, Laptop]) -> None:
    """mur had read the file, an entry came, was changed and went, mur wrote what it had read: nothing of
    that is undone.
    """
    one, two = pair
    old = two.path(FILE).read_bytes()
    put(
        one,
        text("qwen4")
        .replace(b"roles:", b"  zeta:\n    provider: p\nroles:")
        .replace(b"claude-opus", b"claude-2"),
    )
    meet(one, two)
    two.now += SECOND
    two.path(FILE).write_bytes(old.replace(b"router: qwen", b"router: claude"))
    two.replica.scan([FILE])
    assert held(two) == held(one)
    assert b"router: claude" in two.path(FILE).read_bytes()
    two.pass_time(20)
    meet(one, two)
    assert held(one).keys() == {"claude", "qwen", "zeta"}
    assert b"qwen4" in held(one)["qwen"]


def test_a_rewrite_from_before_does_not_bring_a_deleted_entry_back(pair: tuple[Laptop, Laptop]) -> None:
    """The same for an entry that had just been taken out."""
    one, two = pair
    old = two.path(FILE).read_bytes()
    put(one, without_qwen())
    one.pass_time(6)
    meet(one, two)
    two.now += SECOND
    two.path(FILE).write_bytes(old)
    two.replica.scan([FILE])
    two.replica.settle()
    assert held(two).keys() == {"claude"}


def test_an_older_value_put_back_later_is_an_edit(pair: tuple[Laptop, Laptop]) -> None:
    """Ten seconds after an entry has changed a person may change it back."""
    one, two = pair
    old = two.path(FILE).read_bytes()
    put(one, text("qwen4"))
    meet(one, two)
    put(two, old)
    two.pass_time(2)
    meet(one, two)
    assert b"qwen3" in held(one)["qwen"]


def test_what_changed_while_the_daemon_was_down_is_found(pair: tuple[Laptop, Laptop]) -> None:
    """By entry: one edited, one added, one removed."""
    one, two = pair
    one.replica.close()
    one.now += 60 * SECOND
    one.path(FILE).write_bytes(
        without_qwen()
        .replace(b"claude-opus", b"claude-2")
        .replace(b"roles:", b"  new: {provider: p}\nroles:")
    )
    one.replica = one._open()
    one.pass_time(6)
    meet(one, two)
    assert held(one).keys() == held(two).keys() == {"claude", "new"}
    assert b"claude-2" in held(two)["claude"]


def test_a_file_in_another_spelling_is_no_change(pair: tuple[Laptop, Laptop]) -> None:
    """mur writes the whole file anew; what it says is the same."""
    one, _ = pair
    before = one.ids()
    put(
        one,
        b"models:\n  qwen: {provider: 'ollama', model: \"qwen3\"}\n"
        b"  claude: {model: claude-opus, provider: anthropic}\n",
    )
    one.pass_time(6)
    assert one.ids() == before


def test_a_question_about_entries_that_are_gone_outlives_a_restart(pair: tuple[Laptop, Laptop]) -> None:
    """That the file is there says nothing of what is in it before it has been read."""
    one, _ = pair
    head, many = "schema_version: 1\nmodels:\n", range(20)
    entries = [f"  m{n}:\n    provider: ollama\n    model: q{n}\n" for n in many]
    put(one, (head + "".join(entries)).encode())
    put(one, (head + "".join(entries[:5])).encode())
    one.pass_time(6)
    held = one.replica.guarded
    assert held is not None
    assert len(held.paths) == 17
    one.reopen()
    assert one.replica.guarded == held
