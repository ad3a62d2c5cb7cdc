"""The images that containers run: one of ours, for the service and the workers, and the servers that they need, as others publish them."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from contextlib import closing
from pathlib import Path

from lib.stage.engine import engine, explained

ROOT = Path(__file__).parents[2]
DOCKERFILE, LOCK = "compose/service/Dockerfile", "compose/service/requirements.lock"
POSTGRES, VALKEY = "postgres:17.6-bookworm", "valkey/valkey:8.1.4"  # as in compose/
PORT = 8000  # of the service


def image(tree: Path = ROOT) -> str:
    """The name of an image with the files of a tree, which is built if there is none yet. Raises ProcessError."""
    import docker

    lock = tree / LOCK
    paths = {str(path.relative_to(tree)): path for path in sorted((tree / "lib").rglob("*.py"))}
    paths |= {LOCK: lock if lock.exists() else ROOT / LOCK, DOCKERFILE: ROOT / DOCKERFILE}
    files = {place: path.read_bytes() for place, path in paths.items()}
    name = f"zero-downtime-pipelines:{hashlib.sha256(repr(files).encode()).hexdigest()[:12]}"
    with explained(f"The image {name}"), closing(engine()) as client:
        try:
            client.images.get(name)
        except docker.errors.ImageNotFound:
            print(f"building the image {name}; the first one takes some minutes", file=sys.stderr, flush=True)
            context = io.BytesIO()
            with tarfile.open(fileobj=context, mode="w") as archive:
                for place, content in files.items():
                    entry = tarfile.TarInfo(place)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            context.seek(0)
            client.images.build(
                fileobj=context, custom_context=True, dockerfile=DOCKERFILE, tag=name, rm=True
            )
    return name
