"""Two devices that do not carry the same: what they compare, what they say, and what never travels."""

from __future__ import annotations

import anyio
import pytest

from fleetsync.devices.notes import Direction
from fleetsync.errors import DishonestPeer
from fleetsync.ports import NOT_CARRIED, Group, Outcome
from fleetsync.selection import EVERYTHING, Selection
from fleetsync.sync.accord import MAX_NAMED, Accord
from fleetsync.sync.exchange import Ending, Exchange
from fleetsync.sync.responder import Responder
from fleetsync.sync.session import Session
from fleetsync.wire import codec
from fleetsync.wire.messages import NO_TERMS, Batch, Heartbeat, Hello, Terms
from tests.fakes.fleet import FakeCaller, Laptop, event, log_path, manifest_path

DEPLOY, DIARY, SCRATCH = log_path("deploy"), log_path("diary"), log_path("scratch")
PRIVATE = Selection(private=("diary",))


class Pair:
    """Two laptops that have exchanges; what each knows of the other lasts, as in an engine."""

    def __init__(self) -> None:
        self.a, self.b = Laptop("a"), Laptop("b")
        self.accords = {"a": Accord(), "b": Accord()}
        self.directions = {"a": Direction.BOTH, "b": Direction.BOTH}
        self.last: Exchange | None = None
        self.callers: list[FakeCaller] = []

    def choose(self, letter: str, selection: Selection) -> None:
        laptop = self.a if letter == "a" else self.b
        laptop.local.selection = selection
        laptop.storage.select(selection)

    async def exchange(self, here: str = "a", **options) -> Exchange:
        one, other = (self.a, self.b) if here == "a" else (self.b, self.a)
        there = "b" if here == "a" else "a"
        caller = other.caller(one)
        caller.accord, caller.direction = self.accords[there], self.directions[there]
        self.callers.append(caller)
        options = {"accord": self.accords[here], "direction": self.directions[here], **options}
        session = Session(one.local, Responder(other.local, caller), previous=self.last, **options)
        self.last = await session.run()
        return self.last


@pytest.fixture
def pair() -> Pair:
    """Both have three skills' logs, some lines in common and some not."""
    made = Pair()
    for laptop, own in ((made.a, 1), (made.b, 2)):
        for path in (DEPLOY, DIARY, SCRATCH):
            laptop.learn(path, [event(0), event(own)])
    return made


@pytest.mark.parametrize("here", ["a", "b"])
async def test_only_what_both_carry_is_moved_and_proven(pair, here):
    """Whoever calls, what one of the two leaves out stays where it is, and the rest becomes equal."""
    pair.choose("a", Selection(("skills/scratch",)))
    result = await pair.exchange(here)
    assert result.ending is Ending.CONVERGED
    assert result.closing.equal
    assert result.closing.local.count == 6
    assert (result.received, result.sent) == (2, 2)
    assert result.traffic.round_trips <= 5
    for path, lines in ((DEPLOY, 3), (DIARY, 3), (SCRATCH, 2)):
        assert len(pair.a.lines(path)) == len(pair.b.lines(path)) == lines
    again = await pair.exchange(here)
    assert again.traffic.round_trips == 1


@pytest.mark.parametrize("here", ["a", "b"])
async def test_stretches_of_the_order_are_sifted(here):
    """Where one side has nothing the other gives a whole stretch of its order: less what is left out."""
    pair = Pair()
    for number in range(3000):
        pair.b.write((DEPLOY, SCRATCH)[number % 2], [event(number)])
    pair.b.storage.scan(None)
    pair.choose("a", Selection(("skills/scratch",)))
    result = await pair.exchange(here)
    assert result.ending is Ending.CONVERGED
    assert result.received + result.sent == len(pair.a.lines(DEPLOY)) == 1500
    assert not result.refused
    assert pair.accords["a"].theirs is EVERYTHING
    assert sum(step.count for step in result.steps if step.name in ("fetch", "offer")) == 1500


async def test_both_may_leave_something_out(pair):
    """The part to compare is what neither leaves out."""
    pair.choose("a", Selection(("skills/scratch",)))
    pair.choose("b", Selection(("skills/diary",)))
    result = await pair.exchange()
    assert result.ending is Ending.CONVERGED
    assert result.closing.local.count == result.closing.remote.count == 3
    assert result.traffic.round_trips <= 5
    assert (await pair.exchange()).traffic.round_trips == 1


async def test_nothing_in_common_is_equal(pair):
    """Two devices that share no path have nothing to prove."""
    pair.choose("a", Selection(("**",)))
    result = await pair.exchange()
    assert (result.ending, result.closing.local.count) == (Ending.CONVERGED, 0)
    assert result.traffic.round_trips == 1


async def test_without_a_choice_nothing_is_said(pair):
    """The usual hello costs what it always did."""
    asked: list[Terms] = []
    responder = pair.b.as_peer_of(pair.a)

    class Listening:
        device = responder.device

        async def hello(self, terms: Terms = NO_TERMS) -> Hello:
            asked.append(terms)
            answer: Hello = await responder.hello(terms)
            assert answer.excluded == answer.capabilities == []
            return answer

        def __getattr__(self, name):
            return getattr(responder, name)

    await Session(pair.a.local, Listening()).run()
    assert set(map(codec.encode, asked)) == {codec.encode(NO_TERMS)}


