"""The contracts say what a caller needs, the generated code says the same, and each check can fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portico.check.contracts import findings, read
from portico.check.generate import GenerationError, drift, generate

ROOT = Path(__file__).parents[2]
PROTOS = ROOT / "protos"
# Plain gRPC on purpose: it shows that a contract needs nothing of ours.
PLAIN = ("examples.greeter.v1",)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder of contracts that holds the shop and what it imports; the file to spoil."""
    protos = tmp_path / "protos"
    for needed in ("third_party", "portico"):
        shutil.copytree(PROTOS / needed, protos / needed)
    shutil.copy(PROTOS / "buf.yaml", protos)
    contract = protos / "shop" / "v1" / "shop_service.proto"
    contract.parent.mkdir(parents=True)
    shutil.copy(Path(__file__).parent / "planted" / contract.name, contract)
    return contract


def spoil(contract: Path, good: str, bad: str) -> Path:
    """Replace one text by another, and give back the folder of contracts."""
    text = contract.read_text()
    assert text.count(good) == 1, good
    contract.write_text(text.replace(good, bad))
    return contract.parents[2]


def lint(protos: Path) -> str:
    """What buf has to say about a folder of contracts."""
    buf = Path(sys.executable).parent / "buf"
    return subprocess.run([buf, "lint", protos], capture_output=True, text=True, check=False).stdout


def test_nothing_is_missing_in_the_contracts() -> None:
    assert findings(read(PROTOS), plain=PLAIN) == []


def test_nothing_is_missing_in_the_unspoilt_shop(shop: Path) -> None:
    assert findings(read(shop.parents[2])) == []
    assert lint(shop.parents[2]) == ""


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ("// Sells things.\n", "\n", "service shop.v1.ShopService has no comment"),
        ("// The thing to make.\n", "\n", "message shop.v1.CreateThingRequest has no comment"),
        (
            "  // Makes a repeat safe.\n",
            "",
            "field shop.v1.CreateThingRequest.request_id has no comment",
        ),
        ("  // Where it stands.\n", "", "enum shop.v1.CreateThingResponse.Status has no comment"),
        (
            "    // Never sent.\n    STATUS",
            "    STATUS",
            "value shop.v1.CreateThingResponse.Status.STATUS_UNSPECIFIED has no comment",
        ),
        ("    option idempotency_level = IDEMPOTENT;\n", "", "has no idempotency_level"),
        ("access: ROLES\n      roles", "roles", "does not say who may call it"),
        ('      roles: "admin"\n', "", "has access ROLES without roles, or the other way round"),
        (
            "access: ROLES",
            "access: PUBLIC",
            "has access ROLES without roles, or the other way round",
        ),
        ("access: ROLES", "access: INTERNAL", "has to be either internal or bound to HTTP"),
        ("Errors:\n", "Beware:\n", "does not list its errors"),
        (
            'body: "*"',
            'body: "*" response_body: "thing"',
            "has a response_body, which not every gateway can serve",
        ),
        (
            'body: "*"',
            'body: "*" additional_bindings {get: "/api/v1/new" response_body: "thing"}',
            "has a response_body, which not every gateway can serve",
        ),
        (
            "string request_id",
            "string remark",
            "creates something, and its request has no request_id",
        ),
        (
            " [(google.api.field_behavior) = OPTIONAL]",
            "",
            "of a request is neither REQUIRED nor OPTIONAL",
        ),
        (
            " [(portico.v1.code) = NOT_FOUND]",
            "",
            "value shop.v1.ErrorReason.PRODUCT_NOT_FOUND has no code",
        ),
        (
            " Metadata: none.",
            "",
            "value shop.v1.ErrorReason.THING_EXISTS shows no example of its metadata",
        ),
        (
            "  // - THING_EXISTS: it is there already.\n",
            "",
            "ErrorReason.THING_EXISTS is listed by no rpc",
        ),
        (
            "- THING_EXISTS:",
            "- THING_TAKEN:",
            "lists THING_TAKEN, which no ErrorReason of shop.v1 has",
        ),
        (
            "(shop.v1):",
            "(mall.v1):",
            "lists PRODUCT_NOT_FOUND, which no ErrorReason of mall.v1 has",
        ),
    ],
)
def test_a_contract_that_leaves_something_out_is_found(
    shop: Path, good: str, bad: str, expected: str
) -> None:
    protos = spoil(shop, good, bad)
    assert any(expected in finding for finding in findings(read(protos)))


