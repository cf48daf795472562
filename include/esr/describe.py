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

GENERATION_PAGE = """\
**ESR generation.** Subscribes to `position.reconciled`: looks at the posts the events tell of, makes
AppRecords (one for each placement and position) and notifications. What comes of it depends on the store
and TCS alone; the daily sweep of `esr_outbound` finds what an event did not tell of.

* `receive` empties both subscribers' queues and notes the posts
* `generate` looks at a deanery's posts in TCS. *Up for reschedule*: a file of it is half applied, or TCS is
  left alone for a while

* applicants and notifications with their state: `spotlight esr applicants`, `spotlight esr notifications`
"""

OUTBOUND_PAGE = """\
**ESR outbound.** Every day at 14:00 in London: one APP and, from 15:00, one DNC file a deanery.

* `ready` waits until the day's RMF or RMC is reconciled or rejected; after 90 minutes (as set) it alerts and
  goes on
* `sweep` looks at every post of the deanery in TCS. *Up for reschedule*: a file of it is half applied
* `export_app`, `export_dnc` pick what is due, give it a number, write, check, archive and send the file,
  then tell TCS. A file that an earlier run could not send goes first

The logical date is the day: a backfill makes a missed day's files, and for a day whose files were sent sends
nothing more. Clearing a task at any time is harmless. Nothing due, no file.

* our files: `spotlight esr exports`; what would be sent: `spotlight run esr_outbound --dry-run <folder>`
* one record: `spotlight esr record resend | withdraw | reopen <id> --why ... --by ...`
* a file that cannot be sent: `spotlight esr abandon <file> --why ... --by ...`
"""

CONFIRMATIONS_PAGE = """\
**ESR confirmations.** Looks every quarter of an hour for ESR's answers on the SFTP server.

* `discover` lands new APC and DCC files untouched in S3 and notes them on the ledger
* `confirm` applies one answer file: each record gets ESR's verdict, TCS is told. Lines that cannot be read
  or matched are set aside one by one. *Up for reschedule*: it answers a file we have not marked as sent yet
* `receipts` sends a receipt (RTC) for each RMF or RMC, from 18:00 in London (as set)
* `unanswered` reports files ESR has not answered for a day (as set), once each

* answers as applied: `spotlight esr exports`, `spotlight esr applicants --state REJECTED`
* an answer file again: `spotlight esr replay <file>`; a backfill replays nothing
"""
