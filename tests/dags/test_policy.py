"""Retries by the taxonomy, the notifier's discretion, the plugin, the warm imports and the settings file."""

from __future__ import annotations

import ast
import subprocess
import sys
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import yaml
from airflow.sdk import DAG, BaseOperator, RetryAction

from include import errors
from include.dag_policy import (
    ENROLMENT_POOL,
    ESR_POOL,
    EXTRACT_POOL,
    STORE_POOL,
    TaxonomyRetryPolicy,
    dag_violations,
    task_defaults,
    task_violations,
)
from include.notify import FailureNotifier, deadline_missed
from include.settings import PROJECT_ROOT


@pytest.mark.parametrize(
    ("error", "action", "wait"),
    [
        (errors.TransientError("down"), RetryAction.RETRY, None),
        (errors.RateLimitedError("slow"), RetryAction.RETRY, timedelta(minutes=15)),
        (errors.RateLimitedError("slow", retry_after=90), RetryAction.RETRY, timedelta(seconds=90)),
        (errors.NotYetError("left alone", retry_after=45), RetryAction.RETRY, timedelta(seconds=45)),
        (errors.NotYetError("left alone", retry_after=1), RetryAction.RETRY, timedelta(seconds=30)),
        (errors.RateLimitedError("slow", retry_after=-5), RetryAction.RETRY, timedelta(0)),
        (errors.RateLimitedError("slow", retry_after=1e9), RetryAction.RETRY, timedelta(hours=6)),
        (errors.ConfigurationError("401"), RetryAction.FAIL, None),
        (errors.DataQualityError("empty"), RetryAction.FAIL, None),
        (errors.FatalError("bug"), RetryAction.FAIL, None),
        (errors.RecordError("one", code="missing_id"), RetryAction.FAIL, None),
        (ConnectionResetError(), RetryAction.DEFAULT, None),
    ],
)
def test_the_class_of_the_error_decides_about_a_retry(
    error: Exception, action: RetryAction, wait: timedelta | None
):
    decision = TaxonomyRetryPolicy().evaluate(error, try_number=1, max_tries=3)
    assert (decision.action, decision.retry_delay) == (action, wait)


def test_a_bare_dag_and_task_break_every_rule():
    with DAG("bare", schedule=None, catchup=True) as dag:
        task = BaseOperator(task_id="bare")
    assert len(dag_violations(dag)) == 3
    assert len(task_violations(task)) == 6


def test_the_defaults_leave_only_owner_and_pool_to_the_dag():
    with DAG("good", schedule=None, default_args=task_defaults()):
        task = BaseOperator(task_id="good", owner="someone", pool=STORE_POOL)
    assert task_violations(task) == []


def failed_with(exception: BaseException) -> dict[str, Any]:
    instance = SimpleNamespace(dag_id="npo__x", task_id="extract", run_id="r1", try_number=2)
    with structlog.testing.capture_logs() as logs:
        FailureNotifier()({"ti": instance, "exception": exception})
    [line] = logs
    return dict(line)


def test_a_failure_of_ours_is_told_in_one_line_with_its_message():
    line = failed_with(errors.ConfigurationError("401: credential refused", subject="x", stage="extract"))
    assert line["event"] == "task_failed"
    assert line["failure"] == "ConfigurationError"
    assert line["message"] == "x/extract: 401: credential refused"
    assert (line["dag_id"], line["task_id"], line["run_id"]) == ("npo__x", "extract", "r1")


def test_the_text_of_a_foreign_error_is_not_told():
    line = failed_with(KeyError("jo.bloggs@example.org"))
    assert line["failure"] == "KeyError"
    assert "bloggs" not in str(line)


def test_a_missed_deadline_is_told_in_one_line():
    run = deadline_missed(
        {"dag_run": {"dag_id": "npo__x", "dag_run_id": "r1", "conf": {"a": "b"}}}, "4:00:00"
    )
    with structlog.testing.capture_logs() as logs, pytest.raises(StopIteration):
        run.send(None)
    assert [line["event"] for line in logs] == ["deadline_missed"]
    assert logs[0]["run_id"] == "r1"
    assert "conf" not in logs[0]


