"""Shows in the Airflow UI, as one import error, what is wrong with the registry.

It defines no DAG. An import error belongs to a file, and that of the generated DAGs must stay clean
to keep the good ones running.
"""

from __future__ import annotations

from airflow.sdk import get_parsing_context

from include.registry.health import check_registry

if get_parsing_context().dag_id is None:
    check_registry()
