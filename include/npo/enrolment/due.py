"""Which NPOs have enrolments to be worked at now: asked by each run, and by the alarm that starts one."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.npo.enrolment.records import COLLECTION, NPOS

if TYPE_CHECKING:
    from datetime import datetime

    from include.storage.mongo import IntegrationStore

STOPPED_LOOKED_AT = timedelta(hours=6)
"""So often it is looked whether an NPO whose enrolments are stopped is in use still."""
_HELD = {"$gt": ["$lease.until", "$$NOW"]}
DUE = "due"
"""The index over what is due: without a hint a query that names no NPO reads every enrolment ever made."""


def npos_to_work_at(store: IntegrationStore, *, at: datetime) -> list[str]:
    """Return the NPOs with something to do or to publish, longest due first.

    NPOs that another process is at work for are left out, and those whose enrolments are stopped or that
    asked us to wait, unless they have something to publish. A stopped one is looked at now and then: it may
    be in use no more.
    """
    found = store[COLLECTION].aggregate(pipeline(at), hint=DUE)
    waiting = [each["_id"] for each in found]
    taken = {"$expr": _HELD}
    stopped = {"stopped": {"$exists": True}, "looked_at": {"$gt": at - STOPPED_LOOKED_AT}}
    quiet = {"$or": [stopped, {"not_before": {"$gt": at}}, taken]}
    left_out = {each["_id"] for each in store[NPOS].find({"_id": {"$in": waiting}} | quiet, {"_id": 1})}
    unsaid = {"publish": {"$exists": True}, "$nor": [taken]}
    telling = sorted(each["_id"] for each in store[NPOS].find(unsaid, {"_id": 1}))
    return list(dict.fromkeys([*(each for each in waiting if each not in left_out), *telling]))


def npos_worked_at(store: IntegrationStore) -> list[str]:
    """Return the NPOs a process is at work for: few, and each only for as long as its lease."""
    return [each["_id"] for each in store[NPOS].find({"$expr": _HELD}, {"_id": 1})]


def pipeline(at: datetime) -> list[dict[str, Any]]:
    """Return the aggregation over what is due: a few keys an NPO and what is due now are all it reads."""
    return [
        # Every npo_id: named all the same, else the index's second field is no bound and all of it is read.
        {"$match": {"due": True, "npo_id": {"$gt": ""}, "due_at": {"$lte": at}}},
        {"$group": {"_id": "$npo_id", "since": {"$min": "$due_at"}}},
        {"$sort": {"since": 1, "_id": 1}},
    ]
