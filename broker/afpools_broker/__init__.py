"""The pool broker: an encrypted ZeroMQ request/reply service in front of the studio's pools.

broker.py     starts everything, and stops it
config.py     broker.toml
protocol.py   the messages
service.py    a message to its answer; the only place that checks roles
operations/   one class for each operation
picture/      what is known of pools and farm at one moment; reads are answered from it
pools/        pools and changes to them
masks/        from pool and farm to a proven exclude mask
farm/         asks afserver
live/         the fences of running jobs
store/        where pools are kept
credentials/  who may connect
listeners/    the ways in
monitoring/   health, counts and the log
memory.py     memory that is given back to the system

tests/test_rooms.py reads which room imports which.
"""

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
