"""Where CGRU has Qt.py, which gives whichever Qt there is."""

from PySide6 import QtCore, QtGui, QtWidgets  # noqa: F401
