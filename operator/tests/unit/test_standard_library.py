import operator
import sysconfig
from pathlib import Path


def test_import_operator_is_the_standard_librarys() -> None:
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


def test_the_operators_folders_are_no_packages() -> None:
    project = Path(__file__).parents[2]
    assert not [*project.glob("__init__.py"), *project.glob("tests/**/__init__.py")]
