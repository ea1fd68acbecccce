import operator
import sysconfig
from pathlib import Path


def test_import_operator_imports_the_standard_library() -> None:
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


def test_the_folders_of_the_operator_are_not_packages() -> None:
    project = Path(__file__).parents[2]
    assert not [*project.glob("__init__.py"), *project.glob("tests/**/__init__.py")]
