"""``./tie``: its own logic, in a copy where installers and tools are shell scripts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.timeout(60)

TOP = Path(__file__).resolve().parents[2]

# Makes an environment of scripts. With FAKE_STEPS it tells when it is half done, and waits.
FAKE_UV = """\
#!/bin/sh
[ "$1" = --version ] && exit 0
echo "$@" >>"$FAKE/uv.log"
if [ "$1" = venv ]; then
  for venv; do :; done
  mkdir -p "$venv/bin"
  for tool in python ruff mypy lint-imports; do cp "$FAKE/tool" "$venv/bin/$tool"; done
elif [ -n "$FAKE_STEPS" ] && [ "$3" = --python ] && [ "$5" = --require-hashes ]; then
  touch .venv/half-done
  echo here >"$FAKE/started"
  read -r _ <"$FAKE/go"
fi
exit 0
"""

FAKE_TOOL = """\
#!/bin/sh
echo "tool=${0##*/} pid=$$ cwd=$PWD"
for each; do echo "arg=$each"; done
env | sed -n 's/^\\(PYTHON[A-Z]*\\|VIRTUAL_ENV\\)=/env=&/p'
case " $FAKE_FAILS " in *" ${0##*/} "*) exit 3;; esac
exit "${FAKE_EXIT:-0}"
"""


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@dataclass(frozen=True, kw_only=True)
class Clone:
    """A fresh clone with a fake uv on its PATH."""

    top: Path
    fake: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(
        self, *arguments: str, cwd: Path | None = None, **environ: str
    ) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.top / "tie"), *arguments],
            cwd=cwd or self.top,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments, cwd=cwd, **environ) as process:
            try:
                out, err = process.communicate(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def wait_for_install(self) -> None:
        (self.fake / "started").read_text()

    def let_install_go_on(self) -> None:
        (self.fake / "go").write_text("go\n")

    def builds(self) -> int:
        log = self.fake / "uv.log"
        return len(re.findall("^venv ", log.read_text(), re.MULTILINE)) if log.exists() else 0


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    top, fake, path = tmp_path / "a clone", tmp_path / "fake", tmp_path / "bin"
    for folder in (top / "plugins" / "one", fake, path):
        folder.mkdir(parents=True)
    shutil.copy(TOP / "tie", top)
    (top / "lock.txt").write_text("one==1\n")
    (top / "pyproject.toml").write_text('[project]\nname = "core"\n')
    (top / "plugins" / "one" / "pyproject.toml").write_text('[project]\nname = "one"\n')
    write_script(path / "uv", FAKE_UV)
    write_script(path / "python3", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    write_script(fake / "tool", FAKE_TOOL)
    os.mkfifo(fake / "started")
    os.mkfifo(fake / "go")
    environ = {
        "PATH": f"{path}:{os.defpath}:/usr/bin",
        "HOME": str(tmp_path),
        "FAKE": str(fake),
    }
    return Clone(top=top, fake=fake, environ=environ)


@pytest.fixture
def tie(clone: Clone) -> ModuleType:
    """The clone's ``tie`` as a module; it sees the clone as its own place."""
    loader = SourceFileLoader("tie_under_test", str(clone.top / "tie"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


# --- what is passed through ---------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_needs_no_set_up(clone: Clone, arguments: list[str]) -> None:
    done = clone.run(*arguments)
    assert done.returncode == 0
    assert "./tie demo" in done.stdout
    assert clone.builds() == 0


def test_arguments_folder_and_exit_code_pass_through(clone: Clone, tmp_path: Path) -> None:
    arguments = ["sync", "run", "a b", "", "--json", "*", "ü", "--help"]
    done = clone.run(*arguments, cwd=tmp_path, FAKE_EXIT="8")
    assert done.returncode == 8
    told = [line[4:] for line in done.stdout.splitlines() if line.startswith("arg=")]
    assert told == ["-m", "tieline", *arguments]
    assert f"cwd={tmp_path}\n" in done.stdout


def test_a_double_dash_leads_to_the_help_of_the_cli(clone: Clone) -> None:
    done = clone.run("--", "--help")
    assert "arg=tieline\narg=--help\n" in done.stdout


def test_the_command_takes_the_place_of_tie_and_so_gets_its_signals(clone: Clone) -> None:
    process = clone.start("up")
    out, _ = process.communicate(timeout=30)
    assert f"pid={process.pid} " in out


def test_pytest_runs_at_the_top(clone: Clone, tmp_path: Path) -> None:
    done = clone.run("test", "tests/unit", "-q", cwd=tmp_path, FAKE_EXIT="5")
    assert done.returncode == 5
    assert f"cwd={clone.top}\narg=-m\narg=pytest\n" in done.stdout
    assert "arg=tests/unit\narg=-q\n" in done.stdout


def test_chaos_takes_the_place_of_tie_where_it_was_called(clone: Clone, tmp_path: Path) -> None:
    arguments = ["--layer", "2", "--seed", "7", "--json"]
    process = clone.start("chaos", *arguments, cwd=tmp_path, FAKE_EXIT="1")
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"pid={process.pid} " in out
    told = [line[4:] for line in out.splitlines() if line.startswith("arg=")]
    assert told == [str(clone.top / "tests" / "chaos"), *arguments]
    assert f"cwd={tmp_path}\n" in out


def test_the_help_names_every_word_of_tie_itself(clone: Clone) -> None:
    told = clone.run("--help").stdout
    for word in ("demo", "test", "soak", "check", "bench", "chaos", "lock", "clean"):
        assert f"./tie {word}" in told


def test_what_bends_a_python_does_not_reach_ours(clone: Clone) -> None:
    bent = dict.fromkeys(("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV"), "/nonexistent")
    done = clone.run("version", **bent, PYTHONDONTWRITEBYTECODE="1")
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("env=")] == [
        "env=PYTHONSAFEPATH=1"
    ]


def test_stdout_is_the_commands_alone(clone: Clone) -> None:
    done = clone.run("version")
    assert done.stdout.startswith("tool=python")
    assert done.stderr.startswith("Setting up (once) …\nSet up in ")


# --- when it is built --------------------------------------------------------------------------


def test_the_second_call_builds_nothing_and_says_nothing(clone: Clone) -> None:
    clone.run("version")
    done = clone.run("version")
    assert clone.builds() == 1
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["lock.txt", "pyproject.toml", "plugins/one/pyproject.toml"])
def test_a_change_of_what_it_is_made_from_builds_it_again(clone: Clone, name: str) -> None:
    clone.run("version")
    with (clone.top / name).open("a") as file:
        file.write("# changed\n")
    clone.run("version")
    clone.run("version")
    assert clone.builds() == 2


