from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.gateway.template import ANY, REST, Template, TemplateError, Variable


@pytest.mark.parametrize(
    ("text", "segments", "variables", "verb"),
    [
        ("/v1/books", ("v1", "books"), (), ""),
        ("/v1/*/books", ("v1", "*", "books"), (), ""),
        ("/v1/{name}", ("v1", "*"), (Variable("name", 1, 2),), ""),
        ("/v1/{book.name}", ("v1", "*"), (Variable("book.name", 1, 2),), ""),
        ("/v1/{name=shelves/*}", ("v1", "shelves", "*"), (Variable("name", 1, 3),), ""),
        ("/v1/{path=**}", ("v1", "**"), (Variable("path", 1, None),), ""),
        ("/v1/{path=a/**}", ("v1", "a", "**"), (Variable("path", 1, None),), ""),
        ("/v1/books:watch", ("v1", "books"), (), "watch"),
        ("/v1/{name}:undo", ("v1", "*"), (Variable("name", 1, 2),), "undo"),
        ("/v1/{a}/x/{b}", ("v1", "*", "x", "*"), (Variable("a", 1, 2), Variable("b", 3, 4)), ""),
        ("/.well-known/jwks.json", (".well-known", "jwks.json"), (), ""),
    ],
)
def test_a_template_is_read_as_its_grammar_says(
    text: str, segments: tuple[str, ...], variables: tuple[Variable, ...], verb: str
) -> None:
    assert Template.parse(text) == Template(segments, variables, verb)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1/books",
        "/",
        "/v1//books",
        "/v1/books/",
        "/v1/{name",
        "/v1/name}",
        "/v1/{a{b}}",
        "/v1/{}",
        "/v1/{1a}",
        "/v1/{a.}",
        "/v1/{a}x",
        "/v1/x{a}",
        "/v1/{a}/{a}",
        "/v1/**/books",
        "/v1/{a=**}/books",
        "/v1/{a=}b",
        "/v1/books:",
        "/v1/b ooks",
        "/v1/{a=b:c}",
    ],
)
def test_what_the_grammar_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(TemplateError):
        Template.parse(text)


_literals = st.text("abcdefgh-._~", min_size=1, max_size=5).filter(lambda text: text != REST)
_names = st.lists(st.from_regex(r"[a-z]{1,4}(\.[a-z]{1,3})?", fullmatch=True), unique=True)


@given(
    parts=st.lists(st.one_of(_literals, st.just(ANY)), min_size=1, max_size=5),
    names=_names,
    verb=st.one_of(st.just(""), _literals),
    rest=st.booleans(),
)
def test_a_written_template_is_read_back(
    parts: list[str], names: list[str], verb: str, *, rest: bool
) -> None:
    segments = [*parts, *([REST] if rest else [])]
    free = list(names)
    written, variables = [], []
    for at, segment in enumerate(segments):
        if segment in {ANY, REST} and free:
            name = free.pop()
            written.append("{" + name + ("}" if segment == ANY else "=**}"))
            variables.append(Variable(name, at, at + 1 if segment == ANY else None))
        else:
            written.append(segment)
    text = "/" + "/".join(written) + (f":{verb}" if verb else "")
    assert Template.parse(text) == Template(tuple(segments), tuple(variables), verb)


@pytest.mark.parametrize(
    ("segment", "value"),
    [
        ("plain", "plain"),
        ("a%2Fb", "a/b"),
        ("a%20b+c", "a b+c"),
        ("%C3%A4", "ä"),
        ("100%", "100%"),
        ("%zz", "%zz"),
        ("%2541", "%41"),
    ],
)
def test_a_single_segment_is_decoded_wholly_and_once(segment: str, value: str) -> None:
    assert Variable("name", 0, 1).value([segment]) == value


def test_in_several_segments_reserved_characters_stay_encoded() -> None:
    variable = Variable("path", 1, None)
    assert variable.value(["files", "a%2Fb", "c%20d%3A", "%C3%A4"]) == "a%2Fb/c d%3A/ä"
    assert variable.value(["files"]) == ""


@pytest.mark.parametrize("variable", [Variable("name", 0, 1), Variable("name", 0, None)])
def test_a_segment_that_is_not_utf8_is_no_text(variable: Variable) -> None:
    with pytest.raises(UnicodeDecodeError):
        variable.value(["%ff"])


@pytest.mark.parametrize(
    "text",
    [
        "/v1/books",
        "/v1/books/{name}",
        "/v1/{name=shelves/*/books/*}:move",
        "/v1/{shelf}/books/{book}",
        "/v1/files/{path=**}",
    ],
)
def test_a_template_reads_back_as_it_was_written(text: str) -> None:
    assert str(Template.parse(text)) == text
