"""Gradients of two processes are those of one; what has a gradient nowhere keeps none."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from captioner.train.processes import Processes
from captioner.train.reducer import GradientReducer
from tests.helpers import ROOT

PROGRAM = """
import json, sys, torch
import captioner.train.reducer as reducer
from captioner.train.processes import join_processes
reducer.BUCKET = 40  # several buckets
torch.manual_seed(0)
net = torch.nn.ModuleList([torch.nn.Linear(6, 6) for _ in range(4)])
processes = join_processes(torch.device("cpu"))
given = reducer.GradientReducer(list(net.parameters()), processes)
x = torch.randn(4, 6)[processes.rank * 2 : processes.rank * 2 + 2]
for last in (False, True):  # two micro-batches, the second one sends
    given.arm(last)
    y = net[2](net[1](x).relu())
    if processes.rank == 0:
        y = net[0](y)  # only one process has a gradient here; the last layer has one nowhere
    y.square().mean().backward()
given.finish()
rows = [None if p.grad is None else p.grad.flatten().tolist() for p in net.parameters()]
open(f"{sys.argv[1]}.{processes.rank}", "w").write(json.dumps(rows))
processes.leave()
"""


def alone() -> list[list[float] | None]:
    torch.manual_seed(0)
    net = torch.nn.ModuleList([torch.nn.Linear(6, 6) for _ in range(4)])
    x = torch.randn(4, 6)
    for _ in range(2):
        first, second = (net[2](net[1](part).relu()) for part in x.split(2))
        ((net[0](first).square().mean() + second.square().mean()) / 2).backward()
    return [None if p.grad is None else p.grad.flatten().tolist() for p in net.parameters()]


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(tmp_path: Path) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = str(door.getsockname()[1])
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    out = tmp_path / "grads"
    command = [sys.executable, "-c", PROGRAM, str(out)]
    runs = [subprocess.Popen(command, env={**shared, "RANK": str(r), "LOCAL_RANK": str(r)}) for r in range(2)]
    assert [run.wait(120) for run in runs] == [0, 0]
    wanted = alone()
    for rank in range(2):
        found = json.loads(Path(f"{out}.{rank}").read_text())
        assert [row is None for row in found] == [row is None for row in wanted]
        assert found[-1] is None
        for mine, theirs in zip(found, wanted, strict=True):
            if mine is not None:
                torch.testing.assert_close(torch.tensor(mine), torch.tensor(theirs))


def test_alone_nothing_travels() -> None:
    layer = torch.nn.Linear(2, 2)
    reducer = GradientReducer(list(layer.parameters()), Processes())
    reducer.arm(True)
    layer(torch.ones(1, 2)).sum().backward()
    before = layer.weight.grad.clone()  # type: ignore[union-attr]
    reducer.finish()
    assert torch.equal(layer.weight.grad, before)  # type: ignore[arg-type]
