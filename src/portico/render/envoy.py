"""Envoy as the REST gateway: it needs a descriptor set of the contracts and the address of gRPC, nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portico.render.yaml import Noted, document

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_CONNECTION_MANAGER = (
    f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
_TRANSCODER = f"{_EXTENSIONS}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder"
_ROUTER = f"{_EXTENSIONS}.filters.http.router.v3.Router"
_HTTP_OPTIONS = f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions"

_NOTE = """\
Envoy as the REST gateway in front of the gRPC port. Make its descriptor set from the contracts, then start it:

  (cd protos && buf build --output ../{descriptor_set})
  envoy --config-path envoy.yaml

What differs from the gateway of the program itself stands in docs/decisions/0002-rest-semantics.md."""


def envoy(
    services: Sequence[str],
    *,
    grpc: str,
    listen: str,
    descriptor_set: str,
    timeout_seconds: float,
    max_body_bytes: int,
) -> str:
    """The configuration of an Envoy that serves the REST routes of ``services`` on ``listen``.

    ``grpc`` and ``listen`` are ``host:port``; ``descriptor_set`` is a file with the contracts and
    ``google/rpc/error_details.proto``. A call is given up after ``timeout_seconds``.
    """
    content = {
        "static_resources": {
            "listeners": [
                {
                    "name": "rest",
                    "address": _address(listen),
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": _connection_manager(
                                        services, descriptor_set, timeout_seconds, max_body_bytes
                                    ),
                                }
                            ]
                        }
                    ],
                }
            ],
            "clusters": [_cluster(grpc)],
        }
    }
    return document(content, note=_NOTE.format(descriptor_set=descriptor_set))


def _connection_manager(
    services: Sequence[str], descriptor_set: str, timeout_seconds: float, max_body_bytes: int
) -> dict[str, object]:
    route = {
        "match": {"prefix": "/"},
        "route": {"cluster": "grpc", "timeout": f"{timeout_seconds:g}s"},
    }
    return {
        "@type": _CONNECTION_MANAGER,
        "stat_prefix": "rest",
        "route_config": {
            "virtual_hosts": [{"name": "everything", "domains": ["*"], "routes": [route]}]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.grpc_json_transcoder",
                "typed_config": _transcoder(services, descriptor_set, max_body_bytes),
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}},
        ],
    }


def _transcoder(
    services: Sequence[str], descriptor_set: str, max_body_bytes: int
) -> dict[str, object]:
    return {
        "@type": _TRANSCODER,
        "proto_descriptor": descriptor_set,
        "services": list(services),
        "convert_grpc_status": Noted("An error's body is google.rpc.Status in JSON.", value=True),
        "print_options": {
            "always_print_primitive_fields": Noted(
                "An answer has the same names every time.", value=True
            ),
            "stream_newline_delimited": True,
        },
        "query_param_unescape_plus": True,
        "request_validation_options": Noted(
            "A wrong path, method or parameter is refused here, with the status that fits.",
            {
                "reject_unknown_method": True,
                "reject_unknown_query_parameters": True,
                "reject_binding_body_field_collisions": True,
            },
        ),
        "max_request_body_size": max_body_bytes,
    }


def _cluster(grpc: str) -> dict[str, object]:
    return {
        "name": "grpc",
        "type": Noted("Every address that the name has, looked up again and again.", "STRICT_DNS"),
        "connect_timeout": "2s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "health_checks": [
            {
                "timeout": "1s",
                "interval": "5s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},
            }
        ],
        "load_assignment": {
            "cluster_name": "grpc",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(grpc)}}]}],
        },
    }


def _address(address: str) -> dict[str, object]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host.strip("[]"), "port_value": int(port)}}
