"""Checks of `records/` and of the table of datasets: lines, manifests, entries, names, times, keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress

from fleetsync import datasets, selection
from fleetsync.errors import IllegalName, InvalidQuery, MalformedRecord
from fleetsync.ports import INFINITY
from fleetsync.records import (
    audits,
    channel_logs,
    channel_manifests,
    channels,
    experience_queries,
    experience_times,
    experiences,
    hitl,
    keyrings,
    loglines,
    manifests,
    model_entries,
    models,
    multibase,
    names,
    open_items,
    profiles,
    rotations,
    signatures,
    skills,
    stats,
    strictjson,
    timestamps,
    yamltree,
)
from fleetsync.records.names import DeviceId
from fleetsync.records.signatures import Signed
from fleetsync.replica import jsonl
from tests.fuzz.target import parts

LOG_PATHS = (
    "skills/deploy/events.jsonl",
    "channels/general/events.jsonl",
    "open-items.jsonl",
    "experience/main/events.jsonl",
)


def _refuses(check: Callable[[bytes], object], data: bytes) -> bool:
    """Whether this is malformed; any other error is a finding."""
    try:
        check(data)
    except MalformedRecord:
        return True
    return False


# --- JSON and lines -----------------------------------------------------------------------------------


def strict_json(data: bytes) -> None:
    """What is accepted is JSON to the standard library too, and is read back from its own print."""
    with suppress(MalformedRecord):
        value = strictjson.parse(data)
        json.loads(data, parse_int=float, parse_constant=_no_constant)
        again = channels.print_sorted(value)
        assert channels.print_sorted(strictjson.parse(again.encode())) == again
    with suppress(MalformedRecord):
        strictjson.parse_members(data, ("kind", "ts"))
    text = data.decode(errors="surrogateescape")
    with suppress(strictjson.NotAnObject):
        assert 0 <= strictjson.extent(text, 0) <= len(text)


def _no_constant(name: str) -> None:
    raise AssertionError(name)


def log_lines(data: bytes) -> None:
    """Lines and pieces stand where they say, in order, and nothing but blanks lies between them."""
    for line in loglines.lines(data):
        assert data[line.offset : line.offset + len(line.body)] == line.body
        end = 0
        for piece in loglines.pieces(line.body):
            assert line.body[piece.offset : piece.offset + len(piece.body)] == piece.body
            assert line.body[end : piece.offset].strip(b" \t\r") == b""
            end = piece.offset + len(piece.body)
    list(jsonl.keyed(data, 0, skills.event_key))


def log_settling(data: bytes) -> None:
    """Only bytes that equal the batch are ever touched, and what is completed ends as the batch does."""
    batch, found = parts(data, 2)
    batch = b"\n" + batch + b"\n"
    todo = jsonl.settle(found, 100, batch, lambda line: not _refuses(skills.event_key, line))
    assert batch.endswith(todo.missing)
    assert 0 <= todo.whole <= len(batch)
    if todo.blank is not None:
        start, length = todo.blank[0] - 100, todo.blank[1]
        assert length > 0
        assert found[start : start + length] in batch


def skill_event(data: bytes) -> None:
    """The short way and the long way agree; what mur would write is the same event."""
    malformed = _refuses(skills.read_event, data)
    assert malformed == _refuses(skills.event_key, data) == _refuses(skills.read_countable, data)
    readable, unknown = skills.readable_by_mur(data), skills.unknown_kind(data)
    if malformed:
        assert not readable
        assert unknown is None
        return
    event = skills.read_event(data)
    assert skills.event_key(data) == (event.dedup_key, event.micros)
    if isinstance(event, skills.SkillEvent):
        again = skills.read_event(event.canonical)
        assert again.dedup_key == event.dedup_key
        assert skills.readable_by_mur(event.canonical) or not event.ts.canonical[0].isdigit()


def skill_log(data: bytes) -> None:
    """A log is always read as far as it can be; mur reads it whole or not at all."""
    log = skills.parse_log(data)
    for placed in (*log.events, *log.opaque):
        assert data.find(placed.event.line, placed.offset) == placed.offset
    with suppress(MalformedRecord):
        assert len(skills.read_log(data)) == len(log.events)


def channel_event(data: bytes) -> None:
    """Whatever number a line has, its body and identity are the same."""
    channels.readable_by_mur(data)
    channels.unknown_kind(data)
    hitl.question(data)
    hitl.answer(data)
    channels.idempotency_key(data)
    channels.seq_of(data)
    with suppress(MalformedRecord):
        body = channels.without_seq(data)
        assert channels.without_seq(body) == body
        numbered = channels.with_seq(body, 7)
        assert channels.seq_of(numbered) == 7
        assert channels.without_seq(numbered) == body
        assert channels.event_identity(data) == channels.event_identity(body)
        event = channels.read_event(body)
        if isinstance(event, channels.ChannelEvent):
            assert channels.read_event(event.canonical).ts == event.ts
            signatures.judge("general", [(event, bytes(32)), (event, b"k" * 32)], _nobody_signed)


def channel_log(data: bytes) -> None:
    """A channel's log is always read as far as it can be."""
    log = channel_logs.parse_log(data)
    assert len(channel_logs.read_log(data)) <= len(log.events)


