"""Validation: every violation is told, and the quick answer is protovalidate's."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import protovalidate
import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from portico.errors import StatusError
from portico.rpc.fast_rules import compile_fast
from portico.rpc.validation import compile_validation

if TYPE_CHECKING:
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message

Field = descriptor_pb2.FieldDescriptorProto
PACKAGE = "planted.rules.v1"
PATTERNS = (
    "^[0-9A-Za-z_-]{1,8}$",
    "^(?:ab|c)*$",
    r"^a\.b?$",
    "^[!-~]{0,9}$",
    "^[a-c]{2}[0-9]+$",
)
HALF_ANCHORED = "^ab|cd$"
UNREAD = (
    "[a-z]",
    "^[[:alpha:]]$",
    r"^\d$",
    "^.$",
    "^[^a]$",
    "^a$b",
    "(?i)^a$",
    "^[a-z&&b]$",
    "^$|^a$",
)
VALIDATOR = protovalidate.Validator()


class _Contract:
    """A file in the making; each message gets its fields one by one."""

    def __init__(self) -> None:
        self.file = descriptor_pb2.FileDescriptorProto(
            name="planted/rules.proto",
            package=PACKAGE,
            syntax="proto3",
            dependency=["buf/validate/validate.proto"],
        )

    def message(self, name: str) -> Any:
        return self.file.message_type.add(name=name)

    def field(
        self, message: Any, name: str, kind: int, rules: str = "", *, repeated: bool = False
    ) -> Any:
        field = message.field.add(
            name=name,
            number=len(message.field) + 1,
            type=kind,
            label=Field.LABEL_REPEATED if repeated else Field.LABEL_OPTIONAL,
        )
        if rules:
            field.options.Extensions[validate_pb2.field].CopyFrom(_rules(rules))
        return field

    def of(self, field: Any, name: str) -> None:
        field.type_name = f".{PACKAGE}.{name}"


def _rules(text: str) -> validate_pb2.FieldRules:
    from google.protobuf import text_format

    return text_format.Parse(text, validate_pb2.FieldRules())


def _plant() -> None:
    """One message with every rule that has a quick answer, and one for each that has none."""
    made = _Contract()
    line = made.message("Line")
    made.field(line, "product_id", Field.TYPE_STRING, f'string: {{pattern: "{PATTERNS[0]}"}}')
    made.field(line, "quantity", Field.TYPE_INT32, "int32: {gte: 1, lte: 10}")
    whole = made.message("Whole")
    made.field(whole, "least", Field.TYPE_STRING, "string: {min_len: 2}")
    made.field(whole, "most", Field.TYPE_STRING, "string: {max_len: 3}")
    made.field(whole, "exact", Field.TYPE_STRING, "string: {min_len: 1, max_len: 1}")
    for number, pattern in enumerate(PATTERNS[1:]):
        escaped = pattern.replace("\\", "\\\\")
        made.field(
            whole,
            f"pattern_{number}",
            Field.TYPE_STRING,
            f'string: {{pattern: "{escaped}", max_len: 6}}',
        )
    made.field(whole, "needed", Field.TYPE_STRING, "required: true")
    made.field(whole, "needed_number", Field.TYPE_INT64, "required: true")
    made.field(whole, "needed_flag", Field.TYPE_BOOL, "required: true")
    made.field(whole, "above", Field.TYPE_INT64, "int64: {gt: -3}")
    made.field(whole, "below", Field.TYPE_UINT32, "uint32: {lt: 9}")
    made.field(whole, "within", Field.TYPE_UINT64, "uint64: {gt: 0, lte: 18446744073709551614}")
    made.field(
        whole,
        "tags",
        Field.TYPE_STRING,
        'repeated: {min_items: 1, max_items: 3, unique: true, items: {string: {pattern: "^[a-z]$"}}}',
        repeated=True,
    )
    made.field(
        whole, "numbers", Field.TYPE_INT32, "repeated: {items: {int32: {gt: 0}}}", repeated=True
    )
    made.of(
        made.field(
            whole,
            "lines",
            Field.TYPE_MESSAGE,
            'repeated: {max_items: 3} cel: {id: "once",'
            ' expression: "this.map(line, line.product_id).unique()"}',
            repeated=True,
        ),
        "Line",
    )
    made.of(made.field(whole, "optional_line", Field.TYPE_MESSAGE), "Line")
    made.of(made.field(whole, "needed_line", Field.TYPE_MESSAGE, "required: true"), "Line")
    made.field(whole, "free", Field.TYPE_STRING)
    _plant_unread(made)
    descriptor_pool.Default().Add(made.file)


def _plant_unread(made: _Contract) -> None:
    made.field(
        made.message("HalfAnchored"),
        "value",
        Field.TYPE_STRING,
        f'string: {{pattern: "{HALF_ANCHORED}"}}',
    )
    for number, pattern in enumerate(UNREAD):
        escaped = pattern.replace("\\", "\\\\")
        made.field(
            made.message(f"Pattern{number}"),
            "value",
            Field.TYPE_STRING,
            f'string: {{pattern: "{escaped}"}}',
        )
    made.field(made.message("Email"), "value", Field.TYPE_STRING, "string: {email: true}")
    made.field(
        made.message("Cel"),
        "value",
        Field.TYPE_STRING,
        'cel: {id: "a", expression: "this != \'\'"}',
    )
    made.field(
        made.message("Ignored"),
        "value",
        Field.TYPE_STRING,
        "string: {min_len: 1} ignore: IGNORE_IF_ZERO_VALUE",
    )
    made.field(made.message("Double"), "value", Field.TYPE_DOUBLE, "double: {gt: 0}")
    made.field(made.message("TwoRanges"), "value", Field.TYPE_INT32, "int32: {gt: 5, lt: 2}")
    made.field(
        made.message("Unequal"),
        "value",
        Field.TYPE_DOUBLE,
        "repeated: {unique: true}",
        repeated=True,
    )
    with_presence = made.field(
        made.message("Presence"), "value", Field.TYPE_STRING, "string: {min_len: 1}"
    )
    with_presence.proto3_optional = True
    with_presence.oneof_index = 0
    made.file.message_type[-1].oneof_decl.add(name="_value")
    again = made.message("Recursive")
    made.field(again, "value", Field.TYPE_STRING, "string: {min_len: 1}")
    made.of(made.field(again, "inner", Field.TYPE_MESSAGE), "Recursive")


def _class(name: str) -> Any:
    descriptor = descriptor_pool.Default().FindMessageTypeByName(f"{PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


_plant()
Whole = _class("Whole")


# Messages of any class: what its rules ask for as often as anything at all.

AWKWARD = (
    "",
    "a\n",
    "\na",
    "a\x00",
    "é",
    "٣",
    "K",
    "a" * 300,
    "^$",
    "\u2028",
    "😀",
    "ab",
    "cd",
    "abcd",
)
BOUNDARIES = (-(2**31), -4, -3, -2, -1, 0, 1, 2, 8, 9, 10, 11, 10_000, 10_001, 2**31 - 1)


def messages(descriptor: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    made = message_factory.GetMessageClass(descriptor)
    fields = {
        field.name: _values(field, depth)
        for field in descriptor.fields
        if depth < 3 or field.message_type is None
    }
    contents = st.one_of(
        st.fixed_dictionaries(fields),
        st.fixed_dictionaries(fields),
        st.fixed_dictionaries({}, optional=fields),
    )
    return contents.map(lambda content: made(**content))


def _values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return st.just({})
    one = messages(field.message_type, depth + 1) if field.message_type else _scalars(field)
    return st.lists(one, max_size=4) if field.is_repeated else one


def _scalars(field: Any) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_STRING:
        right = _matching(field)
        return st.one_of(right, right, right, right, st.sampled_from(AWKWARD), st.text(max_size=5))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=3)
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return st.floats(width=32)
    unsigned = field.type in {FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64}
    within = _within(field, 0 if unsigned else -(2**31))
    other = st.sampled_from([number for number in BOUNDARIES if number >= 0 or not unsigned])
    return st.one_of(within, within, within, within, other)


def _within(field: Any, least: int) -> st.SearchStrategy[int]:
    """What the field's limits allow, or any number."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    kind = rules.WhichOneof("type")
    limits = {} if kind is None else {rule.name: n for rule, n in getattr(rules, kind).ListFields()}
    if not limits.keys() <= {"gt", "gte", "lt", "lte"}:
        return st.just(1)
    low = limits.get("gte", limits.get("gt", least - 1) + 1)
    high = limits.get("lte", limits.get("lt", 2**31) - 1)
    return st.integers(low, max(low, min(high, 2**31 - 1)))


