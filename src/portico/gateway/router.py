"""From a method and a path to the route that serves them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from portico.gateway.template import ANY, REST

if TYPE_CHECKING:
    from portico.gateway.template import Template

R = TypeVar("R")

ANY_METHOD = "*"
"""The HTTP method of a ``custom`` rule that serves every method."""


class Match(NamedTuple, Generic[R]):
    """What a look-up found: the route and the path's segments, or else the methods that would do.

    No route and nothing allowed: the path is unknown.
    """

    route: R | None
    segments: list[str]
    allowed: tuple[str, ...] = ()


class _Node(Generic[R]):
    """One segment of some templates: what may follow, and the routes that end here."""

    __slots__ = ("any", "ends", "literals", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[R]] = {}
        self.any: _Node[R] | None = None
        self.rest: _Node[R] | None = None
        self.ends: dict[str, dict[str, R]] = {}
        """By verb, then by method."""

    def child(self, segment: str) -> _Node[R]:
        """The node for the next segment of a template, made when it is missing."""
        if segment == REST:
            self.rest = self.rest or _Node()
            return self.rest
        if segment == ANY:
            self.any = self.any or _Node()
            return self.any
        return self.literals.setdefault(segment, _Node())

    def find(self, segments: list[str], at: int, verb: str, method: str) -> R | None:
        """The best route below: a literal wins over ``*``, which wins over ``**``."""
        found = None
        if at == len(segments):
            found = self.end(verb, method)
        else:
            segment = segments[at]
            below = self.literals.get(segment)
            if below is not None:
                found = below.find(segments, at + 1, verb, method)
            if found is None and self.any is not None and segment:
                found = self.any.find(segments, at + 1, verb, method)
        if found is None and self.rest is not None:
            found = self.rest.end(verb, method)
        return found

    def methods(self, segments: list[str], at: int, verb: str) -> set[str]:
        """Every method that some route below serves."""
        if at == len(segments):
            found = set(self.ends.get(verb, ()))
        else:
            segment = segments[at]
            below = [self.literals.get(segment), self.any if segment else None]
            found = {m for node in below if node for m in node.methods(segments, at + 1, verb)}
        return found | set(self.rest.ends.get(verb, ()) if self.rest else ())

    def end(self, verb: str, method: str) -> R | None:
        """The route that ends here."""
        ends = self.ends.get(verb)
        if ends is None:
            return None
        return ends.get(method) or ends.get(ANY_METHOD)


class Router(Generic[R]):
    """Templates in a trie: a look-up costs the length of the path, however many routes there are.

    As in Envoy: slashes at the end of a path do not count, and a colon begins a verb only when
    some template has that verb; in any other place it is part of the segment. Verbs and slashes
    are found before anything is percent-decoded.
    """

    def __init__(self) -> None:
        self._root: _Node[R] = _Node()
        self._literal: dict[tuple[str, str], tuple[R, list[str]]] = {}
        self._verbs: set[str] = set()

    def add(self, method: str, template: Template, route: R) -> R | None:
        """Add a route. When the place is taken nothing is added, and whose it is is returned."""
        node = self._root
        for segment in template.segments:
            node = node.child(segment)
        ends = node.ends.setdefault(template.verb, {})
        if method in ends:
            return ends[method]
        ends[method] = route
        if template.verb:
            self._verbs.add(template.verb)
        if not {ANY, REST} & set(template.segments):
            path = "/" + "/".join(template.segments)
            whole = f"{path}:{template.verb}" if template.verb else path
            self._literal[method, whole] = route, list(template.segments)
        return None

    def match(self, method: str, path: str) -> Match[R]:
        """Look up ``path`` as it was sent. HEAD is served by GET where there is no HEAD of its own."""
        literal = self._literal.get((method, path))
        if literal is not None:
            return Match(*literal)
        segments, verb = self._split(path)
        route = self._root.find(segments, 0, verb, method)
        if route is None and method == "HEAD":
            route = self._root.find(segments, 0, verb, "GET")
        if route is not None:
            return Match(route, segments)
        return Match(None, segments, self._allowed(segments, verb))

    def _split(self, path: str) -> tuple[list[str], str]:
        head, colon, tail = path.rpartition(":")
        verb = tail if colon and tail in self._verbs else ""
        segments = (head if verb else path)[1:].split("/")
        while segments and not segments[-1]:
            segments.pop()
        return segments, verb

    def _allowed(self, segments: list[str], verb: str) -> tuple[str, ...]:
        found = self._root.methods(segments, 0, verb) - {ANY_METHOD}
        if "GET" in found:
            found.add("HEAD")
        return tuple(sorted(found))
