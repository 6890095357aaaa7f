"""What is in ``deploy/`` fits the code: settings, commands, metrics; and its own form."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from packaging.requirements import Requirement

from tieline.cli.main import cli

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CORE = ROOT / "core" / "tieline"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SOCKETS = sorted((DEPLOY / "systemd").glob("*.socket"))
CHART = DEPLOY / "helm" / "tieline"
ROLES = ("scheduler", "serve", "worker")
WORST_EXPOSURE = 3.0


def settings_that_exist() -> set[str]:
    return set(re.findall(r"^#(TIELINE_\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


def metrics_that_exist() -> set[str]:
    """Names as Prometheus sees them: a counter's ends in ``_total``."""
    code = "\n".join(path.read_text() for path in CORE.rglob("*.py"))
    found = re.findall(r'(Gauge|Counter)MetricFamily\(\s*"(tieline_\w+)"', code)
    return {name + ("_total" if kind == "Counter" else "") for kind, name in found}


def unknown_words(words: list[str]) -> list[str]:
    """Walk down a command; return what is neither a command nor an option of it."""
    command: click.Command = cli
    context = click.Context(cli)
    unknown = []
    for word in words:
        if word.startswith("--"):
            known = {name for each in command.params for name in each.opts}
            unknown += [] if word.partition("=")[0] in known else [word]
        elif isinstance(command, click.Group):
            context.meta["tieline.called"] = word
            found = command.get_command(context, word)
            if found is None:
                return [*unknown, word]
            command = found
    return unknown


def commands_of(kind: str) -> list[list[str]]:
    """Find how ``tieline`` is called in one kind of file."""
    if kind == "systemd":
        lines = re.findall(r"^ExecStart=\S+/tieline (.+)$", read("systemd/*"), re.MULTILINE)
        return [shlex.split(line) for line in lines]
    if kind == "Procfile":
        return [shlex.split(line) for line in re.findall(r": tieline (.+)", read("Procfile"))]
    if kind == "compose":
        services = yaml.safe_load(read("compose.yaml"))["services"].values()
        return [
            each["command"]
            for each in services
            if each.get("image") == "tieline" and "command" in each
        ]
    if kind == "health":
        return [words[1:] for words in health_commands().values()]
    if kind == "Dockerfile":
        return [json.loads(re.findall(r"^CMD (\[.+\])$", read("Dockerfile"), re.MULTILINE)[-1])]
    if kind == "rules":
        nexts = [rule["annotations"]["next"] for rule in rules()]
        calls = [call.strip() for line in nexts for call in line.split(";")]
        return [shlex.split(c)[1:] for c in calls if c.startswith("tieline ")]
    return [
        container["args"]
        for each in rendered()
        if each["kind"] == "Deployment"
        for container in pod_of(each)["initContainers"] + pod_of(each)["containers"]
    ]


