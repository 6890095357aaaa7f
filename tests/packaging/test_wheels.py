"""Wheels of the core and of one plugin, in an environment that never saw the sources."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from tieline.scaffold import Wanted, make_plugin

pytestmark = [pytest.mark.timeout(120), pytest.mark.slow, pytest.mark.xdist_group("wheels")]

TOP = Path(__file__).resolve().parents[2]
STRIPE = TOP / "plugins" / "stripe"
CORE_PACKAGES = [TOP / "core" / "tieline", TOP / "migrations" / "tieline_migrations"]
STRIPE_PACKAGES = [STRIPE / "tieline_stripe", STRIPE / "tieline_stripe_sandbox"]

# What belongs to the running environment itself, not to the third-party packages in it.
OWN = ("tieline", "_editable_impl_", "__editable__", "pip", "_virtualenv", "__pycache__")


@dataclass(frozen=True, kw_only=True)
class Built:
    """One distribution, as it would be uploaded."""

    sdist: Path
    wheel: Path

    def sdist_names(self) -> set[str]:
        with tarfile.open(self.sdist) as archive:
            return {name.partition("/")[2] for name in archive.getnames()}

    def wheel_names(self) -> set[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def read(self, ending: str) -> str:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(ending))
            return archive.read(name).decode()


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A virtual environment with the wheels, entered from an unrelated folder."""

    python: Path
    folder: Path

    def run(
        self, *command: str, timeout_s: float = 60, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *command],
            cwd=self.folder,
            env=neutral_environ() | environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def document(self, *command: str, **environ: str) -> object:
        done = self.run("-m", "tieline", *command, **environ)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def neutral_environ() -> dict[str, str]:
    """The caller's environment without Python's own and our variables."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "TIELINE_"))}


def build(source: Path, target: Path) -> Built:
    """Build a sdist, and the wheel from it, with the backend that is here."""
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source)],
        check=True,
        env=neutral_environ(),
        capture_output=True,
    )
    (sdist,) = target.glob("*.tar.gz")
    (wheel,) = target.glob("*.whl")
    return Built(sdist=sdist, wheel=wheel)


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def package_files(packages: list[Path]) -> set[str]:
    """Every file of these packages that git would keep, by its name in a wheel."""
    return {
        path.relative_to(package.parent).as_posix()
        for package in packages
        for path in package.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def metadata_kinds(names: set[str]) -> set[str]:
    """What a wheel has beside packages: names below its one ``.dist-info``."""
    return {str(PurePosixPath(*PurePosixPath(n).parts[1:])) for n in names if ".dist-info/" in n}


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(TOP, tmp_path_factory.mktemp("core"))


@pytest.fixture(scope="module")
def stripe(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(STRIPE, tmp_path_factory.mktemp("stripe"))


@pytest.fixture(scope="module")
def installed(
    core: Built, stripe: Built, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installed]:
    """Both wheels, installed; third-party packages are borrowed from this environment.

    Borrowed through a folder of links named in a ``.pth``: Python does not
    follow the ``.pth`` files inside it, so no editable install leaks in.
    """
    top = tmp_path_factory.mktemp("installed")
    borrowed = top / "third-party"
    borrowed.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(OWN) and path.suffix != ".pth":
            (borrowed / path.name).symlink_to(path)

    python = top / "venv" / "bin" / "python"
    wheels = ["--no-deps", str(core.wheel), str(stripe.wheel)]
    for command in commands_to_install(python, wheels):
        subprocess.run(command, check=True, env=neutral_environ(), capture_output=True)
    (site,) = (top / "venv" / "lib").glob("python*/site-packages")
    (site / "third-party.pth").write_text(f"{borrowed}\n")

    folder = top / "elsewhere"
    folder.mkdir()
    yield Installed(python=python, folder=folder)
    shutil.rmtree(top)


def commands_to_install(python: Path, wheels: list[str]) -> list[list[str]]:
    """Make an environment and install without an index: by uv, or by venv and pip."""
    venv = str(python.parent.parent)
    if uv := shutil.which("uv"):
        return [
            [uv, "venv", "--no-project", "--no-cache", "--python", sys.executable, venv],
            [uv, "pip", "install", "--no-cache", "--no-index", "--python", str(python), *wheels],
        ]
    return [
        [sys.executable, "-m", "venv", venv],
        [str(python), "-m", "pip", "install", "--no-index", "--no-cache-dir", *wheels],
    ]


def test_the_core_wheel_holds_its_packages_and_nothing_else(core: Built) -> None:
    names = core.wheel_names()
    assert {n for n in names if ".dist-info/" not in n} == package_files(CORE_PACKAGES)
    assert metadata_kinds(names) == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_core_wheel_holds_types_and_migrations(core: Built) -> None:
    names = core.wheel_names()
    assert {
        "tieline/py.typed",
        "tieline_migrations/env.py",
        "tieline_migrations/script.py.mako",
        "tieline_migrations/versions/0001_first_tables.py",
    } <= names


def test_the_plugin_wheel_holds_its_packages_and_nothing_else(stripe: Built) -> None:
    names = stripe.wheel_names()
    assert {n for n in names if ".dist-info/" not in n} == package_files(STRIPE_PACKAGES)
    assert metadata_kinds(names) == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_the_plugin_wheel_holds_types_and_sandbox_data(stripe: Built) -> None:
    names = stripe.wheel_names()
    assert "tieline_stripe/py.typed" in names
    assert any(n.startswith("tieline_stripe_sandbox/data/") for n in names)


def test_the_plugin_wheel_announces_provider_and_sandbox(stripe: Built) -> None:
    announced = stripe.read(".dist-info/entry_points.txt")
    assert "[tieline.providers]\nstripe = tieline_stripe\n" in announced
    assert "[tieline.sandboxes]\nstripe = tieline_stripe_sandbox:create_app\n" in announced


@pytest.mark.parametrize("name", ["core", "stripe"])
def test_each_carries_the_whole_licence_and_names_it(
    name: str, request: pytest.FixtureRequest
) -> None:
    built: Built = request.getfixturevalue(name)
    assert built.read(".dist-info/licenses/LICENSE") == (TOP / "LICENSE").read_text()
    assert "Apache License" in built.read(".dist-info/licenses/LICENSE")
    assert "License-Expression: Apache-2.0\n" in built.read(".dist-info/METADATA")


def test_the_core_sdist_holds_what_the_wheel_needs_and_no_tests(core: Built) -> None:
    tops = {name.partition("/")[0] for name in core.sdist_names() if name}
    assert {"core", "migrations", "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"} <= tops
    assert tops.isdisjoint({"tests", "plugins", "benchmarks", "docs", ".venv", "lock.txt"})


def test_the_sources_are_out_of_reach(installed: Installed) -> None:
    script = (
        "import sys, tieline, tieline_stripe as s; print(sys.path, tieline.__file__, s.__file__)"
    )
    done = installed.run("-c", script)
    assert done.returncode == 0, done.stderr
    assert str(TOP / "core") not in done.stdout
    assert str(STRIPE) not in done.stdout
    assert done.stdout.count("site-packages/tieline") == 2


def test_versions_are_told(installed: Installed) -> None:
    facts = installed.document("version", "--json")
    assert isinstance(facts, dict)
    assert facts["tieline"]
    assert "tieline-stripe" in facts["plugins"]


def test_the_plugin_is_found_and_ok(installed: Installed) -> None:
    facts = installed.document("providers", "--json")
    found = facts["providers"] if isinstance(facts, dict) else facts
    assert isinstance(found, list)
    (stripe,) = (each for each in found if each["name"] == "stripe")
    assert stripe["distribution"] == "tieline-stripe"
    assert stripe["state"] == "ok"


def test_the_database_is_made_by_the_packaged_migrations(
    installed: Installed, tmp_path: Path
) -> None:
    home = {"TIELINE_HOME": str(tmp_path / "home")}
    for command in (["init"], ["db", "upgrade"], ["db", "check"]):
        done = installed.run("-m", "tieline", *command, **home)
        assert done.returncode == 0, f"{command}: {done.stderr}"


def test_the_console_script_is_there(installed: Installed) -> None:
    script = installed.python.with_name("tieline")
    done = subprocess.run(
        [str(script), "version", "--json"],
        cwd=installed.folder,
        env=neutral_environ(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tieline"]


@pytest.mark.timeout(600)
def test_a_new_plugin_is_green_before_anybody_types(installed: Installed, tmp_path: Path) -> None:
    """From its wheel, by its own tests; then editable, by `plugin check`; without a network."""
    folder = tmp_path / "tieline-acme"
    make_plugin(Wanted(name="acme"), folder)
    built = build(folder, tmp_path / "built")
    install(installed, str(built.wheel))
    tested = installed.run("-m", "pytest", "-q", f"--rootdir={folder}", str(folder), timeout_s=500)
    assert tested.returncode == 0, tested.stdout[-3000:]
    facts = installed.document("providers", "--json")
    assert isinstance(facts, dict)
    assert {each["name"]: each["level"] for each in facts["providers"]}["acme"] == "silver"

    install(installed, "--no-build-isolation", "--editable", str(folder))
    wanted = ("docs-page", "it-loads", "pages-completely", "sandbox-stands-alone")
    only = [part for name in wanted for part in ("--only", name)]
    said = installed.document("plugin", "check", "acme", "--json", *only)
    assert isinstance(said, dict)
    assert {each["name"]: each["state"] for each in said["checks"]} == dict.fromkeys(
        wanted, "passed"
    )


@pytest.mark.timeout(600)
def test_the_first_plugin_is_made_as_the_tutorial_says(
    installed: Installed, tmp_path: Path
) -> None:
    """Block after block as it stands, in a shell; without a network."""
    if shutil.which("bash") is None:
        pytest.skip("bash is needed")
    page = (TOP / "docs/tutorial/first-plugin.md").read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    script = "\n".join(f"echo '== {n}'\n{block}" for n, block in enumerate(blocks))
    for port in ("12112", "8378"):
        assert port in script
        script = script.replace(port, free_port())
    (tmp_path / "script").write_text(f"set -eu\n{script}\necho '== done'\n")
    environ = neutral_environ() | {
        "PATH": f"{installed.python.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PIP_NO_INDEX": "1",
        "PIP_FORCE_REINSTALL": "1",  # the test before left one of the same version
        "PIP_NO_DEPS": "1",
        "PIP_NO_COMPILE": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    if not (installed.python.parent / "pip").exists():  # uv makes environments without it
        with_pip = [str(installed.python), "-m", "ensurepip", "--default-pip"]
        subprocess.run(with_pip, check=True, env=neutral_environ(), capture_output=True)
    with (tmp_path / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "--norc", str(tmp_path / "script")],
            cwd=tmp_path,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=500)
        finally:
            if shell.poll() != 0:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
    text = (tmp_path / "said").read_text(errors="replace")
    assert code == 0, text[-3000:]
    assert "Traceback" not in text
    parts = dict(re.findall(r"^== (\w+)\n(.*?)(?=^== |\Z)", text, re.MULTILINE | re.DOTALL))
    assert parts["0"].count("ok      bronze") == 3
    assert "FAILED" in parts["1"]
    assert "as expected" in parts["1"]
    assert "ok      bronze  records-fit-their-schema" in parts["2"]
    assert "2 passed" in parts["3"]
    assert re.search(r"^acme\b", parts["3"], re.MULTILINE)
    assert "orders: 100 records, and there are more\n    as the schema promises" in parts["4"]
    assert "250 created" in parts["5"]
    assert (
        parts["5"].count('"EUR"') or len(re.findall(r"^\d+\torder_", parts["5"], re.MULTILINE)) == 5
    )


def install(installed: Installed, *what: str) -> None:
    """Install one more thing without an index; what it depends on is there."""
    alone = ["--no-index", "--no-deps", *what]
    command = [str(installed.python), "-m", "pip", "install", "--no-cache-dir", *alone]
    if uv := shutil.which("uv"):
        target = ["--no-cache", "--python", str(installed.python)]
        command = [uv, "pip", "install", *target, "--reinstall-package", "tieline-acme", *alone]
    subprocess.run(command, check=True, env=neutral_environ(), capture_output=True)


@pytest.mark.timeout(600)
def test_the_example_by_somebody_else_holds_from_its_wheel(
    installed: Installed, tmp_path: Path
) -> None:
    """As a third party has it: wheels alone, the tests of its sdist, no path into the sources."""
    built = build(TOP / "examples" / "tieline-hubspot", tmp_path / "built")
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("tieline_hubspot-*")
    folder = (unpacked / "tests").rename(tmp_path / "tests")
    shutil.rmtree(unpacked)
    install(installed, str(built.wheel))

    places = "import tieline, tieline_hubspot as h, tieline_hubspot_sandbox as s"
    said = installed.run("-c", f"{places}; print(tieline.__file__, h.__file__, s.__file__)")
    assert said.stdout.count(str(installed.python.parent.parent)) == 3, said.stdout + said.stderr
    tested = installed.run("-m", "pytest", "-q", f"--rootdir={folder}", str(folder), timeout_s=500)
    assert tested.returncode == 0, tested.stdout[-3000:]
    facts = installed.document("providers", "--json")
    assert isinstance(facts, dict)
    (hubspot,) = (each for each in facts["providers"] if each["name"] == "hubspot")
    assert (hubspot["state"], hubspot["level"]) == ("ok", "gold")
