"""Evaluation over Ray's own test cluster: rows as from one engine, whatever dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from s1x.annotate.annotate import Annotate
from s1x.annotate.stage import run as annotate
from s1x.benchmark.problem import Problem
from s1x.budget.budget_forcing import BudgetForcing
from s1x.engine.live import close_engine
from s1x.engine.transformers import Transformers
from s1x.errors import UserError
from s1x.evaluate.settings import Sampling
from s1x.evaluate.stage import Evaluation
from s1x.model.model import Model
from s1x.rows import schema
from s1x.workers.chat import EngineChat
from s1x.workers.local import Local
from s1x.workers.workers import Workers

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "engine")]
from paced_engine import Dice, Paced  # noqa: E402
from tiny_model import write_tiny_model  # noqa: E402

pytest.importorskip("ray")
import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from s1x.workers.ray import Ray  # noqa: E402

pytestmark = pytest.mark.ray
UNTIMED = [name for name in schema().names if not name.endswith("_seconds")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    made: Model = write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")
    return made


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without processors and two nodes with one each."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    close_engine()
    ray.shutdown()
    found.shutdown()  # type: ignore[no-untyped-call]


def rows(
    model: Model, folder: Path, workers: Workers, num_problems: int = 60, **changes: Any
) -> tuple[dict[str, Any], bytes]:
    """What evaluation.json holds, and the rows without their seconds, as bytes."""
    settings: dict[str, Any] = {
        "model_role": "fine_tuned",
        "prompt_format": "thinking",
        "policy": BudgetForcing(max_answer_tokens=8, answer_reserve_tokens=8),
        "curve": {"max_thinking_tokens": [16, 64, None], "num_waits": [0, 2]},
        "benchmark_name": "tiny",
        "problems": [
            Problem(f"p{i}", f"solve {i} x + 3 = 5 mod 7", str(i % 7), "d")
            for i in range(num_problems)
        ],
        "engine": Transformers(batch_size=8, device="cpu"),
        "sampling": Sampling(),
        "seed": 0,
        "store_folder": folder / "traces",
    }
    folder.mkdir(parents=True)
    about = Evaluation(model, workers=workers, **{**settings, **changes}).run(folder)
    table = pq.read_table(folder / "rows.parquet", columns=UNTIMED)
    return about, repr(table.to_pylist()).encode()


def test_a_node_dies_and_one_joins_and_the_rows_are_the_same(
    model: Model, tmp_path: Path, cluster: Cluster
) -> None:
    alone, expected = rows(model, tmp_path / "local", Local())
    workers = Ray(num_replicas=3, address=cluster.address, cpus_per_replica=1)
    pace = tmp_path / "go"
    engine = Paced(batch_size=8, device="cpu", pace=str(pace))
    victim = cluster.list_all_nodes()[-1]  # type: ignore[no-untyped-call]

    store = tmp_path / "ray" / "traces"
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(rows, model, tmp_path / "ray", workers, engine=engine)
        while len(list(store.glob("*/*.sqlite"))) < 2:  # both have written
            assert not running.done(), running.result()
            time.sleep(0.05)
        cluster.remove_node(victim, allow_graceful=False)
        cluster.add_node(num_cpus=1)
        while len(list(store.glob("*/*.sqlite"))) < 3:  # the one that has joined, too
            assert not running.done(), running.result()
            time.sleep(0.05)
        pace.touch()
        about, found = running.result()
    assert found == expected
    lost = [replica for replica in about["replicas"] if replica["lost"]]
    assert len(lost) == 1
    assert len(about["replicas"]) == 3
    assert all(replica["items"] for replica in about["replicas"] if not replica["lost"])
    assert about["generated_tokens"] <= alone["generated_tokens"]


GREEDY: dict[str, Any] = {"engine": Transformers(batch_size=8, device="cpu")}
SAMPLED = {"engine": Dice(), "sampling": Sampling(temperature=1.0, samples_per_problem=3)}


@pytest.mark.parametrize(("num_replicas", "changes"), [(2, GREEDY), (4, GREEDY), (2, SAMPLED)])
def test_rows_do_not_depend_on_who_makes_them(
    model: Model, tmp_path: Path, cluster: Cluster, num_replicas: int, changes: dict[str, Any]
) -> None:
    there = sum(int(node.get("Resources", {}).get("CPU", 0)) for node in living())
    if there < num_replicas:
        cluster.add_node(num_cpus=num_replicas - there)
    alone, expected = rows(model, tmp_path / "local", Local(), 12, **changes)
    workers = Ray(num_replicas=num_replicas, address=cluster.address, cpus_per_replica=1)
    about, found = rows(model, tmp_path / "ray", workers, 12, **changes)
    assert found == expected
    assert about["generated_tokens"] == alone["generated_tokens"]
    assert 1 <= len(about["replicas"]) <= num_replicas  # the fast may be done before others start


def living() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def test_annotation_by_replicas_gives_the_same_attempts(
    model: Model, tmp_path: Path, cluster: Cluster
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    questions = {"question": [f"solve {i} x + 3 = 5 mod 7" for i in range(8)]}
    pq.write_table(pa.table(questions), pool / "part-00000.parquet")
    settings = Annotate(tasks=["solve"], solvers={"own": {"max_tokens": 24}})
    ray_workers = Ray(num_replicas=2, address=cluster.address, cpus_per_replica=1)
    found = []
    for name, workers in (("local", Local()), ("ray", ray_workers)):
        own = {"solvers.own": EngineChat(GREEDY["engine"], model, workers=workers)}
        out = tmp_path / name
        annotate(pool, settings, out, tmp_path / f"{name} store", own)
        found.append(pq.read_table(out / "part-00000.parquet").to_pylist())
    assert found[0] == found[1]
    assert all(row["answer_own"] for row in found[0])


def test_what_an_engine_refuses_is_told_in_its_words(
    model: Model, tmp_path: Path, cluster: Cluster
) -> None:
    workers = Ray(address=cluster.address, cpus_per_replica=1)
    with pytest.raises(UserError, match="nothing here") as error:
        rows(replace(model, path=str(tmp_path / "nothing here")), tmp_path / "a", workers)
    assert "Traceback" not in str(error.value)
    workers = Ray(address=cluster.address, cpus_per_replica=999)
    with pytest.raises(UserError, match="no node of the Ray cluster has 999 CPUs"):
        rows(model, tmp_path / "b", workers)
