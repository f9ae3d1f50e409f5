# Qt.py, which CGRU brings: any installed Qt, under one name.
from PySide6 import QtCore as QtCore
from PySide6 import QtGui as QtGui
from PySide6 import QtWidgets as QtWidgets
