"""A plugin of pytest: on Linux, nbval talks to its kernels over abstract sockets (`man 7 unix`), which are not files.

Without it, nbval uses ports: it picks free ones and passes them to the kernel, which binds them a second later. If another
process of the run takes one in the meantime, the kernel dies.
"""

import sys
import uuid

import nbval.kernel
from jupyter_client.manager import KernelManager

if sys.platform == "linux":
    nbval.kernel.KernelManager = lambda **more: KernelManager(transport="ipc", ip=f"@{uuid.uuid4()}", **more)
