# Any Qt that Natron has, under one name.
from PySide6 import QtCore as QtCore
