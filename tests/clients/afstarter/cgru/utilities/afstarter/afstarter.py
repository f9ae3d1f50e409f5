"""A window that is to the launcher what AfStarter's is: the same names, the same order of doing things."""

import os
import sys

from Qt import QtCore, QtWidgets

LAST = os.path.join(os.environ["HOME"], "afstarter.last.txt")


class Dialog(QtWidgets.QWidget):
    def __init__(self):
        QtWidgets.QWidget.__init__(self)
        self.setWindowTitle("Afanasy Starter")
        self.constructed = self.evaluated = False
        layout = QtWidgets.QVBoxLayout(self)
        tabs = QtWidgets.QTabWidget(self)
        layout.addWidget(tabs)
        pages = {}
        for title in ("Scene", "Job"):
            page = QtWidgets.QWidget(self)
            tabs.addTab(page, title)
            pages[title] = QtWidgets.QVBoxLayout(page)
        self.fields = {
            "scenefile": QtWidgets.QLineEdit(self),
            "framestart": QtWidgets.QSpinBox(self),
            "frameend": QtWidgets.QSpinBox(self),
            "hostsexclude": QtWidgets.QLineEdit(self),
        }
        for name, field in self.fields.items():
            pages["Job" if name == "hostsexclude" else "Scene"].addWidget(field)
        self.teCmd = QtWidgets.QTextEdit(self)
        layout.addWidget(self.teCmd)
        self.bStart = QtWidgets.QPushButton("Start", self)
        layout.addWidget(self.bStart)
        self.bStart.pressed.connect(self.start)
        self.constructed = True
        if not self.load(LAST):
            self.evaluate()

    def quitsave(self):
        self.save(LAST)
        self.close()

    def save(self, filename):
        with open(filename, "w") as file:
            for name, field in self.fields.items():
                file.write("%s=%s\n" % (name, field.text()))

    def load(self, filename):
        if not os.path.isfile(filename):
            return False
        self.constructed = False
        with open(filename) as file:
            for line in file:
                name, _, value = line.strip().partition("=")
                field = self.fields.get(name)
                if isinstance(field, QtWidgets.QLineEdit):
                    field.setText(value)
                elif field is not None:
                    field.setValue(int(value))
        self.constructed = True
        self.evaluate()
        return True

    def evaluate(self):
        self.evaluateCmd()

    def evaluateCmd(self, i_start=False):
        if not self.constructed:
            return
        self.evaluated = False
        self.bStart.setEnabled(False)
        if not self.fields["scenefile"].text():
            self.teCmd.setText("No scene.")
            return
        command = '"%s" "%s"' % (sys.executable, os.path.join(os.environ["AF_ROOT"], "python", "afjob.py"))
        command += ' "%s" %d' % (self.fields["scenefile"].text(), self.fields["framestart"].value())
        command += " %d" % self.fields["frameend"].value()
        if self.fields["hostsexclude"].text():
            command += ' -hostsexcl "%s"' % self.fields["hostsexclude"].text()
        self.teCmd.setText(command)
        self.evaluated = True
        self.bStart.setEnabled(True)

    def start(self):
        self.evaluateCmd(True)
        if not self.evaluated:
            return
        command = str(self.teCmd.toPlainText())
        self.teCmd.clear()
        self.process = QtCore.QProcess(self)
        self.process.setProcessChannelMode(QtCore.QProcess.ProcessChannelMode.MergedChannels)
        self.process.finished.connect(self.processfinished)
        self.process.readyRead.connect(self.processoutput)
        self.process.startCommand(command)

    def processfinished(self, exitCode):
        if exitCode == 0:
            self.teCmd.append("The job successfully sent.")

    def processoutput(self):
        self.teCmd.append(str(self.process.readAll().data(), "utf-8"))


app = QtWidgets.QApplication(sys.argv)
dialog = Dialog()
dialog.show()
app.exec()
