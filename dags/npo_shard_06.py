"""Shard 6 of the registry: the DAGs ``npo__<npo_id>`` of its active and paused rows."""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from include.registry.dags import npo_dags

globals().update(npo_dags(6, get_parsing_context().dag_id))
