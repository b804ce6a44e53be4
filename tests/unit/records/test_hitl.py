"""Questions to a person, and the memory of approvals."""

from __future__ import annotations

from fleetsync.records import hitl

MESSAGE = b'{"ts":"2026-06-16T00:00:00Z","actor":{"kind":"system"},"kind":"message","payload":{}}'


def _hitl(kind: str, payload: str) -> bytes:
    when = '{"ts":"2026-06-16T00:00:00Z","actor":{"kind":"system"}'
    return f'{when},"kind":"{kind}","payload":{payload}}}'.encode()


def test_a_question_and_its_answer_have_one_id() -> None:
    """By it the answer is found; neither is taken for the other."""
    asked = _hitl("hitl-request", '{"hitl_id":"hitl-1","action_hash":"x"}')
    answered = _hitl("hitl-response", '{"hitl_id":"hitl-1"}')
    assert (hitl.question(asked), hitl.answer(asked)) == ("hitl-1", None)
    assert (hitl.question(answered), hitl.answer(answered)) == (None, "hitl-1")


def test_a_question_without_an_id_has_one_that_no_answer_has() -> None:
    """In doubt nothing is shown that nobody here can answer."""
    for payload in ("null", '{"hitl_id":7}', "[]"):
        assert hitl.question(_hitl("hitl-request", payload)) == hitl.NO_ID
        assert hitl.answer(_hitl("hitl-response", payload)) is None
    assert hitl.answer(_hitl("hitl-response", '{"hitl_id":""}')) is None


def test_other_lines_are_neither() -> None:
    """Messages, and bytes that are no event."""
    for line in (MESSAGE, b"garbage"):
        assert (hitl.question(line), hitl.answer(line)) == (None, None)


def test_approval_memory_is_named_by_a_marker() -> None:
    """Only a legal channel name is believed."""
    assert hitl.approval_channel(b"019ed0af-5e38-7912-b554-dc335a8fc2db\n") is not None
    assert hitl.approval_channel(b"../x") is None
    assert hitl.approval_channel(b"\xff") is None
