"""models.yaml: one entry is replaced, put in or taken out, and no other byte of the file changes."""

from __future__ import annotations

import time

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import model_entries, models

FILE = b"""\
# my models
schema_version: 1
models:
  # the big one
  claude: # remark
    provider: anthropic   # wire
    # which
    model: claude-opus
    secret: env:KEY
    # tail of claude

  gpt: {provider: openai, model: gpt-5,
    capabilities: [chat]} # inline
  "odd: name":
    params:
      note: |+
        kept

  # mine alone
  run:
    secret: cmd:vault read
roles:
  main:
    primary: claude
"""
CLAUDE = b"provider: anthropic   # wire\n# which\nmodel: claude-opus\nsecret: env:KEY\n# tail of claude\n"
GPT = b"{provider: openai, model: gpt-5,\n  capabilities: [chat]}"
ODD = b"params:\n  note: |+\n    kept\n\n"
NEW = b"provider: new # hi\nparams:\n  note: |\n    a\n\n    b\n"


def test_entries_are_what_was_written_at_the_left_margin() -> None:
    """An entry travels with the comments inside it, in block style as in braces."""
    assert models.entries(FILE) == {"claude": CLAUDE, "gpt": GPT, "odd: name": ODD}
    assert list(models.left_out(FILE)) == ["run"]


def test_line_breaks_of_the_file_stay_at_home() -> None:
    """The same entries come out of a file with CR LF, and go into it with CR LF."""
    windows = FILE.replace(b"\n", b"\r\n")
    assert models.entries(windows) == models.entries(FILE)
    for name in ("claude", "gpt", "aaa", "zzz"):
        spliced = models.splice(windows, name, NEW.replace(b"\n", b"\r\n"))
        assert spliced == models.splice(FILE, name, NEW).replace(b"\n", b"\r\n")


def test_an_entry_is_replaced_where_it_stands() -> None:
    """Its name, the remark behind its name and all around it stay."""
    indented = b"    provider: new # hi\n    params:\n      note: |\n        a\n\n        b\n"
    old = b"    " + CLAUDE.replace(b"\n", b"\n    ")[:-4]
    assert models.splice(FILE, "claude", NEW) == FILE.replace(old, indented)
    old = b" {provider: openai, model: gpt-5,\n    capabilities: [chat]} # inline\n"
    assert models.splice(FILE, "gpt", NEW) == FILE.replace(old, b" # inline\n" + indented)
    flow = models.splice(FILE, "claude", b"{model: x,\n  params: {a: 1}}")
    assert b"  claude: {model: x,\n    params: {a: 1}} # remark\n\n  gpt:" in flow


def test_an_entry_is_put_in_where_its_name_belongs() -> None:
    """Among sorted names in order, as mur writes them; at the end if the file is not sorted."""
    entry = b"  m:\n    model: x\n"
    assert models.splice(FILE, "m", b"model: x") == FILE.replace(b'  "odd', entry + b'  "odd')
    first = models.splice(FILE, "a", b"model: x")
    assert first == FILE.replace(b"models:\n", b"models:\n" + entry.replace(b"m:", b"a:", 1))
    unsorted = b"models:\n    b: {}\n    a:\n       model: y # z\n\n# end\n"
    expected = b"models:\n    b: {}\n    a:\n       model: y # z\n    B:\n       model: x\n\n# end\n"
    assert models.splice(unsorted, "B", b"model: x") == expected


def test_an_entry_is_taken_out_with_its_lines() -> None:
    """Comments above it stay; the last one leaves an empty mapping, which mur reads."""
    gone = b"  gpt: {provider: openai, model: gpt-5,\n    capabilities: [chat]} # inline\n"
    assert models.splice(FILE, "gpt", None) == FILE.replace(gone, b"")
    assert (
        models.splice(b"models: # r\n  # c\n  a:\n    b: 1\nroles: {}", "a", None)
        == b"models: {} # r\n  # c\nroles: {}"
    )
    assert models.splice(FILE, "nobody", None) == FILE


