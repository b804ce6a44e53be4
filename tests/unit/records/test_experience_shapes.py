"""Shapes, of types made for this: what a type reads, writes and counts as the same."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest

from fleetsync.errors import MalformedRecord
from fleetsync.records import strictjson
from fleetsync.records.experience_scalars import Shape, Single, Whole
from fleetsync.records.experience_shapes import ABSENT_TAKES_DEFAULT, Fields, Flat, Wrapped, shape_of


class Colour(StrEnum):
    """A word."""

    RED = "Red"
    BLUE = "Blue"


class Point(msgspec.Struct, frozen=True):
    """A part."""

    x: Annotated[int, Whole()]
    y: float | None = None


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Every kind of field; `from` has another name in Python."""

    name: str
    open: bool
    from_: Annotated[float, Single()] = msgspec.field(name="from")
    colour: Colour
    points: tuple[Point, ...] = ()
    table: dict[Colour, Point] = {}
    note: str | None = None
    free: Any = None
    uses: Annotated[tuple[Colour, ...], ABSENT_TAKES_DEFAULT] = (Colour.RED,)


WRITTEN = (
    '{"name":"a","open":true,"from":0.1,"colour":"Red","points":[{"x":1,"y":null},{"x":2,"y":0.5}]'
    ',"table":{"Blue":{"x":0,"y":3.0},"Red":{"x":1,"y":null}},"note":null,"free":[1,null],"uses":["Blue","Red"]}'
)


def parse(text: str) -> strictjson.Json:
    return strictjson.parse(text.encode())


def places() -> Fields:
    return Fields(Place)


def same(shape: Shape, one: str, other: str) -> bool:
    """Whether two spellings are one content."""
    return shape.canonical(parse(one)) == shape.canonical(parse(other))


# --- structs --------------------------------------------------------------------------------------


def test_every_field_is_written_in_order_and_read_back() -> None:
    """By its name in JSON; a tuple stands for a list."""
    value = places().read(parse(WRITTEN))
    assert (value.name, value.open, value.colour, value.note, value.free) == (
        "a",
        True,
        Colour.RED,
        None,
        [1, None],
    )
    assert value.points == (Point(1), Point(2, 0.5))
    assert value.table == {Colour.BLUE: Point(0, 3.0), Colour.RED: Point(1)}
    assert value.uses == (Colour.BLUE, Colour.RED)
    assert places().write(value) == WRITTEN
    assert places().read(parse(places().write(value))) == value


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"note":null,', ""),
        ('"free":[1,null],', ""),
        ('"uses":["Blue","Red"]', '"more":1'),
        ('{"name"', '{"more":1,"more":2,"name"'),
    ],
)
def test_what_may_be_absent_takes_its_default(old: str, new: str) -> None:
    """What may be null, and what is marked so; members that nobody knows are not read."""
    assert old in WRITTEN
    expected = places().read(parse(WRITTEN))
    found = places().read(parse(WRITTEN.replace(old, new)))
    if "uses" in old:
        expected = msgspec.structs.replace(expected, uses=(Colour.RED,))
    if "free" in old:
        expected = msgspec.structs.replace(expected, free=None)
    assert found == expected


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"name":"a",', "", "name is missing"),
        ('"points":[{"x":1,"y":null},{"x":2,"y":0.5}],', "", "points is missing"),
        ('"name":"a"', '"name":"a","name":"a"', "name is there twice"),
        ('"name":"a"', '"name":7', "name: a string is wanted, not 7"),
        ('"name":"a"', '"name":null', "name: a string is wanted, not null"),
        ('"open":true', '"open":1', "open: true or false is wanted, not 1"),
        ('"from":0.1', '"from":"0.1"', "from: a number is wanted, not '0.1'"),
        ('"from":0.1', '"from":1e39', "from: 1e+39 is out of the range of f32"),
        ('"colour":"Red"', '"colour":"red"', "colour: one of Red, Blue is wanted, not 'red'"),
        ('"colour":"Red"', '"colour":7', "colour: one of Red, Blue is wanted, not 7"),
        ('"x":2', '"x":-2', "points: x: a whole number below 2^64 is wanted, not -2"),
        ('"x":2', '"x":2.0', "points: x: a whole number below 2^64 is wanted, not 2.0"),
        ('"points":[{"x":1,"y":null},', '"points":[1,', "points: an object is wanted, not 1"),
        (
            '"points":[{"x":1,"y":null},{"x":2,"y":0.5}]',
            '"points":{}',
            "points: a list is wanted, not an object",
        ),
        ('"table":{"Blue"', '"table":{"Green"', "table: one of Red, Blue is wanted, not 'Green'"),
        ('"note":null', '"note":false', "note: a string is wanted, not False"),
        ('"uses":["Blue","Red"]', '"uses":null', "uses: a list is wanted, not null"),
    ],
)
def test_what_the_reference_refuses_is_named(old: str, new: str, why: str) -> None:
    """By its field, however deep, and what was wanted."""
    assert old in WRITTEN
    with pytest.raises(MalformedRecord) as refused:
        places().read(parse(WRITTEN.replace(old, new)))
    assert refused.value.message == why


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": 7}, "name: a string is wanted, not 7"),
        ({"open": 1}, "open: true or false is wanted, not 1"),
        ({"from_": True}, "from: a number is wanted, not True"),
        ({"colour": 7}, "colour: one of Red, Blue is wanted, not 7"),
        ({"colour": "Green"}, "colour: one of Red, Blue is wanted, not 'Green'"),
        ({"points": 7}, "points: a list is wanted, not 7"),
        ({"points": (7,)}, "points: a Point is wanted, not 7"),
        ({"points": (Point(2**64),)}, f"points: x: a whole number below 2^64 is wanted, not {2**64}"),
        ({"points": (Point(True),)}, "points: x: a whole number below 2^64 is wanted, not True"),
        ({"points": (Point(1.0),)}, "points: x: a whole number below 2^64 is wanted, not 1.0"),  # type: ignore[arg-type]
        ({"table": ()}, "table: an object is wanted, not ()"),
        ({"table": {"Green": Point(1)}}, "table: one of Red, Blue is wanted, not 'Green'"),
        ({"free": {1: 2}}, "free: a string is wanted, not 1"),
    ],
)
def test_values_of_other_types_are_not_written(changes: dict[str, Any], why: str) -> None:
    """Python would take them."""
    value = msgspec.structs.replace(places().read(parse(WRITTEN)), **changes)
    with pytest.raises(MalformedRecord) as refused:
        places().write(value)
    assert refused.value.message == why
    with pytest.raises(MalformedRecord, match="a Place is wanted, not 7"):
        places().write(7)


