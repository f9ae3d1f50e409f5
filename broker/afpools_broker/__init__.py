"""The pool broker: an encrypted ZeroMQ request/reply service in front of the studio's pools."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("afanasy-pools")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "0+checkout"
