"""Secrets in URIs are seen, harmless URIs are let through, and no message repeats a secret."""

from pathlib import Path

import pytest

from kfp_ratchet.components.shared.credentials import (
    HIDDEN,
    credential_in,
    refuse_credentials,
    secret_in,
    without_credentials,
)
from kfp_ratchet.components.shared.detectors import detected
from kfp_ratchet.components.shared.errors import InputError


@pytest.mark.parametrize(
    "uri",
    [
        "https://me:hunter2@host/a.csv",
        "https://hunter2@host/a.csv",
        "postgresql://me:hunter2@db/mlflow",
        "https://host/a?X-Amz-Signature=hunter2",
        "https://account.blob.core.windows.net/a?sv=1&sig=hunter2",
        "https://host/a?access_token=hunter2",
        "https://me:hunter2@[::1/a",
        "s3://AKIDEXAMPLE:hunter2/K7/bPx@bucket/x",
        "DVC://https://me:hunter2@host/r.git:data",
        "dvc://https://me:hunter2/w@host/r.git:data",
        "dvc://me:hunter2@host/r.git:data",
        "dvc://git:hunter2@host:r.git:data",
        "https://host/a.csv#token=hunter2",
        "https://host/a.csv?jwt=eyJhbGciOiJI.eyJzdWIiOiJI.hunter2",
        "https://host/ghp_hunter2hunter2hunter2hunter2hunter2/a.csv",
    ],
)
def test_a_secret_is_refused_and_not_repeated(uri):
    with pytest.raises(InputError, match="source holds") as caught:
        refuse_credentials(uri, "source")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "data/a@b.csv",
        "s3://bucket/prefix",
        "sqlite:///.ratchet/mlflow.db",
        "http://mlflow:5000",
        "https://h/a?author=1&keyword=2",
        "https://host:8443/a@2x.csv",
        "dvc://git@github.com:acme/lake.git@v2:data",
        "dvc://https://host:8443/acme/lake.git@main:data",
        "dvc://ssh://git@host:22/lake.git@main:data",
        "dvc://../lake@main:data",
        "",
    ],
)
def test_a_harmless_uri_passes(uri):
    assert credential_in(uri) == ""


def test_a_key_within_a_kept_parameter():
    assert without_credentials("key AKIAIOSFODNN7EXAMPLE of the lake") == HIDDEN
    assert without_credentials('{"a": "s3://me:hunter2@bucket/x"}') == HIDDEN
    assert without_credentials("s3://bucket/x") == "s3://bucket/x"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the key rk_live_" + 24 * "a", "Stripe"),
        ("glpat-" + 20 * "a", "GitLab"),
        ("SG." + 22 * "a" + "." + 43 * "b", "SendGrid"),
        ("pypi-AgEIcHlwaS5vcmc" + 70 * "a", "PyPI"),
        ("sq0csp-" + 43 * "a", "Square"),
        ("M" + 23 * "a" + "." + 6 * "b" + "." + 27 * "c", "Discord"),
        (32 * "a" + "-us12", "Mailchimp"),
        ("AC" + 32 * "a", "Twilio"),
    ],
)
def test_a_token_of_a_service_is_known_by_its_look(text, kind):
    found = secret_in(f'{{"setting": "{text}"}}')
    assert kind in found and text not in found
    assert without_credentials(text) == HIDDEN


@pytest.mark.parametrize("folder", ["compiled", "docs", "pipelines", "components"])
def test_no_detector_takes_code_digests_or_prose_for_a_secret(folder):
    """What a detector by entropy or keyword would find, and why there is none."""
    root = Path(__file__).parents[3] / folder
    files = [path for path in root.rglob("*") if path.suffix in (".yaml", ".py", ".md")]
    assert files
    found = {
        (path.name, line)
        for path in files
        for line in path.read_text().splitlines()
        if len(line) < 5000 and detected(line)
    }
    assert found == set()