def test_the_bounds_of_a_whole_number_are_written() -> None:
    """0 and the last of 64 bits; a word may be written by its text."""
    for number in (0, 2**64 - 1):
        assert shape_of(Annotated[int, Whole()]).write(number) == str(number)
    assert shape_of(Colour).write("Blue") == '"Blue"'
    assert shape_of(tuple[float, ...]).write([1, 2.5]) == "[1.0,2.5]"


# --- canonical content ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"note":null,', ""),
        ('"free":[1,null]', '"free":[ 1, null ]'),
        ('"x":2,"y":0.5', '"y":0.50000000000000001,"x":2'),
        ('"from":0.1', '"from":0.10000000149'),
        ('"colour":"Red"', '"colour":{"Red":null}'),
        ('"name":"a"', '"name":"\\u0061"'),
        (
            '"table":{"Blue":{"x":0,"y":3.0},"Red":{"x":1,"y":null}}',
            '"table":{"Red":{"x":1},"Blue":{"y":3,"x":0}}',
        ),
    ],
)
def test_two_spellings_of_one_content_are_equal(old: str, new: str) -> None:
    """Order of keys, absent or null, digits of a float, words as objects."""
    assert old in WRITTEN
    assert same(places(), WRITTEN, WRITTEN.replace(old, new))
    other = WRITTEN.replace('{"name":"a","open":true,', "{").replace(
        '"free"', '"open":true,"name":"a","free"'
    )
    assert same(places(), WRITTEN, other)


def test_a_marked_field_that_is_absent_is_its_default() -> None:
    """In content too; and an absent field that must be there is like no value of it."""
    short = WRITTEN.replace(',"uses":["Blue","Red"]', "")
    assert same(places(), short, short.replace('"free"', '"uses":["Red"],"free"'))
    assert not same(places(), short, WRITTEN)
    lacking = WRITTEN.replace('"name":"a",', "")
    assert not same(places(), lacking, WRITTEN.replace('"name":"a"', '"name":null'))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"name":"a"', '"name":"b"'),
        ('"name":"a"', '"name":["a"]'),
        ('"open":true', '"open":false'),
        ('"from":0.1', '"from":0.2'),
        ('"colour":"Red"', '"colour":"Blue"'),
        ('"colour":"Red"', '"colour":"Green"'),
        ('"x":2', '"x":3'),
        ('"x":2', '"x":2.5'),
        ('"note":null', '"note":""'),
        ('"note":null', '"note":7'),
        ('"free":[1,null]', '"free":[1]'),
        ('"free":[1,null]', '"free":[1.0,null]'),
        ('"uses":["Blue","Red"]', '"uses":["Red","Blue"]'),
        ('"points":[{"x":1,"y":null},', '"points":[{"x":1,"y":null,"z":0},'),
        ('"table":{"Blue"', '"table":{"Green"'),
        ('"table":{"Blue":{"x":0,"y":3.0},"Red":{"x":1,"y":null}}', '"table":[]'),
        ('"note":null', '"note":null,"more":1'),
        ('"note":null', '"note":null,"more":null'),
    ],
)
def test_another_content_is_another(old: str, new: str) -> None:
    """Also in what a newer version wrote: other types where others were, members that no type names."""
    assert old in WRITTEN
    assert not same(places(), WRITTEN, WRITTEN.replace(old, new))
    again = WRITTEN.replace(old, new)
    assert same(places(), again, again.replace(",", " , "))


