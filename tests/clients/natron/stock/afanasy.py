"""A module that is to ours what CGRU's is: the same functions, the same order of doing things."""

import af
import afanasyGroup
import NatronEngine  # noqa: F401
import NatronGui


def createNode(app):
    reload(afanasyGroup)  # noqa: F821
    app.createNode("cgru.afanasy")


def onParamChanged(thisParam, thisNode, thisGroup, app, userEdited):
    if thisParam.getScriptName() == "afanasy_button_send_job":
        renderNodes(app, [thisNode])


def isNodeAfanasy(i_node):
    return i_node.getPluginID() == "cgru.afanasy"


def renderNodes(i_app, i_nodes, i_params=None):
    made = []
    for node in i_nodes:
        params = {par.getScriptName(): par.getValue() for par in node.getParams() if par.getScriptName()[:3] == "af_"}
        params.update(i_params or {})
        params["nodelabel"] = node.getLabel()
        params["childs"] = [upstream(node.getInput(0))]
        made.append(createJob(i_app, params))
    for res in made:
        if not res["job"].send()[0]:
            NatronGui.natron.errorDialog("Error", "Can`t send job to Afanasy server.")
            break
        i_app.saveTempProject(res["prj"])


def upstream(node):
    found = {par.getScriptName(): par.getValue() for par in node.getParams() if par.getScriptName()[:3] == "af_"}
    childs = [upstream(node.getInput(0))] if isNodeAfanasy(node) else []
    return {**found, "nodelabel": node.getLabel(), "childs": childs}


def createJob(i_app, i_params):
    job = af.Job(i_params["nodelabel"])
    job.blocks.append(af.Block("write", "natron"))
    return {"job": job, "prj": "/jobs/shot.ntp"}


def renderSelected(i_app):
    nodes = i_app.getSelectedNodes()
    dialog = i_app.createModalDialog()
    fields = {"af_frame_pertast": dialog.createIntParam("af_frame_pertast", "Per Task")}
    fields["af_frame_pertast"].setDefaultValue(1, 0)
    dialog.refreshUserParamsGUI()
    if not dialog.exec_():
        return
    renderNodes(i_app, nodes, {field: fields[field].get() for field in fields})