def read(pattern: str) -> str:
    return "\n".join(path.read_text() for path in sorted(DEPLOY.glob(pattern)))


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(read("prometheus/alerts.yaml"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    panels = json.loads(read("grafana/tieline.json"))["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules()]


def rendered() -> list[dict[str, Any]]:
    """Fill the chart's templates, as far as ours use Helm's language; anything else fails."""
    given = {
        "Values": yaml.safe_load((CHART / "values.yaml").read_text()),
        "Release": {"Name": "shop"},
        "Chart": yaml.safe_load((CHART / "Chart.yaml").read_text()),
    }

    def fill(found: re.Match[str]) -> str:
        inner = found[1] or found[2]
        word, _, rest = inner.strip("- ").partition(" ")
        path, _, pipe = (rest if word == "toYaml" else word).partition(" ")
        value: Any = given
        for name in path.strip(".").split("."):
            value = value[name]
        if word != "toYaml":
            assert not isinstance(value, dict | list), found[0]
            return str(value)
        indent = int(re.fullmatch(r"\| nindent (\d+)", pipe.strip())[1])
        return "\n" + "\n".join(" " * indent + line for line in yaml.dump(value).splitlines())

    texts = [path.read_text() for path in sorted((CHART / "templates").glob("*.yaml"))]
    filled = [re.sub(r"\s*\{\{-(.+?)\}\}|\{\{(.+?)\}\}", fill, text) for text in texts]
    return [each for text in filled for each in yaml.safe_load_all(text)]


def health_commands() -> dict[str, list[str]]:
    """Find what is run in a container to ask how it is, by file and role."""
    services = yaml.safe_load(read("compose.yaml"))["services"]
    found = {
        f"compose {name}": each["healthcheck"]["test"][1:]
        for name, each in services.items()
        if each["image"] == "tieline" and "test" in each.get("healthcheck", {})
    }
    for each in rendered():
        probe = each["kind"] == "Deployment" and pod_of(each)["containers"][0]["livenessProbe"]
        if probe and "exec" in probe:
            role = each["metadata"]["labels"]["app.kubernetes.io/component"]
            found[f"helm {role}"] = probe["exec"]["command"]
    return found


def pod_of(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_setting_that_is_named_exists(path):
    named = set(re.findall(r"\bTIELINE_[A-Z0-9_]+", path.read_text()))
    assert named - settings_that_exist() == set()


@pytest.mark.parametrize(
    "kind", ["systemd", "Procfile", "compose", "Dockerfile", "rules", "helm", "health"]
)
def test_every_command_that_is_called_exists_with_its_options(kind):
    calls = commands_of(kind)
    assert calls
    assert [(call, wrong) for call in calls if (wrong := unknown_words(call))] == []


def test_the_walk_over_commands_sees_what_does_not_exist():
    assert unknown_words(["serve", "--hots", "x"]) == ["--hots"]
    assert unknown_words(["db", "upgarde"]) == ["upgarde"]


def test_every_role_is_everywhere():
    for kind in ("systemd", "Procfile", "compose", "helm"):
        called = {call[0] for call in commands_of(kind)}
        missing = set(ROLES) - called - ({"serve"} if kind == "compose" else set())
        assert missing == set(), kind  # the image itself is `serve`


def test_every_metric_that_is_asked_for_exists_and_the_dashboard_shows_all():
    exist = metrics_that_exist()
    asked = set(re.findall(r"\btieline_\w+", " ".join(expressions())))
    assert asked - exist == set()
    assert exist - asked == set(), "show it in deploy/grafana/tieline.json"


def test_expressions_are_balanced_and_rules_are_whole():
    for expression in expressions():
        assert all(expression.count(a) == expression.count(b) for a, b in ("()", "[]", "{}"))
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"warning", "error"}
        assert rule["annotations"].keys() == {"summary", "next"}


def test_the_dashboard_s_panels_lie_beside_one_another():
    board = json.loads(read("grafana/tieline.json"))
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    cells = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_the_image_runs_as_nobody_special_and_fetches_nothing_in_its_last_stage():
    text = read("Dockerfile").replace("\\\n", " ")
    last = text.split("\nFROM ")[-1]
    assert re.findall(r"^USER (\d+)$", last, re.MULTILINE) == ["10001"]
    for line in re.findall(r"^RUN (.+)$", last, re.MULTILINE):
        assert "pip install" not in line or "--no-index" in line
        assert not re.search(r"curl|wget|apt", line)
    assert "HEALTHCHECK" in last
    assert "/healthz" in last
    assert 'Route("/healthz"' in (CORE / "web" / "app.py").read_text()
    assert 'ENTRYPOINT ["tieline"]' in last


def test_the_image_is_built_with_one_version_of_each_package_and_that_of_the_lock(tmp_path):
    text = read("Dockerfile").replace("\\\n", " ")
    [line] = re.findall(r"^RUN (sed .+? lock.txt) >", text, re.MULTILINE)
    done = subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    [python] = set(re.findall(r"^FROM python:([\d.]+)-slim", text, re.MULTILINE))
    given = {"python_version": python, "python_full_version": f"{python}.0"}
    wanted = [Requirement(each) for each in done.stdout.splitlines()]
    named = [each.name for each in wanted if not each.marker or each.marker.evaluate(given)]
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "lock.txt").read_text(), re.MULTILINE)
    assert {each.name for each in wanted} == set(locked)
    assert all(re.fullmatch(r"==[^,*]+", str(each.specifier)) for each in wanted)
    assert sorted(named) == sorted(set(named))


def test_every_role_is_asked_how_it_is_and_those_without_a_port_by_their_sign_of_life():
    wanted = {
        f"{kind} {role}": ["tieline", "health", role]
        for kind in ("compose", "helm")
        for role in ("worker", "scheduler")
    }
    assert health_commands() == wanted
    text = read("Dockerfile")  # the image's own is that of `serve`
    assert all(f"tieline health {role}" in text for role in ("worker", "scheduler"))


def test_the_image_holds_every_plugin():
    text = read("Dockerfile")
    for folder in sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml")):
        assert f"./plugins/{folder.name}" in text
        assert f" tieline-{folder.name}" in text


def test_what_the_image_copies_is_let_through_and_there():
    copied = re.findall(r"^COPY (?!--from)(.+)$", read("Dockerfile"), re.MULTILINE)
    names = {name for line in copied for name in line.split()[:-1]}
    allowed = set(re.findall(r"^!(.+)$", read("Dockerfile.dockerignore"), re.MULTILINE))
    assert names == allowed
    assert all((ROOT / name).exists() for name in names)


def test_compose_locks_every_container_of_ours_down():
    services = yaml.safe_load(read("compose.yaml"))["services"]
    ours = {name: each for name, each in services.items() if each["image"] == "tieline"}
    assert ours.keys() == {"migrate", *ROLES}
    for each in ours.values():
        assert each["read_only"]
        assert each["cap_drop"] == ["ALL"]
        assert each["security_opt"] == ["no-new-privileges:true"]
        assert each["depends_on"].keys() <= services.keys()
    assert "ports" not in services["postgres"] | services["redis"]
    assert all(port.startswith("127.0.0.1:") for port in services["serve"]["ports"])


def test_the_chart_locks_every_pod_down_and_finds_its_parts():
    documents = rendered()
    names = {(each["kind"], each["metadata"]["name"]) for each in documents}
    deployments = [each for each in documents if each["kind"] == "Deployment"]
    assert {each["metadata"]["name"] for each in deployments} == {f"shop-{r}" for r in ROLES}
    for each in deployments:
        pod, labels = pod_of(each), each["spec"]["template"]["metadata"]["labels"]
        assert each["spec"]["selector"]["matchLabels"] == labels == each["metadata"]["labels"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["initContainers"] + pod["containers"]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"]
            assert not locked["allowPrivilegeEscalation"]
            assert locked["capabilities"] == {"drop": ["ALL"]}
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
            (settings, secret) = container["envFrom"]
            assert ("ConfigMap", settings["configMapRef"]["name"]) in names
            assert secret["secretRef"]["name"] == "tieline"
        assert "memory" in pod["containers"][0]["resources"]["limits"]
    service = next(each for each in documents if each["kind"] == "Service")
    served = next(each for each in deployments if each["metadata"]["name"] == "shop-serve")
    assert service["spec"]["selector"] == served["spec"]["selector"]["matchLabels"]
    settings = next(each for each in documents if each["kind"] == "ConfigMap")
    assert all(isinstance(value, str) for value in settings["data"].values())


@pytest.fixture
def analyze() -> str:
    if (tool := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not on this machine, which alone can check units")
    return tool


def test_units_are_what_systemd_takes(analyze, tmp_path):
    for path in UNITS:  # the program they start is not installed here
        text = re.sub(
            r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE
        )
        (tmp_path / path.name.replace("@", "@1")).write_text(text)
    for path in SOCKETS:
        shutil.copy(path, tmp_path)
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line]
    assert said == []


def test_a_socket_is_there_for_each_unit_that_is_handed_one():
    handed = {path.stem for path in UNITS if "--fd 3" in path.read_text()}
    assert {path.stem for path in SOCKETS} == handed != set()
    for name in handed:
        unit = (DEPLOY / "systemd" / f"{name}.service").read_text()
        for key in ("Requires", "After", "Also"):
            assert re.search(rf"^{key}=(.+ )?{name}\.socket$", unit, re.MULTILINE), (name, key)


def test_units_are_shut_off_from_the_machine(analyze):
    for path in UNITS:
        done = subprocess.run(
            [analyze, "security", "--offline=true", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        found = re.search(r"exposure level for .+?: ([0-9.]+)", done.stdout)
        assert found, f"{path.name}: {done.stderr}"
        assert float(found[1]) <= WORST_EXPOSURE, path.name
