"""Whether a layer does what its class says and nobody looks on: only then may C do it in PyTorch's place."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

try:  # of PyTorch's own, without promises: what another release may lack is found out here, and not in a step
    from torch._C import _are_functorch_transforms_active, _len_torch_dispatch_stack
    from torch._C import _current_autograd_node as current_autograd_node
    from torch._C._autograd import _top_saved_tensors_default_hooks as saved_tensors_hooks
    from torch.nn.modules.module import _has_any_global_hook
    from torch.overrides import _get_current_function_mode_stack
    from torch.utils._device import DeviceContext

    KNOWS_THIS_TORCH = hasattr(forward_ad, "_current_level")
except ImportError:
    KNOWS_THIS_TORCH = False

# What a call of a layer runs, and anybody may have replaced on an instance; `layer.compile()` sets the last one.
METHODS = frozenset(
    ("forward", "_conv_forward", "_check_input_dim", "_call_impl", "_slow_forward", "_compiled_call_impl")
)

# The classes of the layers that C computes, and of what they are in; and their methods as PyTorch has them.
CLASSES = (
    *(nn.Sequential, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.Dropout),
    *(nn.MaxPool2d, nn.AvgPool2d),
)
ORIGINALS = {kind: {name: getattr(kind, name, None) for name in (*METHODS, "__call__")} for kind in CLASSES}


def classes_untouched() -> bool:
    """Whether nobody has replaced a method of the classes themselves."""
    return all(getattr(kind, name, None) is own for kind, methods in ORIGINALS.items() for name, own in methods.items())


def is_sequential(kind: type) -> bool:
    """Whether it is `nn.Sequential`, or derived from it with the methods that a call runs."""
    own = ORIGINALS[nn.Sequential].items()
    return issubclass(kind, nn.Sequential) and all(getattr(kind, name, None) is method for name, method in own)


def is_ordinary_step(x: Tensor, block: nn.Module) -> bool:
    """Whether `x` are feature maps in float32 on the CPU, for `block` in a step of training that records gradients and
    nothing else, or in one of evaluation."""
    if torch.compiler.is_compiling() or type(x) is not Tensor:
        return False
    maps = x.dim() == 4 and x.dtype == torch.float32 and x.device.type == "cpu" and x.layout == torch.strided
    return (
        maps
        # A checkpoint runs layers twice, which has to give the same dropout: without gradients or with hooks of saved
        # tensors, and again within a backward pass. In evaluation nothing is drawn.
        and (torch.is_grad_enabled() or not any(module.training for module in block.modules()))
        and saved_tensors_hooks(True) is None
        and current_autograd_node() is None
        and not torch.is_autocast_enabled("cpu")
        and not _are_functorch_transforms_active()
        and not _len_torch_dispatch_stack()
        # A default device is a mode as well, and C's tensors do not follow it.
        and all(type(mode) is DeviceContext for mode in _get_current_function_mode_stack())
        and forward_ad._current_level < 0
        and not torch.jit.is_tracing()
        and not _has_any_global_hook()
    )


def untouched(layer: nn.Module) -> bool:
    """Whether nobody has changed what a call of `layer` does: by hooks, other methods or other parameters, which may be
    plain attributes.

    Pruning, weight_norm and spectral_norm change one of these or the class.
    """
    own = {"weight", "bias"}.isdisjoint(vars(layer))
    return own and is_ordinary(layer) and all(map(_is_plain, layer._parameters.values()))


def is_ordinary(layer: nn.Module) -> bool:
    """Whether a call of `layer` runs its class's forward and nothing else."""
    return unhooked(layer) and METHODS.isdisjoint(vars(layer))


def unhooked(module: nn.Module) -> bool:
    return not (
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    )


def _is_plain(parameter: nn.Parameter | None) -> bool:
    """Whether it is trained in float32 on the CPU. None stands for a bias that is not there."""
    return parameter is None or (
        type(parameter) is nn.Parameter
        and parameter.requires_grad
        and parameter.dtype == torch.float32
        and parameter.device.type == "cpu"
        and parameter.layout == torch.strided
    )
