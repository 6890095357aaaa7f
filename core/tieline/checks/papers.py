"""What can be seen without running the plugin: its source, its metadata, its papers."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

from tieline.checks.case import Case
from tieline.checks.kinds import CHECKS, LEVELS, DoesNotApplyError, WrongError, check
from tieline.checks.probe import LOAD_S
from tieline.checks.subject import Subject

__all__: list[str] = []

_THREADS = {"threading", "multiprocessing", "concurrent", "asyncio", "sched"}
_NETWORK = {"socket", "urllib3", "requests", "httpx", "aiohttp", "http", "ftplib", "smtplib"}
_CORE = {"sqlalchemy", "alembic", "redis", "rq", "click", "limits"}
_SIGNATURE = re.compile(r"sign|hmac|digest", re.IGNORECASE)


def _at(subject: Subject, path: Path, node: ast.AST) -> str:
    return subject.place(path, getattr(node, "lineno", 1))


def _nodes(case: Case) -> Iterator[tuple[Path, ast.AST]]:
    for path, nodes in case.subject.nodes.items():
        for node in nodes:
            yield path, node


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module]
    return []


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _folder(case: Case) -> Path:
    if case.subject.folder is None:
        raise DoesNotApplyError("only a wheel is here: name the plugin's folder")
    return case.subject.folder


@check(
    "import-is-quiet",
    "bronze",
    "Importing the plugin opens nothing, starts nothing and changes nothing of the process.",
    do="move it into the function that needs it, or out of the plugin: the core has clock,"
    " network and threads",
    needs="",
)
def _import_is_quiet(case: Case) -> None:
    probed = case.probed
    if probed.error:
        raise WrongError(
            f"it does not import: {probed.error}",
            where=case.subject.find("."),
            do="make `python -c 'import …'` work in a clean environment; name what it needs"
            " in dependencies",
        )
    for what, where in probed.met:
        path, _, line = where.rpartition(":")
        place = case.subject.place(Path(path), int(line)) if path else case.subject.find("import")
        raise WrongError(f"importing it {what}", where=place)


@check(
    "import-is-quick",
    "bronze",
    f"Importing the plugin takes at most {LOAD_S * 1000:.0f} ms of processor time, or three times"
    " what the contract takes on a slow machine.",
    do="import a heavy SDK inside the function that makes the client",
    needs="",
)
def _import_is_quick(case: Case) -> None:
    seconds = min(case.probed.seconds, case.probed.cpu_s)
    if seconds > max(LOAD_S, 3 * case.probed.contract_s):
        raise WrongError(
            f"importing it takes {seconds * 1000:.0f} ms", where=case.subject.find(r"^import|^from")
        )


@check(
    "imports-the-contract-alone",
    "bronze",
    "Of Tieline the plugin imports `tieline.contract` and nothing else, and none of what Tieline"
    " is made of.",
    do="take what you need from tieline.contract; if it is not there, ask for it in an issue",
    needs="",
)
def _imports_the_contract(case: Case) -> None:
    for path, node in _nodes(case):
        for name in _imports(node):
            is_ours = name.split(".")[0] == "tieline" and not name.startswith("tieline.contract")
            if is_ours or name.split(".")[0] in _CORE | {"tieline_migrations"}:
                raise WrongError(f"it imports {name}", where=_at(case.subject, path, node))


@check(
    "the-core-has-the-loop",
    "bronze",
    "The plugin has no sleep, thread, network or environment of its own.",
    do="take it out: the core waits, repeats, sends and configures; go over the transport that"
    " tieline_client is handed, and let settings be Provider.settings",
    needs="",
)
def _no_loop(case: Case) -> None:
    for path, node in _nodes(case):
        found = ""
        if any(name.split(".")[0] in _THREADS for name in _imports(node)):
            found = f"it imports {_imports(node)[0]}"
        elif isinstance(node, ast.Call):
            name = _dotted(node.func)
            head, _, rest = name.partition(".")
            if name in {"time.sleep", "sleep", "os.getenv", "os.environ.get"}:
                found = f"it calls {name}"
            elif head in _NETWORK | {"urlopen"} and rest.split(".")[-1] in _SENDS:
                found = f"it sends by {name}, past Tieline's transport"
        elif isinstance(node, ast.Subscript) and _dotted(node.value) == "os.environ":
            found = "it reads os.environ"
        if found:
            raise WrongError(found, where=_at(case.subject, path, node))


_SENDS = {"get", "post", "put", "patch", "delete", "request", "urlopen", "create_connection",
          "HTTPConnection", "HTTPSConnection", "PoolManager"}  # fmt: skip


@check(
    "signatures-are-the-cores",
    "bronze",
    "The plugin compares no signature: it declares a scheme, and the core verifies.",
    do="delete the comparison, and declare it as Webhooks(scheme=Hmac(header=…, signed=…)):"
    " == tells by its duration how much of a forgery was right",
    needs="",
)
def _signatures(case: Case) -> None:
    for path, node in _nodes(case):
        where = _at(case.subject, path, node)
        if "hmac" in _imports(node):
            raise WrongError("it computes signatures by itself, with hmac", where=where)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.NotEq)):
            for side in (node.left, *node.comparators):
                for part in ast.walk(side):
                    text = str(part.value) if isinstance(part, ast.Constant) else _dotted(part)
                    if isinstance(
                        part, (ast.Name, ast.Attribute, ast.Constant)
                    ) and _SIGNATURE.search(str(text)):
                        raise WrongError(f"it compares {text!r} by ==", where=where)


@check(
    "times-have-zones",
    "bronze",
    "No time in the plugin is made without a zone.",
    do="use tieline.contract.utc(value) for what the provider sends, and datetime.…(…, UTC)"
    " elsewhere: a naive time is read as another one on another machine",
    needs="",
)
def _times_have_zones(case: Case) -> None:
    mended = {
        id(node.value)
        for _, node in _nodes(case)
        if isinstance(node, ast.Attribute) and node.attr == "replace"
    }
    for path, node in _nodes(case):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func).split(".")[-1]
        given = len(node.args) + len(node.keywords)
        text = next((arg.value for arg in node.args[1:] if isinstance(arg, ast.Constant)), "")
        is_naive = (
            name in {"utcnow", "utcfromtimestamp"}
            or (name == "now" and _dotted(node.func).startswith("datetime") and not given)
            or (name == "fromtimestamp" and given < 2)
            or (name == "strptime" and "%z" not in str(text))
        )
        if is_naive and id(node) not in mended:
            raise WrongError(
                f"{name}() makes a time without a zone", where=_at(case.subject, path, node)
            )


@check(
    "sandbox-stands-alone",
    "bronze",
    "The sandbox imports neither the plugin nor Tieline, so that a mistake has to be made twice.",
    do="write down in the sandbox itself what it needs, from the provider's reference",
    needs="",
)
def _sandbox_alone(case: Case) -> None:
    if case.subject.sandbox is None:
        raise WrongError(
            "there is no sandbox",
            where="pyproject.toml",
            do="write one, and announce it in the group tieline.sandboxes",
        )
    for path, text in case.subject.sandbox_sources.items():
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise WrongError(f"it is no Python: {error}", where=str(path)) from None
        for node in ast.walk(tree):
            for name in _imports(node):
                if name.split(".")[0] in {"tieline", case.subject.package}:
                    raise WrongError(f"it imports {name}", where=_at(case.subject, path, node))


# --- metadata and papers --------------------------------------------------------------------------


def _said(subject: Subject) -> Callable[[str], str]:
    """Return a reader of the project's metadata, from pyproject.toml or from what is installed."""
    project = subject.project.get("project")
    if project:
        return lambda name: str(project.get(name) or "")
    name = subject.entry_point.dist.name if subject.entry_point.dist else ""
    if not name:
        return lambda _name: ""
    found = metadata(name)
    names = {"license": "License-Expression", "authors": "Author", "maintainers": "Maintainer",
             "dependencies": "Requires-Dist", "requires-python": "Requires-Python"}  # fmt: skip
    return lambda what: " ".join(map(str, found.get_all(names.get(what, what)) or []))