def test_members_that_no_type_names_count_in_any_order() -> None:
    """Behind the known ones, the last of equal ones."""
    more = WRITTEN.replace('{"name"', '{"z":{"b":1,"a":2},"k":0,"name"')
    other = WRITTEN[:-1] + ',"k":1,"k":0,"z":{"a":2,"b":1}}'
    assert same(places(), more, other)
    assert not same(places(), more, other.replace('"k":0', '"k":2'))


def test_a_zero_has_no_sign_in_content() -> None:
    """Written it has: the reference keeps it."""
    single = shape_of(Annotated[float, Single()])
    assert same(single, "-0.0", "0")
    assert same(single, "-0.0", "0.0")
    assert not same(single, "1.0", "-1.0")
    assert single.write(-0.0) == "-0.0"
    assert same(shape_of(float), "-0.0", "0")
    assert not same(shape_of(float), "1", "2")
    assert not same(shape_of(bool), "true", "false")


# --- one of several -------------------------------------------------------------------------------


class Near(msgspec.Struct, frozen=True):
    """One kind."""

    at: Point


class Far(msgspec.Struct, frozen=True):
    """Another."""

    way: str | None = None


FLAT = Flat(near=Near, far=Far)
WRAPPED = Wrapped("data", near=Near, far=Far)


@pytest.mark.parametrize(
    ("shape", "value", "text"),
    [
        (FLAT, Near(Point(1)), '{"type":"near","at":{"x":1,"y":null}}'),
        (FLAT, Far("x"), '{"type":"far","way":"x"}'),
        (WRAPPED, Near(Point(1)), '{"type":"near","data":{"at":{"x":1,"y":null}}}'),
        (WRAPPED, Far(), '{"type":"far","data":{"way":null}}'),
    ],
)
def test_one_of_several_is_told_by_its_type(shape: Shape, value: Any, text: str) -> None:
    """Written with it, and read by it."""
    assert shape.write(value) == text
    assert shape.read(parse(text)) == value
    assert same(shape, text, text.replace(',"y":null', "").replace('"way":null', ""))
    assert same(shape, text[:-1] + ',"k":1,"j":2}', text[:-1] + ',"j":2,"k":1}')
    assert not same(shape, text, text[:-1] + ',"k":1}')
    assert not same(shape, text[:-1] + ',"k":1}', text[:-1] + ',"k":2}')
    with pytest.raises(MalformedRecord, match="one of near, far is wanted, not 7"):
        shape.write(7)


@pytest.mark.parametrize("tag", ['"Near"', "7", "null", '"near","type":"near"'])
def test_a_type_that_is_not_one_of_them_is_refused(tag: str) -> None:
    """Unknown, none, or there twice."""
    for shape in (FLAT, WRAPPED):
        text = f'{{"type":{tag},"at":{{"x":1}},"data":{{"at":{{"x":1}}}}}}'
        for ask in (shape.read, shape.canonical):
            with pytest.raises(MalformedRecord, match=r"one of near, far as type is wanted|twice"):
                ask(parse(text))


@pytest.mark.parametrize("data", ["null", "[]", "7"])
def test_what_is_wrapped_is_an_object(data: str) -> None:
    """And is there."""
    for text in (f'{{"type":"far","data":{data}}}', '{"type":"far"}'):
        for ask in (WRAPPED.read, WRAPPED.canonical):
            with pytest.raises(MalformedRecord, match="an object as data is wanted"):
                ask(parse(text))


def test_two_types_with_the_same_fields_are_different() -> None:
    """The type is content."""
    twins = Flat(one=Far, two=Near)
    assert not same(Flat(one=Far, other=Near), '{"type":"one"}', '{"type":"one","way":"x"}')
    assert twins.canonical(parse('{"type":"one"}')) != FLAT.canonical(parse('{"type":"far"}'))
