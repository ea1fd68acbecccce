"""Runs `helm template`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import yaml
from pyhelm3 import Command
from pyhelm3.errors import Error as HelmError

from platform_operator.api.kinds import Manifest, PlatformKey
from platform_operator.errors import RenderError, RenderTimeoutError
from platform_operator.render.values import ChartValues

HELM_TIMEOUT = 60.0
"""Seconds."""


class Helm(Command):  # type: ignore[misc]  # pyhelm3 is untyped
    """pyhelm3's command, parsing with libyaml in a thread: its pure-Python loader takes seven times as long."""

    async def template(self, chart: Path, key: PlatformKey, values: ChartValues) -> list[Manifest]:
        """Renders a chart. Raises RenderError with the chart's own message, RenderTimeoutError after HELM_TIMEOUT."""
        command = [
            "template",
            key.name,
            str(chart),
            "--namespace",
            key.namespace,
            "--skip-crds",
            "--no-hooks",
            "--values",
            "-",
        ]
        try:
            async with asyncio.timeout(HELM_TIMEOUT):
                output: bytes = await self.run(command, json.dumps(values).encode())
        except HelmError as error:
            raise RenderError(f"Helm refuses the values: {_error_message(error.stderr)}") from error
        except TimeoutError as error:
            raise RenderTimeoutError(
                f"Helm did not finish within {HELM_TIMEOUT:.0f} s: give the operator more CPU or memory"
            ) from error
        return await asyncio.to_thread(_manifests, output)


def _manifests(output: bytes) -> list[Manifest]:
    """Parses what Helm printed. It takes a tenth of a second for a shop: longer than the event loop may be blocked."""
    return [manifest for manifest in yaml.load_all(output, Loader=yaml.CSafeLoader) if manifest]


def _error_message(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").splitlines()
    errors = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")]
    return " ".join(errors or lines or ["it gave no reason"])