def test_what_says_the_same_is_left_as_it_is_written() -> None:
    """Another spelling of an entry is no change, so two devices do not re-spell each other's files."""
    assert models.splice(FILE, "gpt", b"capabilities:\n- 'chat'\nmodel: gpt-5\nprovider: openai\n") == FILE


@pytest.mark.parametrize(
    "name", ["gpt-4: x", "12", "null", "- a", "#x", "'q'", '"', "a b", "ω", "{x}", "true", "&a", "?"]
)
def test_odd_names_survive(name: str) -> None:
    """A name that YAML would take for something else is quoted, and found again under itself."""
    for file in (b"", FILE, b'{"schema_version": 1, "models": {"b": {}}}'):
        spliced = models.splice(file, name, b"model: x\n")
        assert model_entries.digest(models.entries(spliced)[name]) == model_entries.digest(b"model: x")
        assert models.splice(spliced, name, b"model: y\n") != spliced
        assert name not in models.entries(models.splice(spliced, name, None))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"", b"schema_version: 1\nmodels:\n  a:\n    model: x\n"),
        (b" \n\n", b" \n\nschema_version: 1\nmodels:\n  a:\n    model: x\n"),
        (b"# mine", b"# mine\nschema_version: 1\nmodels:\n  a:\n    model: x\n"),
        (b"# mine\r\n", b"# mine\r\nschema_version: 1\r\nmodels:\r\n  a:\r\n    model: x\r\n"),
        (b"models:\nroles: {}\n", b"models:\n  a:\n    model: x\nroles: {}\n"),
        (b"models: {} # none\n    # yet\nx: 1", b"models: # none\n    # yet\n  a:\n    model: x\nx: 1"),
        (b"models: ~", b"models:\n  a:\n    model: x\n"),
        (b"schema_version: 1", b"schema_version: 1\nmodels:\n  a:\n    model: x\n"),
        (
            b"---\nschema_version: 1 # v\n# end\n...\n",
            b"---\nschema_version: 1 # v\nmodels:\n  a:\n    model: x\n# end\n...\n",
        ),
        (b"{}", b'{"schema_version": 1, "models": {"a": {"model": "x"}}}'),
        (b'{"schema_version": 1}\n', b'{"schema_version": 1, "models": {"a": {"model": "x"}}}\n'),
        (b"models: {b: {c: 1}, }\n", b'models: {"a": {"model": "x"}, b: {c: 1}, }\n'),
        (b"models: {\n  B: {c: 1} # c\n}\n", b'models: {\n  B: {c: 1}, "a": {"model": "x"} # c\n}\n'),
    ],
)
def test_the_first_entry_finds_or_makes_its_place(file: bytes, expected: bytes) -> None:
    """Into an empty file, one without `models:`, one where it is empty, and one written in braces."""
    assert models.splice(file, "a", b"model: x\n") == expected
    assert list(models.entries(models.splice(expected, "a", None))) == list(models.entries(file))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (b"models:\n  b:\n    model: y\n", b"models:\n  a:\n    model: x\n  b:\n    model: y\n"),
        (b"models:\n b:\n  model: y\n", b"models:\n a:\n  model: x\n b:\n  model: y\n"),
        (b"models:\n   B:\n    model: y", b"models:\n   B:\n    model: y\n   a:\n    model: x\n"),
        (b"models:\r\n  B: {}", b"models:\r\n  B: {}\r\n  a:\r\n    model: x\r\n"),
        (b"x: 1\nmodels: {} # none\ny: 2\n", b"x: 1\nmodels: # none\n  a:\n    model: x\ny: 2\n"),
        (b"x: 1\r\nmodels: {}", b"x: 1\r\nmodels:\r\n  a:\r\n    model: x\r\n"),
        (b"models: {}\r\n    # yet", b"models:\r\n    # yet\r\n  a:\r\n    model: x\r\n"),
        (b"  x: 1\n  y: 2\n", b"  x: 1\n  y: 2\n  models:\n    a:\n      model: x\n"),
        (b"# mine\r\nx: 1", b"# mine\r\nx: 1\r\nmodels:\r\n  a:\r\n    model: x\r\n"),
        (b'{"models": {}, "x": 1}', b'{"models": {"a": {"model": "x"}}, "x": 1}'),
        (
            b'{"models": {"A": {}, "b": {}, "c": {}}}',
            b'{"models": {"A": {}, "a": {"model": "x"}, "b": {}, "c": {}}}',
        ),
        (
            b'{"x": 1,\n "models": {"B": {}, "b": {}, "A": {}}}',
            b'{"x": 1,\n "models": {"B": {}, "b": {}, "A": {}, "a": {"model": "x"}}}',
        ),
    ],
)
def test_an_entry_is_laid_out_as_those_around_it(file: bytes, expected: bytes) -> None:
    """Columns, line breaks and braces are the file's, also where it ends without a break; taken out again
    the entry leaves what was there.
    """
    spliced = models.splice(file, "a", b"model: x\n")
    assert spliced == expected
    assert models.entries(models.splice(spliced, "a", None)) == models.entries(file)


