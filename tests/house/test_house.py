"""Rules that hold for the whole house; each failure says what to do."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tieline import contract, failpoints
from tieline.alerts import KINDS
from tieline.cli import failures
from tieline.cli.main import cli
from tieline.contract import hookspecs
from tieline.registry import Registry
from tieline.services.settings import write_env_example

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "tieline"


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_the_env_example_is_what_the_settings_say():
    """Mend: ./tie config env-example > .env.example."""
    assert (ROOT / ".env.example").read_text() == write_env_example(Registry())


def test_every_failpoint_is_in_the_code_and_in_a_test_of_faults():
    code = "\n".join(path.read_text() for path in CORE.rglob("*.py"))
    used = set(re.findall(r'failpoint\("([a-z._]+)"\)', code))
    assert used == failpoints.NAMES
    kills = "\n".join(path.read_text() for path in (ROOT / "tests/faults").rglob("*.py"))
    assert [name for name in failpoints.NAMES if f'"{name}' not in kills] == []


def test_every_hook_has_a_line_in_the_reference_with_its_arguments():
    page = (ROOT / "docs/reference/contract.md").read_text()
    hooks = (*hookspecs.REQUIRED, *hookspecs.OPTIONAL, *hookspecs.OBSERVERS)
    for name in hooks:
        arguments = ", ".join(inspect.signature(getattr(hookspecs, name)).parameters)
        assert f"`{name}({arguments})`" in page
    documented = set(re.findall(r"`(tieline_\w+)\(", page))
    assert documented == set(hooks) == {name for name in vars(hookspecs) if name[:8] == "tieline_"}


def test_every_kind_of_alert_has_a_line_with_its_severity():
    page = (ROOT / "docs/how-to/be-alerted.md").read_text()
    documented = dict(re.findall(r"^\| `([a-z-]+)` \| (warning|error) \|", page, re.MULTILINE))
    assert documented == {name: kind.severity for name, kind in KINDS.items()}


@pytest.mark.parametrize("declared", [contract.OAuth2, contract.Revocation])
def test_every_field_of_a_way_to_sign_in_is_in_the_reference(declared):
    page = (ROOT / "docs/reference/contract.md").read_text()
    names = {field.name for field in dataclasses.fields(declared)} - {"kind"}
    assert {name for name in names if f"`{name}`" not in page and f"`{name}(" not in page} == set()


def test_every_exit_code_has_a_line_in_the_reference():
    page = (ROOT / "docs/reference/exit-codes.md").read_text()
    codes = {code for _, code in failures.EXIT_CODES} | set(failures.RUN_EXIT_CODES.values())
    codes |= set(failures._FAILED_RUN.values())
    for code in codes:
        assert f"| {code} |" in page


def test_every_public_name_of_the_contract_is_documented():
    for name in contract.__all__:
        thing = getattr(contract, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert inspect.getdoc(thing), f"tieline.contract.{name} has no docstring"


def test_the_tutorial_s_plugin_is_the_one_that_is_tested():
    page = (ROOT / "docs/how-to/write-a-plugin.md").read_text()
    assert (ROOT / "tests/toy_plugin.py").read_text().strip() in page


def test_the_readme_s_commands_exist():
    page = (ROOT / "README.md").read_text()
    own = {"demo", "test", "check", "chaos", "bench", "fuzz", "soak"}
    words = set(re.findall(r"(?:\./tie|^tieline) ([a-z]+)", page, re.MULTILINE))
    assert words - own <= set(cli.list_commands(None))


@pytest.mark.parametrize("path", sources("core", "plugins", "migrations", "tests", "benchmarks"))
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= 600


def test_the_core_names_no_provider():
    """Examples in texts for people may; nothing that the core decides by may."""
    providers = re.compile(r"(stripe|square|mailchimp|quickbooks)", re.IGNORECASE)
    shows_examples = {"services/demo.py", "cli/commands/demo.py", "settings/schema.py"}
    for path in CORE.rglob("*.py"):
        where = path.relative_to(CORE).as_posix()
        if where in shows_examples:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and " " not in node.value:
                assert not providers.search(node.value), f"{where}: {node.value}"


def test_no_forbidden_names():
    vague = {"utils", "helpers", "common", "manager", "base", "misc"}
    for path in sources("core", "plugins", "migrations"):
        assert not vague & set(path.relative_to(ROOT).with_suffix("").parts)


def test_nothing_names_a_machine_or_a_registry():
    words = re.compile(
        r"(?<![\w.])/(?:work|root|farm)/|pypi\.org/simple|index-url\s*=", re.IGNORECASE
    )
    found = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = found.stdout.split() or [str(path) for path in sources("core", "plugins")]
    for name in names:
        path = ROOT / name
        if path.suffix in {".json", ".lock"} or not path.is_file() or path == Path(__file__):
            continue
        assert not words.search(path.read_text(errors="ignore")), name


def test_help_imports_nothing_heavy():
    """``--help`` has to come at once, however many plugins are installed."""
    code = (
        "import sys; from tieline.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'sqlalchemy', 'alembic', 'rq', 'redis', 'httpx', 'marshmallow', 'stripe'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HEAVY []" in done.stdout, done.stdout[-300:] + done.stderr


def test_every_command_has_help_and_refuses_nonsense():
    from click.testing import CliRunner

    for name in cli.list_commands(None):
        done = CliRunner().invoke(cli, [name, "--help"])
        assert done.exit_code == 0, name
        assert "Usage" in done.output
        assert CliRunner().invoke(cli, [name, "--no-such-option"]).exit_code == 2
