"""The page and the owner of a DAG."""

from __future__ import annotations

import re
from datetime import date

import pytest

from include.registry.describe import dag_page, owner
from include.registry.models import NpoConfig, NpoStatus


def npo(**changes: object) -> NpoConfig:
    return NpoConfig.model_validate(
        {
            "npo_id": "hopeworks",
            "name": "Hopeworks",
            "owner_email": "jo.bloggs@example.org",
            "status": NpoStatus.ACTIVE,
            "connector": "hopeworks",
            "base_url": "https://api.hopeworks.org",
            "allowed_hosts": ["api.hopeworks.org"],
            "credential_ref": "hopeworks_api",
            "schedule": "@hourly",
            "start_date": date(2026, 1, 1),
        }
        | changes
    )


def test_the_page_tells_row_budget_and_version():
    page = dag_page(npo(config_version=7, requests_per_minute=120))
    for told in ("# Hopeworks", "`hopeworks`", "https://api.hopeworks.org", "120 requests", "| 7 |"):
        assert told in page


def test_no_e_mail_address_is_on_the_page_or_in_the_owner():
    assert "bloggs" not in dag_page(npo()) + owner(npo())


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "[click](javascript:alert(1))",
        "![x](http://evil/x.png)",
        "a|b\n| c | d |",
    ],
)
def test_markup_in_a_name_or_description_stays_text(hostile: str):
    page = dag_page(npo(name=hostile, description=hostile))
    own = dag_page(npo(name="-", description="-"))
    unescaped = re.sub(r"\\.", "", page)
    for mark in "<[!|":
        assert unescaped.count(mark) == own.count(mark)
    assert len(page.splitlines()) == len(dag_page(npo()).splitlines())


def test_the_page_is_never_taken_for_the_name_of_a_file():
    # Airflow reads a doc_md that ends in .md from disk.
    assert not dag_page(npo(description="see README.md")).endswith(".md")


def test_a_comma_does_not_make_two_owners():
    assert owner(npo(name="Hope, Works & Co")) == "Hope Works & Co"