@check(
    "metadata-are-complete",
    "bronze",
    "The distribution names its licence, who looks after it, its Pythons and the Tielines that it"
    " was made for.",
    do="write it in [project] of pyproject.toml",
    needs="",
)
def _metadata(case: Case) -> None:
    said = _said(case.subject)
    where = "pyproject.toml"
    if not said("license"):
        raise WrongError("it names no licence", where=where)
    if not (said("authors") or said("maintainers")):
        raise WrongError("it names nobody who looks after it", where=where)
    if not said("requires-python"):
        raise WrongError("it does not say which Pythons it runs on", where=where)
    needed = re.search(r"tieline[^-\w][^'\"]*", said("dependencies"))
    if needed is None or "<" not in needed[0]:
        raise WrongError(
            "it does not say which versions of tieline it was made for",
            where=where,
            do='write "tieline>=0.1,<0.2" in dependencies: the contract may change with the next',
        )


@check(
    "exemptions-have-reasons",
    "bronze",
    "Every exemption names a check that there is, and says why it cannot hold.",
    do='write [tool.tieline.exempt] "name-of-a-check" = "why it cannot hold for this provider"',
    needs="",
)
def _exemptions(case: Case) -> None:
    for name, reason in case.subject.exemptions.items():
        if name not in CHECKS:
            raise WrongError(
                f"there is no check {name!r} to be exempt from", where="pyproject.toml"
            )
        if not isinstance(reason, str) or len(reason.split()) < 3:
            raise WrongError(f"the exemption from {name!r} has no reason", where="pyproject.toml")
    if case.subject.published and case.subject.published not in LEVELS:
        raise WrongError(
            f"the level {case.subject.published!r} is none of {', '.join(LEVELS)}",
            where="pyproject.toml",
        )


