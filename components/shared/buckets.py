"""Buckets: opened by the usual credential chains, and what went wrong with one, said so that it can be mended."""

import os
import random
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from obstore.exceptions import PermissionDeniedError, UnauthenticatedError
from obstore.store import ObjectStore, from_url

from kfp_ratchet.components.shared.errors import InputError, RatchetError

_CHAINS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
"""What obstore reads itself: keys in the environment, a service account's role (IRSA), a container's role."""
ONE_TRY = {"max_retries": 0}
"""A `retry_config` for who asks again himself, with `pauses`."""
_CLIENT = {"read_timeout": "30s", "timeout": "1h"}
"""Without a byte for so long a request is given up. obstore's own 30 s for a whole answer are too few on a slow line."""
_TRIES = 8
_FIRST_PAUSE_S = 0.2
_FILES = (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config"))
_CODE = re.compile(r"<Code>(\w+)</Code>")
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}


def open_bucket(uri: str, *, config: Mapping[str, Any] | None = None, profile: str = "", **options: Any) -> ObjectStore:
    """A bucket, or a prefix of one.

    S3's credentials, region and endpoint come from the usual places: the environment, a service account's or a container's role, else
    the profile in the AWS configuration files. An endpoint is spoken to by `http://` if that is what is configured.

    Args:
        uri: Such as `s3://bucket/prefix`.
        config: What obstore is to take instead, such as `endpoint`, `region` and keys.
        profile: Of the AWS configuration files, instead of the usual places.
        options: Passed on to obstore, such as `retry_config`.

    Raises:
        Exception: What obstore or boto3 say of a configuration that cannot be used.
    """
    if urlsplit(uri).scheme not in ("s3", "s3a"):
        return from_url(uri, **options)
    given = dict(config or {})
    endpoint = (
        given.get("endpoint") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
    )
    if profile or ("access_key_id" not in given and _has_profile()):
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider

        session = Session(profile_name=profile or None)
        if session.get_credentials() is not None:
            options["credential_provider"] = Boto3CredentialProvider(session)
            given.setdefault("region", session.region_name or "us-east-1")
            if not endpoint:
                endpoint = str(session.client("s3", region_name=given["region"]).meta.endpoint_url)
                if not re.search(r"\.amazonaws\.com(\.cn)?$", endpoint):
                    given["endpoint"] = endpoint
    options["client_options"] = dict(_CLIENT)
    if endpoint.startswith("http://"):
        options["client_options"]["allow_http"] = True
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        options["client_options"]["root_certificate"] = Path(bundle).read_bytes()
    return from_url(uri, config=given or None, **options)


def s3_client() -> Any:
    """boto3's client, for what obstore does not do; same chains, retries with backoff."""
    from boto3 import Session
    from botocore.config import Config

    # A session of its own: boto3's default one keeps the credentials that it first found.
    return Session().client(
        "s3",
        region_name=os.environ.get("AWS_REGION"),  # boto3 knows only AWS_DEFAULT_REGION and the profile's
        config=Config(retries={"mode": "standard", "total_max_attempts": 6}, max_pool_connections=16),
    )


def versioning(uri: str) -> str:
    """Whether a bucket keeps versions: Enabled, Suspended (older ones are kept), or "" for never, or when nobody may tell.

    Raises:
        RatchetError: S3 does not answer, or answers that there is no such bucket or that the credentials are not good.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(s3_client().get_bucket_versioning(Bucket=uri.split("/")[2]).get("Status", ""))
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        refused = error_code(error) in _DENIED or not lasts(error)
        if refused and (status < 500 or status == 501):  # Not known to this server, or not to us.
            return ""
        raise bucket_trouble(error, uri) from error
    except BotoCoreError as error:
        raise bucket_trouble(error, uri) from error


def pauses() -> Iterator[float]:
    """Seconds to wait before each further try of a request."""
    for attempt in range(1, _TRIES):
        yield _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - spreads the load


def bucket_trouble(error: Exception, name: str) -> RatchetError:
    """What a bucket's answer means.

    Args:
        error: Raised by obstore or boto3.
        name: What was asked for: `s3://bucket/prefix` or an object's URI.
    """
    code, bucket = error_code(error), name.split("/")[2] if name.count("/") > 1 else name
    if code == "NoSuchBucket":
        return InputError(f"there is no bucket {bucket!r} for {name}", "check its name and AWS_ENDPOINT_URL")
    if code in _ELSEWHERE:
        return InputError(f"the bucket {bucket!r} of {name} is in another region", "set AWS_REGION to the bucket's")
    if code in _EXPIRED:
        return RatchetError(f"{name} cannot be read: the credentials have expired", "renew them, then run it again")
    if code in _REFUSED:
        return RatchetError(
            f"{name} cannot be read: the credentials are not accepted ({code})",
            "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role",
        )
    if _is_denied(error):
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
    return error_code(error) in {"NoSuchBucket", *_ELSEWHERE, *_EXPIRED, *_REFUSED} or _is_denied(error)


def _is_denied(error: Exception) -> bool:
    return error_code(error) in _DENIED or isinstance(error, PermissionDeniedError | UnauthenticatedError)


def error_code(error: Exception) -> str:
    """S3's word for an error, "" when it has none."""
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):
        return str(answer.get("Error", {}).get("Code", ""))
    if "incorrectly configured region" in str(error):
        return "PermanentRedirect"
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
