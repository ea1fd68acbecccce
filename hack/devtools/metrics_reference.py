"""Reads the exported metrics from the source code, so that rules, dashboards and documents can be checked against them.

`python -m devtools.metrics_reference` prints them as the table of docs/operations.md; `--write` updates the document.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs/operations.md"
_BEGIN = "<!-- metrics, by `python -m devtools.metrics_reference --write` -->\n"
_END = "<!-- end of metrics -->\n"
_SUFFIXES = {"Counter": ("",), "Gauge": ("",), "Histogram": ("_bucket", "_sum", "_count")}
_SOURCES = ("services/*/*", "operator/platform_operator")

_LABELS = re.compile(
    r'"(?:[^"\\]|\\.)*"|\{[^}]*\}|\[[^\]]*\]'  # strings, selectors, ranges
    r"|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
)
_WORDS = re.compile(
    r"[a-z_0-9]+\s*\(|\b(?:and|or|unless|bool|offset|[0-9][0-9a-z.]*)\b"
)  # functions, operators, numbers
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    name: str
    owner: str
    """The service that exports it; `every service` for a metric of the chassis."""
    kind: str
    help: str
    labels: tuple[str, ...]

    @property
    def series(self) -> frozenset[str]:
        """The names under which Prometheus stores the metric."""
        return frozenset(self.name + suffix for suffix in _SUFFIXES[self.kind])


def exported() -> list[Metric]:
    """Returns every metric of the services and the operator, shared ones first."""
    found = [metric for pattern in _SOURCES for folder in sorted(ROOT.glob(pattern)) for metric in _of(folder)]
    return sorted(found, key=lambda metric: (metric.owner != _ALL_SERVICES, metric.owner, metric.name))


def metric_names(query: str) -> frozenset[str]:
    """Returns the metrics that a PromQL expression reads."""
    return frozenset(_NAME.findall(_WORDS.sub(" ", _LABELS.sub(" ", query))))


def table() -> str:
    """Renders the metrics as a Markdown table."""
    rows = [f"| `{m.name}` | {m.owner} | {_labels(m)} | {m.help.rstrip('.')} |\n" for m in exported()]
    return "".join(["| metric | of | labels | says |\n", "|---|---|---|---|\n", *rows])


def with_table(document: str) -> str:
    """Returns the document with a current table. Raises ValueError if the document has no place for it."""
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{DOCUMENT} has no place for the metrics: put {_BEGIN.strip()} and {_END.strip()} there")
    return before + begin + table() + end + after


_ALL_SERVICES = "every service"
_OWNERS = {"chassis": _ALL_SERVICES, "platform_operator": "operator"}


def _of(package: Path) -> Iterator[Metric]:
    owner = _OWNERS.get(package.name, package.name.removesuffix("_service"))
    for module in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(module.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="Counter" | "Gauge" | "Histogram" as kind),
                    args=[ast.Constant(value=str(name)), ast.Constant(value=str(text)), *rest],
                ):
                    labels = tuple(ast.literal_eval(rest[0])) if rest else ()
                    yield Metric(name, owner, kind, text, labels)


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m devtools.metrics_reference", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/operations.md")
    if parser.parse_args(arguments).write:
        DOCUMENT.write_text(with_table(DOCUMENT.read_text()))
    else:
        sys.stdout.write(table())


if __name__ == "__main__":
    main()