@check(
    "docs-page",
    "bronze",
    "A page says what is kept in step, how it is connected and which rights that needs.",
    do="write it in README.md: a table of the entities, and headings for connecting and rights",
    needs="plugin",
)
def _docs_page(case: Case) -> None:
    _folder(case)
    page = case.subject.papers
    if not page:
        raise WrongError("there is no README.md", where="README.md")
    for entity in case.plugin.entities.values():
        if entity.name not in page:
            raise WrongError(f"the page does not name {entity.name}", where="README.md")
        rights = [part for part in re.split(r"[,\s]+", entity.scope) if part]
        if rights and not any(part in page for part in rights):
            raise WrongError(
                f"the page does not name the right {entity.scope!r} that {entity.name} need",
                where="README.md",
            )
    if not re.search(r"^#+ .*connect", page, re.IGNORECASE | re.MULTILINE):
        raise WrongError("no heading says how to connect an account", where="README.md")


@check(
    "has-tests",
    "bronze",
    "There are tests beside the plugin.",
    do="write tests/test_contract.py: `from tieline.testing import contract_tests` and"
    ' `test_contract = contract_tests("name")`',
    needs="",
)
def _has_tests(case: Case) -> None:
    if not any(_folder(case).glob("tests/**/test_*.py")):
        raise WrongError("there is no tests/test_*.py", where="tests/")


@check(
    "limits-are-told",
    "silver",
    "A page says what cannot be seen, done or had.",
    do="write a section `## Known limits` in README.md",
    needs="",
)
def _known_limits(case: Case) -> None:
    _folder(case)
    if not re.search(r"^#+ .*\blimit", case.subject.papers, re.IGNORECASE | re.MULTILINE):
        raise WrongError("no heading of the page tells known limits", where="README.md")


