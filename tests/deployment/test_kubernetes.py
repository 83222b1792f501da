# SPDX-License-Identifier: Apache-2.0
"""deploy/kubernetes: valid, in agreement with the code's own values, and it works as it says.

Without a cluster: Kubernetes' own schemas judge the documents (those of Prometheus, the Gateway
API, kustomize and Superset's operator have none here), and the real server is started, probed and
stopped as a kubelet would do it.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from gunicorn.config import Timeout
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from testbed.configuration import load_with
from testbed.http_client import metrics
from testbed.kubernetes import (
    CHART,
    CHART_ENVIRONMENT,
    KUBERNETES,
    MANIFESTS,
    OPERATOR_ENVIRONMENT,
    Deployed,
    all_documents,
    ask,
    deployed,
    document,
    helm_deployment,
    helm_values,
    operator_deployment,
    patience,
)
from testbed.servers import (
    DEADLINE,
    ROOT,
    SECRET,
    RedisServer,
    Server,
    container_command,
    container_environ,
    eventually,
    run_in_container,
)
from testbed.superset import cookie, new_channel
from testbed.wire import request, wire
from wsgi_ws import __version__
from wsgi_ws.config.keys import keys
from wsgi_ws.config.load import Loaded
from wsgi_ws.server.master import GRACEFUL_TIMEOUT
from wsgi_ws.server.worker import time_to_stop
from wsgi_ws.service import START_PATIENCE

StartServer = Callable[..., Server]

VERSIONS = ("1.30", "1.37")  # the oldest with preStop's sleep, and the newest that is known here
FOREIGN = (  # kinds that no schema here knows → the members of their spec that are used
    ("ServiceMonitor", {"selector", "endpoints"}),
    ("HTTPRoute", {"parentRefs", "hostnames", "rules"}),
)
DEPLOYED = deployed()
NAME = {"app.kubernetes.io/name": "superset-websocket"}

each = pytest.mark.parametrize("it", DEPLOYED.values(), ids=DEPLOYED)


def settings_of(it: Deployed, directory: Path) -> Loaded:
    return load_with(directory, it.config, dict(it.environ))


# --- the documents --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_takes_each_document(version: str) -> None:
    kinds = set()
    for path, whole in all_documents(MANIFESTS):
        if whole["kind"] in ("Kustomization", "Component", *dict(FOREIGN)):
            continue
        kubernetes_validate.validate(whole, version, strict=True)
        kinds.add(path.stem)
    assert kinds >= {"deployment", "service", "ingress", "networkpolicy", "horizontalpodautoscaler"}
    for it in DEPLOYED.values():
        kubernetes_validate.validate(it.deployment, version, strict=True)
    # As the chart and the operator make them, before our patch too.
    kubernetes_validate.validate(helm_deployment(), version, strict=True)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(operator_deployment() | {"spek": {}}, version, strict=True)


@pytest.mark.parametrize(("kind", "members"), FOREIGN)
def test_a_kind_without_a_schema_has_the_members_that_it_needs(
    kind: str, members: set[str]
) -> None:
    (whole,) = [whole for _, whole in all_documents(MANIFESTS) if whole["kind"] == kind]
    assert whole["apiVersion"].count("/") == 1
    assert whole["spec"].keys() == members


def test_kustomize_finds_each_file_and_forgets_none() -> None:
    whole = document(MANIFESTS / "kustomization.yaml")
    components = [MANIFESTS / "prometheus", MANIFESTS / "autoscaling"]
    text = (MANIFESTS / "kustomization.yaml").read_text()
    assert all(f"#   - {component.name} " in text for component in components)
    named = {MANIFESTS / resource for resource in whole["resources"]}
    for component in components:
        part = document(component / "kustomization.yaml")
        assert part["kind"] == "Component"
        named |= {component / resource for resource in part["resources"]}
    on_its_own = {"kustomization.yaml", "httproute.yaml", "secret.example.yaml"}
    assert named == {path for path, _ in all_documents(MANIFESTS) if path.name not in on_its_own}
    (generator,) = whole["configMapGenerator"]
    assert generator["files"] == ["config.json"]
    assert DEPLOYED["manifests"].pod["volumes"][0]["configMap"]["name"] == generator["name"]


def test_an_update_and_a_drain_leave_pods_that_serve() -> None:
    for it in DEPLOYED.values():
        rolling = it.deployment["spec"]["strategy"]["rollingUpdate"]
        assert rolling["maxUnavailable"] == 0
    assert DEPLOYED["manifests"].deployment["spec"]["minReadySeconds"] == 10
    assert document(MANIFESTS / "poddisruptionbudget.yaml")["spec"]["maxUnavailable"] == 1
    ingress = document(MANIFESTS / "ingress.yaml")["metadata"]["annotations"]
    assert "http_503" in ingress["nginx.ingress.kubernetes.io/proxy-next-upstream"].split()


def test_the_autoscaler_owns_the_number_of_pods_and_adds_one_at_ten_thousand_sockets() -> None:
    directory = MANIFESTS / "autoscaling"
    (patch,) = document(directory / "kustomization.yaml")["patches"]
    assert "op: remove" in patch["patch"]
    assert "path: /spec/replicas" in patch["patch"].splitlines()[-1]
    (metric,) = document(directory / "horizontalpodautoscaler.yaml")["spec"]["metrics"]
    assert metric["pods"]["target"]["averageValue"] == "10000"


def test_the_network_policy_names_all_peers_both_ways() -> None:
    policy = document(MANIFESTS / "networkpolicy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    rules = [rule["from"] for rule in policy["ingress"]] + [rule["to"] for rule in policy["egress"]]
    for peer in (peer for peers in rules for peer in peers):
        assert peer
        assert all(selector["matchLabels"] for selector in peer.values())


def test_all_documents_mean_the_same_pods_ports_and_secrets() -> None:
    it = DEPLOYED["manifests"]
    names = {port["name"] for port in it.container["ports"]}
    labels = it.deployment["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= NAME.items()
    documents = {
        whole["kind"]: whole["spec"] for _, whole in all_documents(MANIFESTS) if "spec" in whole
    }
    service = documents["Service"]
    for selector in (
        service["selector"],
        it.deployment["spec"]["selector"]["matchLabels"],
        documents["PodDisruptionBudget"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["podSelector"]["matchLabels"],
        documents["ServiceMonitor"]["selector"]["matchLabels"],
        *(t["labelSelector"]["matchLabels"] for t in it.pod["topologySpreadConstraints"]),
    ):
        assert selector == NAME
    assert {port["targetPort"] for port in service["ports"]} == names
    numbers = {port["name"]: port["port"] for port in service["ports"]}
    (rule,) = documents["Ingress"]["rules"]
    (path,) = rule["http"]["paths"]
    assert numbers[path["backend"]["service"]["port"]["name"]] == it.ports()["ws"]
    (route,) = documents["HTTPRoute"]["rules"]
    assert route["backendRefs"] == [{"name": "superset-websocket", "port": numbers["ws"]}]
    assert documents["ServiceMonitor"]["endpoints"][0]["port"] in numbers
    ways_in = documents["NetworkPolicy"]["ingress"]
    assert {port["port"] for way in ways_in for port in way["ports"]} == names
    assert all(way["from"] for way in ways_in), "a way in without a from is open to all"
    secret = document(MANIFESTS / "secret.example.yaml")
    wanted = [e["valueFrom"]["secretKeyRef"] for e in it.container["env"] if "valueFrom" in e]
    assert {ref["key"] for ref in wanted} == secret["stringData"].keys()
    assert {ref["name"] for ref in wanted} == {secret["metadata"]["name"]}


def test_no_file_has_a_secret_and_none_is_needed_for_the_others() -> None:
    assert set(document(MANIFESTS / "secret.example.yaml")["stringData"].values()) == {""}
    assert "jwtSecret" not in helm_values()["supersetWebsockets"]["config"]
    wanted = [e for e in DEPLOYED["manifests"].container["env"] if "valueFrom" in e]
    required = [e["name"] for e in wanted if not e["valueFrom"]["secretKeyRef"].get("optional")]
    assert required == ["JWT_SECRET"], "or a pod starts without one"


@each
def test_the_image_is_of_this_version(it: Deployed) -> None:
    (image,) = document(MANIFESTS / "kustomization.yaml")["images"]
    assert str(image["newTag"]) == __version__
    assert it.container["image"] in (image["name"], f"wsgi-ws:{__version__}")
    page = (ROOT / "docs" / "deployment" / "kubernetes.md").read_text()
    assert set(re.findall(r"wsgi-ws:(\d[\w.]*)", page)) == {__version__}


# --- in agreement with the code -------------------------------------------------------------------


@each
def test_variables_and_configuration_are_known_and_load_without_a_warning(
    it: Deployed, tmp_path: Path
) -> None:
    own = {e["name"] for e in it.container.get("env", ())} - OPERATOR_ENVIRONMENT.keys()
    assert own <= {key.env for key in keys()}
    assert settings_of(it, tmp_path).warnings == ()


@each
def test_ports_agree(it: Deployed, tmp_path: Path) -> None:
    settings = settings_of(it, tmp_path).settings
    assert it.ports() == {"ws": settings.port, "metrics": settings.metrics_port}
    assert settings.metrics_host == "0.0.0.0", "or nothing outside of the pod reaches it"


@each
def test_a_pod_is_restricted_as_pod_security_has_it(it: Deployed) -> None:
    pod, container = it.pod.get("securityContext", {}), it.container["securityContext"]
    both = pod | container
    assert both["runAsNonRoot"] is True
    assert both["runAsUser"] > 0
    assert both["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["allowPrivilegeEscalation"] is False
    assert container["capabilities"] == {"drop": ["ALL"]}
    assert container["readOnlyRootFilesystem"] is True
    assert {volume["name"] for volume in it.pod["volumes"] if "emptyDir" in volume} == {"tmp"}
    assert {"name": "tmp", "mountPath": "/tmp"} in it.container["volumeMounts"]
    assert it.pod["enableServiceLinks"] is False
    assert not it.pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}


def test_a_pod_of_the_manifests_gets_no_token_of_the_cluster() -> None:
    assert DEPLOYED["manifests"].pod["automountServiceAccountToken"] is False


@each
def test_a_pod_has_the_time_that_a_stop_takes(it: Deployed, tmp_path: Path) -> None:
    settings = settings_of(it, tmp_path).settings
    gunicorns = max(GRACEFUL_TIMEOUT, time_to_stop(settings))
    assert it.pre_stop() > 0
    assert it.pre_stop() + gunicorns < it.pod["terminationGracePeriodSeconds"]


@each
def test_a_pod_that_starts_has_time_and_must_read_redis(it: Deployed) -> None:
    probe = it.probe("startup")
    assert probe["httpGet"] == {"path": "/ready", "port": it.ports()["ws"]}
    assert patience(probe) > 10 * START_PATIENCE


@each
def test_a_ready_pod_stays_in_the_service_when_redis_goes(it: Deployed) -> None:
    assert it.probe("readiness")["httpGet"] == {"path": "/health", "port": it.ports()["ws"]}


@each
def test_a_pod_is_restarted_later_than_gunicorn_replaces_a_worker_and_not_for_its_sockets(
    it: Deployed, tmp_path: Path
) -> None:
    probe = it.probe("liveness")
    assert probe["httpGet"] == {"path": "/health", "port": it.ports()["metrics"]}
    assert patience(probe) > Timeout.default
    assert probe["timeoutSeconds"] < settings_of(it, tmp_path).settings.handshake_timeout


def test_a_proxy_waits_longer_than_the_time_between_pings(tmp_path: Path) -> None:
    settings = settings_of(DEPLOYED["manifests"], tmp_path).settings
    annotations = document(MANIFESTS / "ingress.yaml")["metadata"]["annotations"]
    for name in ("proxy-read-timeout", "proxy-send-timeout"):
        timeout = float(annotations[f"nginx.ingress.kubernetes.io/{name}"])
        assert timeout > 2 * settings.ping_sockets_interval


# --- Superset's chart -----------------------------------------------------------------------------


def test_each_value_is_one_that_the_chart_has() -> None:
    ours = document(KUBERNETES / "helm" / "values.yaml")
    assert ours.keys() <= CHART.keys()
    assert ours["supersetWebsockets"].keys() <= CHART["supersetWebsockets"].keys()
    # The chart's templates are rendered with these: a brace would be a template.
    assert "{{" not in json.dumps(helm_values())


def test_the_chart_refuses_a_budget_with_both_numbers() -> None:
    budget = helm_values()["supersetWebsockets"]["podDisruptionBudget"]
    assert budget == {"enabled": True, "maxUnavailable": 1}


def test_the_chart_writes_runasuser_itself_and_a_second_one_would_be_a_duplicate_key() -> None:
    ours = helm_values()["supersetWebsockets"]
    assert "runAsUser" not in ours["podSecurityContext"]
    assert ours["containerSecurityContext"]["runAsUser"] > 0


@pytest.mark.parametrize("database", ["1", "0", None], ids=["chart's", "0", "an older chart"])
def test_superset_writes_its_events_where_the_server_reads_them(
    database: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "a-secret-for-both-of-more-than-32-bytes"
    environ = CHART_ENVIRONMENT | {"JWT_SECRET": secret, "REDIS_PASSWORD": "p"}
    environ["REDIS_DB"] = database or ""
    for name, value in environ.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    superset: dict[str, Any] = {"FEATURE_FLAGS": {"OTHER": True}}
    exec("import os\n" + helm_values()["configOverrides"]["websocket"], superset)

    settings = load_with(tmp_path, helm_values()["supersetWebsockets"]["config"], environ).settings

    backend = superset["GLOBAL_ASYNC_QUERIES_CACHE_BACKEND"]
    assert settings.redis.host == backend["CACHE_REDIS_HOST"]
    assert settings.redis.port == backend["CACHE_REDIS_PORT"]
    assert settings.redis.db == backend["CACHE_REDIS_DB"]
    assert settings.redis.password == backend["CACHE_REDIS_PASSWORD"]
    assert settings.jwt_secret == superset["GLOBAL_ASYNC_QUERIES_JWT_SECRET"] == secret
    assert superset["FEATURE_FLAGS"] == {"OTHER": True, "GLOBAL_ASYNC_QUERIES": True}


# --- the server, as the Deployment says -----------------------------------------------------------


@pytest.fixture
def pods_redis(tmp_path: Path) -> Iterator[RedisServer]:
    redis = RedisServer(tmp_path)
    yield redis
    redis.close()


@pytest.fixture
def start_pod(start_server: StartServer, pods_redis: RedisServer, tmp_path: Path) -> StartServer:
    """Start the Deployment's container: its command, variables and file, in its directory."""
    it = DEPLOYED["manifests"]

    def start(environ: dict[str, str] | None = None, **options: Any) -> Server:
        (tmp_path / "config.json").write_text(json.dumps(it.config))
        environ = container_environ(it.environ, pods_redis.port) | (environ or {})
        program = container_command(it.container["command"])
        return start_server(redis_port=pods_redis.port, environ=environ, program=program, **options)

    return start


