from __future__ import annotations

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

from portico.gateway.fast import FastCodec


def file(name: str, *imports: str) -> FileDescriptorProto:
    """A file with one message, which has a text and one field of each imported file's message."""
    described = FileDescriptorProto(name=f"{name}.proto", package="p", syntax="proto3")
    described.dependency.extend(f"{each}.proto" for each in imports)
    message = described.message_type.add(name=name.title())
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    message.field.add(name="text", number=1, type=FieldDescriptorProto.TYPE_STRING, label=optional)
    for number, each in enumerate(imports, start=2):
        message.field.add(
            name=each,
            number=number,
            type=FieldDescriptorProto.TYPE_MESSAGE,
            type_name=f".p.{each.title()}",
            label=optional,
        )
    return described


def test_a_file_is_known_whatever_the_order_of_its_imports() -> None:
    pool = DescriptorPool()
    # "service" names what it shares with "resource" first: the rules before what is written with them.
    for described in (
        file("rules"),
        file("money", "rules"),
        file("resource", "rules", "money"),
        file("service", "rules", "resource"),
    ):
        pool.Add(described)
    service = GetMessageClass(pool.FindMessageTypeByName("p.Service"))

    codec = FastCodec(pool)
    message = codec.decode(b'{"resource": {"money": {"text": "5"}}}', service)

    assert codec.encode(message).startswith(b'{"text":"","resource":')