@pytest.mark.parametrize("here", ["a", "b"])
async def test_a_private_skill_never_travels_and_both_find_equality(pair, here):
    """The peer that knows the name anyway is told to leave it out, and the exchange is proven."""
    pair.choose("a", PRIVATE)
    result = await pair.exchange(here)
    assert result.ending is Ending.CONVERGED
    assert result.closing.equal
    assert pair.a.lines(DIARY) == {event(0), event(1)}
    assert pair.b.lines(DIARY) == {event(0), event(2)}
    assert not result.refused
    again = await pair.exchange(here)
    assert again.traffic.round_trips == 1


@pytest.mark.parametrize("here", ["a", "b"])
async def test_a_private_name_is_not_told_to_who_does_not_know_it(pair, here):
    """A peer without that skill hears nothing of it, in no message at all."""
    pair.b.home.files.pop(DIARY)
    pair.b.storage.select(Selection(("skills/diary",)))
    pair.b.storage.select(EVERYTHING)
    pair.choose("a", PRIVATE)
    for each in (here, "a", "b"):
        assert (await pair.exchange(each)).ending is Ending.CONVERGED
    assert pair.accords["b"].theirs is EVERYTHING
    assert pair.accords["a"].terms(PRIVATE, Direction.BOTH) == NO_TERMS


async def test_a_choice_taken_back_is_heard(pair):
    """Carried again, the paths are compared again, and what was missed comes."""
    pair.choose("a", Selection(("skills/scratch",)))
    await pair.exchange()
    pair.choose("a", EVERYTHING)
    await pair.exchange("a")
    result = await pair.exchange("b")
    assert result.ending is Ending.CONVERGED
    assert result.closing.local.count == 9
    assert pair.a.lines(SCRATCH) == pair.b.lines(SCRATCH)


async def test_a_peer_that_hears_nothing_is_refused_and_left_in_peace(pair):
    """An older device knows no terms: it is given what both carry, what it gives beyond is declined, and
    that is no failure.
    """
    pair.choose("a", Selection(("skills/scratch",)))
    old = Responder(pair.b.local, pair.b.caller(pair.a))

    class Older:
        device = old.device

        async def hello(self, terms: Terms = NO_TERMS) -> Hello:
            return await old.hello()

        def __getattr__(self, name):
            return getattr(old, name)

    result = None
    for _ in range(3):
        result = await Session(pair.a.local, Older(), previous=result).run()
        assert result.ending is Ending.CONVERGED
    assert pair.a.lines(SCRATCH) == {event(0), event(1)}
    assert pair.a.lines(DEPLOY) == pair.b.lines(DEPLOY)


async def test_an_offer_of_what_is_left_out_is_declined_in_words_that_programs_know(pair):
    """The receipt says so for each body; what is carried beside it is taken."""
    pair.choose("b", PRIVATE)
    caller = pair.b.caller(pair.a)
    batch = Batch([Group(DIARY, [event(7)]), Group(DEPLOY, [event(7)])])
    receipt = await Responder(pair.b.local, caller).offer(batch)
    [(position, verdict)] = receipt.exceptions.items()
    assert (position, verdict.outcome, verdict.reason) == (0, Outcome.REFUSED, NOT_CARRIED)
    assert caller.accord.terms(PRIVATE, Direction.BOTH).excluded == ["**/skills/diary"]


async def test_the_peer_must_still_be_honest(pair):
    """What was not asked for is no less a lie because it is not carried."""
    pair.choose("a", Selection(("skills/scratch",)))
    responder = pair.b.as_peer_of(pair.a)
    original = responder._batches

    def lying(want):
        async def batches():
            async for _ in original(want):
                yield Batch([Group(SCRATCH, [event(33)])])

        return batches()

    responder._batches = lying
    result = await Session(pair.a.local, responder).run()
    assert isinstance(result.error, DishonestPeer)


# --- directions --------------------------------------------------------------------------------------


@pytest.mark.parametrize("here", ["a", "b"])
@pytest.mark.parametrize("direction", [Direction.RECEIVE, Direction.SEND])
async def test_one_direction_is_proven_on_both_sides(pair, here, direction):
    """Whoever calls hears or tells that all that may travel has travelled."""
    pair.directions["a"] = direction
    result = await pair.exchange(here, tell=True)
    assert result.ending is Ending.CONVERGED
    assert result.one_way
    taker, giver = (pair.a, pair.b) if direction is Direction.RECEIVE else (pair.b, pair.a)
    assert len(taker.lines(DEPLOY)) == 3
    assert len(giver.lines(DEPLOY)) == 2
    assert len(pair.callers[-1].equal) == 1


async def test_two_that_both_only_take_are_no_failure(pair):
    """Nothing may travel, nothing is missing, nobody is at fault."""
    pair.directions = {"a": Direction.RECEIVE, "b": Direction.RECEIVE}
    result = await pair.exchange()
    assert (result.ending, result.received, result.sent, result.error) == (Ending.CONVERGED, 0, 0, None)


