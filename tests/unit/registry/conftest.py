"""Airflow must not make its home in the home folder of whoever runs the tests."""

from __future__ import annotations

import os

from include.settings import PROJECT_ROOT

os.environ.setdefault("AIRFLOW_HOME", str(PROJECT_ROOT / ".local" / "test" / "airflow"))
