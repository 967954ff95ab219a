"""Secrets in URIs are seen, harmless URIs are let through, and no message repeats a secret."""

import pytest

from kfp_ratchet.components.shared.credentials import credential_in, refuse_credentials
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
        "",
    ],
)
def test_a_harmless_uri_passes(uri):
    assert credential_in(uri) == ""