def item_line(data: bytes) -> None:
    """Open items and experiences: any object has a time, and what mur reads is one of its kinds."""
    with suppress(MalformedRecord):
        open_items.identity(data)
    if open_items.readable_by_mur(data):
        assert open_items.unknown_kind(data) is None
    open_items.unknown_kind(data)
    with suppress(MalformedRecord):
        experience_times.item_time(data)


def experience(data: bytes) -> None:
    """An experience is read, typed and condensed, or it is malformed."""
    with suppress(MalformedRecord):
        found = experiences.read(data)
        assert len(found.content) == 32
        assert experiences.read(data) == found
        found.instant  # noqa: B018 - it is worked out when asked for
    for reader in (experiences.typed, experiences.trace_text, experiences.trace_content):
        with suppress(MalformedRecord):
            reader(data)
    with suppress(MalformedRecord, InvalidQuery):
        experiences.require_valid(experiences.read(data))


def stats_file(data: bytes) -> None:
    """Counters are written as mur writes them, and read back the same."""
    with suppress(MalformedRecord):
        written = stats.dumps(stats.loads(data))
        assert stats.dumps(stats.loads(written)) == written


def stored_text(data: bytes) -> None:
    """What the databases give back: JSON columns and cursors."""
    text = data.decode(errors="replace")
    with suppress(MalformedRecord):
        audits.decode_json(text)
    with suppress(InvalidQuery):
        experience_queries.read_cursor(text, "epoch")


# --- YAML ---------------------------------------------------------------------------------------------


def skill_manifest(data: bytes) -> None:
    """A manifest is a mapping of few words, or malformed; its time is a number or nothing."""
    with suppress(MalformedRecord):
        manifests.top_scalars(data)
    found = manifests.updated_at(data)
    assert found is None or isinstance(found, int)


def yaml_tree(data: bytes) -> None:
    """What is read keeps its meaning when it is printed as mur prints it."""
    with suppress(MalformedRecord):
        yamltree.read(data, [])
    with suppress(MalformedRecord):
        root = yamltree.read(data)
        digest = yamltree.digest(root)
        if isinstance(root, yamltree.Mapping) and all(key.plain for key, _ in root.members):
            yamltree.print_node(root, -2)
        assert yamltree.digest(yamltree.read(data)) == digest


def channel_manifest(data: bytes) -> None:
    """What mur makes of a manifest is the same manifest; its participants can be put back unchanged."""
    for reader in (channel_manifests.parse_channel, channel_manifests.parse_channel_json):
        with suppress(MalformedRecord):
            channel = reader(data)
            assert channel_manifests.parse_channel_json(channel.canonical_json.encode()) == channel
    with suppress(MalformedRecord):
        channel_manifests.version_of(data)
    found = channel_manifests.entries(data)
    with suppress(MalformedRecord):
        channel_manifests.content_digest(data)
        if found is not None:
            assert channel_manifests.with_entries(data, found) == data
    if found:
        with suppress(MalformedRecord):
            fewer = channel_manifests.with_entries(data, found[:-1])
            assert channel_manifests.content_digest(fewer) != channel_manifests.content_digest(data)
    row = datasets.require("channels/general/channel.yaml")[1]
    row.merged([data, data])
    row.digest(data)


def profile(data: bytes) -> None:
    """A profile taken apart and put together is what it was; none travels with local blocks."""
    with suppress(MalformedRecord):
        value = profiles.travelling(data)
        profiles.check_value(value)
        profiles.digest(value)
        assert profiles.splice(data, value) == data
        profiles.lacking(data)
        assert profiles.travelling(value) == value


def profile_splice(data: bytes) -> None:
    """A peer's profile over ours leaves our local blocks as they were."""
    ours, theirs = parts(data, 2)
    with suppress(MalformedRecord):
        result = profiles.splice(ours, theirs)
        assert profiles.digest(profiles.travelling(result)) == profiles.digest(theirs)


def models_file(data: bytes) -> None:
    """Each entry can be taken out and put back, and the file says what it said."""
    with suppress(MalformedRecord):
        found = models.entries(data)
        models.left_out(data)
        for name, value in found.items():
            model_entries.check_entry(name, value)
            model_entries.readable_by_mur(value)
            assert models.splice(data, name, value) == data
            with suppress(MalformedRecord):
                without = models.splice(data, name, None)
                assert name not in models.entries(without)


