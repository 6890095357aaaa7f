"""Every setting of the core: one schema that reads, checks and explains."""

from __future__ import annotations

from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

__all__ = ["SettingsSchema", "is_secret"]

DATABASES = ("sqlite:///", "postgresql+psycopg://", "postgresql://")
REDIS = ("redis://", "rediss://", "unix://")
_LEAST_TOKEN = 16
_LEAST_MEMORY_MB = 128


def _starts_with(prefixes: tuple[str, ...]) -> Any:
    def check(value: str) -> None:
        if value and not value.startswith(prefixes):
            raise ValidationError(f"must begin with one of {', '.join(prefixes)}")

    return check


def _empty_or_long(value: str) -> None:
    if 0 < len(value) < _LEAST_TOKEN:
        raise ValidationError(f"must have at least {_LEAST_TOKEN} characters")


def _none_or_enough(value: int) -> None:
    if value and value < _LEAST_MEMORY_MB:
        raise ValidationError(f"must be 0, or at least {_LEAST_MEMORY_MB}")


def _text(
    doc: str,
    *,
    default: str = "",
    example: str = "",
    secret: bool = False,
    check: Any = None,
) -> fields.String:
    return fields.String(
        load_default=default,
        validate=check,
        metadata={"doc": doc, "example": example, "secret": secret},
    )


def _number(doc: str, *, default: float, low: float, high: float) -> fields.Float:
    return fields.Float(
        load_default=default,
        validate=validate.Range(min=low, max=high),
        metadata={"doc": f"{doc} From {low:g} to {high:g}.", "example": f"{default:g}"},
    )


