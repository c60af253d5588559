from __future__ import annotations

import json
import math
import sys
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.gateway.codec import Codec, MessageError, PlainCodec, UnprintableError, choose
from portico.gateway.document import DocumentError
from portico.gateway.fast import FastCodec

FAST = FastCodec(descriptor_pool.Default())
PLAIN = PlainCodec(descriptor_pool.Default())
BOTH = pytest.mark.parametrize("codec", [FAST, PLAIN], ids=["fast", "plain"])


def test_the_fast_codec_is_chosen_where_it_is_installed(
    contract: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = [contract.messages.Everything.DESCRIPTOR]
    assert isinstance(choose(descriptor_pool.Default(), messages), FastCodec)
    monkeypatch.setitem(sys.modules, "portico.gateway.fast", None)
    assert isinstance(choose(descriptor_pool.Default(), messages), PlainCodec)


def test_an_answer_has_every_field_without_presence(contract: Any) -> None:
    book = contract.messages.Book(name="b1", price=149.98)
    text = '{"name":"b1","title":"","pageCount":0,"tags":[],"binding":"BINDING_UNSPECIFIED","price":149.98}'
    assert FAST.encode(book).decode() == text
    assert json.loads(PLAIN.encode(book)) == json.loads(text)


@BOTH
def test_values_take_the_forms_that_rest_clients_know(codec: Codec, contract: Any) -> None:
    message = contract.messages.Everything(i64=2**53 + 1, d=math.inf, data=b"\xfb\xff", kind=2)
    message.at.FromJsonString("2026-05-29T13:07:00Z")
    message.lasts.FromJsonString("1.5s")
    message.mask.paths.extend(["display_name", "author.family_name"])
    message.wi64.value = 7
    message.value.list_value.values.add().number_value = 1.0
    message.kind_of["x"] = 1
    message.by_truth[True] = "yes"
    message.any.Pack(contract.messages.Author(family_name="Ä"))
    found = json.loads(codec.encode(message))
    expected = {
        "i64": "9007199254740993",
        "d": "Infinity",
        "data": "+/8=",
        "kind": "LEATHER",
        "at": "2026-05-29T13:07:00Z",
        "lasts": "1.500s",
        "mask": "displayName,author.familyName",
        "wi64": "7",
        "value": [1],
        "kindOf": {"x": "PAPER"},
        "byTruth": {"true": "yes"},
        "any": {"@type": "type.googleapis.com/library.v1.Author", "familyName": "Ä"},
        "Umbenannt_X": "",
    }
    assert {key: found[key] for key in expected} == expected
    assert "maybe" not in found
    assert "left" not in found


@BOTH
@pytest.mark.parametrize("number", [149.98, 0.1, 74.99, 1e21, 5e-324, 123456789.01])
def test_a_double_is_printed_as_it_was_written(codec: Codec, contract: Any, number: float) -> None:
    text = codec.encode(contract.messages.Book(price=number)).decode()
    assert f'"price":{number!r}'.replace("+", "") in text.replace("+", "")


@BOTH
def test_a_message_without_json_is_our_own_mistake(codec: Codec, contract: Any) -> None:
    message = contract.messages.Everything()
    message.value.number_value = math.inf
    with pytest.raises(UnprintableError):
        codec.encode(message)


@BOTH
def test_names_are_taken_in_both_forms(codec: Codec, contract: Any) -> None:
    camel = codec.decode(b'{"pageCount":3,"author":{"familyName":"x"}}', contract.messages.Book)
    snake = codec.decode(b'{"page_count":3,"author":{"family_name":"x"}}', contract.messages.Book)
    assert camel == snake
    assert camel.author.family_name == "x"


@BOTH
@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"nope": 1}, "nope"),
        ({"inner": {"nope": 1}}, "inner.nope"),
        ({"many": [{}, {"nope": 1}]}, "many[1].nope"),
        ({"byNumber": {"1": {"nope": 1}}}, 'byNumber["1"].nope'),
        ({"Renamed_Field": 1}, "Renamed_Field"),
        ({"renamedField": ""}, "renamedField"),
        ({"[library.v1.extension]": 1}, "[library.v1.extension]"),
        ({"\ud800": 1}, "\\ud800"),
        ({"x" * 500: 1}, "x" * 100 + "…"),
        ({"i32": 2**31}, "i32"),
        ({"i32": -(2**31) - 1}, "i32"),
        ({"i32": 1.5}, "i32"),
        ({"i32": "1.5"}, "i32"),
        ({"i32": ""}, "i32"),
        ({"i32": " 1"}, "i32"),
        ({"i32": "1_0"}, "i32"),
        ({"i32": "\u0661"}, "i32"),
        ({"i32": "abc"}, "i32"),
        ({"i32": True}, "i32"),
        ({"i32": [1]}, "i32"),
        ({"i32": {}}, "i32"),
        ({"u32": -1}, "u32"),
        ({"u64": 2**64}, "u64"),
        ({"i64": 10**400}, "i64"),
        ({"many": [{"i32": 2**31}]}, "many[0].i32"),
        ({"numbers": [1, 2, "x"]}, "numbers[2]"),
        ({"numbers": [None]}, "numbers[0]"),
        ({"numbers": ["1_0"]}, "numbers[0]"),
        ({"numbers": {}}, "numbers"),
        ({"numbers": 1}, "numbers"),
        ({"many": [None]}, "many[0]"),
        ({"many": [[]]}, "many[0]"),
        ({"many": {}}, "many"),
        ({"inner": []}, "inner"),
        ({"inner": "x"}, "inner"),
        ({"d": "x"}, "d"),
        ({"d": "1e400"}, "d"),
        ({"d": "inf"}, "d"),
        ({"d": True}, "d"),
        ({"f": 1e39}, "f"),
        ({"yes": "true"}, "yes"),
        ({"yes": 1}, "yes"),
        ({"text": 1}, "text"),
        ({"text": "\ud800"}, "text"),
        ({"words": ["ok", "\udfff"]}, "words[1]"),
        ({"data": "!"}, "data"),
        ({"data": 1}, "data"),
        ({"kind": "leather"}, "kind"),
        ({"kind": "1"}, "kind"),
        ({"kind": 1.0}, "kind"),
        ({"kind": 2**40}, "kind"),
        ({"kind": True}, "kind"),
        ({"kinds": ["PAPER", "x"]}, "kinds[1]"),
        ({"counts": {"a": "x"}}, 'counts["a"]'),
        ({"counts": {"a": None}}, 'counts["a"]'),
        ({"counts": {"\ud800": 1}}, 'counts["\\ud800"]'),
        ({"counts": []}, "counts"),
        ({"byNumber": {"x": {}}}, 'byNumber["x"]'),
        ({"byTruth": {"True": ""}}, 'byTruth["True"]'),
        ({"kindOf": {"a": "x"}}, 'kindOf["a"]'),
        ({"at": "yesterday"}, "at"),
        ({"at": "2026-05-29"}, "at"),
        ({"at": "2026-13-29T13:07:00Z"}, "at"),
        ({"at": 5}, "at"),
        ({"times": ["2026-05-29T13:07:00Z", "x"]}, "times[1]"),
        ({"lasts": "1"}, "lasts"),
        ({"lasts": "1e3s"}, "lasts"),
        ({"mask": "a_b"}, "mask"),
        ({"mask": ["a"]}, "mask"),
        ({"object": []}, "object"),
        ({"list": {}}, "list"),
        ({"values": {"a": math.inf}}, 'values["a"]'),
        ({"wi32": "x"}, "wi32"),
        ({"wb": "true"}, "wb"),
        ({"ws": 5}, "ws"),
        ({"left": "a", "right": 1}, "right"),
        ({"renamed_field": "a", "Umbenannt_X": "b"}, "renamed_field"),
        ({"any": {"@type": "type.googleapis.com/nope"}}, "any"),
        ({"any": {"x": 1}}, "any"),
        ({"empty": {"x": 1}}, "empty.x"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused_by_name(
    codec: Codec, contract: Any, document: dict[str, Any], field: str
) -> None:
    with pytest.raises(MessageError) as refused:
        codec.from_value(document, contract.messages.Everything)
    assert [each.field for each in refused.value.violations] == [field]
    assert field in str(refused.value)


@BOTH
@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"i32": "two"}, "i32: must be a whole number"),
        ({"i32": ""}, "i32: must be a whole number"),
        ({"i32": True}, "i32: must be a whole number"),
        ({"i32": []}, "i32: must be a whole number"),
        ({"i32": 1.5}, "i32: must be a whole number"),
        ({"i32": "1_000"}, "i32: must be a whole number"),
        ({"i32": 2**31}, "i32: must be a whole number from -2147483648 to 2147483647"),
        ({"i32": "2147483648"}, "i32: must be a whole number from -2147483648 to 2147483647"),
        ({"i32": math.inf}, "i32: must be a whole number from -2147483648 to 2147483647"),
        ({"u32": -1}, "u32: must be a whole number from 0 to 4294967295"),
        (
            {"i64": "-9223372036854775809"},
            "i64: must be a whole number from -9223372036854775808 to 9223372036854775807",
        ),
        ({"wi32": "x"}, "wi32: must be a whole number"),
        ({"byNumber": {"x": {}}}, 'byNumber["x"]: has a name that must be a whole number'),
        ({"f": "x"}, "f: must be a number"),
        ({"f": 1e300}, "f: must be a number that fits 32 bits"),
        ({"d": "x"}, "d: must be a number"),
        ({"text": 5}, "text: must be Unicode text"),
        ({"emial": 5}, "emial: is not a field of this request"),
        ({"many": [{"d": "x"}]}, "many[0].d: must be a number"),
    ],
    ids=repr,
)
def test_a_fault_is_told_as_field_and_what_is_wrong_with_it(
    codec: Codec, contract: Any, document: dict[str, Any], told: str
) -> None:
    with pytest.raises(MessageError) as refused:
        codec.from_value(document, contract.messages.Everything)
    assert str(refused.value) == told
    [violation] = refused.value.violations
    assert told == f"{violation.field}: {violation.description}"


