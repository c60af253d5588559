"""The boundaries of DESIGN.md hold, and each check is seen to fail on a planted violation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portico.check import sources

ROOT = Path(__file__).parents[2]

# The smallest tree that has everything the contracts name, each file with an import that is allowed.
SOUND = {
    "emporium/app.py": "from emporium.orders import module as orders\nfrom emporium.stock import module",
    "emporium/orders/module.py": "import punq\nfrom emporium.orders import service\n"
    "from commerce.stock.v1 import stock_service_pb2_grpc",
    "emporium/orders/service.py": "from emporium.orders import model, store, wire, workflows\n"
    "from portico import errors\nfrom commerce.stock.v1 import stock_service_pb2",
    "emporium/orders/workflows.py": "from emporium.orders import wire\nfrom portico import workflow",
    "emporium/orders/reactions.py": "from commerce.payments.v1.events_pb2 import PaymentSucceeded",
    "emporium/orders/wire.py": "from emporium.orders import model\nfrom commerce.orders.v1 import order_pb2",
    "emporium/orders/store.py": "import sqlalchemy\nfrom emporium.orders import model",
    "emporium/orders/model.py": "import decimal",
    "emporium/stock/module.py": "",
    "emporium/stock/model.py": "",
    "portico/assembly.py": "import punq",
    "portico/clock.py": "from datetime import UTC, datetime\nnow = datetime.now",
    "portico/context.py": "",
    "portico/data/engine.py": "import psycopg, sqlalchemy",
    "portico/errors.py": "import grpc",
    "portico/events/streams/reader.py": "import redis",
    "portico/gateway/router.py": "from portico import rpc",
    "portico/resilience/breaker.py": "",
    "portico/rpc/local.py": "import time\nfrom portico import errors\nnow = time.monotonic",
    "portico/settings.py": "import os\nhome = os.environ",
    "portico/telemetry/logs.py": "",
    "portico/workflow/together.py": "from portico import data",
}


def plant(folder: Path, **added: str) -> Path:
    """The sound tree below `folder`, with a line added to some files; returns its root."""
    for file, text in SOUND.items() | {(path, "") for path in added}:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(text)
    for file, line in added.items():
        (folder / file).write_text(f"{SOUND.get(file, '')}\n{line}\n")
    for package in folder.rglob("*"):
        if package.is_dir():
            (package / "__init__.py").touch()
    return folder


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the project's own contracts over the packages in `folder`."""
    return subprocess.run(
        [
            Path(sys.executable).with_name("lint-imports"),
            "--config",
            ROOT / "pyproject.toml",
            "--no-cache",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_project_keeps_its_boundaries() -> None:
    done = lint_imports(ROOT / "src")
    assert done.returncode == 0, done.stdout


def test_the_project_asks_for_time_and_environment_in_one_place() -> None:
    assert sources.findings(ROOT / "src") == []


def test_a_sound_tree_is_sound(tmp_path: Path) -> None:
    done = lint_imports(plant(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sources.findings(tmp_path) == []


MODULES = "A module imports no other module"
ROOMS = "Inside a module imports go downward"
KERNEL = "The kernel knows no application and no domain contract"
PUNQ = "Only what puts modules together knows punq"
DRIVERS = "Only storage knows the drivers of Postgres and Redis"
NO_STORAGE = "Calls, gateway and telemetry work without a database"


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("emporium/orders/service.py", "from emporium.stock import model", MODULES),
        ("emporium/orders/store.py", "def late():\n    import emporium.stock.model", MODULES),
        ("emporium/orders/service.py", "from emporium import app", MODULES),
        ("emporium/newcomer/service.py", "from emporium.stock import model", MODULES),
        ("emporium/orders/model.py", "from emporium.orders import store", ROOMS),
        ("emporium/orders/store.py", "from emporium.orders import service", ROOMS),
        ("emporium/orders/wire.py", "from emporium.orders import workflows", ROOMS),
        ("emporium/orders/reactions.py", "from emporium.orders import module", ROOMS),
        ("emporium/newcomer/model.py", "from emporium.newcomer import store", ROOMS),
        ("portico/rpc/local.py", "from emporium.orders import model", KERNEL),
        ("portico/rpc/local.py", "from commerce.orders.v1 import order_pb2", KERNEL),
        ("emporium/orders/service.py", "import punq", PUNQ),
        (
            "emporium/orders/service.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import punq",
            PUNQ,
        ),
        ("portico/rpc/local.py", "import punq", PUNQ),
        ("emporium/orders/store.py", "from psycopg.errors import UniqueViolation", DRIVERS),
        ("portico/workflow/together.py", "import psycopg", DRIVERS),
        ("portico/rpc/local.py", "import redis", DRIVERS),
        ("portico/events/lane.py", "import redis", DRIVERS),
        ("portico/resilience/breaker.py", "from portico import data", NO_STORAGE),
        ("portico/rpc/local.py", "from portico import data", NO_STORAGE),
        ("portico/gateway/router.py", "import sqlalchemy", NO_STORAGE),
    ],
)
def test_a_planted_import_breaks_its_contract(
    tmp_path: Path, file: str, line: str, contract: str
) -> None:
    plant(tmp_path, **{"emporium/newcomer/store.py": "", file: line})
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


@pytest.mark.parametrize(
    ("file", "line", "finding"),
    [
        (
            "portico/rpc/local.py",
            "import os\nhome = os.environ",
            "os.environ reads the environment",
        ),
        ("emporium/orders/store.py", "import os as o\no.getenv('X')", "os.getenv reads the"),
        ("emporium/orders/store.py", "from os import environ as e\ne['X']", "os.environ reads the"),
        (
            "emporium/orders/model.py",
            "import datetime\ndatetime.datetime.now()",
            "datetime.now asks",
        ),
        (
            "emporium/orders/model.py",
            "from datetime import datetime as d\nd.now()",
            "datetime.now asks",
        ),
        (
            "emporium/orders/model.py",
            "from datetime import date\ndate.today()",
            "date.today asks the",
        ),
        ("portico/telemetry/logs.py", "import time\ntime.time()", "time.time asks the machine"),
        (
            "portico/telemetry/logs.py",
            "from time import time_ns\ntime_ns()",
            "time.time_ns asks the",
        ),
        (
            "emporium/orders/service.py",
            "from commerce.payments.v1 import payment_pb2",
            "uses commerce.payments.v1, which module.py does not declare",
        ),
        (
            "emporium/orders/service.py",
            "import commerce.payments.v1.events_pb2",
            "uses commerce.payments.v1, which module.py does not declare",
        ),
        (
            "emporium/orders/reactions.py",
            "from commerce.payments.v1.payment_pb2 import Payment",
            "uses commerce.payments.v1, which module.py does not declare",
        ),
    ],
)
def test_a_planted_name_is_found_with_its_place(
    tmp_path: Path, file: str, line: str, finding: str
) -> None:
    (found,) = sources.findings(plant(tmp_path, **{file: line}))
    assert found.startswith(f"{file}:")
    assert finding in found


@pytest.mark.parametrize(
    "line",
    ["environ = {}\nenviron['X']", "import time\ntime.monotonic()", "class os:\n    environ = 1"],
)
def test_a_name_that_only_looks_alike_is_left_alone(tmp_path: Path, line: str) -> None:
    assert sources.findings(plant(tmp_path, **{"emporium/orders/model.py": line})) == []


def test_the_command_prints_findings_and_fails(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "portico.check.sources", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    plant(tmp_path)
    assert (run().returncode, run().stdout) == (0, "")
    plant(tmp_path, **{"emporium/orders/model.py": "import os\nos.environ"})
    assert run().returncode == 1
    assert run().stdout.splitlines()[0].startswith("emporium/orders/model.py:")
