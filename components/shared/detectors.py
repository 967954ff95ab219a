"""Keys and tokens of services that are known by their look: the detectors of detect-secrets that hold for any text.

Left out: those that go by entropy, public IP addresses, keywords or a few capitals, which find digests, code and plain words too.
"""

from functools import cache
from importlib import import_module
from typing import Any

_PLUGINS = {
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "cloudant": "CloudantDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "ibm_cos_hmac": "IbmCosHmacDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "softlayer": "SoftlayerDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
"""Class by module of `detect_secrets.plugins`."""


def detected(text: str) -> str:
    """The kind of secret in a text, in words that do not repeat it; "" when there is none."""
    found = (detector.secret_type for detector in _detectors() if any(detector.analyze_string(text)))
    return next((f"what looks like a {kind}" for kind in found), "")


@cache
def _detectors() -> tuple[Any, ...]:
    """Imported when first asked for: the library takes as long as the rest of a configuration."""
    return tuple(
        getattr(import_module(f"detect_secrets.plugins.{module}"), name)() for module, name in _PLUGINS.items()
    )