@check(
    "sandbox-is-described",
    "gold",
    "A page says how the sandbox is served, and with which options.",
    do="write a section `## The sandbox` in README.md, with `tieline sandbox serve NAME`",
    needs="",
)
def _sandbox_described(case: Case) -> None:
    _folder(case)
    if f"tieline sandbox serve {case.subject.name}" not in case.subject.papers:
        raise WrongError("the page does not say how the sandbox is served", where="README.md")


@check(
    "is-typed",
    "gold",
    "Every function of the plugin has types, and it says so to others with py.typed.",
    do="annotate it, and put an empty py.typed into the package",
    needs="",
)
def _is_typed(case: Case) -> None:
    for path, node in _nodes(case):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        bare = [
            arg.arg for arg in given if arg.annotation is None and arg.arg not in {"self", "cls"}
        ]
        if bare or node.returns is None:
            what = f"the argument {bare[0]}" if bare else "what it returns"
            raise WrongError(
                f"{node.name} does not say the type of {what}", where=_at(case.subject, path, node)
            )
    top = next(iter(case.subject.sources), None)
    if top is None or not any((path / "py.typed").exists() for path in top.parents[:2]):
        raise WrongError("there is no py.typed", where=case.subject.package)


# --- what is declared -----------------------------------------------------------------------------


@check(
    "it-loads",
    "bronze",
    "Every hook is spelt right, returns what it should, and was made for this contract.",
    do="mend that line; what each hook takes and returns is in docs/reference/contract.md",
    needs="",
)
def _it_loads(case: Case) -> None:
    try:
        _ = case.plugin
    except Exception as error:
        cause = error.__cause__ or error
        message, hint = getattr(error, "message", str(error)), str(getattr(error, "hint", ""))
        raise WrongError(
            message,
            where=case.subject.place_in(cause) or case.subject.find("@hookimpl"),
            do="" if hint.startswith("tieline ") else hint,
        ) from error


@check(
    "addresses-are-https",
    "bronze",
    "The provider is called by https, at names that are the provider's.",
    do="write https:// addresses in Provider.environments and Provider.hosts; a sandbox is named"
    " by --base-url when an account is connected",
    needs="plugin",
)
def _https(case: Case) -> None:
    provider = case.plugin.provider
    for url in (*provider.environments.values(), *provider.hosts):
        if not url.startswith("https://") or "localhost" in url or "127.0.0.1" in url:
            raise WrongError(
                f"{url} is no https address of a provider", where=case.subject.find(re.escape(url))
            )


@check(
    "settings-have-help",
    "bronze",
    "Every setting of a connection says what it does.",
    do='give the field metadata={"description": "…"}',
    needs="plugin",
)
def _settings(case: Case) -> None:
    schema = case.plugin.provider.settings
    for name, field in (schema.fields if schema else {}).items():
        if not field.metadata.get("description"):
            raise WrongError(
                f"the setting {name} has no help text", where=case.subject.find(rf"\b{name}\s*=")
            )


@check(
    "schemas-promise-something",
    "bronze",
    "Every entity's schema names its key and its types.",
    do="name the fields that the provider's reference promises, the key as required=True, each with"
    " its type; leave the others out",
    needs="plugin",
)
def _schemas(case: Case) -> None:
    from marshmallow import fields  # noqa: PLC0415 - here alone

    if not case.plugin.entities:
        raise DoesNotApplyError("nothing is kept in step")
    for entity in case.plugin.entities.values():
        where = case.subject.place_of(type(entity.schema)) or case.place(entity)
        promised = entity.schema.fields
        if not promised:
            raise WrongError(f"the schema of {entity.name} names no field", where=where)
        if isinstance(entity.key, str):
            top = entity.key.partition(".")[0]
            if top not in promised or not promised[top].required:
                raise WrongError(
                    f"the schema of {entity.name} does not require its key {entity.key!r}",
                    where=where,
                )
        if all(type(field) in {fields.Raw, fields.Field} for field in promised.values()):
            raise WrongError(f"no field of {entity.name} has a type", where=where)


