"""The pairing conversation in one process: two honest ends, then everything that goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fleetsync.devices import seal
from fleetsync.devices.identity import ensure_identity
from fleetsync.devices.pairing import (
    Answer,
    Begin,
    Confirm,
    Farewell,
    Joiner,
    Offerer,
    Paired,
    Party,
    Welcome,
)
from fleetsync.devices.roster import Vouch, read_record
from fleetsync.errors import (
    FleetsyncError,
    IllegalName,
    MalformedMessage,
    PairingFailed,
    ProtocolMismatch,
    TooLarge,
)

CODE = "7-orbit-falcon"
WRONG = "7-orbit-fabric"


def entropy_from(seed: int) -> Callable[[int], bytes]:
    """Different bytes at every call, the same ones in every run."""
    from hashlib import shake_256

    calls = iter(range(1_000_000))
    return lambda n: shake_256(f"{seed} {next(calls)}".encode()).digest(n)


@pytest.fixture(scope="module")
def parties(tmp_path_factory) -> dict[str, Party]:
    directory: Path = tmp_path_factory.mktemp("parties")

    def make(name: str, port: int) -> Party:
        identity = ensure_identity(directory / name, create=seal.new_credentials)
        return Party.of(identity, name, port, lambda _device: [])

    return {"anna": make("anna", 8473), "bert": make("bert", 9000), "mallory": make("mallory", 666)}


@pytest.fixture
def anna(parties: dict[str, Party]) -> Party:
    return parties["anna"]


@pytest.fixture
def bert(parties: dict[str, Party]) -> Party:
    return parties["bert"]


@pytest.fixture
def mallory(parties: dict[str, Party]) -> Party:
    return parties["mallory"]


def offering(me: Party, code: str = CODE) -> Offerer:
    return Offerer(me, code, now=0.0, entropy=entropy_from(1))


def joining(me: Party, offerer: Party, code: str = CODE) -> Joiner:
    return Joiner(me, code, offerer.certificate, entropy=entropy_from(2))


def converse(
    offerer: Offerer, joiner: Joiner, *, answer: float = 1.0, welcome: float = 1.0, finish: float = 1.0
) -> tuple[Paired, Paired]:
    """What the offerer and the joiner come to, and when the offerer takes its steps."""
    confirm = joiner.confirm(offerer.answer(joiner.begin, answer))
    farewell, joined = joiner.finish(offerer.welcome(confirm, welcome))
    return offerer.finish(farewell, finish), joined


def changed(message: bytes, kind: type[msgspec.Struct], **fields: object) -> bytes:
    return msgspec.msgpack.encode(
        msgspec.structs.replace(msgspec.msgpack.decode(message, type=kind), **fields)
    )


def test_two_devices_with_one_code_are_paired(anna, bert):
    """Each gets the other's certificate, name and port; both see the same words and hold both vouches."""
    offered, joined = converse(offering(anna), joining(bert, anna))
    assert (offered.device, offered.certificate, offered.name, offered.port) == (
        bert.device, bert.certificate, "bert", 9000,
    )  # fmt: skip
    assert (joined.device, joined.certificate, joined.name, joined.port) == (
        anna.device, anna.certificate, "anna", 8473,
    )  # fmt: skip
    assert offered.words == joined.words
    assert len(set(offered.words)) > 1
    assert offered.records == joined.records[::-1]
    vouches = [read_record(raw).statement for raw in offered.records]
    assert [(v.by, v.subject) for v in vouches] == [(anna.device, bert.device), (bert.device, anna.device)]


def test_words_differ_from_conversation_to_conversation(anna, bert):
    """They stand for what was said and proven, not for the two devices."""
    first, _ = converse(offering(anna), joining(bert, anna))
    offerer = Offerer(anna, CODE, now=0.0, entropy=entropy_from(3))
    second, _ = converse(offerer, joining(bert, anna))
    assert first.words != second.words


def test_both_vouches_name_the_removals_that_either_side_knows(anna, bert):
    """So that a new pairing sets aside what stood between the two, wherever it was heard of."""
    one, two = bytes([1] * 32), bytes([2] * 32)
    knows_one = anna._replace(removals=lambda device: [one] if device == bert.device else [])
    knows_two = bert._replace(removals=lambda device: [two] if device == anna.device else [])
    offered, _ = converse(offering(knows_one), joining(knows_two, anna))
    for raw in offered.records:
        vouch = read_record(raw).statement
        assert isinstance(vouch, Vouch)
        assert vouch.overrides == (one, two)


