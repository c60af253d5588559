"""What is rendered for a cluster: Kubernetes' own published schemas accept it, and its parts fit together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from emporium.app import application
from portico.render import FORMATS
from portico.topology import Topology

VERSION = "1.34"
SHIPPED = ["monolith", "payments-apart", "core-and-edge", "apart"]
Objects = Callable[[str], list[Any]]
Written = Callable[..., str]

PODS = {"Deployment", "Job"}


def of_kind(objects: list[Any], *kinds: str) -> dict[str, Any]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] in kinds}


def pods(objects: list[Any]) -> dict[str, Any]:
    return {name: each["spec"]["template"] for name, each in of_kind(objects, *PODS).items()}


def container(pod: Any) -> Any:
    (only,) = pod["spec"]["containers"]
    return only


def secret_keys(pod: Any) -> set[tuple[str, str]]:
    references = [
        entry["valueFrom"]["secretKeyRef"]
        for entry in container(pod)["env"]
        if "valueFrom" in entry
    ]
    return {(reference["name"], reference["key"]) for reference in references}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_object_follows_its_published_schema(objects: Objects, name: str) -> None:
    for each in objects(name):
        kubernetes_validate.validate(each, VERSION, strict=True)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("Deployment", ("spec.template.spec.containers.0", "redinessProbe", {})),
        ("Deployment", ("spec.template.spec", "terminationGracePeriodSeconds", "25s")),
        ("NetworkPolicy", ("spec.ingress.0", "form", [])),
        ("HorizontalPodAutoscaler", ("spec", "maxReplicas", None)),
        ("ConfigMap", ("data", "PORTICO_HTTP_PORT", 8080)),
        ("Job", ("spec", "backofLimit", 6)),
    ],
)
def test_a_planted_mistake_is_refused(
    objects: Objects, kind: str, wrong: tuple[str, str, Any]
) -> None:
    (planted, *_) = of_kind(objects("payments-apart"), kind).values()
    path, key, value = wrong
    place = planted
    for step in path.split("."):
        place = place[int(step) if step.isdigit() else step]
    place[key] = value

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(planted, VERSION, strict=True)


@pytest.mark.parametrize("name", SHIPPED)
def test_each_process_has_all_that_a_cluster_needs(
    objects: Objects, topology: Callable[[str], Topology], name: str
) -> None:
    found = objects(name)
    for process in topology(name).processes.values():
        own = f"emporium-{process.name}"
        for kind in (
            "Deployment",
            "PodDisruptionBudget",
            "HorizontalPodAutoscaler",
            "NetworkPolicy",
        ):
            assert own in of_kind(found, kind)
        services = of_kind(found, "Service")
        assert (own in services) == process.front
        assert (f"{own}-hops" in services) == (name != "monolith" and bool(process.modules))
        assert (f"{own}-migration" in of_kind(found, "Job")) == bool(process.modules)


@pytest.mark.parametrize("name", SHIPPED)
def test_selectors_find_the_pods_they_are_about(objects: Objects, name: str) -> None:
    found = objects(name)
    labels = {owner: pod["metadata"]["labels"] for owner, pod in pods(found).items()}
    for owner, deployment in of_kind(found, "Deployment").items():
        assert deployment["spec"]["selector"]["matchLabels"] == labels[owner]
    for owner, budget in of_kind(found, "PodDisruptionBudget").items():
        assert budget["spec"]["selector"]["matchLabels"] == labels[owner]
    for owner, policy in of_kind(found, "NetworkPolicy").items():
        assert policy["spec"]["podSelector"]["matchLabels"] == labels[owner]
    for owner, scaler in of_kind(found, "HorizontalPodAutoscaler").items():
        assert scaler["spec"]["scaleTargetRef"]["name"] == owner
    for owner, service in of_kind(found, "Service").items():
        assert service["spec"]["selector"] == labels[owner.removesuffix("-hops")]
    assert len({json.dumps(each) for each in labels.values()}) == len(labels)


@pytest.mark.parametrize("name", SHIPPED)
def test_services_and_probes_use_ports_that_the_container_has(objects: Objects, name: str) -> None:
    found = objects(name)
    ports = {
        owner: {each["name"]: each["containerPort"] for each in container(pod).get("ports", [])}
        for owner, pod in pods(found).items()
    }
    for owner, service in of_kind(found, "Service").items():
        for port in service["spec"]["ports"]:
            assert ports[owner.removesuffix("-hops")][port["targetPort"]] == port["port"]
    for owner, pod in pods(found).items():
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe in container(pod):
                assert container(pod)[probe]["httpGet"]["port"] in ports[owner]


def test_other_processes_find_every_pod_by_the_address_in_the_topology(
    objects: Objects, tmp_path: Path
) -> None:
    found = objects("apart")
    path = tmp_path / "topology.toml"
    path.write_text(of_kind(found, "ConfigMap")["emporium-topology"]["data"]["topology.toml"])
    services = of_kind(found, "Service")

    for process in Topology.load(path, application.modules).processes.values():
        if process.modules:
            host, port = process.address.split(":")
            assert services[host]["spec"]["clusterIP"] == "None"
            assert services[host]["spec"]["ports"][0]["port"] == int(port)
        else:
            assert process.address == ""


@pytest.mark.parametrize("name", SHIPPED)
def test_no_pod_may_more_than_it_must(objects: Objects, name: str) -> None:
    for pod in pods(objects(name)).values():
        assert pod["spec"]["automountServiceAccountToken"] is False
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert container(pod)["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_a_pod_has_time_to_finish_what_runs(objects: Objects) -> None:
    drain_seconds = application.settings_class().model_fields["drain_seconds"].default
    for pod in pods(objects("payments-apart")).values():
        grace_seconds = pod["spec"]["terminationGracePeriodSeconds"]
        pause = container(pod).get("lifecycle", {}).get("preStop", {}).get("exec", {})
        pause_seconds = int(pause["command"][1]) if pause else 0
        assert grace_seconds > pause_seconds + drain_seconds


def test_only_those_who_call_payments_get_through_to_it(objects: Objects) -> None:
    policies = of_kind(objects("apart"), "NetworkPolicy")

    def among(rule: Any) -> list[str]:
        (peer,) = rule
        values: list[str] = peer["podSelector"]["matchExpressions"][0]["values"]
        return values

    hop = policies["emporium-payments"]["spec"]["ingress"][1]
    assert hop["ports"] == [{"protocol": "TCP", "port": 50052}]
    assert sorted(among(hop["from"])) == ["edge", "orders"]
    assert "payments" in among(policies["emporium-orders"]["spec"]["egress"][1]["to"])
    (public,) = policies["emporium-edge"]["spec"]["ingress"]
    assert "from" not in public
    assert 50051 in {port["port"] for port in public["ports"]}
    assert 50051 not in {
        port["port"]
        for rule in policies["emporium-payments"]["spec"]["ingress"]
        for port in rule["ports"]
    }


def test_secrets_are_named_and_never_told(objects: Objects, written: Written) -> None:
    file = """
