@echo off
rem Name=Manage Pools
rem Icon=tools.png

if not defined AFPOOLS_COMMAND set "AFPOOLS_COMMAND=afpools"
call "%AFPOOLS_COMMAND%" manager %*
if errorlevel 1 pause
