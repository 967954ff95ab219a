"""Linters that are no Python packages. Where what installs them is missing, their tests are skipped; in a CI they fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))
BUILD = Path(__file__).resolve().parents[2] / "build"
ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"
GROOVY = "4.0.29"
GET = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:get"


def without(*programs: str) -> None:
    """Skip when one of some programs is missing; in a CI, where nobody would miss the test, fail."""
    missing = [one for one in programs if not shutil.which(one)]
    if missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"not found: {', '.join(missing)}")


@pytest.fixture(scope="session")
def actionlint() -> str:
    """The program that checks workflows of GitHub, built into build/bin when it is not there."""
    if found := shutil.which("actionlint"):
        return found
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "actionlint.lock"):
        place = BUILD / "bin" / "actionlint"
        if not place.exists():
            without("go")
            subprocess.run(["go", "install", ACTIONLINT], env={**os.environ, "GOBIN": str(place.parent)}, check=True)
        return str(place)


@pytest.fixture(scope="session")
def groovy() -> list[str]:
    """The command that compiles Groovy; its compiler is fetched into build/maven when it is not there."""
    without("java")
    BUILD.mkdir(exist_ok=True)
    with FileLock(BUILD / "groovy.lock"):
        jar = BUILD / "maven" / "org" / "apache" / "groovy" / "groovy" / GROOVY / f"groovy-{GROOVY}.jar"
        if not jar.exists():
            without("mvn")
            wanted = [
                f"-Dmaven.repo.local={BUILD / 'maven'}",
                f"-Dartifact=org.apache.groovy:groovy:{GROOVY}",
                "-Dtransitive=false",
            ]
            subprocess.run(["mvn", "-q", "-B", GET, *wanted], check=True)
        return ["java", "-cp", str(jar), "org.codehaus.groovy.tools.FileSystemCompiler"]