[processes.shop]
modules = ["*"]
front = true
database_url = "postgresql://shop:hidden-word@db/shop"
[processes.payments]
modules = ["payments"]
"""
    for each in FORMATS:
        assert "hidden-word" not in written(file, each)
    found = objects(file)
    assert of_kind(found, "Secret") == {}
    payments, shop = (secret_keys(pods(found)[f"emporium-{name}"]) for name in ("payments", "shop"))
    assert ("emporium-payments-database", "url") in payments
    assert ("emporium-shop-database", "url") in shop
    assert ("emporium-hops", "secret") in payments & shop
    assert ("emporium-payments", "aurora-webhook-secret") in payments - shop


@pytest.mark.parametrize("name", SHIPPED)
def test_every_secret_is_announced_at_the_top(
    objects: Objects, written: Written, name: str
) -> None:
    head = written(name, "kubernetes").split("apiVersion", 1)[0]
    announced = {
        line.split("Secret ")[1].split(":")[0]: line
        for line in head.splitlines()
        if "  Secret " in line
    }
    found = [each for pod in pods(objects(name)).values() for each in secret_keys(pod)]
    for secret, key in found:
        assert key in announced[secret]
    mounted = {
        volume["secret"]["secretName"]
        for pod in pods(objects(name)).values()
        for volume in pod["spec"]["volumes"]
        if "secret" in volume
    }
    assert announced.keys() == {secret for secret, _ in found} | mounted


@pytest.mark.parametrize("name", SHIPPED)
def test_the_program_can_read_what_it_is_told(
    objects: Objects, topology: Callable[[str], Topology], name: str, tmp_path: Path
) -> None:
    found = objects(name)
    shared = of_kind(found, "ConfigMap")["emporium-settings"]["data"]
    for pod in pods(found).values():
        given = {
            entry["name"]: entry.get("value", "postgresql://u:p@h/d")
            for entry in container(pod)["env"]
        }
        settings = application.settings_class().load(environment=shared | given, folder=tmp_path)
        process = topology(name).processes[settings.process]
        assert settings.profile == "production"
        assert (settings.database_url is not None) == bool(process.modules)
        assert (settings.certificates is not None) == (name != "monolith")
        mounts = {mount["mountPath"] for mount in container(pod)["volumeMounts"]}
        assert {str(settings.topology), str(settings.certificates or "/tmp")} <= mounts


def test_certificates_have_the_names_under_which_the_program_looks_for_them(
    objects: Objects,
) -> None:
    (volume,) = [
        each
        for each in pods(objects("payments-apart"))["emporium-payments"]["spec"]["volumes"]
        if each["name"] == "certificates"
    ]
    assert {item["key"]: item["path"] for item in volume["secret"]["items"]} == {
        "ca.crt": "ca.pem",
        "tls.crt": "payments.pem",
        "tls.key": "payments.key",
    }


def test_replicas_and_workers_are_the_topologys(objects: Objects) -> None:
    found = objects('[processes.one]\nmodules = ["*"]\nworkers = 2\nreplicas = 3\n')

    (scaler,) = of_kind(found, "HorizontalPodAutoscaler").values()
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (3, 6)
    resources = container(pods(found)["emporium-one"])["resources"]
    assert resources["requests"] == {"cpu": "1000m", "memory": "512Mi"}


def test_a_change_of_the_topology_is_a_change_of_every_pod(objects: Objects) -> None:
    def checksums(timeout_ms: int) -> set[str]:
        file = (
            '[processes.a]\nmodules = ["*"]\nfront = true\n[processes.b]\nmodules = ["payments"]\n'
            f'[edges."orders -> payments"]\ntimeout_ms = {timeout_ms}\n'
        )
        return {
            pod["metadata"]["annotations"]["topology-checksum"]
            for pod in pods(objects(file)).values()
        }

    assert len(checksums(1000)) == 1
    assert checksums(1000) == checksums(1000)
    assert checksums(1000) != checksums(2000)


def test_one_process_alone_has_a_worker_and_neither_hops_nor_certificates(
    objects: Objects, written: Written
) -> None:
    found = objects("monolith")

    assert container(pods(found)["emporium-app-worker"])["args"] == ["worker"]
    assert "hop" not in written("monolith", "kubernetes").replace("shop", "")
    assert "certificate" not in written("monolith", "kubernetes")
    assert not any("worker" in name for name in pods(objects("payments-apart")))
