"""Trust is a function of the set of records, and removal outranks everything but a new pairing."""

from __future__ import annotations

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from fleetsync.devices.roster import Record, Removal, Vouch, admit, judge, merge, read_record, trusted
from fleetsync.errors import MalformedRecord
from tests.fakes.rosters import Someone, pairing, verify

PEOPLE = [Someone(f"device {number}") for number in range(5)]
ME = PEOPLE[0]


@st.composite
def rosters(draw: st.DrawFn) -> list[Record]:
    """Any records among five devices; later ones name earlier ones as overrides and keeps."""
    records: list[Record] = []
    for number in range(draw(st.integers(0, 14))):
        by, subject = draw(st.permutations(PEOPLE))[:2]
        removals = [r for r in records if isinstance(r.statement, Removal)]
        vouches = [r for r in records if isinstance(r.statement, Vouch)]
        if draw(st.integers(0, 3)):
            named = draw(st.lists(st.sampled_from(removals), unique=True)) if removals else []
            records.append(by.vouch(subject, named, nonce=number))
        else:
            kept = draw(st.lists(st.sampled_from(vouches), unique=True)) if vouches else []
            records.append(by.remove(subject, kept, nonce=number))
    return records


def roots(records: list[Record]) -> set[bytes]:
    return {r.id for r in records if isinstance(r.statement, Vouch) and r.statement.by == ME.device}


def taken(known: dict[bytes, Record], offered: list[Record]) -> dict[bytes, Record]:
    return merge(known, admit(known, [r.raw for r in offered], ME.certificate, verify).new)


@given(rosters(), st.data())
def test_order_and_repetition_mean_nothing(records, data):
    """However records arrive, in any order and again, the judgement is the same."""
    shuffled = data.draw(st.permutations(records)) + data.draw(st.permutations(records))
    assert judge(shuffled, ME.device, roots(records)) == judge(records, ME.device, roots(records))


@given(rosters(), st.integers(0, 14))
def test_rosters_merge_to_their_union(records, cut):
    """Two halves merged in either order are the whole, and merging again changes nothing."""
    one, other = merge({}, records[:cut]), merge({}, records[cut:])
    whole = merge({}, records)
    assert merge(one, other.values()) == merge(other, one.values()) == whole
    assert merge(whole, records) == whole


@given(rosters(), st.sampled_from(PEOPLE[1:]), st.sampled_from(PEOPLE[1:]))
def test_a_removed_device_is_trusted_only_by_a_pairing_that_names_the_removal(records, remover, gone):
    """Whatever else is in the roster: no vouch that does not name the removal brings it back."""
    heard = pairing(ME, remover)
    removal = ME.remove(gone) if remover is gone else remover.remove(gone)
    records = [*records, *heard, removal]
    assert gone.device not in trusted(records, ME.device, roots(records))
    back = ME.vouch(gone, [r for r in records if isinstance(r.statement, Removal)])
    assert gone.device in trusted([*records, back], ME.device, roots([*records, back]))


@given(rosters(), st.sampled_from(PEOPLE[1:]), st.booleans())
def test_a_removed_device_s_later_vouches_count_nothing(records, gone, knowing):
    """A vouch made after the removal changes nobody's trust, even if it names every removal."""
    removal = ME.remove(gone, [r for r in records if r.statement.by == gone.device])
    records = [*records, removal]
    named = [r for r in records if isinstance(r.statement, Removal)] if knowing else []
    newcomer = Someone("newcomer")
    later = gone.vouch(newcomer, named)
    before = trusted(records, ME.device, roots(records))
    assert trusted([*records, later], ME.device, roots(records)) == before


@given(rosters(), rosters(), st.data())
def test_forged_records_count_nothing(records, forged, data):
    """Records with a broken signature never get in, whatever they say."""
    known = taken({}, records)
    broken = []
    for record in forged:
        place = data.draw(st.integers(1, 64))
        raw = bytearray(record.raw)
        raw[-place] ^= data.draw(st.integers(1, 255))
        broken.append(bytes(raw))
    admission = admit(known, broken, ME.certificate, verify)
    assert admission.new == ()
    assert admission.malformed == 0


@given(rosters())
def test_replayed_records_count_nothing(records):
    """Offering what is known is nothing new."""
    known = taken({}, records)
    assert admit(known, [r.raw for r in known.values()], ME.certificate, verify).new == ()


@given(st.binary(max_size=300) | rosters().filter(bool).map(lambda rs: rs[-1].raw), st.data())
def test_reading_never_fails_otherwise(raw, data):
    """Any bytes, and any record with a byte changed, are a record or `MalformedRecord`."""
    if raw and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    with suppress(MalformedRecord):
        assert read_record(raw).raw == raw
