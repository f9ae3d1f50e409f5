"""The pool broker: an encrypted ZeroMQ request/reply service in front of the studio's pools."""

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, when it is first asked for: commands that need some part of the broker start 20 ms sooner."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("afanasy-pools")
    except PackageNotFoundError:  # run from a checkout that was never installed
        found = "0+checkout"
    globals()[name] = found
    return found
