"""What a contract has to say, besides what the compiler asks of it.

Run it as ``python -m portico.check.contracts``, in the folder that holds ``protos``. It reads the
compiler's own view of the contracts, comments included, and prints one finding a line.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.api import annotations_pb2, field_behavior_pb2
from google.protobuf import descriptor_pb2

from portico.check.generate import GenerationError, own_contracts, run_protoc
from portico.v1 import options_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from google.protobuf.message import Message

# A second call with one of these verbs would make a second thing, were there no request_id.
CREATING = ("Create", "Register", "Place", "Charge", "Refund", "Adjust")

_HTTP_CREATED = 201

# The kernel's own services are for processes and for whoever looks after them: REST has none of them.
_KERNEL = "portico.v1"

_REASON = re.compile(r"^ *- ([A-Z][A-Z0-9_]+)(?: \(([a-z0-9_.]+)\))?:", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Element:
    """Something in a contract that can bear a comment."""

    package: str
    kind: str
    name: str
    proto: Message
    comment: str

    def finding(self, sentence: str) -> str:
        """One line about this element."""
        return f"{self.kind} {self.package}.{self.name} {sentence}"


def read(protos: Path) -> list[Element]:
    """Every service, rpc, message, field, enum and value of our own contracts, in the order of the files.

    Raises:
        GenerationError: a contract does not compile.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "contracts"
        run_protoc(
            protos,
            "--include_source_info",
            f"--descriptor_set_out={target}",
            sources=own_contracts(protos),
        )
        contracts = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    return [element for file in contracts.file for element in _elements(file)]


def findings(elements: Sequence[Element], *, plain: Collection[str] = ()) -> list[str]:
    """Everything that the contracts fail to say, one sentence each; empty when nothing is missing.

    Packages in ``plain`` use gRPC alone: of them only comments are asked.
    """
    ruled = [element for element in elements if element.package not in plain]
    return [
        *_undocumented(elements),
        *_methods_without_rules(ruled),
        *_answers_in_part(ruled),
        *_creates_without_request_id(ruled),
        *_fields_without_behaviour(ruled),
        *_reasons_without_meaning(ruled),
        *_reasons_unknown_or_unused(ruled),
    ]


def _undocumented(elements: Sequence[Element]) -> Iterator[str]:
    for element in elements:
        if not element.comment:
            yield element.finding("has no comment")


def _methods_without_rules(elements: Sequence[Element]) -> Iterator[str]:
    for element, method in _methods(elements):
        rules = method.options.Extensions[options_pb2.method]
        if not method.options.HasField("idempotency_level"):
            yield element.finding("has no idempotency_level")
        if rules.access == options_pb2.ACCESS_UNSPECIFIED:
            yield element.finding("does not say who may call it")
        if (rules.access == options_pb2.ROLES) != bool(rules.roles):
            yield element.finding("has access ROLES without roles, or the other way round")
        is_inside = rules.access == options_pb2.INTERNAL or element.package == _KERNEL
        if is_inside == method.options.HasExtension(annotations_pb2.http):
            yield element.finding("has to be either internal or bound to HTTP")
        if "Errors:" not in element.comment:
            yield element.finding("does not list its errors")


def _answers_in_part(elements: Sequence[Element]) -> Iterator[str]:
    # Envoy does not start with such a contract, unless the part is a google.api.HttpBody.
    for element, method in _methods(elements):
        rule = method.options.Extensions[annotations_pb2.http]
        if any(each.response_body for each in (rule, *rule.additional_bindings)):
            yield element.finding("has a response_body, which not every gateway can serve")


def _creates_without_request_id(elements: Sequence[Element]) -> Iterator[str]:
    fields = {(element.package, element.name) for element in elements if element.kind == "field"}
    for element, method in _methods(elements):
        created = method.options.Extensions[options_pb2.method].http_status == _HTTP_CREATED
        request = method.input_type.rpartition(".")[2]
        if (created or method.name.startswith(CREATING)) and (
            element.package,
            f"{request}.request_id",
        ) not in fields:
            yield element.finding("creates something, and its request has no request_id")


