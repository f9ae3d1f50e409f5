"""The pool broker: an encrypted ZeroMQ request/reply service in front of the studio's pools.

broker.py     starts and stops everything
config.py     broker.toml
protocol.py   the messages
service.py    turns a message into its answer; the only place that checks roles
operations/   one class for each operation
picture/      the known state of pools and farm at one moment, from which reads are answered
pools/        pools and changes to them
masks/        turns pool and farm into a proven exclude mask
farm/         asks afserver
live/         the fences of running jobs
store/        where pools are kept
credentials/  who may connect
listeners/    how clients connect
monitoring/   health, counts and the log
memory.py     returns memory to the system

tests/test_rooms.py checks which room imports which.
"""

__version__: str


def __getattr__(name: str) -> str:
    """`__version__`, looked up on first use: commands that need only part of the broker start 20 ms sooner."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("afanasy-pools")
    except PackageNotFoundError:  # run from a checkout that was never installed
        found = "0+checkout"
    globals()[name] = found
    return found
