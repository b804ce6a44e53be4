"""Splicing YAML: whatever the style, the order and the comments, nothing changes but what was meant."""

from __future__ import annotations

from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from fleetsync.errors import MalformedRecord
from fleetsync.records import model_entries, models, profiles, yamltree
from fleetsync.records.yamlsplices import indented, outline

# --- texts as people and programs write them ------------------------------------------------------------

LAYOUT = st.sampled_from(
    ["", "", "", "\n", "# note\n", "    # deep note\n", "\n  # note\n\n", " \n", "# identity: x\n"]
)
REMARKS = st.sampled_from(["", "", "  # remark", " ", "\t# remark"])
SCALARS = st.sampled_from(
    [
        "plain",
        "1",
        "null",
        "on",
        "0x1f",
        "'it''s'",
        '"a # b"',
        "2026-05-30T00:00:00.000000001Z",
        "é 🙂",
        "~",
        "",
    ]
)
LONG_SCALARS = st.sampled_from(
    [
        "|\n  one\n   two\n\n  three\n",
        ">-\n  folded\n  text\n",
        "|2-\n    deep\n",
        "'two\n  lines'",
        '"a\n\n b"',
        "|\n  x\n\n",
    ]
)
FLOWS = st.sampled_from(["{}", "[]", "{a: 1, 'b': [x, \"y\"]}", "[a,\n  b]", "{a: 1,\n  # within\n  b: 2}"])


@st.composite
def mappings(
    draw, depth: int, step: int = 2, keys: tuple[str, ...] = ("a", "b", "c d", "'q'", '"r: s"')
) -> str:
    """The lines of a mapping in block style, at the left margin."""
    chosen = draw(st.lists(st.sampled_from(keys), min_size=1, max_size=5, unique=True))
    return "".join(draw(LAYOUT) + draw(members(key, depth, step)) for key in chosen)


@st.composite
def members(draw, key: str, depth: int, step: int = 2) -> str:
    """One member in block style, ending with a line break."""
    if depth and draw(st.booleans()):
        inside = indented(draw(mappings(depth - 1, step)), step)
        return f"{key}:{draw(REMARKS)}\n{inside}"
    if draw(st.booleans()):
        items = "".join(f"- {draw(SCALARS)}\n" for _ in range(draw(st.integers(1, 3))))
        return f"{key}:\n{items}"
    text = draw(st.one_of(SCALARS, SCALARS, LONG_SCALARS, FLOWS))
    remark = "" if text.endswith("\n") else draw(REMARKS)
    return f"{key}: {text}{remark}".rstrip("\n") + ("\n" * max(1, len(text) - len(text.rstrip("\n"))))


def finished(text: str, *, crlf: bool, ends: bool) -> bytes:
    text = text if ends else text.rstrip("\n")
    return (text.replace("\n", "\r\n") if crlf else text).encode()


ENDINGS = st.fixed_dictionaries({"crlf": st.booleans(), "ends": st.sampled_from([True, True, False])})


# --- models ---------------------------------------------------------------------------------------------

NAMES = ("a", "claude", '"odd: name"', "'gpt-4 # x'", "qwen2.5:7b", "12", "ω", "zz")
NEW_NAMES = st.sampled_from(["a", "claude", "odd: name", "gpt-4 # x", "12", "null", "new", "- x", "ω"])


@st.composite
def model_files(draw) -> bytes:
    step, depth = draw(st.sampled_from([(2, 2), (4, 4), (3, 1)]))
    names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    found = []
    for name in sorted(names) if draw(st.booleans()) else names:
        inside = indented(draw(mappings(1, step)), depth)
        flow = draw(
            st.sampled_from(
                ["{model: x}", "{secret: 'cmd:rm', model: y}", "{a: 1,\n   b: [2]}", "*x", "&x {a: 1}"]
            )
        )
        entry = (
            f"{name}:{draw(REMARKS)}\n{inside}" if draw(st.booleans()) else f"{name}: {flow}{draw(REMARKS)}\n"
        )
        found.append(draw(LAYOUT) + entry)
    entries = "models:" + (draw(REMARKS) + "\n" + indented("".join(found), step) if found else " {}\n")
    parts = [entries, "schema_version: 1\n", draw(LAYOUT) + "roles:\n  main: {primary: a} # r\n"]
    return finished(draw(LAYOUT) + "".join(draw(st.permutations(parts))) + draw(LAYOUT), **draw(ENDINGS))


VALUES = st.one_of(mappings(2), st.just("{provider: x,\n  model: 'y'}"), st.just("model: x")).map(str.encode)


def contents(file: bytes) -> tuple[dict[str, bytes], dict[str, str], object]:
    """What the entries say, which are left out and why, and all else in the file."""
    root = yamltree.read(file, [])
    assert isinstance(root, yamltree.Mapping)
    rest = [(key.text, outline(value)) for key, value in root.members if key.text != "models"]
    digests = {name: model_entries.digest(value) for name, value in models.entries(file).items()}
    return digests, models.left_out(file), rest