async def test_a_receipt_gives_nothing_away_in_one_direction(pair):
    """Who only receives does not answer an old version with its own newer one."""
    path = manifest_path("deploy")
    pair.b.home.files[path] = b"name: deploy\n"
    pair.b.storage.scan([path])
    [old] = [
        item.body
        for page in pair.b.storage.between((0, b""), (2**64 - 1, b""))
        for item in page
        if item.path == path
    ]
    pair.b.home.files[path] = b"name: deploy\nsecret: yes\n"
    pair.b.storage.scan([path])
    caller = pair.b.caller(pair.a)
    caller.direction = Direction.RECEIVE
    receipt = await Responder(pair.b.local, caller).offer(Batch([Group(path, [old])]))
    assert (receipt.exceptions[0].outcome, receipt.exceptions[0].covering) == (Outcome.SUPERSEDED, None)
    caller.direction = Direction.BOTH
    receipt = await Responder(pair.b.local, caller).offer(Batch([Group(path, [old])]))
    assert b"secret" in (receipt.exceptions[0].covering or b"")


async def test_who_only_sends_takes_no_covering_version_either(pair):
    """A receipt that brings a newer version is thanked for and not applied."""
    path = manifest_path("deploy")
    for laptop in (pair.a, pair.b):
        laptop.home.files[path] = b"name: deploy\n"
    pair.a.storage.scan([path])
    [old] = [
        item.body
        for page in pair.a.storage.between((0, b""), (2**64 - 1, b""))
        for item in page
        if item.path == path
    ]
    pair.b.storage.apply([Group(path, [old])], pair.a.device)
    pair.b.home.files[path] = b"name: deploy\nfrom: b\n"
    pair.b.storage.scan([path])
    pair.directions["a"] = Direction.SEND
    caller = pair.b.caller(pair.a)  # does not know yet that a only sends, and serves as always
    session = Session(pair.a.local, Responder(pair.b.local, caller), direction=Direction.SEND)
    await session.run()
    assert pair.a.home.files[path] == b"name: deploy\n"


# --- the accord --------------------------------------------------------------------------------------


def test_an_accord_begins_with_everything():
    """Before a peer has said a word it carries all and takes and gives."""
    accord = Accord()
    assert accord.theirs is EVERYTHING
    assert not accord.is_one_way
    assert accord.terms(EVERYTHING, Direction.BOTH) == NO_TERMS


def test_the_last_word_counts():
    """Rules and directions are replaced, not added."""
    accord = Accord()
    accord.hear(["experience"], ["receive-only", "something-new"])
    assert accord.is_one_way
    assert (accord.gives, accord.takes) == (False, True)
    assert not accord.theirs.carries("experience/x/events.jsonl")
    accord.hear([], ["send-only"])
    assert (accord.gives, accord.takes) == (True, False)
    assert accord.theirs is EVERYTHING


def test_what_a_peer_says_by_itself_outranks_an_older_answer():
    """An answer that was under way while the peer changed its mind is out of date."""
    accord = Accord()
    told = accord.told
    accord.hear([], ["receive-only"])
    accord.hear_answer([], ["send-only"], told=told)
    assert (accord.gives, accord.takes) == (False, True)
    accord.hear_answer([], [], told=accord.told)
    assert not accord.is_one_way


async def test_terms_that_change_during_an_exchange_are_looked_at_again(pair):
    """What was compared under the old ones proves nothing about the new ones."""
    caller = pair.b.caller(pair.a)
    caller.direction = Direction.SEND
    responder = Responder(pair.b.local, caller)

    class Changing:
        device = pair.b.device

        async def hello(self, terms=NO_TERMS):
            return await responder.hello(terms)

        async def reconcile(self, message):
            answer = await responder.reconcile(message)
            caller.direction = Direction.BOTH
            return answer

        def __getattr__(self, name):
            return getattr(responder, name)

    result = await Session(pair.a.local, Changing()).run()
    assert result.ending is Ending.CONVERGED
    assert pair.a.lines(DEPLOY) == pair.b.lines(DEPLOY)


async def test_a_stream_ends_at_once_for_a_caller_that_heard_other_terms(pair):
    """It would wait in vain for what it believes may not travel; it has to say hello again."""
    caller = pair.b.caller(pair.a)
    responder = Responder(pair.b.local, caller)
    await responder.hello()
    caller.direction = Direction.SEND
    with anyio.fail_after(5):
        async with responder.changes() as frames:
            assert [frame async for frame in frames] == []
    await responder.hello()
    async with responder.changes() as frames:
        assert isinstance(await anext(frames), Heartbeat)


def test_names_that_a_peer_invents_fill_no_memory():
    """A peer may name as many private skills as it likes; only so many are remembered."""
    accord, chosen = Accord(), Selection(private=("*",))
    for number in range(MAX_NAMED + 10):
        accord.named(chosen, f"skills/s{number}/skill.yaml")
    assert len(accord.terms(chosen, Direction.BOTH).excluded) == MAX_NAMED
