"""A plugin of pytest: on Linux, nbval talks to its kernels over named sockets (`man 7 unix`: abstract), which are no files.

Otherwise it talks over ports, which it chooses, gives back and hands on. Until the kernel binds them a second later, another process of
the run may have taken one, and then the kernel dies.
"""

import sys
import uuid

import nbval.kernel
from jupyter_client.manager import KernelManager

if sys.platform == "linux":
    nbval.kernel.KernelManager = lambda **more: KernelManager(transport="ipc", ip=f"@{uuid.uuid4()}", **more)