# --- guessing ----------------------------------------------------------------------------------------


def test_a_wrong_code_burns_the_code(anna, bert):
    """The first wrong guess is the last, even for who knows the code after all."""
    offerer, guesser = offering(anna), joining(bert, anna, WRONG)
    confirm = guesser.confirm(offerer.answer(guesser.begin, 1.0))
    with pytest.raises(PairingFailed, match="wrong code"):
        offerer.welcome(confirm, 1.0)
    with pytest.raises(PairingFailed, match="has been used"):
        offerer.answer(joining(bert, anna).begin, 2.0)


def test_a_second_confirmation_is_not_read(anna, bert):
    """After a wrong confirmation the right one is refused too: no second guess on one element."""
    offerer, joiner = offering(anna), joining(bert, anna)
    right = joiner.confirm(offerer.answer(joiner.begin, 1.0))
    with pytest.raises(PairingFailed):
        offerer.welcome(changed(right, Confirm, mac=bytes(32)), 1.0)
    with pytest.raises(PairingFailed, match="has been used"):
        offerer.welcome(right, 1.0)


@pytest.mark.parametrize("junk", [b"", b"\x90", b"noise", bytes(20_000)])
def test_junk_instead_of_a_confirmation_burns_the_code(anna, bert, junk):
    """From the answer on, nothing but a correct confirmation keeps the code alive."""
    offerer, joiner = offering(anna), joining(bert, anna)
    right = joiner.confirm(offerer.answer(joiner.begin, 1.0))
    with pytest.raises(FleetsyncError):
        offerer.welcome(junk, 1.0)
    with pytest.raises(PairingFailed):
        offerer.welcome(right, 1.0)


def test_whoever_begins_second_is_refused(anna, bert, mallory):
    """Two joiners at once: the second gets no element, and the first is not disturbed."""
    offerer, first, second = offering(anna), joining(bert, anna), joining(mallory, anna)
    answer = offerer.answer(first.begin, 1.0)
    assert offerer.in_use
    with pytest.raises(PairingFailed, match="has been used"):
        offerer.answer(second.begin, 1.0)
    farewell, joined = first.finish(offerer.welcome(first.confirm(answer), 1.0))
    assert offerer.finish(farewell, 1.0).words == joined.words


def test_an_abandoned_conversation_burns_the_code(anna, bert):
    """Whoever saw the element and went away may be guessing at home."""
    offerer = offering(anna)
    offerer.answer(joining(bert, anna).begin, 1.0)
    offerer.abandon()
    with pytest.raises(PairingFailed):
        offerer.answer(joining(bert, anna).begin, 1.0)


def test_a_false_offerer_learns_nothing_it_can_use(bert, mallory):
    """Who does not know the code cannot make the joiner vouch, and gets one guess."""
    offerer, joiner = offering(mallory, WRONG), joining(bert, mallory)
    confirm = joiner.confirm(offerer.answer(joiner.begin, 1.0))
    with pytest.raises(PairingFailed):
        offerer.welcome(confirm, 1.0)
    with pytest.raises(PairingFailed, match="does not know the code"):
        joiner.finish(msgspec.msgpack.encode(Welcome(bytes(32), b"")))
    with pytest.raises(PairingFailed, match="one attempt"):
        joiner.finish(msgspec.msgpack.encode(Welcome(bytes(32), b"")))


@pytest.mark.parametrize("step", ["answer", "welcome", "finish"])
def test_a_code_lives_five_minutes(anna, bert, step):
    """At 300 seconds it is over, at whatever step."""
    at = {s: 300.0 if s == step else 299.0 for s in ("answer", "welcome", "finish")}
    with pytest.raises(PairingFailed, match="expired"):
        converse(offering(anna), joining(bert, anna), **at)


# --- between the two -----------------------------------------------------------------------------------


