"""How long a partner asks to be left alone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from include.connectors.answer import Answer
from include.connectors.error_rules import ErrorRules, retry_after
from include.connectors.manifest import ErrorRule
from include.connectors.manifest_format import ResponseFormat
from include.errors import RateLimitedError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"


def wait(text: str, date: str = DATE, completed_at: datetime = NOW) -> float | None:
    headers = {"X-RateLimit-Reset": text, "Date": date}
    answer = Answer("GET", "https://npo.example/x", "x", 429, headers, b"", None, completed_at)
    return retry_after(answer, "X-RateLimit-Reset")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7), ("0.5", 0.5), ("-3", 0), ("Sun, 22 Nov 2026 12:00:30 GMT", 30),
        (f"{NOW.timestamp() + 45:.0f}", 45), (f"{(NOW.timestamp() + 45) * 1000:.0f}", 45),
        (f"{NOW.timestamp() - 45:.0f}", 0),
        ("", None), ("soon", None), ("nan", None), ("inf", None),
    ],
)  # fmt: skip
def test_a_wait_is_seconds_a_date_or_seconds_or_milliseconds_since_1970(
    text: str, seconds: float | None
) -> None:
    assert wait(text) == seconds


def test_a_point_in_time_is_taken_by_the_partners_clock() -> None:
    late = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
    assert wait(f"{NOW.timestamp() + 45:.0f}", completed_at=late) == 45
    assert wait(f"{NOW.timestamp() + 45:.0f}", date="", completed_at=NOW) == 45


@pytest.mark.parametrize("text", ["86400", "1e8", "1e300", "4102444800", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_no_answer_silences_an_npo_for_more_than_an_hour(text: str) -> None:
    assert wait(text) == 3600


QUOTA = ErrorRule.model_validate(
    {"status": 403, "when": {"json": "error.code == 'quota'"}, "action": "rate_limited"}
)


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"format": "csv"},
        {"format": "jsonl"},
        {"format": "csv", "archive": "zip", "member": "*.csv"},
        {"format": "json", "archive": "gzip"},
    ],
    ids=lambda response: "-".join(response.values()) or "json",
)
def test_an_error_is_read_as_json_whatever_the_list_comes_in(response: dict[str, str]) -> None:
    body = b'{"error": {"code": "quota"}}'
    expects = ResponseFormat.model_validate(response)
    answer = Answer("GET", "https://npo.example/x", "x", 403, {}, body, None, NOW, expects=expects)
    with pytest.raises(RateLimitedError):
        ErrorRules([QUOTA], "npo").judge(answer)


@pytest.mark.parametrize("lines", [1, 2])
def test_the_only_record_of_a_list_in_json_lines_is_no_error(lines: int) -> None:
    body = b'{"id": 1, "status": "failed"}\n' * lines
    expects = ResponseFormat.model_validate({"format": "jsonl"})
    answer = Answer("GET", "https://npo.example/x", "x", 200, {}, body, None, NOW, expects=expects)
    rule = ErrorRule.model_validate({"when": {"json": "status == 'failed'"}, "action": "ignore"})
    ErrorRules([rule], "npo").judge(answer)
    assert not answer.ignored
