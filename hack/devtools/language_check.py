"""Checks that code, documents and commits are written in plain technical English.

`python -m devtools.language_check` finds words that docs/glossary.md replaces, docstrings that begin with a preposition
instead of a sentence, lines of more than 120 characters where ruff does not look, and commit subjects that are too long
or name no area.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence

from devtools.content_digest import list_files
from devtools.metrics_reference import ROOT

WORDS = {
    **dict.fromkeys(("nobody", "no-one", "noone"), "no one"),
    **dict.fromkeys(("somebody",), "name the actor: the caller, the operator, the pod"),
    **dict.fromkeys(
        ("anybody", "everybody", "whoever", "whom"), "name the actor: every caller, all users, whom → which"
    ),
    **dict.fromkeys(("anew", "afresh"), "again"),
    **dict.fromkeys(("meanwhile", "whilst"), "until then, at the same time"),
    **dict.fromkeys(("thereby", "hence", "thereof", "whereof", "hitherto"), "so, therefore"),
    "ailment": "diagnosis",
    "tidings": "changes",
}
"""Words that this repository does not use, and what to write instead."""
_PREPOSITION = re.compile(
    "to|of|for|with|without|in|by|from|on|until|unless|whether|where|as|under|beside|besides|into|through|than|like|along"
    "|within|upon|per|so|and|or",
    re.IGNORECASE,
)
"""First words that make a docstring a fragment."""
MAX_SUBJECT = 72
MAX_LINE = 120
_WORD = re.compile(rf"\b({'|'.join(WORDS)})\b", re.IGNORECASE)
_SUBJECT = re.compile(r"[a-z0-9][a-z0-9_-]*(, [a-z0-9_-]+)*: [a-z].*[^.]")
_WRAPPED = re.compile(r"(^|/)(Makefile|[\w.-]*Dockerfile|[\w-]+)$|\.(bash|sh|tpl|yaml|toml|proto|hcl)$")
"""Files whose lines are counted: scripts, templates, manifests. Ruff counts those of Python."""
_UNWRAPPED = re.compile(r"^(charts/operator/files/|crds/|manifests/(operator[./]|olm/)|docs/api/|skaffold\.yaml)")
"""Files with generated or unbreakable lines."""
_GENERATED = re.compile(r"client/ecommerce_client/(models|operations)/")
"""Modules whose docstrings are descriptions of the API."""
_SKIPPED = re.compile(
    r"(\.(png|svg|sum|mod|lock|ico)|_pb2(_grpc)?\.pyi?|LICENSE|hack/devtools/language_check\.py"
    r"|hack/tests/unit/test_devtools_language_check\.py)$"
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m devtools.language_check", description=__doc__)
    parser.add_argument(
        "--commits", metavar="RANGE", help="check the subjects of these commits as well, like origin/main.."
    )
    chosen = parser.parse_args(arguments)
    complaints = [complaint for path, text in _files() for complaint in check(path, text)]
    if chosen.commits:
        complaints += [complaint for subject in _subjects(chosen.commits) for complaint in check_subject(subject)]
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    return 1 if complaints else 0


def check(path: str, text: str) -> Iterator[str]:
    """Yields a line for each fault of a file, as `path:line: what is wrong and what to write`."""
    for number, line in enumerate(text.splitlines(), start=1):
        for found in _WORD.finditer(line):
            yield f"{path}:{number}: {found[0]!r}: write {WORDS[found[0].lower()]}"
        if len(line) > MAX_LINE and _WRAPPED.search(path) and not _UNWRAPPED.match(path):
            yield f"{path}:{number}: {len(line)} characters: write at most {MAX_LINE}"
    if path.endswith(".py"):
        for number, first in _docstrings(text):
            if _PREPOSITION.fullmatch(first) and not _GENERATED.match(path):
                yield f"{path}:{number}: a docstring begins with {first!r}: write a sentence that says what it does"


def check_subject(subject: str) -> Iterator[str]:
    """Yields a line for each fault of a commit's subject."""
    if len(subject) > MAX_SUBJECT:
        yield f"commit {subject!r}: {len(subject)} characters: write at most {MAX_SUBJECT}"
    if not _SUBJECT.fullmatch(subject):
        yield f"commit {subject!r}: write `area: imperative subject`"


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Yields the line and the first word of every docstring, those of attributes included."""
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str() as docstring)) if docstring.strip():
                    yield statement.lineno, docstring.split(maxsplit=1)[0].strip(",:`")


def _files() -> Iterator[tuple[str, str]]:
    """Yields the path and the text of every file that is checked."""
    for file in list_files(ROOT):
        path = file.relative_to(ROOT).as_posix()
        if not _SKIPPED.search(path):
            yield path, file.read_text(errors="replace")


def _subjects(commits: str) -> list[str]:
    log = ["git", "log", "--no-merges", "--format=%s", commits]
    return subprocess.run(log, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


if __name__ == "__main__":
    sys.exit(main())
