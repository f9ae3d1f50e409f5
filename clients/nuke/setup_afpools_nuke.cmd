rem Afanasy Pools: the afanasy node in Nuke has a pool to choose (docs/choosers.md). CGRU's setup.cmd calls this.
if "%AFPOOLS_NUKE%"=="%CGRU_LOCATION%\plugins\nuke_afpools" goto :eof
SET "AFPOOLS_NUKE=%CGRU_LOCATION%\plugins\nuke_afpools"
if defined NUKE_PATH (
   SET "NUKE_PATH=%AFPOOLS_NUKE%;%NUKE_PATH%"
) else (
   SET "NUKE_PATH=%AFPOOLS_NUKE%"
)
