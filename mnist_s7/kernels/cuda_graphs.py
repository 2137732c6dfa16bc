"""Training steps as CUDA graphs: a step of these networks is some hundred short kernels, and starting them one by one
takes longer than they do."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

Step = Callable[..., tuple[Tensor, Tensor]]  # of inputs, labels, and what else a batch has
EAGER_STEPS = 3  # before a capture: PyTorch's own advice, for what libraries set up in their first calls


class CapturedStep:
    """A training step as a CUDA graph, one for each shape of its inputs: all its kernels started at once.

    What changes from step to step must be in tensors that stay. The first steps with each shape, which prepare the
    capture, are done without it. Where a capture fails, so are all.
    """

    def __init__(self, step: Step):
        self.step, self.works = step, True
        self.eager_steps: Counter[torch.Size] = Counter()
        self.graphs: dict[torch.Size, tuple[list[Tensor], Callable[[], None], Tensor, Tensor]] = {}

    def __call__(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        shape = batch[0].shape
        if shape not in self.graphs:
            if not self.works or self.eager_steps[shape] < EAGER_STEPS:
                self.eager_steps[shape] += 1
                return self.step(*batch)
            own = [tensor.clone() for tensor in batch]
            try:
                replay, loss, correct = capture(lambda: self.step(*own))
            except RuntimeError:
                self.works = False
                return self.step(*batch)
            self.graphs[shape] = own, replay, loss, correct
        own, replay, loss, correct = self.graphs[shape]
        for mine, tensor in zip(own, batch, strict=True):
            mine.copy_(tensor)
        replay()
        return loss.clone(), correct.clone()  # the next replay writes over them


def capture(function: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Callable[[], None], Tensor, Tensor]:
    """Record `function`'s kernels without running them: a call that runs them, and the tensors that it writes."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        loss, correct = function()
    return graph.replay, loss, correct


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, a stream besides the default one, whose work cannot be captured. It waits for that, and that for it."""
    if device.type != "cuda":
        yield
        return
    outer, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    outer.wait_stream(stream)
