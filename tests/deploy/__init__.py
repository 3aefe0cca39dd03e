"""The files of ``deploy/`` are what systemd and the command line take."""
