"""What Airflow shows about the DAG ``npo_enrolment``."""

from __future__ import annotations

DAG_PAGE = """\
### Enrolment

Candidates take up offerings on the platform; this DAG enrols them at the NPO and publishes what came of it.

1. `drain` takes the platform's commands from the queue into the store, and ends what was tried long enough.
2. `npos` lists the NPOs with something to do.
3. `npo.enrol`, one task an NPO: checks, posts, looks up, polls, withdraws; publishes the outcomes.

Watchers start a run within seconds of a command, and of a poll or another try that is due; every five
minutes a sweep does without them. Nothing is lost when a run fails or is killed: the store knows what was
under way, and the next run looks it up.

* An NPO that refuses our credential or path is **stopped**: its task fails once, its enrolments wait. When
  it is mended: `spotlight enrolment resume <npo_id>`.
* Enrolments that need approval wait in the store: `spotlight enrolment list --state awaiting_approval`, then
  `spotlight enrolment approve` or `refuse`.
"""
