from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from ruamel.yaml import YAML

from portico.render.yaml import Noted, document, documents

TEXTS = some.one_of(
    some.text(alphabet=some.characters(exclude_categories=["Cs"])),
    some.text(alphabet="ab \n\t:#-'\"[]{},&*!|>%@`~=<?"),
    some.sampled_from(
        ["no", "Off", "null", "~", "1", "1:20", "0x1f", "1e3", ".5", "-", "2026-05-29", "<<", "="]
    ),
)
SCALARS = some.one_of(TEXTS, some.booleans(), some.integers(), some.just(0.5))
VALUES: some.SearchStrategy[Any] = some.recursive(
    SCALARS,
    lambda inner: some.one_of(
        some.lists(inner, max_size=4), some.dictionaries(TEXTS, inner, max_size=4)
    ),
    max_leaves=12,
)
DOCUMENTS = some.one_of(some.lists(VALUES), some.dictionaries(TEXTS, VALUES)).filter(bool)


def read(text: str, version: str) -> list[Any]:
    reader = YAML(typ="safe", pure=True)
    reader.version = version
    return list(reader.load_all(text))


def noted(value: Any) -> Any:
    """The same with a comment at everything."""
    if isinstance(value, dict):
        return {key: Noted(f"{len(key)}: {{", noted(each)) for key, each in value.items()}
    if isinstance(value, list):
        return [Noted("one\ntwo", noted(each)) for each in value]
    return value


@given(DOCUMENTS)
def test_both_versions_of_yaml_read_what_was_written(content: Any) -> None:
    for text in (document(content), document(noted(content), note="What it is.", spaced=2)):
        for version in ("1.1", "1.2"):
            assert read(text, version) == [content]


def test_it_looks_as_a_person_would_write_it() -> None:
    content = {
        "command": ["serve", "--demo"],
        "environment": {"FLAG": "true", "NUMBER": 1, "URL": "postgresql://a:b@c/d"},
        "ports": Noted("this machine only", ["127.0.0.1:8080:8080"]),
        "file": 'name = "a"\n\n[b]\n',
        "items": [{"name": "a", "value": 1}, Noted("a list", [{"of": "lists"}])],
        "nothing": {},
    }

    assert document(content, note="A file.") == (
        "# A file.\n"
        "\n"
        "command: [serve, --demo]\n"
        "environment:\n"
        '  FLAG: "true"\n'
        "  NUMBER: 1\n"
        "  URL: postgresql://a:b@c/d\n"
        "# this machine only\n"
        'ports: ["127.0.0.1:8080:8080"]\n'
        "file: |\n"
        '  name = "a"\n'
        "\n"
        "  [b]\n"
        "items:\n"
        "  - name: a\n"
        "    value: 1\n"
        "  # a list\n"
        "  - - of: lists\n"
        "nothing: {}\n"
    )


def test_longer_entries_stand_apart_where_that_is_asked_for() -> None:
    content = {
        "name": "a",
        "services": {"b": {"c": 1}, "d": 2, "e": {"f": {"g": 3}, "h": {"i": 4}}},
    }

    assert document(content, spaced=2) == (
        "name: a\n\nservices:\n  b:\n    c: 1\n  d: 2\n\n  e:\n"
        "    f:\n      g: 3\n    h:\n      i: 4\n"
    )


def test_documents_stand_apart_each_under_its_comment() -> None:
    text = documents([Noted("first", {"a": 1}), {"b": 2}], note="Two.")

    assert text == "# Two.\n\n# first\na: 1\n---\nb: 2\n"
    assert read(text, "1.2") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("wrong", [None, 1, {"a": None}, {"a": {1, 2}}, [b"raw"]])
def test_what_yaml_cannot_say_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError):
        document(wrong)
