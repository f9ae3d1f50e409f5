"""Plug-ins, and how they are installed into host applications and removed again.

sources.py         where the plug-ins' own files are
catalogue.py       the list of plug-ins, and where their host applications look for them
install.py         plans and receipts: what to write, and what to remove again
blenders.py        the Blenders on a machine, and where each looks for add-ons
bundle.py          the add-on for Blender as a zip
profile.py         copies a profile to where plug-ins look
python_modules.py  PyMongo and pyzmq in CGRU's and Blender's Pythons
"""
