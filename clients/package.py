# The client library's Rez package: run `rez build --install` in this folder. Needs pip in the Python that Rez resolves.
# Rez reads this file with `early` and `env` defined.
# ruff: noqa: F821

name = "afpools"

description = "Client library of Afanasy Pools: host pools and exclude masks for CGRU's Afanasy."

authors = ["The Afanasy Pools authors"]

requires = ["python-3.7+"]

build_command = 'python -m pip install --no-deps --no-compile --target "{install_path}/python" "{root}"'


@early()
def version():
    import ast

    with open("afpools/__init__.py", encoding="utf-8") as lines:
        (line,) = [line for line in lines if line.startswith("__version__")]
    return ast.literal_eval(line.split("=")[1].strip())


def commands():
    env.PYTHONPATH.append("{root}/python")
