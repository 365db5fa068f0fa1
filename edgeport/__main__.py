"""`python -m edgeport`, the same as the command `edgeport`."""

from edgeport.cli.main import main

main()
