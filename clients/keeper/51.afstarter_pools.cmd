rem Name=Submit Job (pools)...
rem Icon=afanasy.png

call %0\..\_setup.cmd

"%CGRU_PYTHONEXE%" "%CGRU_LOCATION%\utilities\afstarter_pools\afstarter_pools.py" %*