def test_one_of_two_entries_is_taken_out() -> None:
    """The other stays as it is, and is no empty mapping."""
    file = b"models:\n  a: {}\n  b:\n    model: y\n"
    assert models.splice(file, "b", None) == b"models:\n  a: {}\n"
    assert models.splice(file, "a", None) == b"models:\n  b:\n    model: y\n"


def test_a_value_in_braces_stays_in_braces() -> None:
    """Behind its name, however many lines it has, and the remark behind it; on one line among braces."""
    one, three = b"{model: x}", b"{model: x,\n  params: {a: 1},\n  tier: local}\n"
    start, _, rest = FILE.partition(b"  claude: # remark\n")
    rest = rest[rest.index(b"\n  gpt:") :]
    assert models.splice(FILE, "claude", one) == start + b"  claude: {model: x} # remark\n" + rest
    lines = b"  claude: {model: x,\n    params: {a: 1},\n    tier: local} # remark\n"
    assert models.splice(FILE, "claude", three) == start + lines + rest
    flat = b'{"models": {"claude": {"model": "x", "params": {"a": 1}, "tier": "local"}}}'
    assert models.splice(b'{"models": {"claude": {}}}', "claude", three) == flat


def test_entries_in_braces_are_changed_in_place() -> None:
    """In a file written like JSON nothing moves either."""
    file = b'{"models": {"a": {"model": "x"}, "b": {"model": 1}}, "roles": {}}'
    assert models.entries(file) == {"a": b'{"model": "x"}', "b": b'{"model": 1}'}
    assert models.splice(file, "a", b"model: z\n") == file.replace(b'{"model": "x"}', b'{"model": "z"}')
    assert models.splice(file, "b", b"{model: 'z'}") == file.replace(b'{"model": 1}', b"{model: 'z'}")
    assert models.splice(file, "a", None) == file.replace(b'"a": {"model": "x"}, ', b"")
    assert models.splice(file, "b", None) == file.replace(b', "b": {"model": 1}', b"")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (b"{secret: 'cmd:x'}", "command"),
        (b"&x {model: y}", "anchor"),
        (b"*x", "anchor"),
        (b"{<<: {model: y}}", "merge key"),
        (b"{model: !t y}", "tag"),
        (b"{model: !!str y}", "tag"),
        (b"{model: 1, model: 2}", "twice"),
        (b"gpt", "mapping"),
        (b"", "mapping"),
    ],
)
def test_an_entry_that_does_not_sync_is_left_alone(entry: bytes, reason: str) -> None:
    """It is named with the reason, never replaced or removed, and the others sync all the same."""
    file = b"models:\n  a:\n    model: x\n  b: " + entry + b"\n"
    assert models.entries(file) == {"a": b"model: x\n"}
    assert reason in models.left_out(file)["b"]
    for value in (b"model: z\n", None):
        with pytest.raises(MalformedRecord, match=reason):
            models.splice(file, "b", value)
    assert models.splice(file, "a", b"model: z\n") == file.replace(b"model: x", b"model: z", 1)