def probed(kind: str, server: Server) -> int:
    """What a kubelet gets."""
    it = DEPLOYED["manifests"]
    probe = it.probe(kind)
    at_metrics = probe["httpGet"]["port"] == it.ports()["metrics"]
    return ask(probe, server.metrics_port if at_metrics else server.port)


def open_tab(server: Server) -> ClientConnection:
    return connect(server.url("/ws"), additional_headers={"Cookie": cookie(new_channel())})


def test_a_pod_stops_within_its_grace_period_and_takes_tabs_until_then(
    start_pod: StartServer,
) -> None:
    it = DEPLOYED["manifests"]
    server = start_pod()
    for kind in ("startup", "readiness", "liveness"):
        assert probed(kind, server) == 200, kind
    with contextlib.ExitStack() as stack:
        tabs = [stack.enter_context(open_tab(server)) for _ in range(20)]
        begin = time.monotonic()
        time.sleep(it.pre_stop())
        tabs.append(stack.enter_context(open_tab(server)))  # a proxy has not heard of it yet
        assert server.terminate() == 0
        assert time.monotonic() - begin < it.pod["terminationGracePeriodSeconds"]
        for tab in tabs:
            with pytest.raises(ConnectionClosed) as closed:
                tab.recv(timeout=DEADLINE)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1001