def test_a_new_plugin_builds_it_again_and_is_installed(clone: Clone) -> None:
    clone.run("version")
    (clone.top / "plugins" / "two").mkdir()
    (clone.top / "plugins" / "two" / "pyproject.toml").write_text('[project]\nname = "two"\n')
    clone.run("version")
    assert clone.builds() == 2
    assert f"--editable {clone.top}/plugins/two\n" in (clone.fake / "uv.log").read_text()


def test_a_moved_clone_is_built_again(clone: Clone, tmp_path: Path) -> None:
    clone.run("version")
    moved = clone.top.rename(tmp_path / "moved")
    Clone(top=moved, fake=clone.fake, environ=clone.environ).run("version")
    assert clone.builds() == 2


def test_a_vanished_interpreter_is_built_again(clone: Clone) -> None:
    clone.run("version")
    (clone.top / ".venv" / "bin" / "python").unlink()
    done = clone.run("version")
    assert (done.returncode, clone.builds()) == (0, 2)


def test_an_interrupted_build_starts_from_nothing(clone: Clone) -> None:
    process = clone.start("version", FAKE_STEPS="1")
    clone.wait_for_install()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert (clone.top / ".venv" / "half-done").exists()
    done = clone.run("version")
    assert (done.returncode, clone.builds()) == (0, 2)
    assert not (clone.top / ".venv" / "half-done").exists()


