"""Whatever is logged, by whoever, no secret that this process knows is in it."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading

import pytest
import structlog
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tieline.telemetry import (
    bind,
    configure_logging,
    get_logger,
    plain_stderr,
    redact,
    remember,
    span,
    start_tracing,
    stop_tracing,
    traceparent,
)

CANARIES = {
    "plain": "sk_test_CANARY77aa21",
    "with quotes": 'CANARY"77\'aa"21',
    "with a backslash": "CANARY\\77\\naa21",
    "with a line break": "CANARY77\naa21-second line",
    "with other letters": "CANARYpässwörd21",
    "with an emoji": "CANARY🔑77aa21",
    "with marks of an address": "CANARY+77/aa=21&x y",
}


@pytest.fixture
def logged(capsys):
    """Configure logging and return what came out; put everything back afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    ours = logging.getLogger("tieline").level
    config = structlog.get_config()

    def read() -> str:
        found = capsys.readouterr()
        return found.out + found.err

    yield read
    structlog.contextvars.clear_contextvars()
    structlog.configure(**config)
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("tieline").setLevel(ours)


def say_in_the_event(canary: str) -> None:
    get_logger("tieline.test").info(f"said {canary}")


def say_in_a_field(canary: str) -> None:
    get_logger("tieline.test").info("said", note=canary)


def say_deep_in_a_field(canary: str) -> None:
    get_logger("tieline.test").info("said", note={"a": [{"b": (canary, {canary})}]})


def say_in_a_field_s_name(canary: str) -> None:
    get_logger("tieline.test").info("said", **{canary: 1})


def say_in_bytes(canary: str) -> None:
    get_logger("tieline.test").info("said", note=canary.encode())


def say_in_the_context(canary: str) -> None:
    bind(connection=canary)
    get_logger("tieline.test").info("said")


def say_as_an_argument(canary: str) -> None:
    get_logger("tieline.test").info("said %s", canary)


def say_in_an_exception(canary: str) -> None:
    try:
        raise ValueError(canary)  # noqa: TRY301 - its text has to reach the log
    except ValueError:
        get_logger("tieline.test").exception("said")


def say_in_a_chain_of_exceptions(canary: str) -> None:
    try:
        try:
            raise KeyError(canary)  # noqa: TRY301 - its text has to reach the log
        except KeyError as error:
            raise RuntimeError("said") from error
    except RuntimeError as error:
        error.add_note(f"note: {canary}")
        get_logger("tieline.test").exception("said")


def say_in_a_group_of_exceptions(canary: str) -> None:
    try:
        raise ExceptionGroup("said", [ValueError(canary)])  # noqa: TRY301 - as above
    except ExceptionGroup:
        get_logger("tieline.test").exception("said")


def say_as_a_library(canary: str) -> None:
    logging.getLogger("foreign").warning("said Authorization: Bearer %s", canary)


def say_as_a_library_by_name(canary: str) -> None:
    logging.getLogger("foreign").warning("said %(key)s", {"key": canary})


def say_as_a_library_that_failed(canary: str) -> None:
    try:
        raise OSError(canary)  # noqa: TRY301 - its text has to reach the log
    except OSError:
        logging.getLogger("foreign").exception("said", stack_info=True)


SAID = [
    say_in_the_event,
    say_in_a_field,
    say_deep_in_a_field,
    say_in_a_field_s_name,
    say_in_bytes,
    say_in_the_context,
    say_as_an_argument,
    say_in_an_exception,
    say_in_a_chain_of_exceptions,
    say_in_a_group_of_exceptions,
    say_as_a_library,
    say_as_a_library_by_name,
    say_as_a_library_that_failed,
]


def written_forms(canary: str) -> set[str]:
    """Return how a person who reads the log might find the secret in it."""
    forms = {canary, json.dumps(canary)[1:-1], json.dumps(canary, ensure_ascii=False)[1:-1]}
    forms |= {repr(canary)[1:-1], repr(canary.encode())[2:-1], *canary.split("\n")}
    return forms | {json.dumps(form)[1:-1] for form in set(forms)}


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("say", SAID, ids=lambda say: say.__name__)
def test_no_line_shows_a_secret(logged, style, say):
    canary = CANARIES["plain"]
    remember(canary)
    configure_logging("debug", style)
    say(canary)
    text = logged()
    assert "said" in text
    assert canary not in text


