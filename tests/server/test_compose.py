"""compose.yaml, which nobody here can start: its parts fit together, MLflow knows its options, versions are pinned."""

import ast
import re

import mlflow.cli
import pytest
from ruamel.yaml import YAML

from server import serve
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def compose():
    return YAML(typ="safe").load((serve.HERE / "compose.yaml").read_text())


def test_images_are_pinned_and_mlflow_is_the_locked_version(compose):
    images = {name: service["image"] for name, service in compose["services"].items()}
    locked = re.search(r"^mlflow==([\d.]+)", (ROOT / "requirements-server.txt").read_text(), re.MULTILINE)[1]
    assert images["mlflow"].endswith(f":v{locked}-full")
    assert re.fullmatch(r"postgres:\d+\.\d+", images["postgres"])


def test_secrets_come_from_the_environment_and_must_be_set(compose):
    required = set()
    for service in compose["services"].values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET", name):
                assert re.fullmatch(r"\$\{\w+(:\?[^}]+)?\}", value), name
                required |= set(re.findall(r"\$\{(\w+):\?", value))
    assert required == {"POSTGRES_PASSWORD", serve.PASSWORD, serve.SECRET}


def test_mlflow_knows_every_option(compose):
    command = compose["services"]["mlflow"]["command"]
    assert command[:4] == ["python", "-m", "server.gate", "server"]
    context = mlflow.cli.server.make_context("server", command[4:], resilient_parsing=False)
    assert context.params["app_name"] == "basic-auth"
    assert context.params["serve_artifacts"]


def test_every_file_and_volume_that_a_service_names_is_declared(compose):
    for service in compose["services"].values():
        assert "healthcheck" in service
        assert {one["source"] for one in service["configs"]} <= set(compose["configs"])
        assert {one.split(":")[0] for one in service["volumes"]} <= set(compose["volumes"])
    named = [one["file"] for one in compose["configs"].values() if "file" in one]
    assert all((serve.HERE / name).is_file() for name in [*named, compose["services"]["mlflow"]["env_file"]])


def test_it_listens_to_this_machine_alone_and_has_the_database_for_accounts(compose):
    assert [port.split(":")[0] for port in compose["services"]["mlflow"]["ports"]] == ["127.0.0.1"]
    assert "ports" not in compose["services"]["postgres"]
    created = compose["configs"]["users.sql"]["content"].removeprefix("CREATE DATABASE ").rstrip(";")
    assert f"/{created}\n" in (serve.HERE / "users.ini").read_text()


def test_the_gate_needs_only_the_files_that_the_container_has(compose):
    files = {
        one["target"]: compose["configs"][one["source"]]["file"] for one in compose["services"]["mlflow"]["configs"]
    }
    modules = {
        target.removeprefix("/gate/").removesuffix(".py").replace("/", "."): (serve.HERE / file).read_text()
        for target, file in files.items()
        if target.startswith("/gate/")
    }
    assert "server.gate" in modules
    for text in modules.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] in ("server", "xtcav_ml"):
                assert {node.module, *(f"{node.module}.{one.name}" for one in node.names)} & set(modules)
