"""``spotlight events``: the event stream as a consumer sees it, and the events held back from it."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit, output
from include.settings import get_settings

app = typer.Typer(help="The event stream.", no_args_is_help=True)

Follow = Annotated[bool, typer.Option("--follow/--no-follow", "-f", help="Go on until Ctrl-C.")]
Seconds = Annotated[float, typer.Option(min=0, help="Without --follow: how long to wait for events.")]
Name = Annotated[str, typer.Option(help="Name of the queues; one name sees each event once.")]


@app.command()
def prepare(
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Create the topics and our consumers' queues where they are missing."""
    from include.events.topics import ensure_topics

    use_local_stack()
    arns = ensure_topics(get_settings())
    emit(arns, "\n".join(f"{topic}  {arn}" for topic, arn in arns.items()))


@app.command()
def release(
    owner: Annotated[str, typer.Option(help="Whose events: an npo_id, or esr/<deanery>.")],
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let events that were set aside wait again, once what spoilt them is mended.

    They broke their schema or were refused by SNS. The owner's next run checks and sends them.
    """
    from include.storage import outbox
    from include.storage.mongo import IntegrationStore, store_errors

    use_local_stack()
    store = IntegrationStore(get_settings())
    try:
        with store_errors(owner):
            released = outbox.release(store, owner)
    finally:
        store.close()
    emit({"owner": owner, "released": released}, f"{released} events of {owner} wait again")


@app.command()
def tail(
    follow: Follow = True,  # noqa: FBT002 - a flag of the command line
    seconds: Seconds = 5,
    name: Name = "tail",
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show events as they arrive, through queues of this command's own.

    The queues stay, so that the next call shows what came in between; other consumers are not
    affected.
    """
    from include.events.consumer import Consumer
    from include.events.publisher import TOPIC_OF

    use_local_stack()
    consumer = Consumer(get_settings(), name, tuple(dict.fromkeys(TOPIC_OF.values())))
    if not output.as_json:
        typer.echo(f"listening on {', '.join(consumer.queue_names)}", err=True)
    give_up = time.monotonic() + seconds
    try:
        while follow or time.monotonic() < give_up:
            for event in consumer.receive(wait_seconds=1):
                typer.echo(json.dumps(event) if output.as_json else _line(event))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _line(event: dict[str, Any]) -> str:
    """Return one readable line: when, what, which entity and version, and its status."""
    told = _told(event.get("data", {}))
    if "dataref" in event:
        told.append(f"data at {event['dataref']}")
    kind = event["type"].removeprefix("org.spotlight.").removesuffix(".v1")
    whose = event.get("npoid") or event["deanery"]
    return (
        f"{event['recordedtime']}  {whose:<14} {kind:<28} {event['subject']} "
        f"v{int(event['sequence'])}  {', '.join(told)}"
    ).rstrip()


def _told(data: dict[str, Any]) -> list[str]:
    """Return the few words that matter of an event's data."""
    if position := data.get("position"):
        post = f"post {position['post_id']}" if position["post_id"] is not None else ""
        return [word for word in (position["match_status"], post, position["deleted"] and "deleted") if word]
    entity = data.get("offering") or data.get("assignment") or data.get("enrolment") or {}
    told = [str(entity["status"])] if "status" in entity else []
    percent = entity.get("progress", {}).get("percent")
    if percent is not None:
        told.append(f"{percent:.0f} %")
    if data.get("correction"):
        told.append("correction")
    return told
