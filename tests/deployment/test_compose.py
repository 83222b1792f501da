# SPDX-License-Identifier: Apache-2.0
"""deploy/compose: valid by Compose's schema, in Superset's place of the service, and it serves.

Without Docker: the files are merged as Compose does it (testbed/compose.py), and the real server is
started with the command, the environment and the file that come out.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from testbed.compose import interpolated, merged, read, seconds
from testbed.configuration import load_with
from testbed.servers import (
    ROOT,
    SECRET,
    RedisServer,
    Server,
    container_command,
    container_environ,
    eventually,
    run_in_container,
)
from wsgi_ws import __version__
from wsgi_ws.config.keys import keys
from wsgi_ws.server.master import GRACEFUL_TIMEOUT
from wsgi_ws.server.worker import time_to_stop

DIRECTORY = ROOT / "deploy" / "compose"
OVERRIDE, ALONE = DIRECTORY / "superset.yml", DIRECTORY / "alone.yml"
PAGE = ROOT / "docs" / "deployment" / "compose.md"
HOME = "/home/superset-websocket"  # the image's working directory
VARIABLES = {"JWT_SECRET": SECRET, "WEBSOCKET_JWT_SECRET": SECRET}

# What Superset's compose files say of their service, as far as it matters to the merge.
SUPERSET_6 = """
services:
  superset-websocket:
    container_name: superset_websocket
    build: ./superset-websocket
    ports: ["8080:8080"]
    depends_on: [redis]
    extra_hosts: ["host.docker.internal:host-gateway"]
    volumes:
      - ./superset-websocket:/home/superset-websocket
      - /home/superset-websocket/node_modules
      - /home/superset-websocket/dist
      - ./docker/superset-websocket/config.json:/home/superset-websocket/config.json
    environment: [PORT=8080, REDIS_HOST=redis, REDIS_PORT=6379, REDIS_SSL=false]
"""
SUPERSET_7 = """
services:
  superset-websocket:
    profiles: [websocket]
    build: {context: ., target: dev}
    command: [/app/docker/entrypoints/run-websocket.sh]
    user: root
    env_file: [docker/.env]
    ports: ["8080:8080"]
    depends_on: [redis]
    volumes: [./docker:/app/docker, superset_home:/app/superset_home]
    environment: {JWT_SECRET: CHANGE-ME-but-not-like-this-in-two-places, REDIS_HOST: redis}
    healthcheck: {disable: true}
"""


def in_place_of(superset: str) -> dict[str, Any]:
    """The service that `-f docker-compose.yml -f superset.yml` gives."""
    whole = merged(yaml.safe_load(superset), read(OVERRIDE))
    service = interpolated(whole, VARIABLES)["services"]["superset-websocket"]
    assert isinstance(service, dict)
    return service


def alone() -> dict[str, Any]:
    service = interpolated(read(ALONE), VARIABLES)["services"]["websocket"]
    assert isinstance(service, dict)
    return service


SERVICES = {
    "Superset 6": in_place_of(SUPERSET_6),
    "Superset 7": in_place_of(SUPERSET_7),
    "alone": alone(),
}
each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


@pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)
def test_the_result_is_valid_by_composes_schema(service: dict[str, Any]) -> None:
    file = resources.files("check_jsonschema.builtin_schemas.vendor") / "compose-spec.json"
    schema = json.loads(file.read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    validator.validate({"services": {"websocket": service}})
    validator.validate(interpolated(read(ALONE), VARIABLES))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({"services": {"websocket": service | {"stop_grace_periode": "1s"}}})


@pytest.mark.parametrize("superset", [SUPERSET_6, SUPERSET_7], ids=["6", "7"])
def test_nothing_of_the_node_server_is_left(superset: str) -> None:
    service = in_place_of(superset)
    assert service["command"] == ["wsgi-ws", "serve"]
    assert [volume["target"] for volume in service["volumes"]] == [f"{HOME}/config.json"]
    assert not service.keys() & {"build", "profiles", "entrypoint", "user", "env_file"}
    assert "disable" not in service["healthcheck"]
    ours = read(OVERRIDE)["services"]["superset-websocket"]["environment"]
    assert service["environment"] == interpolated(ours.value, VARIABLES)
    # What belongs to Superset's network stays.
    assert service["ports"] == ["8080:8080"]
    assert service["depends_on"] == ["redis"]


@each_service
def test_it_has_no_more_rights_than_it_needs(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid"}


@each_service
def test_it_is_started_again_and_never_waits_for_a_registry(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service.get("pull_policy") == "never" or "build" in service
    assert all(volume["read_only"] for volume in service.get("volumes", ()))


def test_alone_nothing_but_this_machine_reaches_it_and_nobody_its_redis() -> None:
    services = read(ALONE)["services"]
    assert services["websocket"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "ports" not in services["redis"]


@each_service
def test_it_is_stopped_when_gunicorn_has_had_its_time(
    service: dict[str, Any], tmp_path: Path
) -> None:
    settings = load_with(tmp_path).settings
    patience = seconds(service["stop_grace_period"])
    assert patience > max(GRACEFUL_TIMEOUT, time_to_stop(settings))


@pytest.mark.parametrize("path", [OVERRIDE, ALONE, PAGE], ids=lambda path: path.name)
def test_the_image_is_of_this_version(path: Path) -> None:
    assert set(re.findall(r"wsgi-ws:(\d[\w.]*)", path.read_text())) == {__version__}


@each_service
def test_its_variables_are_known_and_load_without_a_warning(
    service: dict[str, Any], tmp_path: Path
) -> None:
    environ = service["environment"]
    assert environ.keys() <= {key.env for key in keys()}
    assert load_with(tmp_path, environ=environ).warnings == ()


def test_no_file_has_a_secret() -> None:
    for path in DIRECTORY.glob("*.yml"):
        for name, value in re.findall(
            r"^\s+(\w*(?:SECRET|PASSWORD)): (.*)$", path.read_text(), re.M
        ):
            assert value.startswith("${"), f"{name} in {path.name}"
    with pytest.raises(ValueError, match="JWT_SECRET"):
        interpolated(read(ALONE), {})


@each_service
def test_the_server_serves_as_the_service_says_and_its_health_check_tells_of_redis(
    service: dict[str, Any], tmp_path: Path, prefix: str
) -> None:
    redis = RedisServer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    environ = container_environ(service["environment"], redis.port)
    program = container_command(service["command"])
    server = Server(tmp_path, redis.port, prefix=prefix, environ=environ, program=program)
    environ |= {"REDIS_STREAM_PREFIX": prefix, "PORT": str(server.port)}
    try:
        assert health(service, environ, tmp_path) == 0
        command = ["wsgi-ws", "check", "--url", server.url()]
        run = run_in_container(command, environ, tmp_path)
        assert run.returncode == 0, run.stdout
        redis.stop()
        eventually(lambda: health(service, environ, tmp_path) == 1, "the health check fails")
    finally:
        server.stop()
        redis.close()


def health(service: dict[str, Any], environ: dict[str, str], directory: Path) -> int:
    """The exit code of the health check's command."""
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    return run_in_container(command, environ, directory).returncode
