from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portico.gateway.router import Router
from portico.gateway.template import ANY, REST, Template


def _router(*routes: str) -> Router[str]:
    router: Router[str] = Router()
    for route in routes:
        method, path = route.split()
        assert router.add(method, Template.parse(path), route) is None
    return router


BOOKS = _router(
    "GET /v1/books",
    "POST /v1/books",
    "GET /v1/books/popular",
    "GET /v1/books/{name}",
    "DELETE /v1/books/{name}",
    "POST /v1/books/{name}:borrow",
    "GET /v1/books:watch",
    "GET /v1/{parent=shelves/*}/books",
    "GET /v1/files/{path=**}",
    "PUT /v1/files/{path=**}",
    "* /v1/any/{name}",
    "HEAD /v1/files/index",
    "GET /v1/*/*/last",
)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("GET", "/v1/books", "GET /v1/books"),
        ("GET", "/v1/books/", "GET /v1/books"),
        ("GET", "/v1/books//", "GET /v1/books"),
        ("POST", "/v1/books", "POST /v1/books"),
        ("GET", "/v1/books/popular", "GET /v1/books/popular"),
        ("GET", "/v1/books/other", "GET /v1/books/{name}"),
        ("DELETE", "/v1/books/popular", "DELETE /v1/books/{name}"),
        ("POST", "/v1/books/b1:borrow", "POST /v1/books/{name}:borrow"),
        ("GET", "/v1/books/b1:other", "GET /v1/books/{name}"),
        ("GET", "/v1/books/b1%3Aborrow", "GET /v1/books/{name}"),
        ("GET", "/v1/books:watch", "GET /v1/books:watch"),
        ("GET", "/v1/shelves/3/books", "GET /v1/{parent=shelves/*}/books"),
        ("GET", "/v1/shelves/3/last", "GET /v1/*/*/last"),
        ("GET", "/v1/files/a/b/c", "GET /v1/files/{path=**}"),
        ("GET", "/v1/files", "GET /v1/files/{path=**}"),
        ("PUT", "/v1/files/index", "PUT /v1/files/{path=**}"),
        ("HEAD", "/v1/files/index", "HEAD /v1/files/index"),
        ("HEAD", "/v1/files/other", "GET /v1/files/{path=**}"),
        ("HEAD", "/v1/books", "GET /v1/books"),
        ("PURGE", "/v1/any/x", "* /v1/any/{name}"),
        ("GET", "/v1/any/x", "* /v1/any/{name}"),
    ],
)
def test_a_path_finds_its_route(method: str, path: str, route: str) -> None:
    assert BOOKS.match(method, path).route == route


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/", ()),
        ("GET", "", ()),
        ("GET", "*", ()),
        ("GET", "/v1", ()),
        ("GET", "/v2/books", ()),
        ("GET", "/v1/books/a/b", ()),
        ("GET", "/v1/shelves//books", ()),
        ("GET", "/V1/books", ()),
        ("DELETE", "/v1/books", ("GET", "HEAD", "POST")),
        ("PUT", "/v1/books/popular", ("DELETE", "GET", "HEAD")),
        ("GET", "/v1/books/b1:borrow", ("POST",)),
        ("GET", "/v1/books/b1:watch", ()),
        ("POST", "/v1/files/x", ("GET", "HEAD", "PUT")),
    ],
)
def test_a_path_without_a_route_tells_what_would_do(
    method: str, path: str, allowed: tuple[str, ...]
) -> None:
    found = BOOKS.match(method, path)
    assert found.route is None
    assert found.allowed == allowed


def test_a_place_is_given_once() -> None:
    router = _router("GET /v1/books/{name}")
    assert router.add("GET", Template.parse("/v1/books/{other}"), "x") == "GET /v1/books/{name}"
    assert router.match("GET", "/v1/books/b").route == "GET /v1/books/{name}"


_segments = st.sampled_from(["a", "b", "c", ANY])
_templates = st.builds(
    lambda parts, rest, verb: Template((*parts, *([REST] if rest else [])), (), verb),
    st.lists(_segments, min_size=1, max_size=3),
    st.booleans(),
    st.sampled_from(["", "", "v", "w"]),
)
_paths = st.lists(st.sampled_from(["a", "b", "c", "d", "a:v", "b:w", "c:x", ""]), max_size=4)


def _pattern(template: Template) -> re.Pattern[str]:
    """The same template the slow way: a regular expression."""
    parts = {ANY: "/[^/]+", REST: "(/.*)?"}
    path = "".join(parts.get(each, f"/{each}") for each in template.segments)
    return re.compile(path + (f":{template.verb}" if template.verb else ""))


def _rank(template: Template) -> tuple[int, ...]:
    """Literals before ``*`` before ``**``, from left to right."""
    return tuple({ANY: 1, REST: 2}.get(each, 0) for each in template.segments)


@given(templates=st.lists(_templates, max_size=6, unique=True), parts=_paths)
def test_the_trie_finds_what_regular_expressions_find(
    templates: list[Template], parts: list[str]
) -> None:
    router: Router[Template] = Router()
    for template in templates:
        router.add("GET", template, template)
    path = "/" + "/".join(parts)
    verbs = {each.verb for each in templates if each.verb}
    found = router.match("GET", path).route

    head, colon, tail = path.rpartition(":")
    verb = tail if colon and tail in verbs else ""
    bare = (head if verb else path).rstrip("/")
    fitting = [
        each
        for each in templates
        if each.verb == verb and _pattern(Template(each.segments)).fullmatch(bare)
    ]
    assert found == (min(fitting, key=_rank) if fitting else None)
