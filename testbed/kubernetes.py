# SPDX-License-Identifier: Apache-2.0
"""What Kubernetes, Helm and Superset's operator make of the files in deploy/kubernetes."""

from __future__ import annotations

import copy
import http.client
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from testbed.servers import ROOT

KUBERNETES = ROOT / "deploy" / "kubernetes"
MANIFESTS = KUBERNETES / "manifests"

Document = dict[str, Any]

# Defaults of Superset's chart (0.22.8) that Helm joins our values with.
CHART: dict[str, Any] = {
    "supersetWebsockets": {
        "enabled": False,
        "replicaCount": 1,
        "podDisruptionBudget": {"enabled": False, "minAvailable": 1, "maxUnavailable": 1},
        "ingress": {"path": "/ws", "pathType": "Prefix"},
        "image": {"repository": "of/the-community", "tag": "latest", "pullPolicy": "IfNotPresent"},
        "config": {
            "port": 8080,
            "logLevel": "debug",
            "logToFile": False,
            "logFilename": "app.log",
            "statsd": {"host": "127.0.0.1", "port": 8125, "globalTags": []},
            "redis": {"port": 6379, "host": "127.0.0.1", "password": "", "db": 0, "ssl": False},
            "redisStreamPrefix": "async-events-",
            "jwtSecret": "CHANGE-ME",
            "jwtCookieName": "async-token",
        },
        "service": {"type": "ClusterIP", "annotations": {}, "port": 8080},
        "command": [],
        "resources": {},
        "podAnnotations": {},
        "strategy": {},
        "podSecurityContext": {},
        "containerSecurityContext": {},
        **{
            probe: {
                "httpGet": {"path": "/health", "port": "ws"},
                "initialDelaySeconds": 5,
                "timeoutSeconds": 1,
                "failureThreshold": failures,
                "periodSeconds": 5,
                "successThreshold": 1,
            }
            for probe, failures in (
                ("startupProbe", 60),
                ("livenessProbe", 3),
                ("readinessProbe", 3),
            )
        },
    },
    "configOverrides": {},
    "envFromSecrets": [],
    "runAsUser": 0,
}
# What the chart puts into the environment of all of Superset's containers.
CHART_ENVIRONMENT = {
    "REDIS_HOST": "superset-redis-headless",
    "REDIS_USER": "",
    "REDIS_PORT": "6379",
    "REDIS_PROTO": "redis",
    "REDIS_DB": "1",
    "REDIS_CELERY_DB": "0",
    "DB_HOST": "superset-postgresql",
    "DB_PORT": "5432",
    "DB_USER": "superset",
    "DB_PASS": "superset",
    "DB_NAME": "superset",
}
# What Superset's operator sets for its websocketServer, but for the secret.
OPERATOR_ENVIRONMENT = {
    "PORT": "8080",
    "JWT_COOKIE_NAME": "superset-ws-token",
    "ALLOWED_ORIGINS": "https://superset.example.com",
    "REDIS_HOST": "valkey",
    "REDIS_PORT": "6379",
    "REDIS_DB": "7",
    "REALTIME_CHANNEL_PREFIX": "test:",
}


def document(path: Path) -> Document:
    """The only one in a file."""
    return cast(Document, yaml.safe_load(path.read_text()))


def joined(below: Any, above: Any) -> Any:
    """Values on top of a chart's, as Helm joins them: null removes, a list replaces. The same as a
    JSON merge patch (RFC 7386)."""
    if not isinstance(above, dict):
        return copy.deepcopy(above)
    whole = dict(below) if isinstance(below, dict) else {}
    for name, value in above.items():
        if value is None:
            whole.pop(name, None)
        else:
            whole[name] = joined(whole.get(name), value)
    return whole


def patched(below: Any, above: Any) -> Any:
    """A strategic merge patch: lists of things with names are joined by name."""
    if isinstance(below, list) and isinstance(above, list) and all("name" in e for e in above):
        names = [each["name"] for each in below]
        new = [each for each in above if each["name"] not in names]
        changes = {each["name"]: each for each in above}
        return [*(patched(each, changes.get(each["name"], {})) for each in below), *new]
    if isinstance(below, dict) and isinstance(above, dict):
        return below | {name: patched(below.get(name), value) for name, value in above.items()}
    return copy.deepcopy(above)


def helm_values() -> Document:
    """Ours on top of the chart's."""
    values: Document = joined(CHART, document(KUBERNETES / "helm" / "values.yaml"))
    return values