@BOTH
def test_every_fault_is_told_at_once_up_to_twenty(codec: Codec, contract: Any) -> None:
    few: Any = {"i32": "x", "many": [{"d": "x"}, {"nope": 1}], "nope": 1}
    with pytest.raises(MessageError) as refused:
        codec.from_value(few, contract.messages.Everything)
    names = [each.field for each in refused.value.violations]
    assert names == ["i32", "many[0].d", "many[1].nope", "nope"]
    with pytest.raises(MessageError) as refused:
        codec.from_value({f"x{n}": n for n in range(1000)}, contract.messages.Everything)
    assert len(refused.value.violations) == 20


@BOTH
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "expecting value at line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"name": "x"', "line 1, column 13"),
        (b'{\n "name": x}', "line 2, column 10"),
        (b"{} {}", "extra data at line 1, column 4"),
        (b'{"name":"a","name":"b"}', "name is given twice"),
        (b'{"author":{"familyName":"a","familyName":"b"}}', "familyName is given twice"),
        (b'{"price":NaN}', "NaN is not JSON"),
        (b'{"price":-Infinity}', "-Infinity is not JSON"),
        (b'{"name":"\xff"}', "not UTF-8 at byte 9"),
        (b'{"name":"a\tb"}', "invalid control character"),
        (b'{"pageCount":%s}' % (b"9" * 5000), "a number is too long"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"author":' * 50_000, "nested too deeply"),
        ('{"name":"x"}'.encode("utf-16"), "not UTF-8"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_not_json_is_refused_with_its_place(
    codec: Codec, contract: Any, text: bytes, why: str
) -> None:
    with pytest.raises(DocumentError) as refused:
        codec.decode(text, contract.messages.Book)
    assert why in str(refused.value)


@BOTH
@pytest.mark.parametrize("text", [b"[]", b"null", b"5", b'"x"', b"true"])
def test_a_message_is_an_object(codec: Codec, contract: Any, text: bytes) -> None:
    with pytest.raises(MessageError, match="must be an object"):
        codec.decode(text, contract.messages.Book)


@BOTH
@pytest.mark.parametrize(
    "text",
    [
        b'{"inner":' * 300 + b"{}" + b"}" * 300,
        b'{"value":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"object":' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
        b'{"numbers":[' + b"1," * 100_000 + b'"x"]}',
        b'{"words":["' + b"a" * 100_000 + b'",1]}',
    ],
    ids=["messages", "lists", "objects", "long list", "long text"],
)
def test_bombs_are_refused_as_anything_else(codec: Codec, contract: Any, text: bytes) -> None:
    with pytest.raises(MessageError) as refused:
        codec.decode(text, contract.messages.Everything)
    assert len(refused.value.violations) == 1


# Both codecs accept and print the same.

_texts = st.text(max_size=6)
_odd_numbers = st.sampled_from(
    [
        *(0, -0.0, 1, -1, 1.0, 0.5, 2**31 - 1, 2**31, -(2**31), 2**32, 2**53 + 1, 2**63 - 1),
        *(2**63, -(2**63), 2**64 - 1, 2**64, 1e10, 1e30, 3.4e38, 3.5e38, 1e308),
        *(math.inf, -math.inf, 5e-324),
    ]
)
_numbers = st.one_of(st.integers(), st.floats(allow_nan=False), _odd_numbers)
_strings = st.one_of(
    _texts,
    _numbers.map(str),
    st.sampled_from(
        [
            *("", " ", "1", "-1", "+1", "01", "1.0", "1e2", "1E2", "1e400", "1_0", " 1", "0x1"),
            *("NaN", "nan", "Infinity", "-Infinity", "inf", "true", "PAPER", "paper", "PAPER "),
            *("aGk=", "aGk", "-_-_", "+/+/", "+_", "a", "!!", "a=b", "aGk=aGk="),
            *("1s", "1.5s", "-0.5s", "1.s", ".5s", "1.0000000001s", "315576000001s"),
            *("a,bC", "a.b", "a_b", "a,,b", "A", "\ud800", "\x00"),
            *("2026-05-29T13:07:00Z", "2026-05-29T13:07:00.5+02:00", "2026-05-29T13:07:00"),
            *("2026-05-29T13:07:00.1234567891Z", "2026-02-30T00:00:00Z", "0001-01-01T00:00:00Z"),
            *("9999-12-31T23:59:59.999999999Z", "2026-05-29T24:00:00Z", "2026-05-29t13:07:00z"),
            *("2026-05-29T13:07:60Z", "2026-05-29T13:07:00+25:00", "2026-05-29 13:07:00Z"),
        ]
    ),
)
_anything = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, _strings),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(_strings, inner, max_size=3)
    ),
    max_leaves=6,
)
_NAMES = [
    *("d", "f", "i32", "i64", "u32", "u64", "s32", "s64", "f32", "f64", "sf32", "sf64"),
    *("yes", "text", "data", "kind", "inner", "many", "numbers", "words", "reals", "kinds"),
    *("counts", "byNumber", "by_number", "byTruth", "kindOf", "kind_of", "at", "lasts", "mask"),
    *("object", "value", "list", "wd", "wf", "wi64", "wu64", "wi32", "wu32", "wb", "ws", "wbytes"),
    *("maybe", "left", "right", "both", "any", "renamed_field", "Umbenannt_X", "empty", "times"),
    "values",
]
_documents = st.recursive(
    st.dictionaries(st.sampled_from([*_NAMES, "nope"]), _anything, max_size=4),
    lambda inner: st.one_of(
        st.builds(lambda one: {"inner": one}, inner),
        st.builds(lambda some: {"many": some}, st.lists(inner, max_size=2)),
    ),
    max_leaves=3,
)


