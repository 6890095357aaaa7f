"""Every code that an error may have is explained, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_kit import run_cli
from tieline.alerts import KINDS
from tieline.cli.codes import ANY_FIELD, explain, explained, reference
from tieline.contract.errors import ANSWER_TOO_SLOW
from tieline.inbox import REASONS, REFUSALS
from tieline.store.parking import PAUSED
from tieline.throttle.throttle import BREAKER_OPEN

ROOT = Path(__file__).parents[2]
CORE = ROOT / "core" / "tieline"
# Counted beside the reasons of REFUSALS, and told by the doctor's table of what waits.
ELSEWHERE = {"account-unknown", "dead-letters", "quarantined", "operations-wait"}


def texts_of(node: ast.expr) -> Iterator[str]:
    """Yield the texts that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from texts_of(node.body)
        yield from texts_of(node.orelse)
    elif isinstance(node, ast.JoinedStr) and ast.unparse(node).endswith("-invalid'"):
        yield ANY_FIELD


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Yield what is given as ``code=`` or ``reason_code=``, and the codes of classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in {"code", "reason_code"}:
            yield from texts_of(node.value)
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                target = each.targets[0] if isinstance(each, ast.Assign) else None
                target = each.target if isinstance(each, ast.AnnAssign) else target
                if isinstance(target, ast.Name) and target.id == "code" and each.value:
                    yield from texts_of(each.value)


def codes_under(*folders: Path) -> set[str]:
    paths = [path for folder in folders for path in folder.rglob("*.py")]
    return {code for path in paths for code in codes_in(ast.parse(path.read_text()))}


def codes_of_the_core() -> set[str]:
    found = codes_under(CORE)
    return (
        found | {ANSWER_TOO_SLOW, BREAKER_OPEN, PAUSED} | set(REASONS) | set(REFUSALS) | set(KINDS)
    ) | ELSEWHERE


def test_every_code_is_explained_and_every_explanation_has_a_code():
    """Mend: write it into core/tieline/cli/explained, then make docs/reference/errors.md."""
    known, ours = set(explained()), codes_of_the_core()
    assert ours - known == set()
    of_plugins = codes_under(*ROOT.glob("plugins/*/tieline_*[!x]"))  # no sandbox: it has none
    assert known - ours - of_plugins == set()


def test_the_reference_of_codes_is_what_the_command_says():
    """Mend: ./tie help --markdown > docs/reference/errors.md."""
    page = (ROOT / "docs/reference/errors.md").read_text()
    assert page == reference()
    anchors = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert sorted(anchors) == sorted(explained())


@pytest.mark.parametrize("name", ["because", "effect", "next"])
def test_every_explanation_has_three_sentences_of_which_none_is_empty(name):
    for each in explained().values():
        text = getattr(each, name)
        assert text.endswith((".", "`.")), each.code
        assert len(text) >= 8, each.code


def test_the_commands_that_explanations_name_exist():
    from tieline.cli.main import cli

    root = cli.make_context("tieline", [], resilient_parsing=True)
    for each in explained().values():
        for line in re.findall(r"`tieline ([a-z][a-z -]+)", f"{each.because} {each.next}"):
            command, context = cli, root
            for word in line.split():
                if not hasattr(command, "get_command") or not re.fullmatch("[a-z-]+", word):
                    break
                context.meta["tieline.called"] = word
                command = command.get_command(context, word)
                assert command is not None, (each.code, line)


@pytest.mark.parametrize("given", ["needs-reauth", "error[needs-reauth]:", " NEEDS-REAUTH "])
def test_a_code_may_be_copied_as_it_was_read(given):
    done = run_cli("help", given)
    assert done.code == 0
    assert done.stdout.startswith("  needs-reauth\n  because  The provider refuses")
    assert run_cli("help", given, "--json").json["code"]["code"] == "needs-reauth"


def test_a_code_that_names_its_field_is_explained_too():
    assert explain("zone-invalid") == explained()[ANY_FIELD]
    assert explain("key-invalid").code == "key-invalid"


def test_an_unknown_code_gets_the_nearest():
    done = run_cli("help", "needs-reaut")
    assert done.code == 3
    assert "did you mean needs-reauth?" in done.stderr


def test_all_codes_are_listed():
    assert {each["code"] for each in run_cli("help", "--json").json["codes"]} == set(explained())