def helm_deployment() -> Document:
    """What the chart's deployment-ws.yaml makes of these values."""
    values = helm_values()
    ours = values["supersetWebsockets"]
    labels = {"app": "superset-ws", "release": "superset"}
    container = {
        "name": "superset-ws",
        "image": "{repository}:{tag}".format(**ours["image"]),
        "imagePullPolicy": ours["image"]["pullPolicy"],
        "securityContext": ours["containerSecurityContext"],
        "command": ours["command"],
        "envFrom": [
            {"secretRef": {"name": n}} for n in ("superset-env", *values["envFromSecrets"])
        ],
        "ports": [{"name": "ws", "containerPort": ours["config"]["port"], "protocol": "TCP"}],
        "volumeMounts": [
            {
                "name": "superset-ws-config",
                "mountPath": "/home/superset-websocket/config.json",
                "subPath": "config.json",
                "readOnly": True,
            }
        ],
        "resources": ours["resources"],
    } | {name: ours[name] for name in ("startupProbe", "readinessProbe", "livenessProbe")}
    config = {"secretName": "superset-ws-config"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "superset-ws"},
        "spec": {
            "replicas": ours["replicaCount"],
            "selector": {"matchLabels": labels},
            "strategy": ours["strategy"],
            "template": {
                "metadata": {"labels": labels, "annotations": ours["podAnnotations"]},
                "spec": {
                    "securityContext": {"runAsUser": values["runAsUser"]}
                    | ours["podSecurityContext"],
                    "containers": [container],
                    "volumes": [{"name": "superset-ws-config", "secret": config}],
                },
            },
        },
    }


def operator_deployment() -> Document:
    """What the operator makes of the patch, on top of its own defaults."""
    ours = document(KUBERNETES / "operator" / "patch.yaml")["spec"]["websocketServer"]
    pod = dict(ours["podTemplate"])
    labels = {"app.kubernetes.io/name": "superset"}
    defaults = {
        "name": "superset",
        "image": "{repository}:{tag}".format(**ours["image"]),
        "command": ["/app/docker/entrypoints/run-websocket.sh"],
        "ports": [{"name": "ws", "containerPort": 8080, "protocol": "TCP"}],
    }
    container = defaults | pod.pop("container")
    injected = [{"name": name, "value": value} for name, value in OPERATOR_ENVIRONMENT.items()]
    container["env"] = [*container["env"], *injected]
    spec = {("securityContext" if n == "podSecurityContext" else n): v for n, v in pod.items()}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "test-websocket-server"},
        "spec": {
            "replicas": ours["replicas"],
            "selector": {"matchLabels": labels},
            **ours["deploymentTemplate"],
            "template": {
                "metadata": {"labels": labels},
                "spec": spec | {"containers": [container]},
            },
        },
    }


@dataclass(frozen=True)
class Deployed:
    """A Deployment of this server, however it came about.

    :ivar config: what lies in its config.json.
    :ivar environ: its variables, secrets left out.
    """

    deployment: Document
    config: Document
    environ: Mapping[str, str]

    @property
    def pod(self) -> Document:
        return cast(Document, self.deployment["spec"]["template"]["spec"])

    @property
    def container(self) -> Document:
        (only,) = self.pod["containers"]
        return cast(Document, only)

    def ports(self) -> dict[str, int]:
        """By name, and the metrics' port also where nothing declares it."""
        config, environ = self.config, self.environ
        metrics = int(environ.get("METRICS_PORT") or config["metricsPort"])
        return {"metrics": metrics} | {
            p["name"]: p["containerPort"] for p in self.container["ports"]
        }

    def probe(self, kind: str) -> Document:
        """`startup`, `readiness` or `liveness`, with its port as a number."""
        probe = copy.deepcopy(self.container[f"{kind}Probe"])
        port = probe["httpGet"]["port"]
        probe["httpGet"]["port"] = self.ports().get(port, port)
        return cast(Document, probe)

    def pre_stop(self) -> int:
        """Seconds."""
        return int(
            self.container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})["sleep"][
                "seconds"
            ]
        )


def deployed() -> dict[str, Deployed]:
    """All of them, by the folder that they are in."""
    manifest = document(MANIFESTS / "deployment.yaml")
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    plain = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    config = json.loads((MANIFESTS / "config.json").read_text())
    chart = patched(helm_deployment(), document(KUBERNETES / "helm" / "patch.yaml"))
    operated = operator_deployment()
    (server,) = operated["spec"]["template"]["spec"]["containers"]
    return {
        "manifests": Deployed(manifest, config, plain),
        "helm": Deployed(chart, helm_values()["supersetWebsockets"]["config"], CHART_ENVIRONMENT),
        "operator": Deployed(operated, {}, {e["name"]: e["value"] for e in server["env"]}),
    }


def ask(probe: Document, port: int) -> int:
    """What a kubelet does once: the status, or 0 when it does not come in time.

    :param port: in place of the probe's own.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=probe["timeoutSeconds"])
    try:
        connection.request("GET", probe["httpGet"]["path"])
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def patience(probe: Document) -> int:
    """Seconds of failure until it counts."""
    return int(probe["periodSeconds"] * probe["failureThreshold"])


def all_documents(directory: Path) -> Iterator[tuple[Path, Document]]:
    """Those of Kubernetes' own kinds or others' in a folder and below."""
    for path in sorted(directory.rglob("*.yaml")):
        whole = document(path)
        if "kind" in whole:
            yield path, whole
