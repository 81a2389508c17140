"""What FastVideo 0.2.1 needs on a machine without an accelerator; reached by every process a gate starts.

Python imports this module by itself because its folder is on PYTHONPATH. Nothing here changes what is
computed: each part stands in for something that a CPU does not have, and does nothing where it is not
needed. On a machine with a GPU no part applies.

- torchvision from PyPI is a CUDA build whose operators cannot load beside a CPU build of torch. FastVideo
  uses none of them, but importing torchvision asks for `nms`.
- FastVideo's CPU platform names no attention backend; scaled dot product attention is the one it has for
  Apple's GPUs and runs anywhere.
- FastVideo asks CUDA for its device, and opens `torch.autocast("cuda")`, which is off without CUDA: the CPU's
  autocast gives production precision its meaning.
- Offloading to the host, FSDP and pinned memory need a device beside the host.
"""

import importlib.abc
import importlib.util
import os
import sys

_KEEP = []
_OFFLOADING = (
    "dit_cpu_offload",
    "dit_layerwise_offload",
    "text_encoder_cpu_offload",
    "image_encoder_cpu_offload",
    "vae_cpu_offload",
    "use_fsdp_inference",
    "pin_cpu_memory",
)


def _no_gpu():
    import torch

    return not torch.cuda.is_available()


def _torchvision(execute, module):
    try:
        execute(module)
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        import torch

        for name in [n for n in sys.modules if n.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _KEEP.append(library)  # the definitions live as long as this object
        execute(module)


def _torch(execute, module):
    execute(module)
    if module.cuda.is_available():
        return

    class autocast(module.autocast):  # noqa: N801 - it stands in for torch's own name
        def __init__(self, device_type, *args, **kwargs):
            super().__init__("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    module.autocast = module.amp.autocast_mode.autocast = autocast


def _cpu_platform(execute, module):
    execute(module)

    def get_attn_backend_cls(_cls, *_args, **_kwargs):
        return "fastvideo.attention.backends.sdpa.SDPABackend"

    module.CpuPlatform.get_attn_backend_cls = classmethod(get_attn_backend_cls)


def _parallel_state(execute, module):
    execute(module)
    if _no_gpu():
        import torch

        module.get_local_torch_device = lambda: torch.device("cpu")


def _arguments(execute, module):
    execute(module)
    if not _no_gpu():
        return
    own = module.FastVideoArgs.__post_init__

    def post_init(self):
        for name in _OFFLOADING:
            setattr(self, name, False)
        own(self)

    module.FastVideoArgs.__post_init__ = post_init


_HOOKS = {
    "torch": _torch,
    "torchvision": _torchvision,
    "fastvideo.platforms.cpu": _cpu_platform,
    "fastvideo.distributed.parallel_state": _parallel_state,
    "fastvideo.fastvideo_args": _arguments,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Lets the real module load, and its hook finish the work."""

    def __init__(self):
        self._looking = set()

    def find_spec(self, name, path, target=None):
        if name not in _HOOKS or name in self._looking:
            return None
        self._looking.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking.discard(name)
        if (
            spec is not None and spec.loader is not None
        ):  # libraries look for modules they never import
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: _HOOKS[name](execute, module)
        return spec


if not os.environ.get("PORTSPEC_NO_SHIMS"):
    sys.meta_path.insert(0, _Finder())
