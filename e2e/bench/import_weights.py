#!/usr/bin/env python3
"""Measures what each library of the images costs a process that imports it: processor time and resident memory.

Each is imported three times in a process of its own. The table has the smallest figures without Python itself;
dependencies that two libraries share count for both.
"""

import argparse
import json
import subprocess
import sys

MODULES = (
    "aio_pika", "aiohttp", "aiosmtplib", "alembic", "argon2", "asyncpg", "babel.numbers", "fastapi", "fastapi_offline",
    "grpc.aio", "grpc_health.v1.health", "httptools", "httpx", "jinja2", "jwt", "kopf", "kubernetes.aio",
    "opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter", "prometheus_client",
    "google.protobuf.json_format", "obstore.store", "pydantic", "pyhelm3", "redis.asyncio", "sqlalchemy.ext.asyncio",
    "stripe", "structlog", "uvicorn", "uvloop", "yaml", "yarl",
)  # fmt: skip
TIMES = 3
PROGRAM = """
import json, resource, sys
if len(sys.argv) > 1:
    __import__(sys.argv[1])
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    python_seconds, python_mebibytes = smallest()
    print("| module | import, ms of processor time | resident, MiB |\n|---|---|---|")
    for module in MODULES:
        seconds, mebibytes = smallest(module)
        print(
            f"| {module} | {(seconds - python_seconds) * 1000:.0f} | {mebibytes - python_mebibytes:.0f} |", flush=True
        )


def smallest(*module: str) -> tuple[float, float]:
    """Returns the least processor time in seconds and the least resident memory in MiB of a few processes."""
    figures = [
        json.loads(subprocess.run([sys.executable, "-c", PROGRAM, *module], check=True, capture_output=True).stdout)
        for _ in range(TIMES)
    ]
    return min(seconds for seconds, _ in figures), min(mebibytes for _, mebibytes in figures)


if __name__ == "__main__":
    main()
