"""One frozen, validated Settings; nobody else reads the environment.

A value comes from the first of: a command-line flag, an environment variable ``CLIPSEARCH_<NAME>``, the TOML file named
by ``--config`` or ``CLIPSEARCH_CONFIG``, the default below.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from clipsearch.errors import ConfigError
from clipsearch.event_loop import EventLoopKind

ENV_PREFIX = "CLIPSEARCH_"
MIB = 2**20
_UNIX = "unix:"
MOST_FRONTS = 64


class Settings(BaseSettings):
    """Everything that can be set about a server. Units are in the names."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    bundle: Path = Field(description="Directory of the exported model bundle. Required.")
    bundles: Path | None = Field(
        None,
        description="Directory whose bundles ReloadModel and StageModel may name; none: only `bundle`, read again.",
    )
    data: Path | None = Field(
        None, description="Directory of the collections, one sub-directory each, made if missing; none: embed only."
    )
    snapshots: Path | None = Field(
        None, description="Directory that Snapshot may copy collections into; none: it may not."
    )
    imports: Path | None = Field(None, description="Directory that ImportItems may load from; none: it may not.")
    exports: Path | None = Field(None, description="Directory that ExportItems may write into; none: it may not.")
    listen: str = Field(
        "127.0.0.1:50051", description="Address and port to listen on, port 0 for a free one; or unix:PATH of a socket."
    )
    tls_cert: Path | None = Field(
        None, description="PEM file of the server's certificate and those up to its root; none: no TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file of the private key to tls_cert.")
    tls_client_ca: Path | None = Field(
        None, description="PEM file of authorities; only clients with a certificate of theirs get in. none: any client."
    )
    keys_file: Path | None = Field(
        None, description="File of API keys, as `clipsearch keys` writes it; none: calls need no key."
    )
    allow_insecure: bool = Field(
        False, description="Serve beyond this machine without authentication, or take API keys in clear text."
    )
    reflection: bool = Field(True, description="Whether gRPC reflection, which lists all methods, is offered.")
    admin_rpcs: bool = Field(True, description="Whether the methods that need the admin scope can be called at all.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the model runs; auto takes CUDA if there."
    )
    encoder_workers: int = Field(
        0, ge=0, le=256, description="Batches of one tower at once on a CPU; 0: one per free core (tiny towers: one)."
    )
    encoder_threads: int = Field(
        0, ge=0, le=256, description="CPU threads of one encoder run; 0: a quarter of the cores, at least one."
    )
    gpu_tower_mib: int = Field(
        0,
        ge=0,
        description="Most memory of a GPU that each tower may take for its weights and batches; 0: what its largest "
        "batch needs.",
    )
    tensorrt_engines: Path | None = Field(
        None,
        description="Directory of TensorRT engines, which are made where they are missing; given, the towers of an "
        "fp16 bundle on a GPU are run by TensorRT; none: by ONNX Runtime's own kernels.",
    )
    index_gpus: int = Field(
        1, ge=1, le=64, description="GPUs that each index lies on, from the first on, where device takes any."
    )
    index_split: Literal["shards", "replicas"] = Field(
        "shards",
        description="With several GPUs, shards: each holds a part of an index, and all answer every search; replicas: "
        "each holds all of it, and answers a part of every batch of searches.",
    )
    lone_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="CPU threads of a run that is alone in its tower, each on CPUs of its own; 0: one per core, at "
        "most 8. Where this is more than encoder_threads, weights are in memory twice.",
    )
    search_threads: int = Field(
        0, ge=0, le=256, description="CPU threads of one index search; 0: a quarter of the cores."
    )
    jpeg_decoder: Literal["cpu", "nvjpeg"] = Field(
        "cpu",
        description="nvjpeg: JPEGs are decoded and resized on the first GPU, which takes decode_isolation none; what "
        "it does not take, and all other pictures, on the CPU.",
    )
    jpeg_oversampling: int = Field(
        0,
        ge=0,
        le=64,
        description="Decode large JPEGs at a fraction that leaves their edges this many times as long as the model "
        "takes them; with 4 a photograph of 12 megapixels takes four fifths of the time; 0: whole.",
    )
    decode_threads: int = Field(0, ge=0, le=256, description="Threads that decode pictures; 0: one per core.")
    decode_isolation: Literal["process", "none"] = Field(
        "process",
        description="process: each thread decodes in a process of its own, which is all that a picture can end; "
        "none: in the server itself.",
    )
    decode_timeout_s: float = Field(
        10.0, gt=0.0, le=600.0, description="Longest time that decoding one picture may take, in a process of its own."
    )
    decode_memory_mib: int = Field(
        0, ge=0, description="Most memory that one picture may take, in a process of its own; 0: by max_image_pixels."
    )
    text_batch_items: int = Field(256, ge=1, le=4096, description="Most texts in one batch.")
    text_batch_tokens: int = Field(
        0,
        ge=0,
        description="Most tokens in one batch of texts, with padding at its cost; 0: 192 for each thread of a run on a "
        "CPU (tiny towers: 512), 4096 on a GPU.",
    )
    text_batch_overhead_tokens: int = Field(
        16, ge=0, description="Cost of padding, in tokens, that is worth wasting to save one more batch of texts."
    )
    image_batch_items: int = Field(
        0,
        ge=0,
        le=4096,
        description="Most pictures in one batch; 0: four for each thread of a run on a CPU (tiny towers: 8), 64 on a "
        "GPU.",
    )
    search_batch_items: int = Field(64, ge=1, le=65536, description="Most queries in one batch.")
    max_batch_delay_ms: float = Field(
        0.0, ge=0.0, le=1000.0, description="How long a batch that is not full waits for company; 0: not at all."
    )
    bulk_share: float = Field(
        0.2, ge=0.0, lt=1.0, description="Share of each lane that bulk work gets while interactive work waits too."
    )
    recall_target: float = Field(
        0.95, gt=0.0, le=1.0, description="Recall@10 that the indexes this server builds are tuned to reach."
    )
    recall_sample: float = Field(
        0.001, ge=0.0, le=1.0, description="Share of searches that are run again exactly, to tell live recall; 0: none."
    )
    query_cache_mib: int = Field(
        16, ge=0, description="Memory for embeddings of the texts that were searched with or embedded last; 0: none."
    )
    lane_capacity: int = Field(1024, ge=1, description="Items inside one lane at once; more are refused at once.")
    image_lane_mib: int = Field(
        512, ge=1, description="Pictures inside the image lane at once, as they came and as pixels; more are refused."
    )
    caller_header: str | None = Field(
        None,
        description="Metadata key by which a trusted proxy says who calls, to share the server fairly; none: the API "
        "key's name, or else the address that the connection comes from.",
    )
    stream_window: int = Field(128, ge=1, description="Items of one StreamEmbed call in flight at once.")
    max_text_bytes: int = Field(8192, ge=1, description="Longest text accepted (longer than the context: truncated).")
    max_image_bytes: int = Field(16 * MIB, ge=1, description="Largest encoded picture accepted.")
    max_image_pixels: int = Field(64_000_000, ge=1, description="Most pixels a picture may have, before decoding.")
    max_top_k: int = Field(1000, ge=1, description="Largest top_k accepted.")
    max_search_depth: int = Field(
        10_000, ge=1, description="How deep paging, grouping and collapsing may look into the results of one search."
    )
    max_batch_items: int = Field(256, ge=1, description="Most items in one BatchEmbed or BatchSearch call.")
    max_message_bytes: int = Field(64 * MIB, ge=1024, le=2**31 - 1, description="Largest message in either direction.")
    max_concurrent_streams: int = Field(1024, ge=1, description="Calls in flight on one connection.")
    max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, le=2**24, description="Largest metadata (headers) of one call; what is over is refused."
    )
    grace_s: float = Field(
        10.0,
        ge=0.0,
        description="Time that running calls get to finish at shutdown, in seconds; the rest may go to an index.",
    )
    stuck_after_s: float = Field(
        60.0,
        ge=0.0,
        description="How long one batch may run, in seconds, before the server reports NOT_SERVING and logs where all "
        "its threads are; 0: for ever.",
    )
    metrics_listen: str | None = Field(
        None, description="Address and port of the Prometheus endpoint, /metrics over plain HTTP; none: no metrics."
    )
    trace_endpoint: str | None = Field(
        None,
        description="OTLP/gRPC endpoint that spans are sent to, such as http://localhost:4317; none: what "
        "OTEL_EXPORTER_OTLP_ENDPOINT says, or no traces.",
    )
    fronts: int | Literal["auto"] = Field(
        "auto",
        description="Processes that take calls in and send answers out, so that gRPC has cores of its own; 0: none, "
        "the server does it itself; `auto`: 1, or 2 from 8 cores on, or none on a single one.",
    )
    event_loop: EventLoopKind = Field(
        "auto",
        description="The event loop that serves: `uvloop`, Python's own `asyncio`, or `auto`, uvloop where installed.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level logged.")
    log_format: Literal["text", "json"] = Field("text", description="Lines for people, or one JSON object each.")
    access_log: bool = Field(False, description="Whether every call that ends is logged, in one line.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment; ``load`` puts the file beneath both."""
        return init_settings, env_settings

    @field_validator("listen", "metrics_listen")
    @classmethod
    def _host_and_port(cls, value: str | None, field: ValidationInfo) -> str | None:
        if value is None:
            return None
        if field.field_name == "listen" and value.startswith(_UNIX) and len(value) > len(_UNIX):
            return value
        host, _, port = value.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ValueError("must be host:port, such as 127.0.0.1:50051 or [::]:50051, or unix:PATH")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> "Settings":
        if self.max_batch_items > self.lane_capacity * 3 // 4:
            raise ValueError(
                f"max_batch_items ({self.max_batch_items}) must be at most three quarters of lane_capacity "
                f"({self.lane_capacity}), or a full batch could never be admitted"
            )
        if self.fronts != "auto" and not 0 <= self.fronts <= (1 if self.listen.startswith(_UNIX) else MOST_FRONTS):
            raise ValueError(
                f"fronts ({self.fronts}) must be between 0 and {MOST_FRONTS}, and at most 1 on a unix: socket, which "
                "processes cannot share"
            )
        if self.max_image_bytes >= self.max_message_bytes:
            raise ValueError("max_image_bytes must be below max_message_bytes, or such a picture could never arrive")
        return self

    @model_validator(mode="after")
    def _jpegs_on_a_gpu(self) -> "Settings":
        if self.jpeg_decoder != "nvjpeg":
            return self
        if self.device == "cpu":
            raise ValueError("jpeg_decoder nvjpeg needs a GPU, and device is cpu")
        if self.decode_isolation != "none":
            raise ValueError(
                "jpeg_decoder nvjpeg decodes in the server itself, and decode_isolation is process: set it to none "
                "where pictures can be trusted"
            )
        if self.jpeg_oversampling:
            raise ValueError("jpeg_decoder nvjpeg decodes JPEGs whole, and jpeg_oversampling is set: one or the other")
        return self

    @model_validator(mode="after")
    def _guarded(self) -> "Settings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together: one of them is not set")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca needs tls_cert and tls_key: clients are only asked for theirs inside TLS")
        if self.allow_insecure or _is_local(self.listen):
            return self
        if not self.keys_file and not self.tls_client_ca:
            raise ValueError(
                f"listen ({self.listen}) can be reached from other machines, and then anybody could read and change "
                "everything: set keys_file or tls_client_ca, or allow_insecure where something else decides who gets in"
            )
        if not self.tls_cert:
            raise ValueError(
                f"listen ({self.listen}) can be reached from other machines, and API keys would cross the network in "
                "clear text: set tls_cert and tls_key, or allow_insecure where something else encrypts"
            )
        return self

    @model_validator(mode="after")
    def _beside_the_data(self) -> "Settings":
        for name in ("snapshots", "imports", "exports"):
            path: Path | None = getattr(self, name)
            if self.data and path and path.resolve().is_relative_to(self.data.resolve()):
                raise ValueError(f"{name} must not be inside data, where every directory is a collection")
        return self

    @property
    def traces_to(self) -> str | None:
        """Where spans go: the setting, or OpenTelemetry's own environment variables; None: nowhere."""
        standard = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        return self.trace_endpoint or next((os.environ[name] for name in standard if os.environ.get(name)), None)

    @property
    def front_processes(self) -> int:
        """How many fronts there are."""
        if self.fronts != "auto":
            return self.fronts
        if self.cores == 1:
            return 0
        return 1 if self.cores < 8 or self.listen.startswith(_UNIX) else 2

    @property
    def cores(self) -> int:
        """CPUs this process may use."""
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_local(listen: str) -> bool:
    """Whether only this machine can reach an address. A name counts as remote: what it stands for may change."""
    if listen.startswith(_UNIX):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(flags: Mapping[str, Any], config: Path | None = None) -> Settings:
    """Build the settings from flags (those given, by field name), environment and TOML file.

    Raises ConfigError with one sentence per bad setting, each naming where the value came from.
    """
    config = config or (Path(name) if (name := os.environ.get(ENV_PREFIX + "CONFIG")) else None)
    file_values = _read_toml(config) if config else {}
    in_environment = {name for name in Settings.model_fields if os.environ.get(ENV_PREFIX + name.upper())}
    values = {name: value for name, value in file_values.items() if name not in in_environment} | dict(flags)
    try:
        return Settings(**values)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(e, flags, in_environment, config) for e in error.errors())) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the configuration file {path} is not valid TOML: {error}") from error


def _sentence(error: Any, flags: Mapping[str, Any], in_environment: set[str], config: Path | None) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    text = error["msg"].removeprefix("Value error, ")
    if not name:
        return str(text)
    if error["type"] == "missing":
        return f"{name} is required (--{name.replace('_', '-')} or {ENV_PREFIX}{name.upper()})"
    if error["type"] == "extra_forbidden":
        return f"{name} is not a setting ({config})"
    origin = "flag" if name in flags else ENV_PREFIX + name.upper() if name in in_environment else str(config)
    return f"{name} ({origin}): {text}, got {error['input']!r}"


def markdown_table() -> str:
    """The settings as the table in docs/settings.md; a test holds the two equal."""
    lines = ["| setting | flag | environment | default | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        flag = f"`--{name.replace('_', '-')}`"
        default = "required" if field.is_required() else "none" if field.default is None else f"`{field.default}`"
        row = (f"`{name}`", flag, f"`{ENV_PREFIX}{name.upper()}`", default, field.description or "")
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"
