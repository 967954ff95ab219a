"""Secrets in URIs are seen, harmless URIs are let through, and no message repeats a secret."""

import pytest

from kfp_ratchet.components.shared.credentials import HIDDEN, credential_in, refuse_credentials, without_credentials
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