class SettingsSchema(Schema):
    """The environment's ``TIELINE_*`` variables, without their prefix."""

    class Meta:  # noqa: D106
        unknown = EXCLUDE

    env = _text(
        "Where this installation runs. In production a local key and foreign base"
        " addresses are refused unless allowed below.",
        default="development",
        check=validate.OneOf(["development", "production"]),
        example="production",
    )
    home = _text(
        "Folder of an embedded installation: SQLite file, local key, Valkey, logs."
        " Empty: $XDG_DATA_HOME/tieline, else ~/.local/share/tieline.",
        example="./.tieline",
    )
    database_url = _text(
        "Database. Empty: tieline.db in the home folder, fine for one machine and development."
        " In production a PostgreSQL that has backups.",
        secret=True,
        check=_starts_with(DATABASES),
        example="postgresql+psycopg://tieline:PASSWORD@db.example.com/tieline",
    )
    redis_url = _text(
        "Redis or Valkey, 6.2 or newer, with maxmemory-policy noeviction. Empty: an embedded Valkey"
        " in the home folder. In production with more than one machine a server of its own; over"
        " a network rediss://.",
        secret=True,
        check=_starts_with(REDIS),
        example="redis://:PASSWORD@redis.example.com:6379/0",
    )
    valkey_binary = _text(
        "Server binary of the embedded Valkey. Empty: the one that came with Tieline, else"
        " valkey-server or redis-server on PATH.",
        example="/usr/bin/valkey-server",
    )
    key = _text(
        "Local encryption key for credentials: 32 bytes in base64. Empty: a key file in the"
        " home folder. For development; production refuses it unless TIELINE_ALLOW_LOCAL_KEY is"
        " set. Make one: openssl rand -base64 32",
        secret=True,
        example="MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    )
    kms_key_id = _text(
        "Key in AWS KMS that seals credentials: its ARN, id or alias. AWS credentials come from"
        " boto3's own places. Needs tieline[aws]. Empty: a local key, which is for development."
        " Made at https://console.aws.amazon.com/kms/home",
        example="alias/tieline",
    )
    kms_region = _text(
        "AWS region of that key. Empty: the ARN's, else as boto3 finds out.",
        example="eu-central-1",
    )
    kms_endpoint_url = _text(
        "Where AWS KMS is. Empty: where AWS has it for the region.",
        check=_starts_with(("https://", "http://")),
        example="https://vpce-0a1b2c.kms.eu-central-1.vpce.amazonaws.com",
    )
    allow_local_key = fields.Boolean(
        load_default=False,
        metadata={
            "doc": "Allow a local encryption key in production, where KMS is not used.",
            "example": "false",
        },
    )
    allowed_base_urls = _text(
        "Base addresses other than the providers' own that connections may use in"
        " production, separated by commas.",
        example="https://proxy.example.com",
    )
    public_url = _text(
        "Where browsers and providers reach `tieline serve`, without a trailing slash. Providers"
        " send people back to <this>/oauth/callback/<provider>. Empty: links are made for this"
        " machine alone.",
        check=_starts_with(("https://", "http://127.0.0.1", "http://localhost", "http://[::1]")),
        example="https://tieline.example.com",
    )
    return_urls = _text(
        "Where people may be sent after they connected an account, separated by commas: a link"
        " may name one of these addresses as `next`, or a path of `tieline serve`.",
        example="https://app.example.com/settings/integrations",
    )
    providers_disabled = _text(
        "Providers to leave out, separated by commas.",
        example="square",
    )
    provider_pins = _text(
        "Which distribution may have a provider's name when several claim it, as"
        " name=distribution, separated by commas.",
        example="stripe=tieline-stripe",
    )
    plugin_load_s = _number(
        "Seconds that a plugin may take to load. One that takes longer is left out, the others go"
        " on.",
        default=30,
        low=0.5,
        high=600,
    )
    lease_s = _number(
        "Seconds for which a worker holds a partition without a sign of life. A killed"
        " worker's work is taken up again after this.",
        default=30,
        low=1,
        high=600,
    )
    sweep_s = _number(
        "Seconds between two looks of a worker for work that nobody does.",
        default=5,
        low=0.2,
        high=60,
    )
    page_deadline_s = _number(
        "Seconds that one page of a run may take, with all waits and repetitions. After that its"
        " part of the run is given to another worker, and the process that hangs ends.",
        default=900,
        low=1,
        high=7200,
    )
    http_deadline_s = _number(
        "Seconds that one request to a provider may take in all.",
        default=30,
        low=1,
        high=300,
    )
    token_deadline_s = _number(
        "Seconds that one call to a provider's token endpoint may take. A process that dies while"
        " it renews tokens is followed by another after four times as long.",
        default=15,
        low=0.2,
        high=60,
    )
    http_body_mb = _number(
        "Largest answer of a provider, in megabytes after decompression.",
        default=32,
        low=1,
        high=1024,
    )
    webhook_body_mb = _number(
        "Largest delivery of a provider to an endpoint of one connection, in megabytes as it"
        " arrives. An application's endpoint takes at least 2.1: events of many accounts may come"
        " in one.",
        default=1,
        low=0.01,
        high=64,
    )
    webhook_keep_days = _number(
        "Days for which an event stays in the inbox after it was handled, to be replayed.",
        default=30,
        low=1,
        high=3650,
    )
    read_ahead = fields.Integer(
        load_default=1,
        strict=False,
        validate=validate.Range(min=0, max=64),
        metadata={
            "doc": "Pages that are fetched while an earlier one is written. Each is fetched again"
            " if the worker is killed meanwhile. From 0 (none but the page at hand) to 64.",
            "example": "1",
        },
    )
    worker_memory_mb = fields.Integer(
        load_default=0,
        validate=_none_or_enough,
        metadata={
            "doc": "Megabytes that a worker's process may have in memory; one that has more"
            " finishes its page and makes way for a fresh one. Whoever supervises `tieline worker`"
            " has to start it again. From 128; 0: no bound. On Linux alone.",
            "example": "1024",
        },
    )
    hands = fields.Integer(
        load_default=16,
        strict=False,
        validate=validate.Range(min=1, max=64),
        metadata={
            "doc": "Parts of one run that one worker reads at once, as far as the provider's"
            " limits and the processor allow. From 1 to 64.",
            "example": "16",
        },
    )
    run_attempts = fields.Integer(
        load_default=5,
        validate=validate.Range(min=1, max=100),
        metadata={
            "doc": "How often a run that meets an unavailable provider is tried in all.",
            "example": "5",
        },
    )
    run_retries = fields.Integer(
        load_default=100,
        validate=validate.Range(min=0, max=100_000),
        metadata={
            "doc": "Calls that one run may repeat at once, over all workers. After that, each"
            " trouble puts the run off instead, so that a sick provider is not kept busy.",
            "example": "100",
        },
    )
    max_delete_share = _number(
        "Share of an entity's records that a full run may find gone. Above it, and above 20"
        " records, nothing is deleted and the run asks for --allow-deletes.",
        default=0.3,
        low=0,
        high=1,
    )
    max_quarantine_share = _number(
        "Share of the records of a part of a run that may be unusable. Above it, and above 20"
        " records, the run stops.",
        default=0.25,
        low=0,
        high=1,
    )
    alert_webhook_url = _text(
        "Where alerts are sent, beside the log: each as a signed POST, after Standard Webhooks."
        " Any address, inside this network or not. Empty: nowhere.",
        secret=True,
        check=_starts_with(("https://", "http://")),
        example="https://ops.example.com/tieline-alerts",
    )
    alert_webhook_secret = _text(
        "What those are signed with: whsec_ and 24 to 64 bytes in base64. Make one:"
        ' echo "whsec_$(openssl rand -base64 32)"',
        secret=True,
        example="whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
    )
    metrics_token = _text(
        "What a Prometheus server shows as its bearer token to read /metrics of tieline serve; at"
        " least 16 characters. Empty: there is no /metrics. Make one: openssl rand -hex 16",
        secret=True,
        check=_empty_or_long,
        example="0f3b9a7c5d1e48a2b6c4",
    )
    api_calls_per_minute = fields.Integer(
        load_default=600,
        validate=validate.Range(min=1, max=1_000_000),
        metadata={
            "doc": "Calls that one token of the HTTP API may make in a minute, over all processes.",
            "example": "600",
        },
    )
    api_deadline_s = _number(
        "Seconds after which a call to the HTTP API is answered, done or not.",
        default=30,
        low=0.1,
        high=300,
    )
    api_threads = fields.Integer(
        load_default=16,
        validate=validate.Range(min=1, max=64),
        metadata={
            "doc": "Calls to the HTTP API that one process works on at once; others wait. Half as"
            " many more are kept for those that ask a provider. From 1 to 64.",
            "example": "16",
        },
    )
    console = fields.Boolean(
        load_default=None,
        metadata={
            "doc": "Whether tieline serve shows the console, a page for people at /console, to"
            " whoever has a token of the HTTP API. In production TIELINE_PUBLIC_URL has to be"
            " https. Empty: only beside `tieline up` in development.",
            "example": "true",
        },
    )
    log_level = _text(
        "Least level that is logged. debug tells everything, and is for development.",
        default="info",
        check=validate.OneOf(["debug", "info", "warning", "error"]),
        example="info",
    )
    log_format = _text(
        "How log lines look: json, as production wants them, text for people, or auto: text in a"
        " terminal, json elsewhere.",
        default="auto",
        check=validate.OneOf(["auto", "json", "text"]),
        example="json",
    )
    tracing = fields.Boolean(
        load_default=False,
        metadata={
            "doc": "Send traces by OpenTelemetry. Needs tieline[opentelemetry]; where they go, and"
            " what else is to be said, are the SDK's own variables: OTEL_EXPORTER_OTLP_ENDPOINT"
            " and its like, in the environment, not in this file.",
            "example": "true",
        },
    )
    failpoints = _text(
        "Faults to inject at named places, for tests: name=action@n, separated by semicolons.",
        example="sync.page.before_commit=kill@3",
    )
    allow_failpoints = fields.Boolean(
        load_default=False,
        metadata={
            "doc": "Honour TIELINE_FAILPOINTS. Never set it where data matters.",
            "example": "false",
        },
    )


def is_secret(field: fields.Field[Any]) -> bool:
    """Say whether a setting's value must not be shown."""
    return bool(field.metadata.get("secret"))
