"""Runs on a Ray cluster of this machine alone: runs, failures, stops, and claims that no machine can meet."""

import os
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from fastwsol.experiments.ray_runs import RayChildren, RayFlags
from fastwsol.host.errors import UserError

pytest.importorskip("ray", reason="NOT TESTED on Ray: pip install 'fastwsol[ray]'")

LOCAL = RayFlags("local", cpus_per_run=0.5)


def test_tasks_run_to_their_end_and_a_signal_stops_those_that_do_not(tmp_path):
    waits = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print('up', flush=True)"
    with RayChildren(LOCAL) as children:
        assert children.at_once == 2 * len(os.sched_getaffinity(0))
        assert children.run([sys.executable, "-c", "print('said'); raise SystemExit(3)"], tmp_path / "a.log") == 3
        assert (tmp_path / "a.log").read_text().endswith("\nsaid\n")
        statuses: list[int] = []
        command = [sys.executable, "-c", f"{waits}; time.sleep(600)"]
        thread = threading.Thread(target=lambda: statuses.append(children.run(command, tmp_path / "b.log")))
        thread.start()
        deadline = time.monotonic() + 60
        while not (tmp_path / "b.log").exists() or "\nup" not in (tmp_path / "b.log").read_text():
            assert time.monotonic() < deadline
        os.kill(os.getpid(), signal.SIGTERM)
        thread.join(60)
        assert statuses == [75], "the command saved its state and ended by itself"
        assert not (tmp_path / "c.log").exists()
        assert children.run([sys.executable, "-c", ""], tmp_path / "c.log") == 75, "none begins after a stop"


def test_a_claim_that_no_machine_can_meet_is_told():
    with (
        pytest.raises(UserError, match="--gpus-per-run 64: no machine of the cluster has more"),
        RayChildren(RayFlags("local", gpus_per_run=64)),
    ):
        pass


def test_an_address_where_no_cluster_answers_is_told():
    with pytest.raises(UserError, match="--ray auto: no cluster answers"), RayChildren(RayFlags("auto")):
        pass


def test_claims_that_no_machine_meets_together_are_told():
    """As of a cluster with a machine for each, which a single machine cannot be."""
    nodes = [{"Alive": True, "Resources": each} for each in ({"CPU": 8.0}, {"CPU": 1.0, "GPU": 1.0})]
    children = object.__new__(RayChildren)
    children._ray = SimpleNamespace(nodes=lambda: nodes)
    children._flags = RayFlags(ray=True, cpus_per_run=4, gpus_per_run=1)
    with pytest.raises(UserError, match="no machine of the cluster has both; claim less"):
        children._how_many_at_once()