def test_a_rename_does_not_hide_a_create_without_request_id(shop: Path) -> None:
    spoil(shop, "rpc CreateThing(", "rpc OpenThing(")
    protos = spoil(shop, "string request_id", "string remark")
    assert any("has no request_id" in finding for finding in findings(read(protos)))


def test_buf_finds_nothing_in_the_contracts() -> None:
    assert lint(PROTOS) == ""


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("// Sells things.\n", "\n", "Service"),
        ("string request_id", "string requestId", "lower_snake_case"),
        ("STATUS_UNSPECIFIED", "STATUS_UNKNOWN", "_UNSPECIFIED"),
        ("package shop.v1;", "package shop;", "package"),
    ],
)
def test_buf_finds_a_contract_in_bad_style(shop: Path, good: str, bad: str, rule: str) -> None:
    assert rule in lint(spoil(shop, good, bad))


def test_the_contracts_are_formatted_as_buf_does() -> None:
    own = [f"--path={PROTOS / name}" for name in ("commerce", "examples", "portico")]
    buf = Path(sys.executable).parent / "buf"
    assert (
        subprocess.run(
            [buf, "format", PROTOS, "--diff", *own], capture_output=True, text=True, check=True
        ).stdout
        == ""
    )


def test_the_generated_code_is_what_the_contracts_make(tmp_path: Path) -> None:
    generate(protos=PROTOS, into=tmp_path)
    assert drift(tmp_path, ROOT / "generated") == []


def test_no_generated_class_lacks_its_documentation() -> None:
    generated = list((ROOT / "generated").rglob("*_pb2_grpc.py"))
    assert generated
    assert [
        path for path in generated if "Missing associated documentation" in path.read_text()
    ] == []


def test_drift_is_an_edited_a_missing_and_a_left_over_file(shop: Path, tmp_path: Path) -> None:
    fresh, present = tmp_path / "fresh", tmp_path / "present"
    generate(protos=shop.parents[2], into=fresh)
    assert generate(protos=shop.parents[2], into=present)
    module = Path("shop/v1/shop_service_pb2.py")
    (present / module).write_text("")
    (present / module.with_suffix(".pyi")).unlink()
    (present / "left_over_pb2.py").write_text("")
    changed = [Path("left_over_pb2.py"), module, module.with_suffix(".pyi")]
    assert drift(fresh, present) == changed
    assert generate(protos=shop.parents[2], into=present) == changed
    assert drift(fresh, present) == []


def test_a_contract_that_does_not_compile_changes_nothing_and_names_the_place(
    shop: Path, tmp_path: Path
) -> None:
    protos = spoil(shop, "package shop.v1;", "package shop.v1")
    with pytest.raises(GenerationError, match=r"shop_service\.proto:\d+"):
        generate(protos=protos, into=tmp_path / "generated")
    assert not (tmp_path / "generated").exists()


def test_the_kernel_and_its_contracts_may_lie_in_one_folder_as_in_a_wheel(tmp_path: Path) -> None:
    for module in ("__init__.py", "lab/__init__.py"):
        (tmp_path / "portico" / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "src" / "portico" / module, tmp_path / "portico" / module)
    shutil.copytree(ROOT / "generated", tmp_path, dirs_exist_ok=True)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import portico.v1.options_pb2, portico.lab.v1.hop_pb2_grpc, commerce.orders.v1.orders_service_pb2_grpc\n"
        "print(portico.__file__, portico.v1.options_pb2.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env={}
    )
    assert done.stderr == ""
    assert done.stdout.count(str(tmp_path)) == 2