def _matching(field: Any) -> st.SearchStrategy[str]:
    """What the field's pattern asks for, or a word."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    string = rules.repeated.items.string if field.is_repeated else rules.string
    if not string.HasField("pattern"):
        return st.sampled_from(["abc", "ann@example.com", "x" * 10])
    try:
        return st.from_regex(string.pattern, fullmatch=True)
    except Exception:  # noqa: BLE001  # a pattern of RE2's own
        return st.just("abc")


def violations(message: Message) -> list[str]:
    return [each.proto.rule_id for each in VALIDATOR.collect_violations(message)]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(messages(Whole.DESCRIPTOR))
def test_the_quick_answer_is_protovalidates(message: Any) -> None:
    fast = compile_fast(Whole.DESCRIPTOR)
    assert fast is not None

    assert bool(fast(message)) == (violations(message) == [])


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_the_quick_answer_about_one_field_is_protovalidates(data: st.DataObject) -> None:
    """All other fields are right, so that the one decides."""
    fast = compile_fast(Whole.DESCRIPTOR)
    message = valid_whole()
    field = data.draw(st.sampled_from(list(Whole.DESCRIPTOR.fields)))
    message.ClearField(field.name)
    message.MergeFrom(Whole(**{field.name: data.draw(_values(field, 0))}))
    assert fast is not None

    assert bool(fast(message)) == (violations(message) == [])


@settings(deadline=None)
@given(st.one_of(st.text(alphabet="abcd\n", max_size=5), st.from_regex(HALF_ANCHORED)))
def test_a_pattern_may_have_an_answer_that_is_quick_only_for_some(text: str) -> None:
    """Alternatives, each with one anchor: what matches as a whole is surely valid."""
    message = _class("HalfAnchored")(value=text)
    fast = compile_fast(message.DESCRIPTOR)
    assert fast is not None

    assert not fast(message) or violations(message) == []


def valid_whole() -> Any:
    line = {"product_id": "p", "quantity": 1}
    return Whole(
        least="ab",
        exact="x",
        pattern_1="a.",
        pattern_3="aa1",
        needed="x",
        needed_number=1,
        needed_flag=True,
        within=1,
        tags=["a"],
        needed_line=line,
    )


def test_a_valid_message_is_known_quickly() -> None:
    fast = compile_fast(Whole.DESCRIPTOR)
    assert fast is not None

    assert violations(valid_whole()) == []
    assert fast(valid_whole())


@pytest.mark.parametrize(
    "name",
    [
        *(f"Pattern{number}" for number in range(len(UNREAD))),
        *("Email", "Cel", "Ignored", "Double", "TwoRanges", "Unequal", "Presence", "Recursive"),
    ],
)
def test_a_rule_that_is_not_known_here_is_left_to_protovalidate(name: str) -> None:
    assert compile_fast(_class(name).DESCRIPTOR) is None


@pytest.mark.parametrize("text", ["\ud800", "a\udfff"])
def test_half_a_surrogate_pair_is_no_text_of_a_message(text: str) -> None:
    with pytest.raises((UnicodeEncodeError, ValueError)):
        Whole(free=text)


# The contracts of the application.


def _requests() -> list[Any]:
    modules = ("auth", "users", "catalog", "inventory", "orders", "payments")
    services: list[ServiceDescriptor] = []
    for module in modules:
        pb2 = importlib.import_module(f"commerce.{module}.v1.{module}_service_pb2")
        services += pb2.DESCRIPTOR.services_by_name.values()
    return [method.input_type for service in services for method in service.methods]


REQUESTS = {request.full_name: request for request in _requests()}
QUICK = {name: fast for name, request in REQUESTS.items() if (fast := compile_fast(request))}


@pytest.mark.parametrize("name", QUICK)
def test_the_quick_answer_about_a_request_of_the_application_is_protovalidates(name: str) -> None:
    seen = set()

    @settings(
        max_examples=150,
        suppress_health_check=[HealthCheck.too_slow],
        deadline=None,
        derandomize=True,  # so that valid ones are surely among them
    )
    @given(messages(REQUESTS[name]))
    def law(message: Any) -> None:
        verdict = violations(message) == []
        seen.add(verdict)
        assert bool(QUICK[name](message)) == verdict

    law()

    assert True in seen


def test_most_requests_of_the_application_are_judged_quickly() -> None:
    slow = sorted(REQUESTS.keys() - QUICK.keys())

    assert len(slow) <= len(REQUESTS) // 3, slow


# What a caller is told.


def test_every_violation_is_told_with_its_path_and_rule() -> None:
    validation = compile_validation(Whole)
    assert validation is not None
    message = valid_whole()
    message.lines.add(product_id="p", quantity=1)
    message.lines.add(product_id="q", quantity=99)
    message.least = "x"

    with pytest.raises(StatusError) as caught:
        validation.check(message)

    error = caught.value
    assert error.code().name == "INVALID_ARGUMENT"
    assert error.reason == "INVALID_REQUEST"
    assert [(each.field, each.reason) for each in error.violations] == [
        ("least", "string.min_len"),
        ("lines[1].quantity", "int32.gte_lte"),
    ]
    assert error.message.startswith("least: ")


def test_a_valid_message_passes_the_check_too() -> None:
    validation = compile_validation(Whole)
    assert validation is not None

    validation.check(valid_whole())


def test_a_contract_without_rules_is_not_validated() -> None:
    from examples.greeter.v1 import greeter_pb2

    assert compile_validation(greeter_pb2.SayHelloRequest) is None