def model_entry(data: bytes) -> None:
    """A peer's entry is refused, or it can be put into a file and read back; no command ever travels."""
    name, value = parts(data, 2)
    text = name.decode(errors="replace")
    model_entries.readable_by_mur(value)
    with suppress(MalformedRecord):
        model_entries.check_entry(text, value)
        problem = model_entries.secret_problem(value, lambda _: True)
        assert problem is None or problem.level is not model_entries.Level.REFUSED
        with suppress(MalformedRecord):
            file = models.splice(b"models:\n  other:\n    provider: local\n", text, value)
            assert model_entries.digest(models.entries(file)[text]) == model_entries.digest(value)


# --- keys and signatures ------------------------------------------------------------------------------


def _nobody_signed(claims: Sequence[Signed]) -> list[bool]:
    assert all(len(claim.key) == 32 and len(claim.signature) == 64 for claim in claims)
    return [False] * len(claims)


def rotation(data: bytes) -> None:
    """Files of keys are read line by line; a chain is believed only from its first line on."""
    for line in data.split(b"\n"):
        with suppress(MalformedRecord):
            found = rotations.parse_rotation(line)
            assert rotations.parse_rotation(found.canonical.encode()) == found
    chain = rotations.verify_chain(rotations.read_rotations(data), _nobody_signed)
    assert isinstance(chain, rotations.Chain | rotations.Broken)
    rotations.agent_keys(data, data, _nobody_signed).of(1)


def keyring(data: bytes) -> None:
    """A device's record of public keys is read or malformed, and judging by it never fails."""
    ring = keyrings.KeyRing(_nobody_signed)
    with suppress(MalformedRecord):
        ring.learn(DeviceId("a" * 52), data)
        assert keyrings.published(keyrings.publish(keyrings.published(data))) == keyrings.published(data)
    event = channels.read_event(_SIGNED)
    assert isinstance(event, channels.ChannelEvent)
    assert [found.devices for found in ring.judge("general", [event])] in ([()], [("a" * 52,)])


_SIGNED = (
    b'{"seq":1,"ts":"2026-06-16T00:00:00Z","actor":{"kind":"agent","id":"qa"},"kind":"note","payload":{}'
    b',"sig":"z' + b"1" * 64 + b'","key_version":0}'
)


def rule(data: bytes) -> None:
    """A peer's rules are followed or passed over, and say the same of a path each time."""
    texts, path = parts(data, 2)
    told = selection.as_told(texts.decode(errors="replace").split("\n"))
    for place in (path.decode(errors="replace"), *LOG_PATHS):
        assert told.carries(place) == told.carries(place) == selection.Selection(told.rules).carries(place)


def multibase_text(data: bytes) -> None:
    """No bytes have two texts in one base, but for upper and lower case."""
    text = data.decode(errors="replace")
    with suppress(MalformedRecord):
        found = multibase.decode(text)
        assert multibase.decode(multibase.encode(found)) == found
    for reader in (signatures.read_key, signatures.read_signature):
        with suppress(MalformedRecord):
            reader(text)


# --- names and times ----------------------------------------------------------------------------------


def timestamp(data: bytes) -> None:
    """What is read is written and read back as the same instant; an item's time is in range."""
    text = data.decode(errors="replace")
    with suppress(MalformedRecord):
        found = timestamps.parse(text)
        assert 0 <= found.clamped < INFINITY
        assert timestamps.parse(found.canonical) == found
        assert timestamps.parse(found.canonical).canonical == found.canonical
    experience_times.instant(text)
    experience_times.end_of(text)


def path_name(data: bytes) -> None:
    """A path that is taken has plain components only, and what the table finds is one of its patterns."""
    text = data.decode(errors="surrogateescape")
    with suppress(IllegalName):
        path = names.parse_path(text)
        components = path.split("/")
        assert path.isascii()
        assert not {"", ".", ".."} & {*components}
        if datasets.find(path) is not None:
            assert components[0] in ("skills", "agents", "channels", "experience", "open-items.jsonl")
            assert not components[-1].startswith(("identity.key", "auth", "."))
            assert not components[-1].endswith(".lock")
    with suppress(IllegalName):
        device = names.parse_device_id(text)
        assert names.parse_device_id(names.grouped(device)) == device
    for kind in names.NAME_RULES:
        if names.legal_name(kind, text):
            assert "/" not in text
            assert text not in (".", "..")


def identified(data: bytes) -> None:
    """The predicate of membership: a body is keyed or malformed, at any path, the same each time."""
    path, body = parts(data, 2)
    places = [*LOG_PATHS, path.decode(errors="replace")]
    for place in places:
        with suppress(MalformedRecord):
            key = datasets.identify(place, body)
            assert key == datasets.identify(place, body)
            assert 0 <= key.ts < INFINITY
            assert len(key.id) == 32
            row = datasets.require(place)[1]
            if row.identity is not None:
                assert datasets.identify(place, datasets.carried(row, body)) == key
                row.readable(body)
                row.kind_of(body)
