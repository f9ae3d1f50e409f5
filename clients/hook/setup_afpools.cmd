rem Afanasy Pools: every job that a program of CGRU sends gets its pool (docs/hook.md). CGRU's setup.cmd calls this.
if "%AFPOOLS_HOOK%"=="%CGRU_LOCATION%\plugins\afpools_hook" goto :eof
SET "AFPOOLS_HOOK=%CGRU_LOCATION%\plugins\afpools_hook"
if defined PYTHONPATH (
   SET "PYTHONPATH=%AFPOOLS_HOOK%;%PYTHONPATH%"
) else (
   SET "PYTHONPATH=%AFPOOLS_HOOK%"
)
