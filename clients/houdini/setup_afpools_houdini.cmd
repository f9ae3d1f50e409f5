rem Afanasy Pools: the afanasy node in Houdini has a pool to choose (docs/choosers.md). CGRU's setup.cmd calls this.
if "%AFPOOLS_HOUDINI%"=="%CGRU_LOCATION%\plugins\houdini_afpools" goto :eof
SET "AFPOOLS_HOUDINI=%CGRU_LOCATION%\plugins\houdini_afpools"
if defined HOUDINI_PATH (
   SET "HOUDINI_PATH=%AFPOOLS_HOUDINI%;%HOUDINI_PATH%"
) else (
   SET "HOUDINI_PATH=%AFPOOLS_HOUDINI%"
)
