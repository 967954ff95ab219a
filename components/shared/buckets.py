"""Buckets: opened by the usual credential chains, and what went wrong with one, said so that it can be mended."""

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.store import ObjectStore, from_url

from kfp_ratchet.components.shared.errors import InputError, RatchetError

_CHAINS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""What obstore reads itself: keys in the environment, a service account's role (IRSA), a container's role."""
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
_CODE = re.compile(r"<Code>(\w+)</Code>")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}


def open_bucket(uri: str, **options: Any) -> ObjectStore:
    """A bucket, or a prefix of one.

    S3's credentials, region and endpoint come from the usual places: the environment, a service account's or a container's role, else
    the profile in the AWS configuration files. An endpoint is spoken to by `http://` if that is what is configured.

    Args:
        uri: Such as `s3://bucket/prefix`.
        options: Passed on to obstore, such as `retry_config`.

    Raises:
        Exception: What obstore or boto3 say of a configuration that cannot be used.
    """
    if urlsplit(uri).scheme not in ("s3", "s3a"):
        return from_url(uri, **options)
    config: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    if _has_profile():
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = Session()
        if session.get_credentials() is not None:
            options["credential_provider"] = Boto3CredentialProvider(session)
            config["region"] = session.region_name or "us-east-1"
            if not endpoint:
                endpoint = str(session.client("s3", region_name=config["region"]).meta.endpoint_url)
                if not re.search(r"\.amazonaws\.com(\.cn)?$", endpoint):
                    config["endpoint"] = endpoint
    if endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    return from_url(uri, config=config or None, **options)


def s3_client() -> Any:
    """boto3's client, for what obstore does not do; same chains, retries with backoff."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(retries={"mode": "standard", "total_max_attempts": 10}))


def bucket_trouble(error: Exception, name: str) -> RatchetError:
    """What a bucket's answer means.

    Args:
        error: Raised by obstore or boto3.
        name: What was asked for: `s3://bucket/prefix` or an object's URI.
    """
    code, bucket = error_code(error), name.split("/")[2] if name.count("/") > 1 else name
    if code == "NoSuchBucket":
        return InputError(f"there is no bucket {bucket!r} for {name}", "check its name and AWS_ENDPOINT_URL")
    if code in _ELSEWHERE or re.search(r"\b301\b|incorrectly configured region", str(error)):
        return InputError(f"the bucket {bucket!r} of {name} is in another region", "set AWS_REGION to the bucket's")
    if code in _EXPIRED:
        return RatchetError(f"{name} cannot be read: the credentials have expired", "renew them, then run it again")
    if code in _REFUSED:
        return RatchetError(
            f"{name} cannot be read: the credentials are not accepted ({code})",
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role",
        )
    if code in _DENIED or type(error).__name__ in ("PermissionDeniedError", "UnauthenticatedError"):
        return RatchetError(
            f"{name} may not be read: access is denied",
            "grant s3:ListBucket on the bucket and s3:GetObject on its objects (of a versioned bucket also "
            "s3:ListBucketVersions and s3:GetObjectVersion)",
        )
    return RatchetError(
        f"{name} cannot be read: {reason(error)}",
        "check the address, its credentials and the network; then run it again",
    )


def lasts(error: Exception) -> bool:
    """Whether asking again would get the same answer."""
    return error_code(error) in {"NoSuchBucket", *_ELSEWHERE, *_EXPIRED, *_REFUSED, *_DENIED} or type(
        error
    ).__name__ in ("PermissionDeniedError", "UnauthenticatedError")


def error_code(error: Exception) -> str:
    """S3's word for an error, "" when it has none."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return str(answer.get("Error", {}).get("Code", ""))
    found = _CODE.search(str(error))
    return found[1] if found else ""


def reason(error: Exception) -> str:
    """What an error says, in one line and without the dump of itself that obstore appends."""
    return " ".join(str(error).partition("Debug source:")[0].split())[:500]


def _has_profile() -> bool:
    """Whether only the AWS configuration files can tell the credentials."""
    if any(os.environ.get(name) for name in _CHAINS):
        return False
    return any(
        Path(os.environ.get(name) or Path.home() / ".aws" / file).expanduser().is_file() for name, file in _FILES
    )
