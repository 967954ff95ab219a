"""Templates are accepted by the linters and schemas of their platforms, and by the command that they call."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from templates import ACTION, AZURE, GITHUB, GITLAB, JENKINS, TEMPLATES, commands, name, scripts
from typer.main import get_command

from kfp_ratchet.components._image import VERSION
from kfp_ratchet.pipelines.cli import app

SCHEMAS = {
    **{path: ["vendor.github-workflows"] for path in GITHUB},
    ACTION: ["vendor.github-actions"],
    GITLAB: ["vendor.gitlab-ci", "--data-transform", "gitlab-ci"],
    AZURE: ["vendor.azure-pipelines", "--data-transform", "azure-pipelines", "--regex-variant", "nonunicode"],
}


def accept(words: list[str]) -> None:
    """Let the real command parse a command line, without running it.

    Raises:
        Exception: Of click, when it would not take it.
    """
    command, rest = get_command(app), list(words)
    path = "ratchet"
    while hasattr(command, "commands"):
        path, command = f"{path} {rest[0]}", command.commands[rest.pop(0)]
    command.make_context(path, rest)


def test_all_templates_are_there():
    assert {path.stem for path in GITHUB} == {"pull-request", "main", "release", "nightly", "new-data"}
    assert all(path.exists() for path in (*TEMPLATES, ACTION))


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_a_template_called_a_command_or_option_that_does_not_exist(path):
    found = commands(path.read_text())
    assert found
    for words in found:
        accept(words)


@pytest.mark.parametrize(
    "line",
    [
        "- run: ratchet server aply",
        "sh 'ratchet lint --jsn'",
        "x && ratchet runs report last --coment | tee a",
        "ratchet submit",
    ],
)
def test_this_test_accepted_a_mistake(line):
    (words,) = commands(line)
    with pytest.raises(Exception, match=r"aply|No such option|Missing parameter"):
        accept(words)


def test_commands_are_found_among_what_a_shell_does_with_them():
    text = """
    # ratchet is told of here
    - ratchet run -p 'serving={}' \\
        --junit ratchet.xml || code=$?
    { ratchet server diff >diff.txt; } && pip install kfp-ratchet >log
    """
    assert commands(text) == [["run", "-p", "serving={}", "--junit", "ratchet.xml"], ["server", "diff"]]


def test_actionlint_finds_a_mistake_in_a_workflow(actionlint):
    subprocess.run([actionlint, *GITHUB], check=True)
    broken = GITHUB[0].read_text().replace("secrets.KFP_TOKEN", "secret.KFP_TOKEN")
    done = subprocess.run([actionlint, "-"], input=broken, capture_output=True, text=True)
    assert done.returncode == 1 and "secret" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", SCHEMAS, ids=name)
def test_the_schema_of_its_platform_refuses_a_template(path, tmp_path):
    checker = [Path(sys.executable).parent / "check-jsonschema", "--builtin-schema", *SCHEMAS[path]]
    subprocess.run([*checker, path], check=True)
    content = yaml.safe_load(path.read_text())
    for section in ("jobs", "runs", "check", "stages"):
        if section in content:
            content[section] = {"nonsense": 3}
    (tmp_path / path.name).write_text(yaml.safe_dump(content))
    assert subprocess.run([*checker, tmp_path / path.name], capture_output=True).returncode == 1


@pytest.mark.slow
def test_the_jenkinsfile_is_no_groovy(groovy, tmp_path):
    """Syntax alone: what a declarative pipeline may say is known to a Jenkins only."""

    def compiled(text: str) -> int:
        (tmp_path / "Jenkinsfile.groovy").write_text(text)
        return subprocess.run(
            [*groovy, "-d", tmp_path / "out", tmp_path / "Jenkinsfile.groovy"], capture_output=True
        ).returncode

    assert compiled(JENKINS.read_text()) == 0
    assert compiled(JENKINS.read_text().replace("stages {", "stages ", 1)) != 0


def test_the_jenkinsfile_writes_a_value_into_a_script():
    """In double quotes Groovy would put it there before the shell sees it."""
    calls = re.findall(r"^\s*sh\b.*$", JENKINS.read_text(), re.MULTILINE)
    assert len(calls) > 10 and all(re.match(r"""\s*sh '""", call) for call in calls)


@pytest.mark.parametrize("path", [*GITHUB, ACTION, GITLAB, AZURE], ids=name)
def test_a_script_holds_an_expression_that_someone_else_may_fill(path):
    found = scripts(path)
    assert (
        found and [script for script in found if "${{" in script or "$(Build" in script or "$(System" in script] == []
    )


@pytest.mark.parametrize("path", [*GITHUB, ACTION], ids=name)
def test_an_action_may_change_under_its_name(path):
    used = re.findall(r"uses: (.*)", path.read_text())
    assert used and [one for one in used if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", one)] == []


@pytest.mark.parametrize("path", GITHUB, ids=name)
def test_a_workflow_has_more_rights_than_it_says(path):
    content = yaml.safe_load(path.read_text())
    assert content["permissions"] == {} and "concurrency" in content
    for job in content["jobs"].values():
        assert job["permissions"].pop("contents") == "read" and "timeout-minutes" in job
        checkouts = [step for step in job["steps"] if "actions/checkout" in step.get("uses", "")]
        assert len(checkouts) == 1 and checkouts[0]["with"]["persist-credentials"] is False
    assert {right for job in content["jobs"].values() for right in job["permissions"].items()} <= {
        ("packages", "read"),
        ("packages", "write"),
        ("pull-requests", "write"),
        ("checks", "write"),
    }


@pytest.mark.parametrize("path", TEMPLATES, ids=name)
def test_a_template_installs_another_version_than_this_one(path):
    assert re.findall(r"RATCHET_VERSION(?:: | = ')([\d.]+)", path.read_text()) == [VERSION]
