"""A plugin of pytest: on Linux, nbval talks to its kernels over named sockets.

Otherwise it talks over ports, which it chooses, gives back and hands on. Until the kernel binds them a second later, another process of
the run may have taken one, and then the kernel dies.
"""

import sys
import uuid

import nbval.kernel
from jupyter_client.manager import KernelManager
from traitlets import default


class SocketKernels(KernelManager):
    """Manages a kernel whose sockets have names in memory (`man 7 unix`: abstract), no files and no ports."""

    @default("transport")
    def _transport(self) -> str:
        return "ipc"

    @default("ip")
    def _name(self) -> str:
        return f"@{uuid.uuid4()}"


if sys.platform == "linux":
    nbval.kernel.KernelManager = SocketKernels
