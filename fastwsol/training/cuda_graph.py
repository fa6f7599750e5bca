"""Device work that is recorded once and replayed: on a GPU a CUDA graph, a single launch in place of a thousand.

On the CPU nothing is recorded, and a replay does the work again: over the same static inputs, after the same warming
up, so that tests there hold all but the recording itself.
"""

from collections.abc import Callable

import torch

from fastwsol.batches.stream import Inputs

WARMING = 3
"""Times the work is done before it is recorded: libraries choose algorithms and allocate, and the compiler compiles."""


class Captured:
    """`work(inputs)` as a replay. Constructing it does the work, on `sample`, a few times.

    work: does the same operations on the same tensors in every call. It must not wait for the device, and its result is
    dropped.
    """

    def __init__(self, work: Callable[[Inputs], object], sample: Inputs) -> None:
        self._work = work  # the graph reads memory that only this keeps
        self._inputs = {name: tensor.clone() for name, tensor in sample.items()}
        record = _as_graph if next(iter(sample.values())).is_cuda else _as_it_is
        self._replay = record(lambda: work(self._inputs))

    def __call__(self, inputs: Inputs) -> None:
        """Do the work on `inputs`."""
        for name, static in self._inputs.items():
            static.copy_(inputs[name])
        self._replay()


def _as_graph(work: Callable[[], object]) -> Callable[[], object]:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(stream):
            for _ in range(WARMING):
                work()
    finally:  # where the work failed, too: what of it is still at work must not meet what comes next
        torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # The outer context has this process go on where it was even after a capture that failed. Other threads draw and
    # upload meanwhile, which only a capture of the whole process would mind.
    with (
        torch.cuda.stream(torch.cuda.current_stream()),
        torch.cuda.graph(graph, capture_error_mode="thread_local"),
    ):
        work()
    return graph.replay


def _as_it_is(work: Callable[[], object]) -> Callable[[], object]:
    for _ in range(WARMING):
        work()
    return work