def test_check_in_a_pod_says_that_it_works(
    start_pod: StartServer, pods_redis: RedisServer, prefix: str, tmp_path: Path
) -> None:
    server = start_pod()
    environ = container_environ(DEPLOYED["manifests"].environ, pods_redis.port)
    own = {"JWT_SECRET": SECRET, "REDIS_STREAM_PREFIX": prefix, "PORT": str(server.port)}
    command = ["wsgi-ws", "check", "--url", server.url()]
    run = run_in_container(command, environ | own, tmp_path)
    assert run.returncode == 0, run.stdout


def test_a_pod_stays_ready_in_an_outage_and_one_that_starts_then_waits(
    start_pod: StartServer, pods_redis: RedisServer
) -> None:
    server = start_pod()
    pods_redis.stop()
    eventually(lambda: probed("startup", server) == 503, "what starts now has to wait")
    assert probed("readiness", server) == 200
    assert probed("liveness", server) == 200
    with open_tab(server):  # redisDownPolicy: hold
        pods_redis.start()
        eventually(lambda: probed("startup", server) == 200, "it reads again")


def test_an_update_with_a_wrong_password_stops_at_the_first_new_pod(
    start_pod: StartServer, pods_redis: RedisServer
) -> None:
    pods_redis.client.config_set("requirepass", "its-own")
    server = start_pod({"REDIS_PASSWORD": "of-another-redis"}, wait=False)
    eventually(lambda: probed("liveness", server) == 200, "it lives")
    assert probed("startup", server) == 503


def test_a_pod_without_room_for_sockets_gets_no_more_and_is_not_restarted(
    start_pod: StartServer,
) -> None:
    server = start_pod(max_files=100)
    with contextlib.ExitStack() as stack:
        status = 101
        while status == 101:
            client = stack.enter_context(wire(server.port))
            client.send(request())
            status = client.response().status
        assert status == 503
        assert probed("readiness", server) == 503
        assert probed("liveness", server) == 200


def test_the_autoscalers_metric_is_one_that_the_server_has(start_pod: StartServer) -> None:
    (metric,) = document(MANIFESTS / "autoscaling/horizontalpodautoscaler.yaml")["spec"]["metrics"]
    (rule,) = document(MANIFESTS / "autoscaling/prometheus-adapter.yaml")["rules"]["custom"]
    name = metric["pods"]["metric"]["name"]
    assert rule["seriesQuery"].startswith(f"{name}{{")
    assert f"\n{name}{{" in metrics(start_pod())
