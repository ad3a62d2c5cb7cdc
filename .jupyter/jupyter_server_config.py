"""How the lessons' JupyterLab differs from the defaults. `tools/lab.py` and `.binder/start` point JUPYTER_CONFIG_PATH here."""

c = get_config()  # noqa: F821 -- Jupyter defines it

c.LabApp.default_url = "/lab/tree/work/00_start_here.ipynb"

# Tools for teachers and authors, used from the command line: without them a learner's JupyterLab starts faster and looks simpler.
c.ServerApp.jpserver_extensions = dict.fromkeys(
    [
        "jupyterlab_jupytext",
        "nbgrader.server_extensions.assignment_list",
        "nbgrader.server_extensions.course_list",
        "nbgrader.server_extensions.formgrader",
        "nbgrader.server_extensions.validate_assignment",
    ],
    False,
)
