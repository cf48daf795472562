"""What the Airflow UI shows of the exchange's DAGs."""

from __future__ import annotations

DAG_PAGE = """\
**ESR inbound.** Looks every quarter of an hour for RMF and RMC files on the SFTP server and takes each once.

* `discover` lands new files untouched in S3 and notes them on the ledger
* `read` splits a file, sets bad lines aside, judges the whole, saves positions and people.
  Red: the file was rejected, its log says why; ESR gets a receipt
* `reconcile` finds the posts in TCS, tells TCS what changed, updates people
* `publish` sends `position.reconciled` events

One line of the mapped tasks is one file, or a deanery with work left from before. A task *up for
reschedule* waits, for the file before it in its deanery's sequence or for TCS, and goes on by itself.
*Skipped*: it waits for a file that has not come, and is left to a later run. Its name says which.

* what came and what became of it: `spotlight esr files`
* do a file again, at any time: `spotlight esr replay <file>`
* what TCS refused is told again, once mended there: `spotlight esr release --deanery <deanery>`
* a backfill replays the files whose day begins (midnight UTC) in its interval: one run a day is enough
"""
