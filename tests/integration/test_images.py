"""The images that we build: nobody in them is root, and they hold no secret, neither in their settings nor in their files."""

from __future__ import annotations

import json

import pytest
from containers import ROOT, Engine, run
from test_airflow import BASES
from test_secrets import secrets

from lib.stage.containers import image

DOCKERFILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "compose").rglob("Dockerfile"))
#: Where our files are, and those of a package manager that was told a password.
PLACES = "/opt /root /home /tmp $(ls -d /app /data 2>/dev/null)"
SUSPECTS = "-name .env -o -name .netrc -o -name .pypirc -o -name 'id_*' -o -name .git -o -name .state"


@pytest.mark.parametrize("file", DOCKERFILES)
def test_an_image_holds_no_secret_and_runs_as_nobody_special(file: str, engine: Engine) -> None:
    engine.provide(*BASES)
    name = "lessons-scanned"
    if file == "compose/service/Dockerfile":
        name = image()
    else:
        run("docker", "build", "--file", file, "--tag", name, ".", timeout=900)
    [found] = json.loads(engine.docker("image", "inspect", name))
    user = found["Config"]["User"].partition(":")[0]
    assert user.isdigit() and user != "0"
    history = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", name)
    assert list(secrets("\n".join([*found["Config"]["Env"], history]))) == []
    shell = ["run", "--rm", "--network", "none", "--user", "0:0", "--entrypoint", "sh", name, "-c"]
    assert "schema.py" in engine.docker(*shell, "find / -xdev -path '*/lib/versioning/schema.py'")
    listed = engine.docker(*shell, f"find {PLACES} -xdev '(' {SUSPECTS} ')' -not -path '*/site-packages/*'")
    assert listed.split() == []
    keys = f"grep -rls -e '-----BEGIN [A-Z ]*PRIVATE KEY' {PLACES} | grep -v /site-packages/ || true"
    assert engine.docker(*shell, keys).split() == []
