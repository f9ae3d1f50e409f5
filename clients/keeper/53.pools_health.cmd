@echo off
rem Name=Pool Broker Health
rem Icon=info.png

if not defined AFPOOLS_COMMAND set "AFPOOLS_COMMAND=afpools"
call "%AFPOOLS_COMMAND%" health
pause
