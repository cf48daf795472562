"""The indexes of the integration store's collections; one without any is named with no keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEXES: tuple[tuple[str, tuple[str, ...], Mapping[str, Any]], ...] = (
    # The order of landing: a stage works from its position on.
    ("npo_raw", ("npo_id", "resource", "order", "_id"), {"name": "line"}),
    # Partial: only what is still to be done is in the index, so it stays small however much is kept.
    (
        "npo_raw",
        # Without the state: nearly all that waits is in one state, and moving it on touches no index.
        ("npo_id", "resource", "_id"),
        {"name": "waiting", "partialFilterExpression": {"pending": True}},
    ),
    ("npo_checkpoint", (), {}),
    # Found by id, which is computed from NPO and partner id: no other index is kept.
    ("npo_offering", (), {}),
    ("npo_assignment", (), {}),
    ("npo_version", ("entity_id", "version"), {"name": "by_entity"}),
    ("quarantine", ("owner", "state", "resource"), {"name": "by_state"}),
    ("quarantine", ("owner", "external_id"), {"name": "by_id"}),
    (
        "outbox",
        ("owner", "order", "_id"),
        {"name": "pending", "partialFilterExpression": {"pending": True}},
    ),
    ("outbox", ("owner",), {"name": "refused", "partialFilterExpression": {"refused": {"$exists": True}}}),
    # What the platform asked for, as it came: found by event id.
    ("enrolment_inbox", ("npo_id", "received_at"), {"name": "by_npo"}),
    (
        "enrolment",
        ("npo_id", "due_at", "_id"),
        {"name": "due", "partialFilterExpression": {"due": True}},
    ),
    ("enrolment", ("npo_id", "external_id"), {"name": "by_partner_id"}),
    ("enrolment", ("npo_id", "state"), {"name": "by_state"}),
    ("enrolment", ("candidate_id",), {"name": "by_candidate"}),
    (
        "enrolment",
        ("forget_at",),
        {"name": "forget", "partialFilterExpression": {"forget_at": {"$exists": True}}},
    ),
    # One document an NPO: who works at its enrolments, whether they are stopped, what is to be published.
    ("enrolment_npo", (), {}),
    ("npo_parent_cursor", (), {}),
    ("erased", ("npo_id", "resource"), {"name": "by_npo"}),
    ("erasure", ("open",), {"name": "open", "partialFilterExpression": {"open": True}}),
    # Shared between all workers, one document an NPO: budget, places for requests under way, breaker.
    ("npo_budget", (), {}),
    ("npo_run", ("npo_id", "started_at"), {"name": "by_npo"}),
    ("fence", (), {}),
    ("esr_file", ("deanery", "order"), {"name": "by_deanery"}),
    ("esr_file", ("deanery", "sequence"), {"name": "by_number"}),
    ("esr_file", ("deanery", "state", "order"), {"name": "at_work"}),
    (
        "esr_file",
        ("misplaced", "order", "_id"),
        {"name": "misplaced", "partialFilterExpression": {"misplaced": True}},
    ),
    ("esr_file", ("order", "states.landed", "_id"), {"name": "newest"}),
    ("esr_file", ("sha256",), {"name": "by_content"}),
    ("esr_file", ("name", "version"), {"name": "by_name"}),
    ("esr_sighting", (), {}),
    ("esr_record", (), {}),  # found by id, which sorts as the file does
    (
        "esr_position",
        ("deanery", "_id"),
        {"name": "waiting", "partialFilterExpression": {"pending": True}},
    ),
    (
        "esr_position",
        ("deanery", "_id"),
        {"name": "unmatched", "partialFilterExpression": {"unmatched": True}},
    ),
    (
        "esr_person",
        ("deanery", "not_before", "_id"),
        {"name": "waiting", "partialFilterExpression": {"pending": True}},
    ),
    ("esr_person", ("deanery",), {"name": "refused", "partialFilterExpression": {"refused": True}}),
    (
        "esr_call",
        ("owner", "order", "_id"),
        {"name": "pending", "partialFilterExpression": {"pending": True}},
    ),
    ("esr_call", ("owner",), {"name": "refused", "partialFilterExpression": {"refused": {"$exists": True}}}),
    ("esr_call", ("position_id",), {"name": "by_position"}),
    ("esr_receipt", ("state", "deanery"), {"name": "by_state"}),
    ("esr_lease", (), {}),
    ("esr_position", ("match.post_id",), {"name": "by_post"}),
    ("esr_todo", ("deanery", "_id"), {"name": "by_deanery"}),
    ("esr_post", ("deanery", "post_id"), {"name": "by_deanery"}),
    ("esr_sweep", (), {}),
    (
        "esr_app_record",
        ("deanery", "start", "_id"),
        {"name": "due", "partialFilterExpression": {"state": "TO_EXPORT"}},
    ),
    ("esr_app_record", ("post_id",), {"name": "by_post"}),
    ("esr_app_record", ("file", "ordinal"), {"name": "by_file"}),
    ("esr_app_record", ("deanery", "state"), {"name": "by_state"}),
    (
        "esr_notification",
        ("deanery", "rank", "_id"),
        {"name": "due", "partialFilterExpression": {"state": "TO_EXPORT"}},
    ),
    ("esr_notification", ("post_id",), {"name": "by_post"}),
    ("esr_notification", ("file", "ordinal"), {"name": "by_file"}),
    ("esr_notification", ("deanery", "state"), {"name": "by_state"}),
    ("esr_sequence", (), {}),
    ("esr_export", ("key",), {"name": "by_key", "unique": True}),
    ("esr_export", ("deanery", "state"), {"name": "by_state"}),
    ("esr_export", ("type", "sequence"), {"name": "by_number"}),
    ("esr_answer", ("file_id", "line"), {"name": "by_line"}),
)

RETIRED: tuple[tuple[str, str], ...] = (
    # By name: indexes that stores of earlier versions still have, and that nothing reads.
    ("enrolment_inbox", "pending"),
)