def test_an_installer_that_outlives_a_killed_tie_is_waited_for(clone: Clone) -> None:
    first = clone.start("version", FAKE_STEPS="1")
    clone.wait_for_install()
    first.kill()
    first.wait()
    second = clone.start("version")
    assert second.stderr is not None
    assert "Waiting for another" in second.stderr.readline()
    clone.let_install_go_on()
    second.communicate(timeout=30)
    first.communicate(timeout=30)
    assert (second.returncode, clone.builds()) == (0, 2)


def test_two_at_once_build_once(clone: Clone) -> None:
    first = clone.start("version", FAKE_STEPS="1")
    clone.wait_for_install()
    second = clone.start("version")
    assert second.stderr is not None
    assert "Waiting for another" in second.stderr.readline()
    clone.let_install_go_on()
    for process in (first, second):
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert clone.builds() == 1


# --- how it is built ---------------------------------------------------------------------------


def test_the_lock_is_installed_by_hash_and_the_local_packages_alone(clone: Clone) -> None:
    clone.run("version")
    _, from_lock, from_here = (clone.fake / "uv.log").read_text().splitlines()
    assert f"--require-hashes --requirement {clone.top}/lock.txt" in from_lock
    assert "--no-deps --no-build-isolation" in from_here
    assert f"--editable {clone.top} --editable {clone.top}/plugins/one" in from_here