def in_airflow(script: str, environment: dict[str, str], *arguments: str) -> str:
    """Return the last line of a script that runs as if by ``airflow <arguments>``."""
    lines = f"import sys\nsys.argv = ['airflow', {', '.join(map(repr, arguments))}]\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", lines],
        env=environment | {"GX_ANALYTICS_ENABLED": "false"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("component", "imported"),
    [
        ("scheduler", ["psycopg", "great_expectations"]),  # its forks run the tasks
        ("dag-processor", ["psycopg"]),  # its forks read the DAG files
        ("triggerer", []),
        ("api-server", []),
    ],
)
def test_each_component_imports_early_what_its_forks_need(
    airflow_environment: dict[str, str], component: str, imported: list[str]
):
    script = (
        "import airflow_local_settings\n"
        "print([name for name in ('psycopg', 'great_expectations') if name in sys.modules],"
        " any(name.split('.')[0] == 'include' for name in sys.modules))"
    )
    # Nothing of ours: a DAG processor or scheduler that runs for weeks must not keep old code.
    assert in_airflow(script, airflow_environment, component) == f"{imported} False"


@pytest.fixture(scope="module")
def judged(airflow_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the cluster policy says of a task and a DAG of ours, and of a DAG file of others."""
    theirs = tmp_path_factory.mktemp("theirs")
    (theirs / "theirs.py").write_text(
        "from airflow.sdk import DAG, BaseOperator\n"
        "with DAG('theirs', schedule=None, catchup=True): BaseOperator(task_id='t')\n"
    )
    script = (
        "import airflow.settings as s\nfrom airflow.sdk import DAG, BaseOperator\n"
        "from airflow.dag_processing.dagbag import DagBag\n"
        "with DAG('d', schedule=None) as dag: task = BaseOperator(task_id='t')\n"
        f"dag.fileloc = {str(PROJECT_ROOT / 'dags' / 'new.py')!r}\n"
        "hook, told = s.get_policy_plugin_manager().hook, []\n"
        "for check in (lambda: hook.task_policy(task=task), lambda: hook.dag_policy(dag=dag)):\n"
        "    try: check()\n"
        "    except Exception as error: told.append(f'{type(error).__name__} {error}')\n"
        f"bag = DagBag({str(theirs)!r})\n"
        "print([*told, f'{sorted(bag.dags)} {bag.import_errors}'])"
    )
    found: list[str] = ast.literal_eval(in_airflow(script, airflow_environment, "triggerer"))
    return found


def test_the_cluster_policy_refuses_what_breaks_the_rules(judged: list[str]):
    assert judged[0].startswith("AirflowClusterPolicyViolation task d.t needs an owner; explicit")
    assert judged[1].startswith("AirflowClusterPolicyViolation DAG d needs at")


def test_the_dags_of_other_teams_are_left_alone(judged: list[str]):
    assert judged[2] == "['theirs'] {}"


def test_only_the_triggerer_follows_the_registry(airflow_environment: dict[str, str]):
    script = (
        "import threading\nfrom airflow.listeners.listener import get_listener_manager\n"
        "class Job: pass\n"
        "following = []\n"
        "for sys.argv[1] in ('scheduler', 'dag-processor', 'tasks', 'triggerer'):\n"
        "    get_listener_manager().hook.on_starting(component=Job())\n"
        "    following.append('registry-follower' in {one.name for one in threading.enumerate()})\n"
        "print(following)"
    )
    assert in_airflow(script, airflow_environment, "tasks") == "[False, False, False, True]"


def test_the_pools_of_the_policy_are_in_the_settings_file():
    content = yaml.safe_load((PROJECT_ROOT / "airflow_settings.yaml").read_text())["airflow"]
    assert {pool["pool_name"] for pool in content["pools"]} == {
        EXTRACT_POOL,
        STORE_POOL,
        ENROLMENT_POOL,
        ESR_POOL,
    }
