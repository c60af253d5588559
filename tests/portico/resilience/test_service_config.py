"""Which rpcs gRPC tries again, and how."""

from __future__ import annotations

import json
from typing import Any

import pytest
from portico.lab.v1 import hop_pb2  # the contract must be loaded to be described

from portico.resilience.service_config import repeatable, service_config
from portico.resilience.settings import RemoteSettings

HOP = "portico.lab.v1.HopService"


def config(*services: str, check_health: bool = False, **settings: Any) -> Any:
    assert hop_pb2.DESCRIPTOR.name
    return json.loads(
        service_config(services, RemoteSettings(**settings), check_health=check_health)
    )


def test_what_the_contract_calls_idempotent_is_tried_again() -> None:
    found = config(HOP)

    (methods,) = found["methodConfig"]
    assert methods["name"] == [{"service": HOP, "method": "Hop"}]
    assert methods["retryPolicy"] == {
        "maxAttempts": 3,
        "initialBackoff": "0.050s",
        "maxBackoff": "0.500s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    assert found["retryThrottling"] == {"maxTokens": 10, "tokenRatio": 0.1}


@pytest.mark.parametrize("service", ["examples.greeter.v1.GreeterService", "no.such.Service"])
def test_nothing_else_is(service: str) -> None:
    from examples.greeter.v1 import greeter_pb2

    assert greeter_pb2.DESCRIPTOR.name
    assert list(repeatable([service])) == []
    assert "methodConfig" not in config(service)


def test_a_command_between_modules_is_left_to_whoever_makes_it() -> None:
    from commerce.inventory.v1 import inventory_service_pb2

    service = "commerce.inventory.v1.InventoryService"
    assert inventory_service_pb2.DESCRIPTOR.name
    assert [name for _, name in repeatable([service])] == ["GetStock", "AdjustStock"]


def test_nothing_is_when_one_attempt_is_all() -> None:
    assert "methodConfig" not in config(HOP, attempts=1)


def test_no_timeout_is_left_to_grpc() -> None:
    assert "timeout" not in json.dumps(config(HOP, check_health=True))


def test_health_is_asked_where_there_is_a_choice() -> None:
    assert config(check_health=True)["healthCheckConfig"] == {"serviceName": ""}
    assert "healthCheckConfig" not in config()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"first_backoff_ms": 500, "most_backoff_ms": 50}, "first_backoff_ms must not be above"),
        ({"least_calls": 30, "window_calls": 20}, "least_calls must not be above"),
        ({"failure_rate": 1.1}, "less than or equal to 1"),
        ({"timeout": 3}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RemoteSettings(**settings)