def test_a_go_between_with_its_own_certificates_fails(anna, bert, mallory):
    """Mallory shows bert its own certificate and anna its own: the proofs do not match."""
    offerer, joiner = offering(anna), joining(bert, mallory)
    relayed = changed(joiner.begin, Begin, certificate=mallory.certificate)
    confirm = joiner.confirm(offerer.answer(relayed, 1.0))
    with pytest.raises(PairingFailed, match="wrong code"):
        offerer.welcome(confirm, 1.0)


def test_a_go_between_that_swaps_only_the_joiner_s_certificate_fails(anna, bert, mallory):
    """The certificate that is sent is covered, not only the one that is seen."""
    offerer, joiner = offering(anna), joining(bert, anna)
    confirm = joiner.confirm(
        offerer.answer(changed(joiner.begin, Begin, certificate=mallory.certificate), 1.0)
    )
    with pytest.raises(PairingFailed):
        offerer.welcome(confirm, 1.0)


@pytest.mark.parametrize("field", [{"name": "anna"}, {"port": 1}, {"version_max": 9}, {"version_min": 0}])
def test_nothing_the_joiner_said_can_be_changed(anna, bert, field):
    """Name, port and versions are covered by the proof."""
    offerer, joiner = offering(anna), joining(bert, anna)
    confirm = joiner.confirm(offerer.answer(changed(joiner.begin, Begin, **field), 1.0))
    with pytest.raises(PairingFailed):
        offerer.welcome(confirm, 1.0)


@pytest.mark.parametrize("field", [{"name": "bert"}, {"port": 1}])
def test_nothing_the_offerer_said_can_be_changed(anna, bert, field):
    """Names swapped on the way back, or another port, break the proof as well."""
    offerer, joiner = offering(anna), joining(bert, anna)
    confirm = joiner.confirm(changed(offerer.answer(joiner.begin, 1.0), Answer, **field))
    with pytest.raises(PairingFailed):
        offerer.welcome(confirm, 1.0)


def test_swapped_names_fail(anna, bert):
    """A go-between that gives each side the other's name is found out."""
    offerer, joiner = offering(anna), joining(bert, anna)
    answer = offerer.answer(changed(joiner.begin, Begin, name="anna"), 1.0)
    confirm = joiner.confirm(changed(answer, Answer, name="bert"))
    with pytest.raises(PairingFailed):
        offerer.welcome(confirm, 1.0)


def test_messages_of_another_conversation_are_worthless(anna, bert):
    """Replayed to a new code (even the same words) they prove nothing."""
    offerer, joiner = offering(anna), joining(bert, anna)
    confirm = joiner.confirm(offerer.answer(joiner.begin, 1.0))
    welcome = offerer.welcome(confirm, 1.0)
    again = Offerer(anna, CODE, now=0.0, entropy=entropy_from(9))
    again.answer(joiner.begin, 1.0)
    with pytest.raises(PairingFailed):
        again.welcome(confirm, 1.0)
    new = Joiner(bert, CODE, anna.certificate, entropy=entropy_from(10))
    new.confirm(Offerer(anna, CODE, now=0.0, entropy=entropy_from(11)).answer(new.begin, 1.0))
    with pytest.raises(PairingFailed):
        new.finish(welcome)


def test_a_joiner_s_own_message_sent_back_is_refused(anna, bert):
    """A reflected element is no answer."""
    joiner = joining(bert, anna)
    element = msgspec.msgpack.decode(joiner.begin, type=Begin).element
    for reflected in (element, b"B" + element[1:]):
        with pytest.raises((MalformedMessage, PairingFailed)):
            joiner.confirm(msgspec.msgpack.encode(Answer(1, "anna", 0, reflected)))


def test_a_joiner_without_its_certificate_s_key_fails(anna, bert, mallory):
    """Knowing the code is not enough to be paired as somebody else."""
    impostor = bert._replace(sign=mallory.sign)
    offerer, joiner = offering(anna), joining(impostor, anna)
    with pytest.raises(PairingFailed, match="does not hold the key"):
        offerer.welcome(joiner.confirm(offerer.answer(joiner.begin, 1.0)), 1.0)


