"""Each migration states the oldest code that may run on its schema, which a rollback depends on."""

import ast
from pathlib import Path

import pytest

SERVICES = Path(__file__).parents[3] / "services"
MIGRATIONS = sorted([*SERVICES.glob("*/*_service/migrations"), *SERVICES.glob("chassis/template/*/migrations")])


def statements(migration: Path) -> dict[str, object]:
    """Returns what a migration assigns at its top level: revision, down_revision, oldest_code."""
    found: dict[str, object] = {}
    for node in ast.parse(migration.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            found |= {target.id: node.value.value for target in node.targets if isinstance(target, ast.Name)}
    return found


@pytest.mark.parametrize("migrations", MIGRATIONS, ids=lambda path: path.parent.name)
def test_each_migration_states_the_oldest_code_that_may_run_on_it(migrations: Path) -> None:
    """Later migrations can only exclude more code: the newest statement counts alone."""
    stated = [statements(path) for path in sorted((migrations / "versions").glob("0*.py"))]
    oldest = [str(one.get("oldest_code", "missing")) for one in stated]
    assert oldest == sorted(oldest)
    assert all(code <= str(one["revision"]) for code, one in zip(oldest, stated, strict=True))


def test_all_services_are_checked() -> None:
    assert len(MIGRATIONS) == 8