def test_a_uv_that_fails_gives_way_to_pip(
    tie: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    fails = ["sh", "-c", "mkdir .venv; touch .venv/of-uv; echo uv says no; exit 2"]
    works = ["sh", "-c", "mkdir -p .venv/bin; touch .venv/bin/python; chmod +x .venv/bin/python"]
    monkeypatch.setattr(tie, "ways_to_install", lambda: iter([[fails], [works]]))
    tie.set_up()
    assert tie.is_current(tie.stamp())
    assert not (tie.VENV / "of-uv").exists()
    assert "uv says no" not in capfd.readouterr().err


def test_when_every_way_fails_each_tells_what_it_printed(
    tie: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ways = [[["sh", "-c", f"echo {name} says no; exit 2"]] for name in ("uv", "pip")]
    monkeypatch.setattr(tie, "ways_to_install", lambda: iter(ways))
    with pytest.raises(SystemExit, match="set-up failed"):
        tie.set_up()
    told = capfd.readouterr().err
    assert "uv says no" in told
    assert "pip says no" in told
    assert not tie.is_current(tie.stamp())


def test_a_bare_debian_is_told_what_to_install(
    tie: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tie, "find_uv", lambda: None)
    monkeypatch.setattr(tie.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="sudo apt-get install -y python3-venv"):
        tie.set_up()


def test_without_uv_it_is_venv_and_pip(tie: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tie, "find_uv", lambda: None)
    ((make, from_lock, from_here),) = tie.ways_to_install()
    assert make[1:3] == ["-m", "venv"]
    assert from_lock[:4] == [str(tie.PYTHON), "-m", "pip", "install"]
    assert "--require-hashes" in from_lock
    assert {"--no-deps", "--no-build-isolation"} <= set(from_here)


def test_a_shim_of_uv_that_does_not_run_is_passed_over(
    clone: Clone, tie: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", clone.environ["PATH"])
    assert tie.find_uv()
    write_script(clone.fake.parent / "bin" / "uv", "#!/bin/sh\nexit 127\n")
    assert tie.find_uv() is None


@pytest.mark.parametrize("home", ["", "/nonexistent", None], ids=["empty", "missing", "unset"])
def test_no_home_is_needed(clone: Clone, home: str | None) -> None:
    del clone.environ["HOME"]
    done = clone.run("version", **({} if home is None else {"HOME": home}))
    assert done.returncode == 0, done.stderr
    if home is not None:
        assert "--no-cache" in (clone.fake / "uv.log").read_text()


@pytest.mark.parametrize(
    ("environ", "is_expected"),
    [
        pytest.param({}, True, id="home"),
        pytest.param({"HOME": ""}, False, id="empty"),
        pytest.param({"HOME": "/nonexistent"}, False, id="missing"),
        pytest.param({"HOME": "/proc"}, False, id="read-only"),
        pytest.param({"XDG_CACHE_HOME": "/proc"}, False, id="read-only-cache"),
        pytest.param({"HOME": "", "UV_CACHE_DIR": "/chosen"}, True, id="chosen"),
    ],
)
def test_downloads_are_kept_where_they_can_be(
    tie: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    is_expected: bool,
) -> None:
    for name in ("XDG_CACHE_HOME", "UV_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert tie.can_cache("uv") is is_expected


# --- words of its own ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        pytest.param([], ["-n4", "--dist=loadgroup"], id="all"),
        pytest.param(["tests/unit", "-q"], ["-n4", "--dist=loadgroup"], id="folder"),
        pytest.param(["-k", "a or b"], ["-n4", "--dist=loadgroup"], id="chosen-by-name"),
        pytest.param(["tests/a.py", "tests/b.py"], ["-n4", "--dist=loadgroup"], id="files"),
        pytest.param(["tests/a.py"], ["-n0"], id="one-file"),
        pytest.param(["tests/a.py::test_b"], ["-n0"], id="one-test"),
        pytest.param(["-x"], ["-n0"], id="stop-at-a-failure"),
        pytest.param(["-vx"], ["-n0"], id="clustered"),
        pytest.param(["--pdb"], ["-n0"], id="debug"),
        pytest.param(["-n", "1"], [], id="said"),
        pytest.param(["-n4", "-x"], [], id="said-and-stop"),
    ],
)
def test_tests_run_in_parallel_where_that_helps(
    tie: ModuleType, monkeypatch: pytest.MonkeyPatch, arguments: list[str], options: list[str]
) -> None:
    monkeypatch.setattr(tie, "processors", lambda: 3)
    assert tie.parallelism(arguments) == options


@pytest.mark.parametrize(("processors", "workers"), [(1, "-n2"), (4, "-n5"), (64, "-n8")])
def test_workers_are_bounded(
    tie: ModuleType, monkeypatch: pytest.MonkeyPatch, processors: int, workers: str
) -> None:
    monkeypatch.setattr(tie, "processors", lambda: processors)
    assert tie.parallelism([])[0] == workers


def test_check_runs_every_tool_also_after_one_failed(clone: Clone) -> None:
    done = clone.run("check", FAKE_FAILS="ruff lint-imports")
    assert done.returncode == 1
    tools = re.findall(r"^tool=(\S+)", done.stdout, re.MULTILINE)
    assert tools == ["ruff", "ruff", "mypy", "lint-imports"]
    assert done.stderr.endswith("check: ruff check, ruff format, lint-imports failed\n")


def test_check_is_content_when_every_tool_is(clone: Clone) -> None:
    done = clone.run("check")
    assert done.returncode == 0
    assert done.stderr.endswith("check: all passed\n")


def test_clean_keeps_data(clone: Clone) -> None:
    clone.run("version")
    for name in (".mypy_cache", ".tieline", "plugins/one/__pycache__"):
        (clone.top / name).mkdir()
    assert clone.run("clean").returncode == 0
    assert not (clone.top / ".venv").exists()
    assert not (clone.top / ".mypy_cache").exists()
    assert not (clone.top / "plugins" / "one" / "__pycache__").exists()
    assert (clone.top / ".tieline").exists()


def test_lock_leaves_out_local_packages_and_addresses(clone: Clone) -> None:
    done = clone.run("lock", "--upgrade")
    assert done.returncode == 0, done.stderr
    told = (clone.fake / "uv.log").read_text()
    assert "--no-emit-index-url --no-emit-find-links" in told
    assert "--no-emit-package=core --no-emit-package=one" in told
    assert told.endswith("--upgrade pyproject.toml plugins/one/pyproject.toml\n")


def test_a_lock_with_an_address_is_refused(clone: Clone) -> None:
    (clone.top / "lock.txt").write_text("--index-url https://example.com/simple\n")
    done = clone.run("lock")
    assert done.returncode == 1
    assert "names an address" in done.stderr


def test_our_lock_names_no_address_and_hashes_everything() -> None:
    entries = (TOP / "lock.txt").read_text().replace("\\\n", " ").splitlines()
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+(\[[a-z,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", entry)
        assert "://" not in entry
