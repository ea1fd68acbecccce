"""Names the content of files: the same content has the same digest."""

import hashlib
import subprocess
from pathlib import Path


def content_digest(root: Path, *paths: str) -> str:
    """Returns 20 hexadecimal digits over the files at and below these paths, without those that git ignores."""
    digest = hashlib.sha256()
    for file in list_files(root, *paths):
        for part in (str(file.relative_to(root)).encode(), file.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:20]


def list_files(root: Path, *paths: str) -> list[Path]:
    """Returns the files at and below these paths, or all, sorted, without those that git ignores."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", *paths]
    names = subprocess.run(listed, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return [root / name for name in sorted(filter(None, names)) if (root / name).is_file()]
