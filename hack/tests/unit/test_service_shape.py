"""Every service has the same shape: the same files, with the same definitions."""

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path

import pytest
from chassis.messaging.topology import load_topology

SERVICES = Path(__file__).parents[3] / "services"
PACKAGES = [*sorted(SERVICES.glob("*/*_service")), SERVICES / "chassis/template/sample_service"]

TOP_MODULES = {"__init__", "__main__", "app", "settings"}
HANDLERS = {"__init__", "schemas", "grpc", "consumers", "problems", "dependencies"}
BACKENDS = [package for package in PACKAGES if package.name != "gateway_service"]
"""Every package but the gateway, whose handlers are a proxy and not resources of its own, and which has no database."""
SCHEMA_BASES = {"BaseModel", "RequestBody", "ResponseBody"}
STUB = re.compile(r"\b\w+_pb2_grpc\.\w+Stub\(")


@dataclass(frozen=True)
class Module:
    path: Path

    @cached_property
    def source(self) -> str:
        return self.path.read_text()

    @cached_property
    def body(self) -> list[ast.stmt]:
        return ast.parse(self.source).body

    @property
    def classes(self) -> list[ast.ClassDef]:
        return [statement for statement in self.body if isinstance(statement, ast.ClassDef)]

    def defines(self, name: str) -> bool:
        """Returns whether the module defines a function, class or constant of this name."""
        return any(name in _names_of(statement) for statement in self.body)


@dataclass(frozen=True)
class Package:
    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name.removesuffix("_service")

    def has(self, path: str) -> bool:
        return (self.folder / path).exists()

    def module(self, path: str) -> Module:
        return Module(self.folder / path)

    def modules(self, folder: str) -> list[Module]:
        """Returns the modules directly in a folder, without __init__.py."""
        return [Module(path) for path in sorted((self.folder / folder).glob("*.py")) if path.name != "__init__.py"]


@pytest.fixture(params=PACKAGES, ids=lambda folder: folder.name)
def package(request: pytest.FixtureRequest) -> Package:
    return Package(request.param)


@pytest.fixture(params=BACKENDS, ids=lambda folder: folder.name)
def backend(request: pytest.FixtureRequest) -> Package:
    return Package(request.param)


def test_a_package_has_the_top_modules_of_every_service_and_no_others(package: Package) -> None:
    assert {path.stem for path in package.folder.glob("*.py")} == TOP_MODULES
    assert package.module("settings.py").defines("Settings")
    assert package.module("app.py").defines("build")
    assert package.module("app.py").defines("PROGRAM")
    assert package.module("handlers/problems.py").defines("PROBLEMS")


def test_each_setting_is_described(package: Package) -> None:
    (settings,) = (found for found in package.module("settings.py").classes if found.name == "Settings")

    undescribed = [
        ast.unparse(field.target)
        for field, following in zip(settings.body, [*settings.body[1:], None], strict=True)
        if isinstance(field, ast.AnnAssign) and not _is_docstring(following)
    ]

    assert undescribed == []


def test_handlers_has_no_module_without_a_known_purpose(backend: Package) -> None:
    assert {path.stem for path in (backend.folder / "handlers").glob("*.py")} <= HANDLERS


def test_a_backend_has_the_layers_from_http_to_tables(backend: Package) -> None:
    resources = backend.modules("handlers/http")

    assert backend.module("app.py").defines("SCHEMA")
    assert resources
    assert [module.path.name for module in resources if not module.defines("routes")] == []
    for path in ("handlers/schemas.py", "domain/errors.py", "repository/tables.py", "invariants.sql"):
        assert backend.has(path), path
    assert backend.modules("service")


def test_only_schemas_defines_bodies_of_requests_and_responses(backend: Package) -> None:
    elsewhere = [
        f"{module.path.relative_to(backend.folder)}: {found.name}"
        for module in (*backend.modules("handlers"), *backend.modules("handlers/http"))
        for found in module.classes
        if module.path.name != "schemas.py" and _bases_of(found) & SCHEMA_BASES
    ]

    assert elsewhere == []


def test_consumers_exist_if_and_only_if_the_topology_sends_the_service_events(package: Package) -> None:
    assert package.has("handlers/consumers.py") == bool(load_topology().consumed_by(package.name))
    if package.has("handlers/consumers.py"):
        assert package.module("handlers/consumers.py").defines("event_handlers")


def test_published_events_exist_if_and_only_if_the_service_produces_events(package: Package) -> None:
    assert package.has("service/published_events.py") == bool(load_topology().produced_by(package.name))


def test_a_servicer_exists_if_and_only_if_the_contracts_declare_one(package: Package) -> None:
    assert package.has("handlers/grpc.py") == _declares_grpc_service(package.name)
    if package.has("handlers/grpc.py"):
        assert package.module("handlers/grpc.py").defines(f"{package.name.capitalize()}Servicer")


def test_a_module_that_calls_a_neighbour_has_a_protocol_and_its_grpc_adapter(package: Package) -> None:
    callers = [module for module in package.modules("clients") if STUB.search(module.source)]

    without_protocol = [m.path.name for m in callers if not any("Protocol" in _bases_of(c) for c in m.classes)]
    without_adapter = [m.path.name for m in callers if not any(c.name.startswith("Grpc") for c in m.classes)]

    assert (without_protocol, without_adapter) == ([], [])


def test_only_clients_call_neighbours(package: Package) -> None:
    calling = [
        path.relative_to(package.folder) for path in package.folder.rglob("*.py") if STUB.search(path.read_text())
    ]

    assert [path for path in calling if path.parts[0] != "clients"] == []


def _names_of(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=targets):
            return {ast.unparse(target) for target in targets}
        case ast.AnnAssign(target=target):
            return {ast.unparse(target)}
        case _:
            return set()


def _bases_of(found: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in found.bases}


def _is_docstring(statement: ast.stmt | None) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case _:
            return False


def _declares_grpc_service(name: str) -> bool:
    try:
        contract = import_module(f"shopapi.{name}.v1.{name}_pb2")
    except ModuleNotFoundError:
        return False
    return bool(contract.DESCRIPTOR.services_by_name)