_MONEY = re.compile(r"amount|price|total|balance|cost|cents|fee|tax$|money", re.IGNORECASE)


@check(
    "money-is-exact",
    "bronze",
    "No amount of money goes through a float.",
    do="use Whole() for minor units, Number() for what the provider writes as 19.99 and Money in"
    " canonical shapes, by tieline.contract.money()",
    needs="plugin",
)
def _money(case: Case) -> None:
    from marshmallow import fields  # noqa: PLC0415 - here alone

    from tieline.contract import Number  # noqa: PLC0415

    for entity in case.plugin.entities.values():
        for schema in (entity.schema, entity.write.schema if entity.write else None):
            for name, field in (schema.fields if schema else {}).items():
                is_float = isinstance(field, fields.Float) and not isinstance(field, Number)
                if is_float and _MONEY.search(name):
                    raise WrongError(
                        f"{entity.name}.{name} is a float",
                        where=case.subject.find(rf"\b{name}\s*=\s*fields"),
                    )
    for path, node in _nodes(case):
        if isinstance(node, ast.Call) and _dotted(node.func) == "float":
            text = " ".join(
                str(part.value) for part in ast.walk(node) if isinstance(part, ast.Constant)
            )
            names = " ".join(_dotted(part) for part in ast.walk(node))
            if _MONEY.search(f"{text} {names}"):
                raise WrongError("an amount is made a float", where=_at(case.subject, path, node))


@check(
    "limits-are-declared",
    "bronze",
    "The plugin says as data how fast the provider may be called.",
    do='write the hook tieline_rate_limits: RateLimitPolicy(rates=[Rate(limit="25/second")],'
    " concurrency=5), below what the provider's reference allows",
    needs="plugin",
)
def _limits_declared(case: Case) -> None:
    policy = _policy(case)
    if policy is None or not (policy.rates or policy.concurrency):
        raise WrongError(
            "no rate and no concurrency is declared",
            where=case.subject.find(r"def tieline_(rate_limits|provider)"),
        )


def _policy(case: Case) -> Any:
    from tieline.contract import Connection  # noqa: PLC0415 - here alone

    environment, url = next(iter(case.plugin.provider.environments.items()))
    connection = Connection(
        id="con_check",
        name="check",
        provider=case.plugin.name,
        environment=environment,
        base_url=url,
        auth=case.plugin.auth[0].kind,
    )
    return case.plugin.rate_limits(connection)


@check(
    "events-mean-something",
    "bronze",
    "Every type of event that is asked for means something to an entity.",
    do="write the type as the provider does, the same in Webhooks.types and in Entity.events",
    needs="plugin",
)
def _events(case: Case) -> None:
    webhooks = case.plugin.webhooks
    if webhooks is None:
        raise DoesNotApplyError("the provider sends nothing by itself")
    meant = {name for entity in case.plugin.entities.values() for name in entity.events}
    if not webhooks.types:
        raise WrongError("no type of event is asked for", where=case.subject.find(r"Webhooks\("))
    for name in webhooks.types:
        if name not in meant:
            raise WrongError(
                f"{name!r} is asked for and means nothing to any entity",
                where=case.subject.find(re.escape(name)),
            )


@check(
    "webhooks-can-be-set-up",
    "bronze",
    "People are told how to make the provider deliver, or the plugin does it.",
    do="give Webhooks register=…, or instructions=… that name the page and what to copy",
    needs="plugin",
)
def _set_up(case: Case) -> None:
    webhooks = case.plugin.webhooks
    if webhooks is None:
        raise DoesNotApplyError("the provider sends nothing by itself")
    if webhooks.register is None and not webhooks.instructions.strip():
        raise WrongError(
            "neither register nor instructions is given", where=case.subject.find(r"Webhooks\(")
        )