def _outcome(codec: Codec, document: Any, message_class: Any) -> Any:
    try:
        message = codec.from_value(document, message_class)
    except MessageError as refused:
        return [each.field for each in refused.violations]
    content = message.SerializeToString(deterministic=True)
    try:
        text = codec.encode(message)
    except UnprintableError:
        return content, "unprintable"
    assert FAST.decode(text, message_class) == message or "nan" in str(message)
    return content, json.loads(text, parse_float=_rounded)


def _rounded(text: str) -> float:
    """Shortest forms of a float differ in digits that a float has not."""
    return float(f"{float(text):.6g}")


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(document=_documents)
def test_both_codecs_agree_on_any_document(contract: Any, document: Any) -> None:
    everything = contract.messages.Everything
    assert _outcome(FAST, document, everything) == _outcome(PLAIN, document, everything)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(_NAMES), value=_anything)
def test_both_codecs_agree_on_any_field(contract: Any, name: str, value: Any) -> None:
    everything = contract.messages.Everything
    document = {name: value}
    assert _outcome(FAST, document, everything) == _outcome(PLAIN, document, everything)


@given(text=st.binary(max_size=60))
def test_both_codecs_agree_on_any_bytes(contract: Any, text: bytes) -> None:
    def outcome(codec: Codec) -> Any:
        try:
            return codec.decode(text, contract.messages.Book)
        except (MessageError, DocumentError) as refused:
            return str(refused)

    assert outcome(FAST) == outcome(PLAIN)


@given(
    text=_texts.filter(lambda text: text.isprintable()),
    number=st.integers(-(2**63), 2**63 - 1),
    real=st.floats(allow_nan=False),
    seconds=st.integers(-62135596800, 253402300799),
    nanos=st.integers(0, 999_999_999),
    words=st.lists(_texts.filter(lambda text: text.isprintable()), max_size=3),
    data=st.binary(max_size=8),
)
def test_what_is_printed_is_read_back(contract: Any, **values: Any) -> None:
    message = contract.messages.Everything(
        text=values["text"],
        i64=values["number"],
        d=values["real"],
        reals=[values["real"]],
        words=values["words"],
        data=values["data"],
        at={"seconds": values["seconds"], "nanos": values["nanos"]},
        ws={"value": values["text"]},
        counts={values["text"]: values["number"]},
    )
    for writer in (FAST, PLAIN):
        for reader in (FAST, PLAIN):
            assert reader.decode(writer.encode(message), type(message)) == message
