"""`support-bundle`: one file with what explains a shop, without its secrets."""

from __future__ import annotations

import io
import json
import os
import tarfile
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from kubectl_ecommerce.collector import Bundle, Collector
from kubectl_ecommerce.commands import diff, invariants, status, why
from kubectl_ecommerce.commands.command import Command, Report, Session
from kubectl_ecommerce.errors import UsageError
from kubectl_ecommerce.output import Style, clean
from kubectl_ecommerce.runbooks import OPERATOR_NAMESPACE
from kubectl_ecommerce.shop import Shop

_REPORTS = {"status": status.report, "why": why.report, "diff": diff.report, "invariants": invariants.report}
_KNOWN = "Values of Secrets, passwords, tokens, private keys, mail addresses and numbers of cards are removed."
_UNKNOWN = (
    "The Secrets could not be read: passwords, tokens, private keys, mail addresses and numbers of cards are removed "
    "where their form shows them."
)


def run(session: Session) -> Report:
    shop, arguments = session.shop(), session.arguments
    name = f"support-{shop.namespace}-{shop.name}-{session.now:%Y%m%dT%H%M%SZ}"
    path = Path(arguments.file or f"{name}.tar.gz")
    bundle = Collector(session.kubectl, shop, arguments.operator_namespace, arguments.lines).collect()
    contents = _contents(shop, bundle, session.now)
    _write(path, name, contents, session.now)
    data = {"namespace": shop.namespace, "name": shop.name, "file": str(path), "missing": bundle.missing}
    return Report(data | {"files": sorted(contents)}, lambda _: _render(shop, path, contents, bundle))


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--file", help="file to write [support-NAMESPACE-SHOP-TIME.tar.gz]")
    parser.add_argument("--lines", type=_number_of_lines, default=5000, help="newest lines of each log [%(default)s]")
    parser.add_argument(
        "--operator-namespace", default=OPERATOR_NAMESPACE, help="namespace of the operator [%(default)s]"
    )


def _number_of_lines(text: str) -> int:
    """Returns the number, and raises ValueError unless it is at least 1."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


SUPPORT_BUNDLE = Command(
    "support-bundle",
    "write one file that explains a shop, without secrets",
    "Writes an archive with a shop's resource, objects, Events and logs, and with what the operator logs about it. Of "
    "Secrets it has the names and the names of their keys. Their values are removed from all files, and so are "
    "passwords, tokens, private keys, mail addresses and card numbers. MANIFEST.json lists the files, and what "
    "could not be read. Read the files before you send them.",
    ("support-bundle", "support-bundle shop -n shop --file shop.tar.gz"),
    run,
    _add_arguments,
)


def _contents(shop: Shop, bundle: Bundle, now: datetime) -> Mapping[str, str]:
    """Returns the files of the bundle, with its manifest. The reports are made from what was redacted."""
    redacted = Shop(json.loads(bundle.files["platform.json"]))
    reports = {f"{name}.txt": report(redacted, now).render(Style()) for name, report in _REPORTS.items()}
    files = bundle.files | reports
    manifest: dict[str, Any] = {
        "shop": str(shop),
        "created": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "redaction": _UNKNOWN if "secrets" in bundle.missing else _KNOWN,
        "files": {path: len(text.encode()) for path, text in sorted(files.items())},
        "missing": bundle.missing,
    }
    return files | {"MANIFEST.json": json.dumps(manifest, indent=2)}


def _write(path: Path, name: str, files: Mapping[str, str], now: datetime) -> None:
    """Writes the archive for its owner alone. Raises UsageError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be created ({error.strerror}): name another one with --file") from None
    try:
        with open(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for member, text in sorted(files.items()):
                content = text.encode()
                information = tarfile.TarInfo(f"{name}/{member}")
                information.size, information.mtime, information.mode = len(content), int(now.timestamp()), 0o600
                archive.addfile(information, io.BytesIO(content))
    except BaseException as error:
        path.unlink()
        if isinstance(error, OSError):
            raise UsageError(f"{path} cannot be written ({error.strerror}): name another one with --file") from None
        raise


def _render(shop: Shop, path: Path, files: Mapping[str, str], bundle: Bundle) -> str:
    lines = [f"{shop}: {path} has {len(files)} files. Read them before you send them."]
    lines += [f"missing {name}: {clean(reason)}" for name, reason in sorted(bundle.missing.items())]
    return "\n".join(lines) + "\n"
