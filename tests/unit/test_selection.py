"""What a device carries: the globs, the order of rules, and what is told to whom."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetsync.selection import (
    EVERYTHING,
    MAX_RULES,
    Selection,
    as_told,
    fits,
    name_fits,
    require_glob,
    require_skill_glob,
)

DEPLOY = "skills/deploy/events.jsonl"


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        ("skills/deploy/events.jsonl", DEPLOY, True),
        ("skills/deploy", DEPLOY, True),
        ("skills", DEPLOY, True),
        ("skill", DEPLOY, False),
        ("deploy", DEPLOY, False),
        ("skills/*", DEPLOY, True),
        ("skills/dep*", DEPLOY, True),
        ("skills/d?ploy", DEPLOY, True),
        ("skills/?", DEPLOY, False),
        ("*/events.jsonl", DEPLOY, False),
        ("*/*/events.jsonl", DEPLOY, True),
        ("**/events.jsonl", DEPLOY, True),
        ("**/events.jsonl", "skills/deploy/skill.yaml", False),
        ("**/skills/deploy", DEPLOY, True),
        ("**/skills/deploy", "agents/bob/skills/deploy/skill.yaml", True),
        ("**", DEPLOY, True),
        ("skills/**/events.jsonl", DEPLOY, True),
        ("skills/deploy/events.jsonl/**", DEPLOY, True),
        ("skills/deploy/events.jsonl/*", DEPLOY, False),
        ("Skills", DEPLOY, False),
    ],
)
def test_what_a_glob_fits(glob, path, expected):
    """Stars stay within a name, two of them cross slashes, and a directory stands for all below it."""
    assert fits(glob, path) is expected


@pytest.mark.parametrize(
    "text",
    ["", "/skills", "skills/", "a//b", "../x", "a/./b", "a**", "a\\b", "[ab]", "{a,b}", "!a", "é", "x" * 257],
)
def test_what_is_no_glob(text):
    """Whatever other tools give a meaning and this one does not is refused, not taken literally."""
    with pytest.raises(ValueError, match="is not a glob: "):
        require_glob(text)


def test_what_is_no_skill():
    """A private skill is named, not described by a path."""
    assert require_skill_glob("diary-*") == "diary-*"
    for text in ("", "skills/diary", "Diary", "a b"):
        with pytest.raises(ValueError, match="is not a skill's name"):
            require_skill_glob(text)


names = st.text("ab", min_size=1, max_size=4)
globs = st.lists(
    st.text("ab*?", min_size=1, max_size=4).map(lambda t: re.sub(r"\*+", "*", t)) | st.just("**"),
    min_size=1,
    max_size=4,
)


@given(globs, st.lists(names, min_size=1, max_size=5))
def test_globs_mean_what_a_regular_expression_would(glob, path):
    """The linear matcher agrees with the obvious translation."""
    parts = [
        "(?:[^/]+/)*" if p == "**" else re.escape(p).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") + "/"
        for p in glob
    ]
    expected = re.fullmatch("".join(parts) + "(?:[^/]+/)*", "/".join(path) + "/") is not None
    assert fits("/".join(glob), "/".join(path)) is expected


def test_a_malicious_glob_costs_no_time():
    """Many stars before a name that does not fit are no exponential search."""
    began = time.process_time()
    assert not name_fits("*a" * 120 + "b", "a" * 500)
    assert not fits("/".join([*["**", "a"] * 60, "b"]), "/".join("a" * 250))
    assert time.process_time() - began < 2.0


def test_many_rules_of_a_peer_cost_little():
    """As many as it may tell, each with stars, and a path that none of them fits."""
    chosen = Selection(tuple(f"**/skills/*x{number}*y?z" for number in range(MAX_RULES)))
    assert chosen.carries("skills/warm/skill.yaml")
    began = time.process_time()
    for number in range(100):
        assert chosen.carries(f"skills/some-skill-{number}/events.jsonl")
    assert time.process_time() - began < 0.5


def test_the_last_rule_that_fits_decides():
    """Rules are read from the top down, as in an ignore file."""
    chosen = Selection(("**", "!skills", "skills/scratch-*", "!skills/scratch-keep"))
    assert chosen.carries(DEPLOY)
    assert not chosen.carries("channels/main/channel.yaml")
    assert not chosen.carries("skills/scratch-1/skill.yaml")
    assert chosen.carries("skills/scratch-keep/skill.yaml")


def test_without_rules_everything_is_carried():
    """The usual device leaves nothing out and says nothing of it."""
    assert EVERYTHING.is_everything
    assert EVERYTHING.carries("anything/at/all")
    assert EVERYTHING.rules_for({"deploy"}) == []
    assert as_told([]) is EVERYTHING


def test_private_skills_come_before_every_rule():
    """No include brings a private skill back, an agent's own copy of it neither."""
    chosen = Selection(("!skills/diary",), ("diary", "tax-*"))
    assert not chosen.is_everything
    assert not chosen.carries("skills/diary/events.jsonl")
    assert not chosen.carries("agents/bob/skills/diary/skill.yaml")
    assert not chosen.carries("skills/tax-2026/skill.yaml")
    assert chosen.carries("skills/taxi/skill.yaml")
    assert chosen.carries("channels/diary/channel.yaml")
    assert chosen.private_skill("agents/bob/skills/diary/skill.yaml") == "diary"


def test_a_private_name_is_told_only_to_who_has_named_it():
    """Rules for a peer hold the names it knows anyway, and nothing of the others."""
    chosen = Selection(("experience",), ("diary", "tax-*"))
    assert chosen.rules_for(()) == ["experience"]
    assert chosen.rules_for({"tax-2026", "deploy"}) == ["experience", "**/skills/tax-2026"]
    heard = as_told(chosen.rules_for({"tax-2026"}))
    assert not heard.carries("skills/tax-2026/skill.yaml")
    assert not heard.carries("agents/bob/skills/tax-2026/skill.yaml")
    assert heard.carries("skills/diary/skill.yaml")


def test_rules_of_another_grammar_are_passed_over():
    """A newer or a hostile peer can say anything: what is understood counts, and only so much of it."""
    assert as_told(["[a-z]", "", "!", "/etc", "experience"]) == Selection(("experience",))
    assert as_told(["!!x", "a**b"]) is EVERYTHING
    assert len(as_told(["x"] * (MAX_RULES + 5)).rules) == MAX_RULES