def test_what_stands_close_to_an_entry_is_not_in_it() -> None:
    """An anchor on the next name spoils the next entry only."""
    file = b"{models: {a: {m: 1},&x b: {m: 2}}}"
    assert models.entries(file) == {"a": b"{m: 1}"}
    assert list(models.left_out(file)) == ["b"]


@pytest.mark.parametrize(
    "file",
    [
        b"models: [",
        b"models:\n\ta: 1\n",
        b"- a\n",
        b"models",
        b"models:\n- a\n",
        b"models: text\n",
        b"models: {a: {}}\nmodels: {}\n",
        b"models:\n  a: {}\n  'a': {}\n",
        b"models: &x\n  a: {}\n",
        b"models: *x\n",
        b"models: !t {}\n",
        b"!t\nmodels: {}\n",
        b"models: {}\n---\nmodels: {}\n",
        b"\xef\xbb\xbfmodels: {}\n",
        b"\xff",
        b"\x00",
        b"---\n",
        b"{models: ~}",
        b"? models\n: a: {}\n",
    ],
)
def test_a_file_that_cannot_be_read_is_never_replaced(file: bytes) -> None:
    """What mur could not read as a registry, or only in another way, is not touched."""
    with pytest.raises(MalformedRecord):
        models.splice(file, "b", b"model: x\n")


@pytest.mark.parametrize("value", [b"secret: cmd:x\n", b"", b"x", b"a: &x 1\n", b"a: 1\na: 2\n", b"a: [\n"])
def test_a_value_that_may_not_travel_is_never_written(value: bytes) -> None:
    """Whatever a peer sends, it does not get into the file."""
    for name in ("claude", "new"):
        with pytest.raises(MalformedRecord):
            models.splice(FILE, name, value)


@pytest.mark.parametrize(
    "value",
    [
        b"---\nmodel: x\n",
        b"%YAML 1.1\n---\nmodel: x\n...\n",
        b"  model: x\n",
        b"# only\nmodel: x\n# that\n",
        b"# on top\n{model: x}\n",
        b"{model: x} # behind\n",
        b'"model": "x\n\n y"\n',
        b"model: x\r\nparams:\r\n  a: |\r\n    b\r\n",
        b"model: |1+\n x\n\n",
        b"model: |\n  x",
    ],
)
def test_strange_spellings_say_the_same_in_the_file(value: bytes) -> None:
    """A value says in the file what it said by itself, and no other entry changes."""
    for name in ("a", "claude", "gpt", "zz"):
        spliced = models.splice(FILE, name, value)
        assert model_entries.digest(models.entries(spliced)[name]) == model_entries.digest(value)
        others = {k: v for k, v in models.entries(spliced).items() if k != name}
        assert others == {k: v for k, v in models.entries(FILE).items() if k != name}


def test_a_large_file_takes_no_time() -> None:
    """The effort grows with the file, not with its square."""
    file = b"models:\n" + b"".join(b"  m%05d:\n    model: x # %d\n    # c\n" % (i, i) for i in range(12_000))
    begun = time.process_time()
    assert len(models.entries(file)) == 12_000
    assert models.splice(file, "m05000", b"model: y\n").count(b"model: y\n") == 1
    assert time.process_time() - begun < 20


def test_what_could_not_be_found_again_is_not_put_in() -> None:
    """A value that would say the same in the file, but that nothing could be cut out of it as, stays out."""
    with pytest.raises(MalformedRecord):
        models.splice(FILE, "a", b"?")