@settings(max_examples=150)
@given(model_files(), NEW_NAMES, VALUES)
def test_one_entry_changes_and_nothing_else(file: bytes, name: str, value: bytes) -> None:
    """After a splice the entry says what it shall, and every other line of the file is still there."""
    try:
        before = contents(file)
        result = models.splice(file, name, value)
    except MalformedRecord:
        reject()
    digests, left_out, rest = contents(result)
    assert digests == {**before[0], name: model_entries.digest(value)}
    assert (left_out, rest) == before[1:]
    assert models.splice(result, name, value) == result


@settings(max_examples=150)
@given(model_files(), NEW_NAMES, VALUES)
def test_what_was_put_in_comes_out_again(file: bytes, name: str, value: bytes) -> None:
    """Putting an entry in and taking it out leaves the file as it was, but for a last line break."""
    try:
        names = {**models.entries(file), **models.left_out(file)}
        inserted = models.splice(file, name, value)
    except MalformedRecord:
        reject()
    assume(names and name not in names)
    assert len(inserted) > len(file)
    assert models.splice(inserted, name, None).rstrip(b"\r\n") == file.rstrip(b"\r\n")


@settings(max_examples=150)
@given(model_files(), st.integers(0, 3))
def test_an_entry_carried_to_another_file_says_the_same(file: bytes, which: int) -> None:
    """What `entries` cuts out can be read by itself, and put into an empty file comes out as it went in."""
    found = list(models.entries(file).items())
    for name, value in found[which : which + 1]:
        elsewhere = models.splice(b"", name, value)
        assert model_entries.digest(models.entries(elsewhere)[name]) == model_entries.digest(value)
        assert models.entries(models.splice(b"", name, value))[name].rstrip() == value.rstrip()


# --- profiles -------------------------------------------------------------------------------------------

SHARED = (
    "name: coder",
    "id: 0190",
    "persona:\n  tone: dry",
    "skills:\n- a\n- b",
    "model: {provider: x}",
    "note: |\n  text",
)
OWN = (
    "identity:\n  pubkey: zABC # mine\n  key_version: 0",
    "transport: {stdio: true}",
    "deployment:\n  type: laptop\n\n  # eu\n  region: null",
    "schedule: []",
)
LIFE = (
    "restart: never",
    "max_restarts: 3",
    "schedule:\n- cron: '* * * * *'\n  message: |\n    hi\n",
    "idle_triggers: []",
)


@st.composite
def profile_files(draw) -> bytes:
    step = draw(st.sampled_from([2, 4]))
    life = draw(st.lists(st.sampled_from(LIFE), min_size=1, unique=True))
    inside = "".join(draw(LAYOUT) + line.rstrip("\n") + "\n" for line in life)
    lifecycle = f"lifecycle:{draw(REMARKS)}\n{indented(inside, step)}"
    parts = [*SHARED, *draw(st.lists(st.sampled_from(OWN), unique=True)), lifecycle]
    more = draw(st.lists(members("x", 2, step), max_size=1))
    lines = [draw(LAYOUT) + part.rstrip("\n") + "\n" for part in draw(st.permutations([*parts, *more]))]
    start = draw(st.sampled_from(["", "", "---\n", "# about\n--- # x\n"]))
    return finished(start + "".join(lines) + draw(LAYOUT), **draw(ENDINGS))


@settings(max_examples=200)
@given(profile_files())
def test_what_is_taken_apart_goes_together_again(file: bytes) -> None:
    """A profile's own text with its own local blocks is the profile, byte for byte."""
    try:
        value = profiles.travelling(file)
    except MalformedRecord:
        reject()
    profiles.check_value(value)
    assert profiles.travelling(value) == value
    assert profiles.splice(file, value) == file


@settings(max_examples=200)
@given(profile_files(), profile_files())
def test_a_device_keeps_its_blocks_and_takes_the_rest(ours: bytes, theirs: bytes) -> None:
    """After a splice the profile says what the peer's says, and each local block stands in it unchanged."""
    try:
        value, own = profiles.travelling(theirs), profiles.travelling(ours)
        result = profiles.splice(ours, value)
    except MalformedRecord:
        reject()
    assert profiles.digest(profiles.travelling(result)) == profiles.digest(value)
    assert profiles.lacking(result) == profiles.lacking(ours)
    assert all(block.encode() in result for block in OWN if block.encode() in ours)
    assert profiles.digest(profiles.travelling(profiles.splice(result, own))) == profiles.digest(own)


# --- anything at all ------------------------------------------------------------------------------------

HOSTILE = st.one_of(
    st.binary(max_size=200),
    st.text("{}[]:,-#&*!|>'\"%@` \n\r\tax1?", max_size=60).map(str.encode),
    st.text("{}[]:,-#&*!|>'\"%@` \n\r\tax1?", max_size=40).map(
        lambda text: f"models:\n a:\n  {text}".encode()
    ),
)


@settings(max_examples=500)
@given(HOSTILE, HOSTILE)
def test_hostile_text_is_refused_or_understood(file: bytes, value: bytes) -> None:
    """No text makes anything else than a result or `MalformedRecord`."""
    for attempt in (
        lambda: models.splice(file, "a", value),
        lambda: models.splice(file, "b", b"model: x"),
        lambda: models.splice(file, "a", None),
        lambda: models.left_out(file),
        lambda: model_entries.readable_by_mur(value),
        lambda: profiles.splice(file, value),
        lambda: profiles.travelling(file),
    ):
        try:
            attempt()
        except MalformedRecord:
            continue
