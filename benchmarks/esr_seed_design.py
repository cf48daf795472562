"""The seed system's design as a small honest baseline: one message and one REST call a record.

Every data line of an RMF becomes a message on a queue. A consumer takes one message, asks TCS for that one
record's post (or person), saves one document, tells TCS about a matched position, passes POS and POR on to
the next queue, and deletes the message. Same servers, same data, keep-alive connections, batch size one.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import uuid4

import requests

if TYPE_CHECKING:
    from pathlib import Path

    from include.settings import Settings

ONE_MESSAGE = 1


def measure(settings: Settings, file: Path, records: int) -> dict[str, Any]:
    """Take the first ``records`` data lines of a file through the seed's design.

    Returns:
        ``records``, ``seconds`` and ``records_per_second``.
    """
    from include.events.topics import connect
    from include.storage.mongo import IntegrationStore

    sqs = connect(settings).sqs
    split, saved = (
        sqs.create_queue(QueueName=f"seed-{name}-{uuid4().hex[:8]}")["QueueUrl"]
        for name in ("split", "saved")
    )
    collection = IntegrationStore(settings)[f"seed_{uuid4().hex[:8]}"]
    lines = file.read_text("utf-8").splitlines()[1 : records + 1]
    tcs = tcs_session(settings)
    began = time.perf_counter()
    for line in lines:
        sqs.send_message(QueueUrl=split, MessageBody=line)
        [message] = sqs.receive_message(QueueUrl=split, MaxNumberOfMessages=ONE_MESSAGE)["Messages"]
        _consume(settings, tcs, sqs, saved, collection, message["Body"])
        sqs.delete_message(QueueUrl=split, ReceiptHandle=message["ReceiptHandle"])
    seconds = time.perf_counter() - began
    return {
        "records": len(lines),
        "seconds": round(seconds, 2),
        "records_per_second": round(len(lines) / seconds, 1),
    }


def _consume(
    settings: Settings, tcs: requests.Session, sqs: Any, saved: str, collection: Any, line: str
) -> None:
    import csv

    fields = next(csv.reader([line]))
    kind, record_id = fields[0], fields[1]
    document: dict[str, Any] = {"_id": f"{kind}/{record_id}", "fields": fields}
    if kind in {"POS", "POR"}:
        number = fields[9] if kind == "POS" else fields[6]
        found = _get(tcs, settings, f"posts/in/{quote(number, safe='')}")
        document["post"] = found[0]["id"] if found else None
    else:
        registration = fields[5] if kind == "PBD" else "6000001"
        found = _get(tcs, settings, f"gmc-details/in/{quote(registration, safe='')}")
        document["person"] = found[0]["id"] if found else None
    collection.replace_one({"_id": document["_id"]}, document, upsert=True)
    if document.get("post"):
        body = {
            "eventDateTime": "2026-03-04T14:30:00Z",
            "filename": "DE_EMD_RMF_20260304_00000017.DAT",
            "positionId": int(record_id),
            "positionNumber": fields[4],
            "postId": document["post"],
            "status": "RECONCILED",
        }
        answer = tcs.post(
            f"{settings.tcs_url}/api/posts/{document['post']}/esr-changed", json=body, timeout=30
        )
        answer.raise_for_status()
        sqs.send_message(QueueUrl=saved, MessageBody=json.dumps(body))


def _get(tcs: requests.Session, settings: Settings, path: str) -> list[dict[str, Any]]:
    answer = tcs.get(f"{settings.tcs_url}/api/{path}", timeout=30)
    answer.raise_for_status()
    return list(answer.json())


def tcs_session(settings: Settings) -> requests.Session:
    """Return a session that is logged in at TCS."""
    session = requests.Session()
    session.trust_env = False
    secret = settings.tcs_client_secret
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.tcs_client_id,
        "client_secret": secret.get_secret_value() if secret else "",
    }
    answer = session.post(settings.tcs_token_url, data=form, timeout=30)
    answer.raise_for_status()
    session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
    return session
