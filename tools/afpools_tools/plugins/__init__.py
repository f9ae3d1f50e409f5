"""Plug-ins, and how they get into host applications and out of them again.

sources.py         where their files are
catalogue.py       which there are, and where their host applications look
install.py         plans, receipts: what is written, and what is taken away again
blenders.py        the Blenders of a machine, and where each looks for add-ons
bundle.py          the add-on for Blender as a zip
profile.py         the profile beside them
python_modules.py  PyMongo and pyzmq in CGRU's and Blender's Pythons
"""