@pytest.mark.parametrize("style", ["json", "text"])
@pytest.mark.parametrize("say", [say_in_the_event, say_in_a_field, say_in_an_exception])
@pytest.mark.parametrize("case", CANARIES)
def test_no_line_shows_a_secret_in_the_form_that_it_writes(logged, case, say, style):
    remember(CANARIES[case])
    configure_logging("debug", style)
    say(CANARIES[case])
    text = logged()
    assert "said" in text or say is say_in_the_event
    assert [form for form in written_forms(CANARIES[case]) if form in text] == []


SECRET_NAMES = [
    "api_key",
    "apikey",
    "API-Key",
    "client_secret",
    "Authorization",
    "access_token",
    "password",
    "passwd",
    "webhook_signature",
    "Set-Cookie",
    "credential",
]


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_field_of_a_secret_s_name_is_hidden_whatever_it_holds(logged, style):
    configure_logging("debug", style)
    get_logger("tieline.test").info("said", **{name: f"<{name}>" for name in SECRET_NAMES})
    text = logged()
    assert [name for name in SECRET_NAMES if f"<{name}>" in text] == []


def test_a_json_line_stays_json_when_something_is_taken_out(logged):
    remember(CANARIES["plain"])
    configure_logging("debug", "json")
    get_logger("tieline.test").info("said", note=CANARIES["plain"], count=3)
    line = json.loads(logged())
    assert (line["event"], line["note"], line["count"]) == ("said", "[redacted]", 3)


def test_lines_below_the_level_and_chatter_of_libraries_stay_out(logged):
    configure_logging("info", "json")
    get_logger("tieline.test").debug("ours below")
    logging.getLogger("a.library").info("theirs below")
    get_logger("tieline.test").info("ours")
    assert [json.loads(line)["event"] for line in logged().splitlines()] == ["ours"]


CHATTY = [
    "boto3.resources.action",
    "botocore.auth",
    "httpcore.http11",
    "httpx",
    "requests_oauthlib.oauth2_session",
    "rq.worker",
    "stripe",
    "tieline_stripe",
    "urllib3.connectionpool",
]


@pytest.fixture(params=CHATTY)
def chatty(request):
    logger = logging.getLogger(request.param)
    level = logger.level
    yield logger
    logger.setLevel(level)