@pytest.mark.parametrize("what", ["another's", "forged", "about another", "removal", "noise"])
def test_a_vouch_that_is_not_one_fails(anna, bert, mallory, what):
    """Each side checks that the other's vouch is signed by it and about this device."""
    offerer, joiner = offering(anna), joining(bert, anna)
    welcome = offerer.welcome(joiner.confirm(offerer.answer(joiner.begin, 1.0)), 1.0)
    farewell, _ = joiner.finish(welcome)
    other_pairing = converse(offering(mallory), joining(bert, mallory))[0].records
    good = msgspec.msgpack.decode(farewell, type=Farewell).vouch
    vouch = {
        "another's": other_pairing[0],
        "forged": good[:-1] + bytes([good[-1] ^ 1]),
        "about another": other_pairing[1],
        "removal": b"",
        "noise": bytes(9000),
    }[what]
    with pytest.raises(FleetsyncError):
        offerer.finish(msgspec.msgpack.encode(Farewell(vouch)), 1.0)
    with pytest.raises(PairingFailed, match="has been used"):
        offerer.finish(farewell, 1.0)


# --- what is not even an attempt -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": ""}, MalformedMessage),
        ({"name": "x" * 65}, MalformedMessage),
        ({"name": "a\x1b[2J"}, MalformedMessage),
        ({"port": -1}, MalformedMessage),
        ({"port": 65536}, MalformedMessage),
        ({"element": b"A" + bytes(32)}, MalformedMessage),
        ({"element": b"A\x01" + bytes(31)}, MalformedMessage),  # the neutral element
        ({"element": b"A\xff" + bytes(31)}, MalformedMessage),
        ({"element": b"B" + bytes(32)}, MalformedMessage),
        ({"element": bytes(99)}, MalformedMessage),
        ({"certificate": b"junk"}, MalformedMessage),
        ({"certificate": bytes(2000)}, MalformedMessage),
        ({"version_min": 2, "version_max": 3}, ProtocolMismatch),
    ],
    ids=str,
)
def test_a_malformed_beginning_spends_nothing(anna, bert, fields, error):
    """It gets no element, so it has learnt nothing, and the code still works."""
    offerer, joiner = offering(anna), joining(bert, anna)
    with pytest.raises(error):
        offerer.answer(changed(joiner.begin, Begin, **fields), 1.0)
    assert not offerer.in_use
    converse(offerer, joiner)


@pytest.mark.parametrize("begin", [b"", b"\x90", b"\x91" * 10_000, b"\xff"])
def test_noise_spends_nothing(anna, bert, begin):
    """Whatever bytes arrive, they are a malformed message and the code still works."""
    offerer = offering(anna)
    with pytest.raises(MalformedMessage):
        offerer.answer(begin, 1.0)
    converse(offerer, joining(bert, anna))


def test_a_message_over_its_size_is_not_read(anna):
    """16 KiB is more than any message needs."""
    with pytest.raises(TooLarge):
        offering(anna).answer(bytes(17 << 10), 1.0)


def test_a_device_does_not_pair_with_itself(anna, bert):
    """Neither as joiner nor as offerer."""
    with pytest.raises(PairingFailed, match="very device"):
        joining(anna, anna)
    with pytest.raises(MalformedMessage, match="very device"):
        offering(anna).answer(joining(anna, bert).begin, 1.0)


def test_what_presents_no_device_certificate_offers_no_pairing(bert):
    """Some web server that happens to listen there is not sent an element."""
    with pytest.raises(PairingFailed, match="does not offer"):
        Joiner(bert, CODE, b"", entropy=entropy_from(1))


def test_an_own_name_that_cannot_be_shown_is_found_at_once(anna):
    """Before a code is shown to anybody."""
    with pytest.raises(IllegalName):
        offering(anna._replace(name="x" * 65))
    with pytest.raises(IllegalName):
        joining(anna._replace(name=""), anna)


def test_too_many_removals_are_an_error_in_words(anna, bert):
    """A vouch cannot name more than its limit, and pairing without them would be void."""
    flooded = anna._replace(removals=lambda _d: [bytes([n]) * 32 for n in range(65)])
    offerer, joiner = offering(flooded), joining(bert, anna)
    with pytest.raises(PairingFailed, match="too many removals"):
        offerer.welcome(joiner.confirm(offerer.answer(joiner.begin, 1.0)), 1.0)
