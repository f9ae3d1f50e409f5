rem Afanasy Pools: CGRU's Afanasy window in Maya has a pool to choose (docs/choosers.md). CGRU's setup.cmd calls this.
if "%AFPOOLS_MAYA%"=="%CGRU_LOCATION%\plugins\maya_afpools" goto :eof
SET "AFPOOLS_MAYA=%CGRU_LOCATION%\plugins\maya_afpools"
if defined PYTHONPATH (
   SET "PYTHONPATH=%PYTHONPATH%;%AFPOOLS_MAYA%"
) else (
   SET "PYTHONPATH=%AFPOOLS_MAYA%"
)