def _fields_without_behaviour(elements: Sequence[Element]) -> Iterator[str]:
    requests = {
        (element.package, method.input_type.rpartition(".")[2])
        for element, method in _methods(elements)
    }
    wanted = {field_behavior_pb2.REQUIRED, field_behavior_pb2.OPTIONAL}
    for element in elements:
        if isinstance(element.proto, descriptor_pb2.FieldDescriptorProto):
            said = set(element.proto.options.Extensions[field_behavior_pb2.field_behavior])
            if (element.package, element.name.rpartition(".")[0]) in requests and len(
                said & wanted
            ) != 1:
                yield element.finding("of a request is neither REQUIRED nor OPTIONAL")


def _reasons_without_meaning(elements: Sequence[Element]) -> Iterator[str]:
    for element, value in _reasons(elements):
        if not value.options.HasExtension(options_pb2.code):
            yield element.finding("has no code")
        if "Metadata:" not in element.comment:
            yield element.finding("shows no example of its metadata")


def _reasons_unknown_or_unused(elements: Sequence[Element]) -> Iterator[str]:
    reasons = {(element.package, value.name): element for element, value in _reasons(elements)}
    used = set()
    for element, _ in _methods(elements):
        for name, package in _REASON.findall(element.comment):
            used.add((package or element.package, name))
            if (package or element.package, name) not in reasons:
                yield element.finding(
                    f"lists {name}, which no ErrorReason of {package or element.package} has"
                )
    for key in sorted(reasons.keys() - used):
        yield reasons[key].finding("is listed by no rpc")


def _methods(
    elements: Sequence[Element],
) -> Iterator[tuple[Element, descriptor_pb2.MethodDescriptorProto]]:
    for element in elements:
        if isinstance(element.proto, descriptor_pb2.MethodDescriptorProto):
            yield element, element.proto


def _reasons(
    elements: Sequence[Element],
) -> Iterator[tuple[Element, descriptor_pb2.EnumValueDescriptorProto]]:
    for element in elements:
        value = element.proto
        if not element.name.startswith("ErrorReason.") or not isinstance(
            value, descriptor_pb2.EnumValueDescriptorProto
        ):
            continue
        if value.number != 0:
            yield element, value


# The kinds of element, and in which lists of their parent's descriptor they are found.
_CHILDREN = {
    "file": {
        "service": "service",
        "message_type": "message",
        "enum_type": "enum",
        "extension": "extension",
    },
    "service": {"method": "rpc"},
    "message": {"field": "field", "nested_type": "message", "enum_type": "enum"},
    "enum": {"value": "value"},
}


def _elements(file: descriptor_pb2.FileDescriptorProto) -> Iterator[Element]:
    comments = {
        tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location
    }

    def below(parent: Message, kind: str, path: tuple[int, ...], prefix: str) -> Iterator[Element]:
        for listed, child_kind in _CHILDREN.get(kind, {}).items():
            number = parent.DESCRIPTOR.fields_by_name[listed].number
            for index, child in enumerate(getattr(parent, listed)):
                if listed == "nested_type" and child.options.map_entry:
                    continue
                here, name = (*path, number, index), prefix + child.name
                yield Element(file.package, child_kind, name, child, comments.get(here, ""))
                yield from below(child, child_kind, here, f"{name}.")

    return below(file, "file", (), "")


def main() -> int:
    """The command line; 1 when something is missing."""
    parser = argparse.ArgumentParser(prog="python -m portico.check.contracts", description=__doc__)
    parser.add_argument(
        "--protos", type=Path, default=Path("protos"), help="where the contracts are"
    )
    parser.add_argument(
        "--plain", nargs="*", default=[], metavar="PACKAGE", help="packages that use gRPC alone"
    )
    chosen = parser.parse_args()
    try:
        missing = findings(read(chosen.protos), plain=chosen.plain)
    except GenerationError as error:
        missing = [str(error)]
    sys.stdout.writelines(f"{line}\n" for line in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
