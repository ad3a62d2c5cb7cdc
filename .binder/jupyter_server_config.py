"""How Binder's server differs from that of `make lab`: it shows the learner's copies, and nothing of the solved edition."""

from pathlib import Path

c = get_config()  # noqa: F821 -- Jupyter defines it

c.ServerApp.root_dir = str(Path(__file__).resolve().parents[1] / "work")
# Whichever program Binder starts: jupyter server, lab or notebook.
c.ServerApp.default_url = c.LabApp.default_url = c.JupyterNotebookApp.default_url = (
    "/lab/tree/00_start_here.ipynb"
)