def test_a_library_that_was_set_to_debug_is_heard_from_warnings_on(logged, chatty):
    configure_logging("debug", "json")
    chatty.setLevel(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    chatty.debug("GET https://api.example.com/?token=unknown-to-us")
    chatty.info("Found credentials in shared credentials file")
    chatty.warning("retrying")
    assert [json.loads(line)["event"] for line in logged().splitlines()] == ["retrying"]


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_traceback_shows_no_local_variable(logged, style):
    configure_logging("debug", style)
    _ = held = "CANARY-unknown-to-us"
    try:
        len(None, held[:3])
    except TypeError:
        get_logger("tieline.test").exception("said")
        logging.getLogger("foreign").exception("said")
    text = logged()
    assert text.count("Traceback") == 2
    assert "CANARY" not in text


HOSTILE = "lost\r\n2026-01-01T00:00:00Z [info     ] all is well\x1b[2J\x9b31m\u202e\x07"


def test_nobody_s_words_begin_a_line_of_their_own_or_speak_to_the_terminal(logged):
    configure_logging("info", "text")
    get_logger("tieline.test").error("said", reason=HOSTILE, exc_info=ValueError(HOSTILE))
    logging.getLogger("foreign").warning("said %s", HOSTILE)
    lines = logged().split("\n")
    own = [line for line in lines if line and not line.startswith("  ")]
    assert len(own) == 2
    assert [line for line in lines if not line.isprintable()] == []
    assert any(line.startswith("  ValueError: lost\\r") for line in lines)


@pytest.mark.parametrize("style", ["json", "text"])
def test_short_secrets_are_hidden_by_name_however_deep(logged, style):
    configure_logging("debug", style)
    get_logger("tieline.test").info(
        "said", note={"api_key": "k1!", "of": [{"password": "k2!"}]}, sent='{"access_token": "k3!"}'
    )
    logging.getLogger("foreign").warning("said ?code=k4!&x=1 to https://me:k5!@host/")
    text = logged()
    assert text.count("said") == 2
    assert [key for key in ("k1!", "k2!", "k3!", "k4!", "k5!") if key in text] == []


def print_as_a_library(canary: str) -> None:
    print(f"said {canary}", file=sys.stderr)


def die_in_a_thread(canary: str) -> None:
    def die() -> None:
        raise RuntimeError(f"said {canary}")

    # pytest puts a hook of its own there.
    before, threading.excepthook = threading.excepthook, threading.__excepthook__
    try:
        thread = threading.Thread(target=die)
        thread.start()
        thread.join()
    finally:
        threading.excepthook = before


def die_in_the_main_thread(canary: str) -> None:
    try:
        raise RuntimeError(f"said {canary}")  # noqa: TRY301 - as it would be uncaught
    except RuntimeError as error:
        sys.__excepthook__(type(error), error, error.__traceback__)


PAST_THE_LOGS = [print_as_a_library, die_in_a_thread, die_in_the_main_thread]


@pytest.mark.parametrize("say", PAST_THE_LOGS, ids=lambda say: say.__name__)
def test_what_goes_to_stderr_past_the_logs_shows_no_known_secret(logged, say):
    remember(CANARIES["plain"])
    configure_logging("debug", "json")
    say(CANARIES["plain"])
    text = logged()
    assert "said [redacted]" in text
    assert CANARIES["plain"] not in text


def test_what_people_have_to_copy_stays_whole(logged):
    configure_logging("debug", "json")
    remember("Zm9vYmFyYmF6")
    address = "https://connect.example.com/authorize?client_id=me&state="
    print(f"{address}unknown", file=sys.stderr)
    print(f"{address}Zm9vYmFyYmF6", file=sys.stderr)
    print(f"{address}Zm9vYmFyYmF6", file=plain_stderr())
    assert logged().splitlines() == [
        f"{address}unknown",
        f"{address}[redacted]",
        f"{address}Zm9vYmFyYmF6",
    ]


def test_to_configure_twice_changes_nothing(logged):
    configure_logging("debug", "json")
    configure_logging("debug", "json")
    get_logger("tieline.test").info("ours")
    assert not hasattr(sys.stderr.stream, "stream")
    assert len(logged().splitlines()) == 1


UNCONFIGURED = """
from tieline.telemetry import get_logger, remember

key = "sk_test_CANARY77aa21"
remember(key)
try:
    raise ValueError(key)
except ValueError:
    get_logger("of.others").warning(f"said {key}", note=key, api_key="k1!", exc_info=True)
"""


def test_before_anything_is_configured_a_warning_shows_no_secret():
    done = subprocess.run([sys.executable, "-c", UNCONFIGURED], capture_output=True, text=True)
    assert "said [redacted]" in done.stderr
    assert "ValueError: [redacted]" in done.stderr
    assert "CANARY" not in done.stderr
    assert "k1!" not in done.stderr


def test_what_is_short_spoils_no_words():
    remember("abc")
    remember("")
    assert redact("abcdef abc") == "abcdef abc"


def test_a_secret_is_taken_out_of_addresses_too():
    remember("key+with/odd=marks")
    assert redact("?k=key%2Bwith%2Fodd%3Dmarks&x=1") == "?k=[redacted]&x=1"


def test_a_secret_within_a_secret_leaves_nothing_over():
    remember("inner-secret")
    remember("outer inner-secret outer")
    assert redact("<outer inner-secret outer>") == "<[redacted]>"


def test_what_was_remembered_again_is_kept_longest():
    remember("kept-secret-0001")
    for number in range(5000):
        if number % 1000 == 0:
            remember("kept-secret-0001")
        remember(f"passing-{number:06d}")
    assert redact("kept-secret-0001") == "[redacted]"


def test_remembering_and_redacting_go_on_side_by_side():
    failures: list[BaseException] = []

    def work(number: int) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(lambda: None)
            try:
                for turn in range(100):
                    text = f"side-by-side-{number}-{turn}"
                    remember(text)
                    assert text not in redact(f"x {text} y")
            except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_line_names_the_trace_it_was_logged_in_and_none_outside_of_one(logged):
    configure_logging("info", "json")
    start_tracing(is_on=True, new_exporter=InMemorySpanExporter)
    try:
        with span("run"):
            get_logger("tieline.test").info("within")
            logging.getLogger("a.library").warning("within")
            trace_id, span_id = traceparent().split("-")[1:3]
        get_logger("tieline.test").info("outside")
    finally:
        stop_tracing()
    *within, outside = map(json.loads, logged().splitlines())
    assert [(line["trace_id"], line["span_id"]) for line in within] == [(trace_id, span_id)] * 2
    assert {"trace_id", "span_id"}.isdisjoint(outside)
